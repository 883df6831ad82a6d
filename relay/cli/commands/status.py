"""`relay status`: how much has been sent, what waits, and whether the sums hold."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from relay.cli import views
from relay.cli.command import Command, Exit, load_to_look
from relay.operations import status
from relay.service import admin

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay status
  relay status --json | jq .conservation
  relay status --check                         for a monitor: exit 1 where something needs a person
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--check", action="store_true", help="exit 1 where something needs a person, and say what")


def handle(arguments: argparse.Namespace) -> int:
    """Print the state of the relay, and why a person is needed."""
    loaded = load_to_look(arguments)
    report = admin.status(loaded)
    if arguments.json:
        print(json.dumps(status.as_json(report), indent=2))
    else:
        print("\n".join(views.status_lines(report)))
    reasons = status.needs(report, loaded.status.max_age) if arguments.check else []
    for reason in reasons:
        print(f"relay: {reason}", file=sys.stderr)
    return Exit.UNDELIVERED if reasons else Exit.WELL


COMMAND = Command(
    name="status",
    summary="counts, circuits, cursor and lag, and whether the sums hold",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
