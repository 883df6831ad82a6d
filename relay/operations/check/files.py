"""Checks of the files that hold secrets and people's data: that other users can neither read nor replace them."""

from __future__ import annotations

import os
import pwd
import stat
from typing import TYPE_CHECKING

from relay.config import credentials
from relay.operations.check.result import Check, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from relay.config import Config

#: What stands beside an outbox's file, and holds the same.
BESIDE = ("", "-wal", "-shm", ".lock")


def checks(config: Config) -> Iterator[Check]:
    """Yield a line for each file and folder that others could read or change, or one that says that there is none."""
    found = {str(one): one for one in (*_secrets(config), *_others(config), *_service(config))}
    yield from found.values() or [ok("secrets", "none can be read by others")]


def _service(config: Config) -> Iterator[Check]:
    """Yield a warning for each file that root can read, and the service's own account cannot."""
    beside = config.source.absolute().parent
    if os.geteuid() or credentials.CONFIGS not in (beside, beside.parent):
        return
    try:
        account = pwd.getpwnam(credentials.GROUP)
    except KeyError:
        return
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    key = beside / credentials.SEAL_KEY_FILE
    is_sealed = any(secret.origin == "sealed" for _, secret in config.secrets())
    paths = [config.source, *(secret.path for _, secret in config.secrets()), key if is_sealed else None]
    for path in filter(None, paths):
        if not _can_read(path, account.pw_uid, groups):
            hint = f"chgrp {credentials.GROUP} {path} && chmod 640 {path}"
            yield warn("secrets", f"{path} cannot be read by the service's account, {account.pw_name}", hint)


def _can_read(path: Path, user: int, groups: Sequence[int]) -> bool:
    """Say whether an account may read a file, by its mode; what is not there is another check's matter."""
    try:
        found = path.stat()
    except OSError:
        return True
    shift = 6 if found.st_uid == user else 3 if found.st_gid in groups else 0
    return bool(found.st_mode >> shift & 0o4)


def _secrets(config: Config) -> Iterator[Check]:
    for path, secret in config.secrets():
        if secret.problem:
            continue
        if secret.origin == "open":
            found = f"{path} is written in the open in the config"
            yield warn("secrets", found, "Give it as {file: …} or {credential: …}.")
        elif secret.path is not None:
            yield from check_file(secret.path, f"{path}: ")
            yield from check_folder(secret.path.parent)


def _others(config: Config) -> Iterator[Check]:
    beside = config.source.absolute().parent
    outbox = config.outbox.sqlite_path
    holding = [config.source, beside / credentials.SEAL_KEY_FILE]
    if outbox is not None:
        holding += [outbox.with_name(outbox.name + suffix) for suffix in BESIDE]
    for path in holding:
        yield from check_file(path)
    for folder in {beside, *(() if outbox is None else (outbox.parent,))}:
        yield from check_folder(folder)


def check_file(path: Path, whose: str = "") -> Iterator[Check]:
    """Yield a warning where other users can read a file, or others than its owner can write it."""
    reason = credentials.mode_warning(path)
    if reason:
        # Not `chmod 600`: a file of root's that relay's group reads would lock relay out.
        yield warn("secrets", f"{whose}{reason}", f"chmod g-w,o-rwx {path}")


def check_folder(folder: Path) -> Iterator[Check]:
    """Yield a warning where every user can put other files into the place of those in a folder."""
    try:
        mode = folder.stat().st_mode
    except OSError:
        return
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        found = f"the folder {folder} can be written by other users (mode {stat.S_IMODE(mode):04o})"
        yield warn("secrets", found, f"chmod o-w {folder}")
