"""Runs commands of relay, each in a process of its own, without each of them reading relay's modules anew.

Most of a short command's time is the reading. Here one process reads them, and is forked for each command (the standard
library's forkserver). What depends on how Python starts (locale, environment, the terminal) is run as a user does, by
`subprocess`.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay.__main__ import entry
from relay.cli.commands import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["forked", *(f"relay.cli.commands.{name.replace('-', '_')}" for name in NAMES if name != "demo")]
)


class Inherited:
    """A file descriptor that the new process gets, under a number of its own."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        """Hand it over: called while the process is being started."""
        return _detached, (DupFd(self.number),)


def _detached(handed: Any) -> int:
    number: int = handed.detach()
    return number


def run(
    arguments: Sequence[str], timeout_s: float, program: Callable[[], object] = entry
) -> subprocess.CompletedProcess[str]:
    """Run `relay ARGUMENTS`, or another program's function, to its end. Raises subprocess.TimeoutExpired."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        streams = Inherited(out.fileno()), Inherited(err.fileno())
        context = dict(os.environ), str(Path.cwd())
        process = _SERVER.Process(target=_command, args=(program, list(arguments), *context, *streams))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["relay", *arguments], timeout_s)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
        return subprocess.CompletedProcess(["relay", *arguments], process.exitcode, *texts)


def _command(
    program: Callable[[], object],
    arguments: Sequence[str],
    environment: dict[str, str],
    folder: str,
    out: int,
    err: int,
) -> None:
    """Be the program, in the new process."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(out if number == 1 else err, number)
        setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 -- open to its end
    sys.argv = ["relay", *arguments]
    program()
