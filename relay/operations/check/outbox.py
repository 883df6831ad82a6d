"""Checks of the outbox: that it can be written, or made where there is none yet, and that there is space for it."""

from __future__ import annotations

import contextlib
import os
import pwd
from typing import TYPE_CHECKING

from relay.config.credentials import is_there
from relay.errors import OutboxMissing
from relay.operations.check.result import Check, fail, guarded, ok, warn
from relay.operations.conditions import LITTLE_SPACE
from relay.outbox.contract import LEASE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay.outbox.contract import Outbox

#: Less than this, and nothing can be recorded.
NO_SPACE = 1024 * 1024
#: Clocks that are further apart than this, in seconds, are a warning.
CLOCK_TOLERANCE_S = 3.0


def checks(
    path: Path | None,
    open_outbox: Callable[[], Outbox],
    now: Callable[[], float],
    try_schema: Callable[[], None] = lambda: None,
) -> Iterator[Check]:
    """Yield whether the outbox can be used, and whether the clocks of those who share it agree.

    `path` is its file, None for a schema on a server; `now` tells this machine's unix seconds; `try_schema` raises
    OutboxError where no outbox could be made in the schema.
    """
    full = None if path is None else check_room(path)
    closed = [] if path is None else list(check_files(path))
    yield from closed
    if full is not None:
        yield full
    elif not closed:
        yield from guarded("outbox", lambda: check_use(path, open_outbox, now, try_schema))


def check_use(
    path: Path | None, open_outbox: Callable[[], Outbox], now: Callable[[], float], try_schema: Callable[[], None]
) -> Iterator[Check]:
    """Yield whether an outbox that is there can be written, or one can be made. Raises OutboxError."""
    try:
        with contextlib.closing(open_outbox()) as outbox:
            yield check_writing(path, outbox)
            if outbox.is_shared:
                yield check_clocks(outbox, now())
    except OutboxMissing as error:
        if path is not None:
            yield check_place(path)
            return
        try_schema()
        yield ok("outbox", f"{error} The first run makes it.")


def check_files(path: Path) -> Iterator[Check]:
    """Yield a failure for each file of an outbox that this user may not write."""
    for one in (path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", ".lock")):
        if is_there(one) and not os.access(one, os.R_OK | os.W_OK):
            hint = f"As root: chown --reference={path.parent} {one}"
            yield fail("outbox", f"{one} cannot be read and written by this user", hint)


def check_room(path: Path) -> Check | None:
    """Return a failure where the disk that is to hold a file has no space left."""
    folder = next(parent for parent in path.parents if parent.exists())
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize >= NO_SPACE:
        return None
    return fail("outbox", f"the disk that holds {folder} is full", "Make room on it; relay goes on by itself then.")


def check_place(path: Path) -> Check:
    """Return whether the file of an outbox can be made."""
    folder = next(parent for parent in path.parents if parent.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        return fail("outbox", f"{folder} cannot be written", f"Make {path.parent} for the user that relay runs as.")
    if folder != path.parent:
        hint = f"As root: install -d -m 750 -o {_user()} -g {_user()} {path.parent}"
        return warn("outbox", f"the folder {path.parent} is not there; the first run will make it", hint)
    return check_space(path) or ok("outbox", f"{path} will be made at the first run")


def _user() -> str:
    """Return the name of the user that the service runs as, or of this one where that is not there."""
    try:
        return pwd.getpwnam("relay").pw_name
    except KeyError:
        return pwd.getpwuid(os.geteuid()).pw_name


def check_writing(path: Path | None, outbox: Outbox) -> Check:
    """Return that an outbox that is there can be written, or a warning. Raises OutboxError."""
    outbox.probe_write()
    waiting = outbox.waiting()
    little = None if path is None else check_space(path)
    return little or ok("outbox", f"it can be written; {waiting.count} events wait")


def check_clocks(outbox: Outbox, now: float) -> Check:
    """Return whether the clock of the server, or node, that is used here agrees with the others'. Raises OutboxError.

    Leases go by it: a node that is behind or ahead by a lease's length takes relays that are alive for dead.
    """
    here = outbox.time(now)
    apart = {"this machine's": abs(here - now)}
    # A relay renews its lease for LEASE_S by the clock of its own node.
    apart |= {f"that of {one.name}'s node": one.expires_at - LEASE_S - here for one in outbox.members()}
    whose, most = max(apart.items(), key=lambda found: found[1])
    if most <= CLOCK_TOLERANCE_S:
        return ok(
            "outbox clock", "the database's clock agrees with this machine's and with those of other relays' nodes"
        )
    return warn(
        "outbox clock",
        f"the database's clock and {whose} are {most:.0f} s apart; at {LEASE_S:.0f} s relays take each other for dead",
        "Switch on time synchronisation (timedatectl set-ntp true) on every node and on relay's machines.",
    )


def check_space(path: Path) -> Check | None:
    """Return a warning where there is little space on the disk that holds the outbox."""
    disk = os.statvfs(path.parent)
    if disk.f_bavail * disk.f_frsize >= LITTLE_SPACE:
        return None
    left = disk.f_bavail * disk.f_frsize // 1024 // 1024
    return warn("outbox", f"the disk that holds {path} is nearly full: {left} MiB are left", "Make room on it.")
