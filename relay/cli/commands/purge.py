"""`relay purge`: delivered events that are older than the retention are deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.cli.command import Command, Exit
from relay.cli.configured import load_to_look
from relay.service import admin

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay purge    the daemon does the same once a day
"""


def handle(arguments: argparse.Namespace) -> int:
    """Purge, and print how many events that were."""
    print(f"relay: {admin.purge(load_to_look(arguments))} delivered events purged.")
    return Exit.WELL


COMMAND = Command(
    name="purge",
    summary="delete delivered events older than outbox.retention",
    examples=EXAMPLES,
    handle=handle,
)
