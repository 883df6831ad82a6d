"""`relay receive`: a receiver that verifies each event, shows it, and says what is wrong with it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import sys
import textwrap
from importlib import resources
from typing import TYPE_CHECKING

from relay.cli import receiving, views
from relay.cli.command import Command, Exit
from relay.cli.printing import fitted
from relay.errors import UsageError
from relay.receivers import verifiers
from relay.receivers.judge import Judge, Judged, Request, Verdict
from relay.receivers.server import Reply
from relay.service import receiving as service

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

#: What can be printed: the verifiers, and what tries one.
FILES = {"php": "verifier.php", "node": "verifier.cjs", "python": "verifier.py", "vectors": "vectors.json"}
PORT = 8087
#: What stands in the answer that --answer gives.
ANSWERED = b'{"status": "as --answer says"}'
#: The longest line that is shown, in characters.
WIDEST = 500

EXAMPLES = f"""examples:
  relay keygen --out signing-key
  relay receive --secret-file signing-key
      then, in another terminal:
  relay send-test --to http://127.0.0.1:{PORT} --secret-file signing-key
  relay receive --answer 503 --times 3
      the first three events are refused, and come again
  relay receive --forward http://127.0.0.1:3000
      good events go on to your own receiver, and its answer comes back
  relay receive --json | jq .verdict
  relay receive --print php > verifier.php
      a verifier in one file, without dependencies
  relay receive --print vectors > vectors.json
      good and bad deliveries, to test a verifier of your own

What it says of a request:
{textwrap.fill(", ".join(Verdict), 76, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)}
Without --secret-file or another --secret, keys, token and tenant are those of
the config. Ctrl-C ends it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--port", type=int, default=PORT, help=f"default {PORT}; 0 for any that is free")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default 127.0.0.1)")
    receiving.add_arguments(parser)
    parser.add_argument("--forward", metavar="URL", help="pass good events on to a receiver of yours")
    parser.add_argument("--answer", type=int, metavar="CODE", help="answer good events with this, and do not take them")
    parser.add_argument("--times", type=int, metavar="N", help="only to the first N good events")
    parser.add_argument("--json", action="store_true", help="a JSON object a line for each request")
    parser.add_argument("--print", choices=FILES, help="print a verifier or the vectors, and receive nothing")


def handle(arguments: argparse.Namespace) -> int:
    """Receive until Ctrl-C; or print what is asked for."""
    if arguments.print:
        sys.stdout.write(resources.files(verifiers).joinpath(FILES[arguments.print]).read_text("utf-8"))
        return Exit.WELL
    given = receiving.given(arguments, is_enough=True)
    if not given.keys:
        raise receiving.no_key("receive")
    judge = Judge(
        receiving.public_keys(given.keys),
        token=given.token,
        tenant_id=given.tenant_id,
        kinds=receiving.kinds(arguments),
    )
    with contextlib.ExitStack() as stack:
        service.serve(
            (arguments.host, arguments.port),
            judge,
            decide=_decider(arguments, stack),
            tell=_tell_json if arguments.json else _tell,
            started=functools.partial(_say_started, given),
        )
    return Exit.WELL


def _decider(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> Callable[[Request, Judged], Reply | None]:
    """Return what answers good events otherwise than with 200, as the options have it."""
    if arguments.answer is not None and not 200 <= arguments.answer <= 599:
        raise UsageError(f"--answer {arguments.answer}: this is no status code.", hint="One of 200 to 599.")
    if arguments.times is not None and (arguments.answer is None or arguments.times < 1):
        raise UsageError("--times says how often --answer is given: 1 or more.", hint="--answer 503 --times 3")
    refused = itertools.count(1)
    forward = None
    if arguments.forward:
        url = service.checked_url("--forward", arguments.forward)
        forward = functools.partial(service.hand_on, stack.enter_context(service.reaching(url)))

    def decide(delivery: Request, judged: Judged) -> Reply | None:
        if judged.verdict not in (Verdict.GOOD, Verdict.DUPLICATE):
            return None
        if arguments.answer is not None and (arguments.times is None or next(refused) <= arguments.times):
            return Reply(code=arguments.answer, body=b"" if arguments.answer in (204, 304) else ANSWERED)
        return forward(delivery) if forward is not None and judged.verdict is Verdict.GOOD else None

    return decide


def _say_started(given: receiving.Given, url: str) -> None:
    token = "any token" if given.token is None else "our token"
    keys = f"{len(given.keys)} key{'s' * (len(given.keys) != 1)}"
    text = f"Receiving at {url}, {keys}, {token}, tenant {given.tenant_id}. Ctrl-C ends it."
    print(text, file=sys.stderr, flush=True)


def _tell(delivery: Request, judged: Judged, reply: Reply) -> None:
    test = " (a test)" if delivery.headers.get("x-relay-test") else ""
    event_id = delivery.headers.get("webhook-id", "without an id")
    method = "" if delivery.method == "POST" else delivery.method
    what = " ".join(one for one in (method, delivery.path, event_id) if one)
    answer = "no answer" if reply.hangs_up else reply.code
    lines = [f"{judged.verdict}: {what}{test} -> {answer}"]
    lines += [f"  {why}" for why in (judged.why, reply.why) if why]
    said = [fitted(_cut(views.printable(line)), sys.stdout) for line in lines]
    shown = {name: one for name, one in judged.envelope.items() if name not in ("event_id", "event_type")}
    said += [_cut(views.printable(f"  {line}")) for line in views.profile_lines(shown)] if shown else []
    print("\n".join(said), flush=True)


def _cut(line: str) -> str:
    return line if len(line) <= WIDEST else f"{line[:WIDEST]} ... ({len(line)} characters)"


def _tell_json(delivery: Request, judged: Judged, reply: Reply) -> None:
    line = {
        "verdict": judged.verdict,
        "why": judged.why or reply.why,
        "path": delivery.path,
        "event_id": delivery.headers.get("webhook-id"),
        "is_test": bool(delivery.headers.get("x-relay-test")),
        "answer": None if reply.hangs_up else reply.code,
        "event": judged.envelope or None,
    }
    print(json.dumps(line), flush=True)


COMMAND = Command(
    name="receive",
    summary="a receiver on this machine that verifies each event",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
