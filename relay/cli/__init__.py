"""The command line: arguments in, text and exit codes out (contract, section 5)."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

from relay.cli.command import Exit
from relay.cli.commands import COMMANDS
from relay.cli.parser import parser, with_default
from relay.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Sequence


def entry() -> NoReturn:
    """Run the command line of this process, and exit with its code."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run a command line; return the exit code. An error is one sentence on stderr, then the remedy."""
    is_debug = "--debug" in arguments
    try:
        return _command(arguments)
    except RelayError as error:
        if is_debug:
            traceback.print_exc()
        _print_error(error)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone; what is left of it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.UNDELIVERED
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if is_debug:
            raise
        # Only the error's kind: its text could hold what stands in a row.
        print(f"relay: an error that relay does not know: {type(error).__name__}.", file=sys.stderr)
        print("  Run it again with --debug and report what it shows.", file=sys.stderr)
        return Exit.UNDELIVERED


def _print_error(error: RelayError) -> None:
    print(f"relay: {error}", file=sys.stderr)
    for mistake in getattr(error, "mistakes", ()):
        print(f"  {mistake}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)


def _command(arguments: Sequence[str]) -> int:
    commands = {command.name: command for command in COMMANDS}
    given = parser().parse_args(with_default(arguments, commands.keys()))
    return commands[given.command or "run"].handle(given)
