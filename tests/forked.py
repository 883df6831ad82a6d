"""Runs commands of relay, each in a process of its own, without each of them reading relay's modules anew.

Most of a short command's time is the reading. Here one process reads them, and is forked for each command (the standard
library's forkserver). What depends on how Python starts (locale, standard streams, the program's file) is run as a user
does, by `subprocess`.
In such a process, constants of relay may have other values, so that a test waits for no more than it must. Nothing in
relay knows of this.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from relay.__main__ import entry
from relay.cli.commands import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["forked", "crash", "warmed", *(f"relay.cli.commands.{name.replace('-', '_')}" for name in NAMES if name != "demo")]
)
#: Whoever starts a process also asks which others have ended, and of two that ask at once one gets a wrong code.
_LOCK = threading.Lock()


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


class Started:
    """`relay ARGUMENTS`, or another program's function, while it runs; used as a `subprocess.Popen` is."""

    def __init__(
        self,
        arguments: Sequence[str],
        program: Callable[[], object] = entry,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        streams: Mapping[int, int] | None = None,
        constants: Mapping[str, float] | None = None,
    ) -> None:
        """Start it; `env` comes on top of the environment, and `streams` are open files for its descriptors 0 to 2.

        What it says to a stream that is not given is to be read from `stdout` or `stderr`. `constants` are values for
        constants of relay, by `MODULE:NAME`.
        """
        self.args = ["relay", *arguments]
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        given, written = dict(streams or {}), []
        for number, name in ((1, "stdout"), (2, "stderr")):
            if number not in given:
                ours, given[number] = os.pipe()
                setattr(self, name, os.fdopen(ours, encoding="utf-8"))  # it is read until it ends
                written.append(given[number])
        context = {**os.environ, **(env or {})}, dict(constants or {}), str(cwd or Path.cwd())
        handed = {number: Inherited(file) for number, file in given.items()}
        self._process = _SERVER.Process(
            target=_command, args=(program, list(arguments), *context, handed), daemon=True
        )  # a daemon: one that a failed test leaves is ended with the tests
        with _LOCK:
            self._process.start()
        for file in written:
            os.close(file)
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        with _LOCK:
            return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        """Return the exit code, minus a signal's number where one ended it. Raises subprocess.TimeoutExpired."""
        if not multiprocessing.connection.wait([self._process.sentinel], timeout_s):
            raise subprocess.TimeoutExpired(self.args, timeout_s or 0.0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """End it at once, and let go of what it says."""
        self.kill()
        self.wait()
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()


def run(
    arguments: Sequence[str],
    timeout_s: float,
    program: Callable[[], object] = entry,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    streams: Mapping[int, int] | None = None,
    constants: Mapping[str, float] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `relay ARGUMENTS`, or another program's function, to its end. Raises subprocess.TimeoutExpired."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        files = {1: out.fileno(), 2: err.fileno(), **(streams or {})}
        process = Started(arguments, program, env=env, cwd=cwd, streams=files, constants=constants)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
        return subprocess.CompletedProcess(process.args, code, *texts)


def _command(
    program: Callable[[], object],
    arguments: Sequence[str],
    environment: dict[str, str],
    constants: dict[str, float],
    folder: str,
    streams: dict[int, int],
) -> None:
    """Be the program, in the new process."""
    # A collection would look at all that was read before, and copy the memory of it into this process.
    gc.freeze()
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    for number, file in streams.items():
        os.dup2(file, number)
        os.close(file)
    if 0 in streams:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 -- open to its end
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["relay", *arguments]
    for place, value in constants.items():
        module, _, name = place.partition(":")
        setattr(importlib.import_module(module), name, value)
    program()
