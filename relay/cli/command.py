"""What a command of the command line is."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


class Exit(IntEnum):
    """The exit codes (contract, section 5) that a command returns; an error brings its own (`RelayError.exit_code`)."""

    WELL = 0
    UNDELIVERED = 1
    USAGE = 2


class Command(NamedTuple):
    """A command: all that the command line knows of it."""

    name: str
    #: One line of `relay --help`.
    summary: str
    #: The end of `relay NAME --help`: a line for each example, and what else is worth knowing.
    examples: str
    #: Given the arguments, prints what is to be said and returns the exit code. Raises RelayError.
    handle: Callable[[argparse.Namespace], int]
    #: Adds the arguments to the command's parser.
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _parser: None
