"""`relay acknowledge`: given-up events that a person has dealt with are no longer told of."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from relay.cli.command import Command, Exit
from relay.cli.configured import load_to_look
from relay.operations.selector import FORMS, parse_selector
from relay.service import admin

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay acknowledge failed --reason 'the backend was told by hand'
  relay acknowledge 6f1c0b52-5f0e-4b1e-9d53-0a2b3c4d5e6f
  relay acknowledge user=42,until=2026-02-01

The events are kept, and can be sent again. `relay status --check` and
`relay run --once` no longer count them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("selector", metavar="SELECTOR", help=f"which events: {FORMS}")
    parser.add_argument("--reason", default="", metavar="TEXT", help="what was done about them; kept in the outbox")


def handle(arguments: argparse.Namespace) -> int:
    """Acknowledge, and print how many events that were."""
    loaded = load_to_look(arguments)
    selector = parse_selector(arguments.selector, loaded.events.kinds, "SELECTOR")
    done = admin.acknowledge(loaded, selector, arguments.reason)
    are = "event is" if done.acknowledged == 1 else "events are"
    print(f"relay: {done.acknowledged} given-up {are} acknowledged.")
    others = done.meant - done.acknowledged
    if others:
        print(f"  {others} that the selector means were not given up, and stay as they are.", file=sys.stderr)
    if not done.meant:
        print("  The selector means no recorded event: `relay events failed` shows what was given up.", file=sys.stderr)
    return Exit.UNDELIVERED if selector.event_id and not done.acknowledged else Exit.WELL


COMMAND = Command(
    name="acknowledge",
    summary="mark given-up events as dealt with",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
