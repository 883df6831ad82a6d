"""What a command of the command line is, and what all of them share."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from relay import config
from relay.service import admin

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from relay.model import Event


#: How often what is watched is shown again, in seconds.
WATCH_S = 2.0


class Exit(IntEnum):
    """The exit codes (contract, section 5) that a command returns; an error brings its own (`RelayError.exit_code`)."""

    WELL = 0
    UNDELIVERED = 1
    USAGE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
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


def config_path(arguments: argparse.Namespace) -> Path:
    """Return where the config file is. Raises UsageError where there is none."""
    return config.find(getattr(arguments, "config", None), os.environ.get("RELAY_CONFIG"))


def load_config(arguments: argparse.Namespace) -> config.Config:
    """Return the config. Raises UsageError where there is none, ConfigError where it is wrong."""
    return config.load(config_path(arguments))


def load_to_look(arguments: argparse.Namespace) -> config.Config:
    """Return the config, of which secrets may be missing. Raises UsageError or ConfigError as `load_config`."""
    return config.load_to_look(config_path(arguments))


def repeated(text: Callable[[], str]) -> int:
    """Show a text again and again, in the place of the last one on a terminal, until Ctrl-C; return the exit code."""
    clear = "\x1b[H\x1b[2J\x1b[3J" if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" else ""
    try:
        for _ in admin.again_and_again(WATCH_S):
            # Made before the screen is cleared: it is never empty meanwhile.
            shown = text()
            print(f"{clear}{shown}", flush=True)
    except KeyboardInterrupt:
        pass
    return Exit.WELL


def print_envelope(event: Event) -> None:
    """Print the envelope of an event as one line."""
    # Three characters end a line for some readers, and none in JSON.
    print_json(event.body.decode().translate({code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}))


def print_json(text: str) -> None:
    """Print JSON text in UTF-8, whatever the locale is: nothing else is JSON (RFC 8259, section 8.1)."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode() + b"\n")
    else:
        print(text)
