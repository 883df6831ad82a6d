"""`relay send-test`: one made-up event, the answer to it, and what relay would do then."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

from relay.cli import receiving, views
from relay.cli.command import Command, Exit
from relay.cli.commands.schema import FIRST
from relay.cli.printing import fitted
from relay.config.credentials import MASK
from relay.errors import UsageError
from relay.receivers import answers, samples
from relay.receivers.send_test import Bad, consequence, plan
from relay.rules.retry import Policy
from relay.service import receiving as service

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from relay.events.kind import EventKind
    from relay.model import Outcome
    from relay.receivers.craft import Attempt, Crafter
    from relay.receivers.send_test import Step

#: So much of a body is shown, in characters.
SHOWN = 2000

EXAMPLES = f"""examples:
  relay send-test
      to the config's backend, signed with its keys
  relay send-test --to http://127.0.0.1:8087 --secret-file signing-key
  relay send-test {FIRST} --set data.userid=42 \\
    --set moodle_url=https://moodle.example.edu
  relay send-test --bad signature
      what is wrong on purpose: a right receiver refuses it

KIND is one of:
{textwrap.fill(", ".join(Bad), 76, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)}
The event is made up, is marked with X-Relay-Test: 1, and is never in the
outbox. The config's token goes to its backend and to this machine, and
nowhere else. Exit code 0: a right receiver would have answered so; else 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("type", nargs="?", default=FIRST, metavar="TYPE", help=f"the event type (default {FIRST})")
    parser.add_argument("--to", metavar="URL", help="a receiver; without it, the config's backend")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="another value: JSON, or text")
    kinds = [str(one) for one in Bad]
    parser.add_argument("--bad", choices=kinds, metavar="KIND", help="what is wrong or unusual about it on purpose")
    receiving.add_arguments(parser)


def handle(arguments: argparse.Namespace) -> int:
    """Send, and show what came of it."""
    kind = receiving.kind_of(arguments)
    aim = receiving.aim(arguments, arguments.to, "--to", "send-test")
    crafter = service.make_crafter(aim.target)
    envelope = _envelope(crafter, kind, arguments.set)
    bad = None if arguments.bad is None else Bad(arguments.bad)
    if bad is Bad.SIGNATURE and not aim.target.keys:
        raise receiving.no_key("send-test")
    is_right = True
    steps = plan(crafter, envelope, bad, service.other_keys(aim.target.keys), receiving.kinds(arguments))
    with service.reaching(aim.url, aim.backend) as transport:
        for step in steps:
            _show_request(aim.url, step)
            outcome = service.exchange(transport, step.attempt, aim.target.token)
            is_right = step.expected.is_met(outcome) and is_right
            _show_answer(step, outcome)
    return Exit.WELL if is_right else Exit.UNDELIVERED


def _envelope(crafter: Crafter, kind: EventKind, changes: list[str]) -> dict[str, Any]:
    """Return a made-up event with the values of `--set`. Raises UsageError for one that no request can carry."""
    envelope = crafter.envelope(kind)
    for change in changes:
        samples.change(envelope, change)
    for name in ("event_id", "event_type"):
        if not isinstance(envelope[name], str) or not envelope[name].isascii() or not envelope[name].isprintable():
            raise UsageError(f"--set {name}: it is a header and a path, too, and must be plain text.", hint="")
    return envelope


def _show_request(url: str, step: Step) -> None:
    attempt: Attempt = step.attempt
    print(views.printable(f"-> {step.says}"))
    print(f"{attempt.method} {url}{attempt.path}")
    for name, value in attempt.headers.items():
        text = MASK if name == "X-Moodle-Token" else value.decode() if isinstance(value, bytes) else value
        print(views.printable(f"{name}: {text}"))
    body = (attempt.body or b"").decode("utf-8", "replace")
    more = f" ... ({len(attempt.body or b'')} bytes)" if len(body) > SHOWN else ""
    print(f"\n{views.printable(body[:SHOWN])}{more}\n", flush=True)


def _show_answer(step: Step, outcome: Outcome) -> None:
    said = outcome.error if outcome.http_code is None else str(outcome.http_code)
    print(f"<- {said} after {outcome.duration_ms} ms")
    if outcome.answer:
        print(views.printable(outcome.answer))
    is_right = step.expected.is_met(outcome)
    purpose = "this one is wrong on purpose, and " if step.is_wrong else ""
    # Else it is the sender who may be wrong.
    given = ", if token (--token-file) and signing key (--secret-file) are its own"
    condition = given if not (is_right or step.is_wrong) and answers.UNKNOWN.is_met(outcome) else ""
    judged = (
        f"{'Right' if is_right else 'NOT RIGHT'}: {purpose}a right receiver answers {step.expected.words}{condition}."
    )
    follows = f"relay{', were it a real event' if step.is_wrong else ''}: {consequence(outcome, Policy())}"
    print(f"{fitted(judged, sys.stdout)}\n{fitted(follows, sys.stdout)}\n", flush=True)


COMMAND = Command(
    name="send-test",
    summary="send a made-up, signed event, and judge the answer",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
