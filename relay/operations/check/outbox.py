"""Checks of the outbox: that it can be written, or made where there is none yet, and that there is space for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from relay.errors import OutboxMissing, RelayError
from relay.operations.check.result import Check, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay.outbox.contract import Outbox

#: Less free space than this for the outbox, in bytes, is a warning.
LITTLE_SPACE = 200 * 1024 * 1024


def checks(path: Path | None, open_outbox: Callable[[], Outbox]) -> Iterator[Check]:
    """Yield whether the outbox can be used; `path` is its file, None for a schema on a server."""
    yield check_writing(path, open_outbox)


def check_place(path: Path) -> Check:
    """Return whether the file of an outbox can be made."""
    folder = next(parent for parent in path.parents if parent.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        return fail("outbox", f"{folder} cannot be written", f"Make {path.parent} for the user that relay runs as.")
    if folder != path.parent:
        hint = f"Make it for the user that relay runs as: install -d -m 750 {path.parent}"
        return warn("outbox", f"the folder {path.parent} is not there; the first run will make it", hint)
    return check_space(path) or ok("outbox", f"{path} will be made at the first run")


def check_writing(path: Path | None, open_outbox: Callable[[], Outbox]) -> Check:
    """Return whether an outbox that is there can be written."""
    try:
        outbox = open_outbox()
        outbox.probe_write()
        waiting = outbox.waiting()
        outbox.close()
    except OutboxMissing as error:
        return ok("outbox", f"{error} The first run makes it.") if path is None else check_place(path)
    except RelayError as error:
        return fail("outbox", str(error), error.hint)
    little = None if path is None else check_space(path)
    return little or ok("outbox", f"it can be written; {waiting.count} events wait")


def check_space(path: Path) -> Check | None:
    """Return a warning where there is little space on the disk that holds the outbox."""
    disk = os.statvfs(path.parent)
    if disk.f_bavail * disk.f_frsize >= LITTLE_SPACE:
        return None
    left = disk.f_bavail * disk.f_frsize // 1024 // 1024
    return warn("outbox", f"the disk that holds {path} is nearly full: {left} MiB are left", "Make room on it.")
