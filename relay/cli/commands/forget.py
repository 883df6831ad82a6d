"""`relay forget`: takes the personal data of one user out of the outbox."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from relay.cli.command import Command, Exit
from relay.cli.configured import load_to_look
from relay.errors import UsageError
from relay.service import admin

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay events user=42           what is recorded of a user
  relay forget 42
  relay forget 42 --undelivered  also what is not delivered yet, for ever

What the user does after that is recorded again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("user", metavar="USERID", type=int, help="Moodle's user id")
    parser.add_argument("--undelivered", action="store_true", help="also what is not delivered yet: it never will be")


def handle(arguments: argparse.Namespace) -> int:
    """Forget the user, and say what is left."""
    user = int(arguments.user)
    if user <= 0:
        raise UsageError(f"forget {user}: that is nobody's id.", hint="It takes Moodle's numeric user id, such as 42.")
    done = admin.forget(load_to_look(arguments), user, undelivered=arguments.undelivered)
    print(f"relay: {done.count} events of user {user} have no personal data any more.")
    if done.undelivered:
        print(f"relay: {done.undelivered} of them had not been delivered, and never will be.")
    if done.kept:
        print(f"relay: {done.kept} events of user {user} are not delivered, and keep their data.", file=sys.stderr)
        print("  --undelivered forgets them too: they never reach the backend then.", file=sys.stderr)
    if done.under_way:
        print(f"relay: {done.under_way} events of user {user} are being sent at this moment.", file=sys.stderr)
        print("  Run the command again when that has ended.", file=sys.stderr)
    return Exit.UNDELIVERED if done.kept or done.under_way else Exit.WELL


COMMAND = Command(
    name="forget",
    summary="take the personal data of one user out of the outbox",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
