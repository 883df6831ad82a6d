"""`relay move-outbox`: the outbox, with all that it holds, into another file or schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relay import config
from relay.cli.command import Command, Exit
from relay.cli.configured import load_to_look
from relay.cli.progress import bar
from relay.service import admin

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  systemctl stop relay
  relay --config /etc/relay/config.yaml move-outbox /etc/relay/new.yaml
  mv /etc/relay/new.yaml /etc/relay/config.yaml
  systemctl start relay

From a file to a schema, or back. The old outbox stays as it was, and is used
no more. A move that was killed starts again from the beginning.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "target", metavar="NEW-CONFIG", type=Path, help="a copy of the config with the new outbox in it"
    )


def handle(arguments: argparse.Namespace) -> int:
    """Move, and print what is left to do."""
    loaded, target = load_to_look(arguments), config.load_to_look(arguments.target)
    with bar("move") as tell:
        total = admin.move(loaded, target, tell)
    print(f"relay: {total} rows moved from {loaded.outbox.url} to {target.outbox.url}, and compared.")
    print(
        f"  Put {arguments.target} in the place of {loaded.source}, and start relay. The old outbox is kept as it was."
    )
    return Exit.WELL


COMMAND = Command(
    name="move-outbox",
    summary="move the outbox to where another config has it",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
