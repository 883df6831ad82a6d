"""A reload that somebody waits for: `relay reload` sends SIGHUP to a running relay, which answers over a socket."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import struct
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from relay.errors import RelayError
from relay.service.daemon import Signals

if TYPE_CHECKING:
    from collections.abc import Callable

#: How long an answer is waited for, in seconds: systemd gives ExecReload= 90 s.
ANSWER_S = 80.0
#: How often it is looked whether the process is still there, in seconds.
LOOK_S = 0.5
LARGEST_ANSWER = 65536
#: struct ucred of unix(7): pid, uid, gid.
SENDER = struct.Struct("3i")


class Answer(NamedTuple):
    """What a running relay says of a reload."""

    #: The new config is in force.
    is_accepted: bool
    #: Why not, a line each.
    lines: tuple[str, ...] = ()


def _address(pid: int) -> str:
    """Return the abstract socket at which an answer of that process is waited for."""
    return f"\0relay-reload-{pid}"


class Asker:
    """Who waits for the answer, seen from the relay that reloads; nobody, where SIGHUP came from elsewhere.

    Made before the config is read: who comes later has changed it later, and sends a signal of his own.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(_address(os.getpid()))
        except OSError:
            self._socket.close()
            self._socket = None

    def answer(self, answer: Answer) -> None:
        """Send the answer; who has gone meanwhile does without."""
        if self._socket is not None:
            with self._socket, contextlib.suppress(OSError):
                said = json.dumps([answer.is_accepted, *answer.lines]).encode()
                self._socket.send(said if len(said) <= LARGEST_ANSWER else json.dumps([answer.is_accepted]).encode())


def ask(pid: int, monotonic: Callable[[], float]) -> Answer:
    """Let the relay of a process read its config again; return its answer. Raises RelayError where there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waiting:
        waiting.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            waiting.bind(_address(pid))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise RelayError(
                f"Somebody else waits for a reload of process {pid}.", hint="Ask again when that is done."
            ) from None
        _check(lambda: Signals.ask_reload(pid), pid)
        ends_at = monotonic() + ANSWER_S
        while monotonic() < ends_at:
            answer = _receive(waiting, pid)
            if answer is not None:
                return answer
            _check(lambda: os.kill(pid, 0), pid)  # signal 0: only asks
    raise RelayError(
        f"Process {pid} has not answered within {ANSWER_S:.0f} s: it waits for what is under way.",
        hint="Its log says so: config.reloaded, config.rejected, or config.waiting.",
    )


def _receive(waiting: socket.socket, pid: int) -> Answer | None:
    """Return an answer of that process; None where none comes for a while."""
    waiting.settimeout(LOOK_S)
    try:
        said, extra, _, _ = waiting.recvmsg(LARGEST_ANSWER, socket.CMSG_SPACE(SENDER.size))
    except TimeoutError:
        return None
    senders = [SENDER.unpack(data)[0] for _, kind, data in extra if kind == socket.SCM_CREDENTIALS]
    if senders != [pid]:
        return None  # anybody can send to such a socket
    is_accepted, *lines = json.loads(said)
    return Answer(is_accepted=is_accepted, lines=tuple(lines))


def _check(kill: Callable[[], None], pid: int) -> None:
    try:
        kill()
    except ProcessLookupError:
        raise RelayError(f"There is no process {pid}: no relay runs there.", hint="systemctl status relay") from None
    except PermissionError:
        raise RelayError(
            f"Process {pid} belongs to another user.", hint="Ask as root, or as the user that relay runs as."
        ) from None


def main_pid(unit: str) -> int:
    """Return the main process of a service. Raises RelayError where it does not run, or systemd is not there."""
    try:
        shown = subprocess.run(  # noqa: S603 -- a unit of ours
            ["systemctl", "show", "--property=MainPID", "--value", unit],  # noqa: S607 -- wherever it is
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    except OSError:
        shown = ""
    if not shown.isdecimal() or shown == "0":
        raise RelayError(
            f"{unit} does not run.", hint="Start it, or name the process of a relay that runs: relay reload PID"
        )
    return int(shown)
