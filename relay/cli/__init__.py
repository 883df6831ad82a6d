"""The command line: arguments in, text and exit codes out (contract, section 5)."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import traceback
from typing import TYPE_CHECKING

from relay.cli.command import Exit
from relay.cli.commands import load
from relay.cli.parser import parse
from relay.cli.printing import fitted
from relay.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Why something cannot be written to what is open already: its reader has gone, or its disk is full or broken.
UNWRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(arguments: Sequence[str]) -> int:
    """Run a command line; return the exit code. An error is one sentence on stderr, then the remedy."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A letter that the locale lacks is no reason to say nothing.
            stream.reconfigure(errors="backslashreplace")
    code = _main(arguments)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            code = code or _say_unwritten(error)
            # What is left goes nowhere: Python would try to write it again at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def _main(arguments: Sequence[str]) -> int:
    is_debug = "--debug" in arguments
    try:
        return _command(arguments)
    except RelayError as error:
        if is_debug:
            traceback.print_exc()
        more = [one for one in (*getattr(error, "mistakes", ()), error.hint) if one]
        _complain(_fitted(f"relay: {error}"), *(_fitted(f"  {one}") for one in more))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in UNWRITTEN:
            return _say_unwritten(error)
        if is_debug:
            raise
        # Only the error's kind: its text could hold what stands in a row.
        _complain(
            f"relay: an error that relay does not know: {type(error).__name__}.",
            "  Run it again with --debug and report what it shows.",
        )
        return Exit.UNDELIVERED


def _fitted(line: str) -> str:
    return line if sys.stderr is None else fitted(line, sys.stderr, "  ")


def _complain(*lines: str) -> None:
    """Print lines on stderr, where they can be printed."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print("\n".join(lines), file=sys.stderr)


def _say_unwritten(error: OSError) -> Exit:
    """Say that what was to be printed could not be, save where its reader has gone."""
    if error.errno != errno.EPIPE:
        _complain(f"relay: what was to be printed could not be written: {error.strerror}.")
    return Exit.UNDELIVERED


def _command(arguments: Sequence[str]) -> int:
    given = parse(arguments)
    return load(given.command).handle(given)
