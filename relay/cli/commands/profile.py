"""`relay profile`: what the backend knows of a student."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.cli import views
from relay.cli.command import Command, Exit
from relay.cli.configured import load_to_look
from relay.cli.printing import print_json
from relay.service import admin

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay profile 42
  relay profile 42 --json | jq .
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("user", metavar="USERID", type=int, help="Moodle's user id")
    parser.add_argument("--json", action="store_true", help="the answer as it came")


def handle(arguments: argparse.Namespace) -> int:
    """Print the profile."""
    profile = admin.ask_profile(load_to_look(arguments), arguments.user)
    if arguments.json:
        print_json(profile.text)
    else:
        print("\n".join(views.profile_lines(profile.document)))
    return Exit.WELL


COMMAND = Command(
    name="profile",
    summary="show what the backend knows of a student",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
