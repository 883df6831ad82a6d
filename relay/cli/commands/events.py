"""`relay events`: a table of what is recorded, the newest first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from relay.cli import table
from relay.cli.command import Command, Exit
from relay.cli.configured import load_to_look
from relay.cli.watching import repeated
from relay.errors import UsageError
from relay.model import Status
from relay.operations import listed
from relay.operations.selector import FORMS, parse_selector
from relay.outbox.values import Selector
from relay.service import looking

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay events                              the last 50 that were recorded
  relay events failed                       those that were given up
  relay events status=failed --watch        those that are tried again
  relay events user=42,since=2026-02-01
  relay events failed --limit 1000 --json | jq '.[].event_id'
"""
#: The most that are shown at once.
MOST = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("selector", metavar="SELECTOR", nargs="?", help=FORMS)
    parser.add_argument("--limit", metavar="N", type=int, default=50, help="so many at most (default 50)")
    parser.add_argument("--json", action="store_true", help="a list of JSON objects, with times in UTC")
    parser.add_argument("--watch", action="store_true", help="show it again every 2 s")


def handle(arguments: argparse.Namespace) -> int:
    """Print the events."""
    limit = int(arguments.limit)
    if not 0 < limit <= MOST:
        raise UsageError(f"--limit {limit}: it is a number from 1 to {MOST}.", hint="See `relay events --help`.")
    loaded = load_to_look(arguments)
    given, types = arguments.selector, loaded.events.kinds
    selector = Selector() if given is None else parse_selector(given, types, "relay events", list(Status))

    def text() -> str:
        found = looking.events(loaded, selector, limit)
        return json.dumps([listed.as_json(one) for one in found], indent=2) if arguments.json else table.show(found)

    if arguments.watch:
        return repeated(text)
    print(text())
    return Exit.WELL


COMMAND = Command(
    name="events",
    summary="list recorded events, the newest first",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
