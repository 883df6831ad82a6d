"""`relay demo`: relay at work, with nothing set up."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from relay.cli.command import Command

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay demo
  relay demo --seconds 10
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="N", help="how long the college lives (default 20)"
    )


def handle(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    try:
        from relay import demo  # noqa: PLC0415 -- the daemon needs none of it

        return demo.run(stream=sys.stdout, seconds=arguments.seconds)
    except KeyboardInterrupt:
        print("\nStopped. Nothing of the demo is left on this machine.")
        return 130


COMMAND = Command(
    name="demo",
    summary="see relay at work, on a database that is thrown away",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
