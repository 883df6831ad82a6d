"""`relay man`: the man page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.cli import shells
from relay.cli.command import Command, Exit

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay man | man -l -                        read it
  relay man > /usr/local/share/man/man1/relay.1
"""


def handle(_arguments: argparse.Namespace) -> int:
    """Print the page."""
    print(shells.man(), end="")
    return Exit.WELL


COMMAND = Command(
    name="man",
    summary="print the man page, with every command and option",
    examples=EXAMPLES,
    handle=handle,
)
