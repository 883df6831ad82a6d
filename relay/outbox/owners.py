"""Which process has leased events of an outbox in a file, and whether it is gone: its leases count no more then."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

_PROC = Path("/proc")
_numbers = itertools.count(1)


def new() -> str:
    """Return a name that no other call, in any process that may use the same file, gives."""
    pid = os.getpid()
    return f"{_namespace()}-{pid}-{_started_at(pid)}-{next(_numbers)}"


def shown(name: str) -> str:
    """Return what a name says to people; '' where it says nothing."""
    pid = [*name.split("-"), ""][1]
    return f"process {pid}" if pid.isdecimal() else ""


def is_gone(name: str) -> bool:
    """Say whether the process that made a name is known to have ended.

    One that cannot be looked for, as it is in another container, is not: its leases end by themselves.
    """
    namespace, pid, started_at, *_ = [*name.split("-"), "", "", ""]
    if namespace != _namespace() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)  # signal 0: only asks
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    now_there = _started_at(int(pid))
    return "" not in {now_there, started_at} and now_there != started_at


def _namespace() -> str:
    """Return which processes are seen from here; '' where that is not known: all of the machine's."""
    try:
        return str((_PROC / "self" / "ns" / "pid").stat().st_ino)
    except OSError:
        return ""


def _started_at(pid: int) -> str:
    """Return when a process was started, in ticks since the machine was; '' where that cannot be seen."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return fields[19]  # the 22nd, by proc(5); the name before it may hold blanks
