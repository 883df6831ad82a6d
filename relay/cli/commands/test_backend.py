"""`relay test-backend`: whether a receiver does all that it should."""

from __future__ import annotations

import functools
import json
import sys
from typing import TYPE_CHECKING

from relay.cli import receiving, views
from relay.cli.command import Command, Exit
from relay.errors import UsageError
from relay.receivers import sheet
from relay.receivers.checks.check import Tools
from relay.service import receiving as service

if TYPE_CHECKING:
    import argparse

    from relay.receivers.sheet import Line

EXAMPLES = f"""examples:
  relay test-backend http://127.0.0.1:8087 --secret-file signing-key \\
    --token-file token
  relay test-backend             the config's backend; it asks first
  relay test-backend --yes --json | jq '.[] | select(.verdict == "fail")'

{len(sheet.CHECKS)} checks, a line each. They send made-up events, marked with
X-Relay-Test: 1, and many that must be refused: use a receiver that is there
for tests. Key, token and tenant must be those of the receiver. Where a good
event is not taken, one line says why. Exit code 1: a check has failed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("url", nargs="?", metavar="URL", help="the receiver; without it, the config's backend")
    parser.add_argument("--yes", action="store_true", help="try the config's backend without asking")
    parser.add_argument("--json", action="store_true", help="a JSON list, one object a check")
    receiving.add_arguments(parser)


def handle(arguments: argparse.Namespace) -> int:
    """Print each check as it is done."""
    aim = receiving.aim(arguments, arguments.url, "URL", "test-backend URL")
    if not aim.target.keys:
        raise receiving.no_key("test-backend URL")
    if arguments.url is None and not arguments.yes:
        _confirm(aim.url)
    tools = Tools(service.make_crafter(aim.target), service.other_keys(aim.target.keys))
    lines = []
    with service.reaching(aim.url, aim.backend) as transport:
        send = functools.partial(service.exchange, transport, token=aim.target.token)
        for line in sheet.examine(tools, send, functools.partial(service.at_once, send)):
            lines.append(line)
            if not arguments.json:
                _print(line)
    failed = sum(line.verdict == "fail" for line in lines)
    if arguments.json:
        fields = ("name", "verdict", "found", "remedy")
        print(json.dumps([{name: getattr(line, name) for name in fields} for line in lines], indent=2))
    elif len(lines) < len(sheet.CHECKS):
        print("Nothing else was tried: all checks build on a good event that is taken.")
    else:
        print(f"{len(lines) - failed} of {len(lines)} checks passed, {failed} failed.")
    return Exit.UNDELIVERED if failed else Exit.WELL


def _confirm(url: str) -> None:
    """Ask whether the config's backend is meant. Raises UsageError where not, or where nobody can be asked."""
    if sys.stdin.isatty():
        print(f"Send made-up events to {url}, the config's backend? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise UsageError(
        "Nothing was sent: the config's backend may be the one that is used.",
        hint="Name a receiver that is there for tests, or say --yes.",
    )


def _print(line: Line) -> None:
    print(views.printable(f"{line.verdict:<5} {line.name}{f': {line.found}' if line.found else ''}"), flush=True)
    if line.remedy:
        print(f"      -> {line.remedy}", flush=True)


COMMAND = Command(
    name="test-backend",
    summary="try all that a receiver should do, a line a check",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
