"""`relay uninstall`: takes away what `relay install` has put onto the machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from relay.cli.command import Command, Exit
from relay.cli.commands.install import wanted
from relay.operations import install

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay uninstall           stop and remove the service; config, secrets and
                            outbox stay
  relay uninstall --data    remove these, too: nobody can tell any more what
                            was delivered

The Python package stays: remove its folder, or run
`pipx uninstall moodle-relay`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--data", action="store_true", help="also the config, the secrets, the outbox and the account")


def handle(arguments: argparse.Namespace) -> int:
    """Uninstall, and say what is left."""
    for line in install.uninstall(wanted(), with_data=arguments.data):
        print(f"relay: {line}")
    left = f"relay: what is left is the Python package in {sys.prefix}"
    if not arguments.data:
        left += f", and {install.CONFIG}, {install.STATE} and the account {install.ACCOUNT}"
    print(f"{left}.")
    return Exit.WELL


COMMAND = Command(
    name="uninstall",
    summary="remove what `relay install` has written",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
