"""Runs relay, and kills it with SIGKILL at a named step: `python crash.py STEP COUNT -- the arguments of relay`.

STEP is `module:Class.method:before` or `…:after`, or `outbox:STATEMENT` for the moment before an SQL statement of the
outbox that begins so. COUNT says at which of its moments. Nothing in relay knows of this: the steps are wrapped from
outside.
A file named by RELAY_TEST_CLOCK holds by how many seconds relay's clock is wrong.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from relay import cli
from relay.outbox import sqlite_database
from relay.service import parts


class Fuse:
    """Kills this process when it has been lit so many times."""

    def __init__(self, count: int) -> None:
        self._left = count

    def light(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def wrap(step: str, fuse: Fuse) -> None:
    """Light the fuse before or after each call of a method or function."""
    module_name, path, when = step.split(":")
    owner: Any = importlib.import_module(module_name)
    *classes, name = path.split(".")
    for one in classes:
        owner = getattr(owner, one)
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        if when == "before":
            fuse.light()
        found = original(*arguments, **options)
        if when == "after":
            fuse.light()
        return found

    setattr(owner, name, wrapped)


def trace(start: str, fuse: Fuse) -> None:
    """Light the fuse before each statement of the outbox that begins so."""
    connect = sqlite_database._connect

    def connected(path: Path) -> Any:
        connection = connect(path)
        wanted = start.upper()

        def look(statement: str) -> None:
            if " ".join(statement.split()).upper().startswith(wanted):
                fuse.light()

        connection.set_trace_callback(look)
        return connection

    sqlite_database._connect = connected


def bend_the_clock(path: Path) -> None:
    """Let relay's clock be wrong by what the file says."""
    real = parts.REAL
    parts.REAL = real._replace(now=lambda: real.now() + float(path.read_text() or 0))


def main() -> None:
    step, count, _, *arguments = sys.argv[1:]
    if "RELAY_TEST_CLOCK" in os.environ:
        bend_the_clock(Path(os.environ["RELAY_TEST_CLOCK"]))
    fuse = Fuse(int(count))
    kind, _, start = step.partition(":")
    if kind == "outbox":
        trace(start, fuse)
    elif kind != "never":
        wrap(step, fuse)
    sys.exit(cli.main(arguments))


if __name__ == "__main__":
    main()
