"""`relay explain`: the story of one event, and what to do next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from relay.cli.command import Command, Exit, load_config, print_json
from relay.events.catalogue import KINDS, by_subject
from relay.operations import explain
from relay.operations.story import as_json, show
from relay.service import admin

if TYPE_CHECKING:
    import argparse

#: The last of what can be asked for by the id of a row.
SUBJECT = tuple(by_subject(KINDS.values()))[-1]
EXAMPLES = f"""examples:
{f"  relay explain {SUBJECT}:4711":<47}where is the one with this id in Moodle's table?
  relay explain user:42                        everything about a user
  relay explain log:1234567                    what became of a log row
  relay explain log:1234567 --json             the same for a program
  relay explain 6f1c0b52-5f0e-4b1e-9d53-0a2b3c4d5e6f
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("what", metavar="WHAT", help=explain.FORMS)
    parser.add_argument("--json", action="store_true", help="one JSON object; its times are UTC")


def handle(arguments: argparse.Namespace) -> int:
    """Print the story."""
    story = admin.explain(load_config(arguments), arguments.what)
    if arguments.json:
        print_json(json.dumps(as_json(story), ensure_ascii=False, indent=2))
    else:
        print("\n".join(show(story)))
    return Exit.UNDELIVERED if story.is_unknown else Exit.WELL


COMMAND = Command(
    name="explain",
    summary="the whole story of an event, and what to do next",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
