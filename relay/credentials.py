"""Secrets: given by reference (a file, the environment, systemd), masked wherever they are shown."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from relay.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MASK = "********"
#: Where systemd puts what `LoadCredential=` names (systemd.exec(5)).
CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"
#: A secret is a line; a file that is longer than this, in bytes, is another file.
MOST = 65536


class Secret:
    """A value that is never shown by accident: only `reveal` gives it."""

    __slots__ = ("_value", "origin", "path")

    def __init__(self, value: str, *, origin: str = "open", path: Path | None = None) -> None:
        self._value = value
        #: Where it comes from: `open` (written in the config), or such as `file PATH`.
        self.origin = origin
        #: The file it was read from, if it was.
        self.path = path

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def resolve(given: str | Mapping[str, object], base: Path) -> Secret:
    """Return the secret that a config value names: `{file: …}`, `{env: …}`, `{credential: …}`, or the value itself.

    A relative file is looked for beside the config, in the folder `base`. Raises CredentialError.
    """
    if isinstance(given, str):
        return Secret(given)
    (kind, name), *more = given.items() or [("", "")]
    if more or kind not in KINDS or not isinstance(name, str) or not name:
        raise CredentialError(
            f"a secret is given as one of {', '.join(f'{{{kind}: …}}' for kind in KINDS)}, or as text"
        )
    return KINDS[kind](name, base)


def _from_file(name: str, base: Path) -> Secret:
    path = base / Path(name).expanduser()
    return Secret(_read(path), origin=f"file {path}", path=path)


def _from_environment(name: str, _base: Path) -> Secret:
    value = os.environ.get(name)
    if not value:
        raise CredentialError(f"the environment variable {name} is not set")
    return Secret(value, origin=f"env {name}")


def _from_systemd(name: str, _base: Path) -> Secret:
    folder = os.environ.get(CREDENTIALS_DIRECTORY)
    if not folder:
        raise CredentialError(
            f"systemd gave no credentials to this process: it needs LoadCredential={name}:/path in the unit, "
            f"or ${CREDENTIALS_DIRECTORY} set"
        )
    if "/" in name:
        raise CredentialError(f"{name} is a path; a systemd credential is a name, as in LoadCredential=")
    # systemd keeps its credentials to itself: their mode is no concern of ours.
    return Secret(_read(Path(folder) / name), origin=f"credential {name}")


def _sealed(_name: str, _base: Path) -> Secret:
    raise CredentialError("this version of relay has no `seal` yet; give the secret as {file: …} or {credential: …}")


#: How a secret can be given (contract, section 6).
KINDS: dict[str, Callable[[str, Path], Secret]] = {
    "file": _from_file,
    "env": _from_environment,
    "credential": _from_systemd,
    "sealed": _sealed,
}


def _read(path: Path) -> str:
    """Return a file's only line."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST + 1)
    except OSError as error:
        raise CredentialError(f"the file {path} cannot be read: {error.strerror}") from None
    try:
        text = raw.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError:
        raise CredentialError(f"the file {path} holds no UTF-8 text") from None
    if not text.strip():
        raise CredentialError(f"the file {path} is empty")
    if len(raw) > MOST or "\n" in text or "\0" in text:
        raise CredentialError(f"the file {path} holds more than one line: a secret is one")
    return text


def mode_warning(path: Path) -> str | None:
    """Return why a file that holds a secret is not private, or None if it is, or cannot be looked at."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    others = [who for bit, who in ((0o044, "read"), (0o022, "written")) if mode & bit]
    return f"{path} can be {' and '.join(others)} by other users (mode {mode:04o})" if others else None
