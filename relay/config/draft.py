"""A config that is being made or changed: nothing is written before `save`, which writes whole files."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from relay.config import credentials, document, edit, files
from relay.config.credentials import Secret, service_group
from relay.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from relay.config.schema import Config

#: The secrets that are asked for, and the file, beside the config, that each goes into.
PASSWORD, TOKEN, KEYS = "moodle.database.password", "backend.token", "backend.signing_keys"
FILES = {PASSWORD: "database-password", TOKEN: "backend-token", KEYS: "signing-key"}
#: The password of an outbox in a schema, which not every relay has.
OUTBOX_PASSWORD, OUTBOX_FILE = "outbox.password", "outbox-password"
#: The section for an encrypted connection, and the answers about it that are no file of a CA.
TLS, PLAIN, SYSTEM = "moodle.database.tls", "no", "system"


class Draft:
    """A config's text and the secrets that are new."""

    def __init__(self, source: Path) -> None:
        """Take where the config is or will be. Raises ConfigError where it cannot be read."""
        self.source = source.absolute()
        #: It was there, with or without values of its own.
        self.was_there = credentials.is_there(source)
        self._text = self._before = files.text_of(source) if self.was_there else document.example()
        #: It is not there, or is the example as it came.
        self.is_new, self._answered = False, set[str]()
        self.is_new = self.get("moodle.url") == edit.declared("moodle.url").example
        #: New secrets by their file.
        self._secrets: dict[Path, str] = {}
        if self.is_new:
            for path, name in FILES.items():
                self._refer(path, self.source.parent / name)

    def get(self, path: str) -> str:
        """Return the value of a key as it is written; '' for none, and for one that the example made up."""
        found = edit.value_at(edit.values(self._text, self.source), path)
        key = edit.declared(path)
        is_made_up = self.is_new and key.is_required and found == key.example and path not in self._answered
        return "" if found is None or is_made_up else str(found)

    def default(self, path: str) -> str:
        """Return what holds where a key is not given; '' for none."""
        return edit.declared(path).default

    def set(self, path: str, value: str | None) -> None:
        """Change a key, or take its value away. Raises ValueError with the end of a sentence where it is wrong."""
        written = "null" if value is None else edit.quoted(value)
        if value and path.endswith(".port") and value.isdigit():
            written = value
        wrong = value is not None and edit.problem(path, written, self.source)
        if wrong:
            raise ValueError(wrong)
        self._answered.add(path)
        if self.get(path) != (value or "") and (self.get(path) or value != self.default(path)):
            self._text = edit.change(self._text, {path: written}, self.source)

    def tls(self) -> str:
        """Return how the connection to the database is encrypted: PLAIN, SYSTEM (the system's CAs), or a CA's file.

        '' where a new config has no answer yet.
        """
        given = edit.value_at(edit.values(self._text, self.source), TLS)
        if given is None:
            return "" if self.is_new and TLS not in self._answered else PLAIN
        return str(given.get("ca") or SYSTEM) if isinstance(given, dict) else SYSTEM

    def set_tls(self, answer: str) -> None:
        """Change that. A client's certificate that is there stays. Raises ValueError as `set`."""
        if answer == (self.tls() or PLAIN):
            self._answered.add(TLS)
            return
        held = edit.value_at(edit.values(self._text, self.source), TLS) or {}
        kept = {name: str(held[name]) for name in ("cert", "key") if held.get(name)}
        if answer not in (PLAIN, SYSTEM):
            kept = {"ca": answer, **kept}
            wrong = edit.problem(f"{TLS}.ca", edit.quoted(answer), self.source)
            if wrong:
                raise ValueError(wrong)
        written = "{" + ", ".join(f"{name}: {edit.quoted(value)}" for name, value in kept.items()) + "}"
        self._answered.add(TLS)
        self._text = edit.change(self._text, {TLS: "null" if answer == PLAIN else written}, self.source)

    def place(self, path: str) -> Path | None:
        """Return the file that a secret is in; None where it comes from elsewhere, or is named nowhere."""
        given = self._given(path)
        if isinstance(given, dict) and list(given) == ["file"]:
            return self.source.parent / os.path.expanduser(str(given["file"]))  # noqa: PTH111 -- raises nothing
        return None

    def names(self, path: str) -> bool:
        """Say whether the config says where a secret is."""
        return self._given(path) is not None

    def has(self, path: str) -> bool:
        """Say whether a secret is there, whether it can be read by us or not."""
        given, place = self._given(path), self.place(path)
        if given is None or place in self._secrets:
            return given is not None
        try:
            return place is None or place.stat().st_size > 1
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def set_secret(self, path: str, value: str) -> None:
        """Give a secret, in the file where it is, else in one beside the config. Raises ValueError as `set`."""
        if path == KEYS and len(self._keys()) > 1:
            raise ValueError("has several keys: change them in the config")
        written = edit.quoted(value)
        wrong = edit.problem(path, f"[{written}]" if path == KEYS else written, self.source)
        if wrong:
            raise ValueError(wrong)
        place = self.place(path)
        if place is None:
            place = self.source.parent / FILES.get(path, OUTBOX_FILE)
            self._refer(path, place)
        self._secrets[place] = value

    def _refer(self, path: str, place: Path) -> None:
        reference = f"{{file: {edit.quoted(str(place))}}}"
        self._text = edit.change(self._text, {path: f"[{reference}]" if path == KEYS else reference}, self.source)

    def _given(self, path: str) -> Any:
        if path == KEYS:
            return next(iter(self._keys()), None)
        return edit.value_at(edit.values(self._text, self.source), path)

    def _keys(self) -> Sequence[Any]:
        given = edit.value_at(edit.values(self._text, self.source), KEYS)
        return given if isinstance(given, list) else ()

    def config(self) -> Config:
        """Return the config as it will be, with the new secrets in it; what it does not say yet is made up.

        Raises ConfigError with all its mistakes.
        """
        held = edit.values(self._text, self.source)
        unsaid = {path: key.example for path, key in edit.required() if edit.value_at(held, path) is None}
        made = files.parse(edit.change(self._text, unsaid, self.source), path=self.source, is_lenient=True)
        places = {path: self.place(path) for path in FILES}
        found = {
            path: self._secrets[place] for path, place in places.items() if place is not None and place in self._secrets
        }
        backend, moodle = made.backend, made.moodle
        if TOKEN in found:
            backend = replace(backend, token=Secret(found[TOKEN]))
        if KEYS in found:
            backend = replace(backend, signing_keys=(Secret(found[KEYS]), *backend.signing_keys[1:]))
        if PASSWORD in found:
            moodle = replace(moodle, database=replace(moodle.database, password=Secret(found[PASSWORD])))
        return replace(made, backend=backend, moodle=moodle)

    def save(self) -> list[Path]:
        """Write what is new, the secrets first; return the files. Each is written whole beside its place, then renamed.

        Raises ConfigError where one cannot be written: all is as it was then.
        """
        new = dict(self._secrets)
        if self._text != self._before or not self.was_there:
            new[self.source] = self._text
        files.parse(self._text, path=self.source, is_lenient=True)
        made: list[tuple[Path, Path]] = []
        place = self.source
        try:
            self._make_folder()
            for place, text in new.items():
                target = place.resolve()
                made.append((target.with_name(f".{target.name}.{secrets.token_hex(4)}"), target))
                _write(
                    made[-1][0], text if text.endswith("\n") else f"{text}\n", target, is_secret=place != self.source
                )
            for temporary, target in made:
                temporary.rename(target)
        except OSError as error:
            raise ConfigError(
                f"{place} cannot be written: {error.strerror}.", hint="Run it as root, or name another --config FILE."
            ) from None
        finally:
            for temporary, _ in made:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
        return list(new)

    def _make_folder(self) -> None:
        """Make the config's folder as `relay install` does."""
        folder = self.source.parent
        if not folder.exists():
            folder.mkdir(mode=0o750)
            group = service_group()
            if group is not None:
                os.chown(folder, 0, group)


def _write(path: Path, text: str, target: Path, *, is_secret: bool) -> None:
    """Write a new file that will take the place of `target`: with the owner and mode of what is there. Raises OSError.

    What is new is root's, and the service's group reads it; where there is none, it is for its owner alone.
    """
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        try:
            there = target.stat()
        except FileNotFoundError:
            there = None
        if there is not None and not stat.S_ISREG(there.st_mode):
            raise OSError(errno.EEXIST, "something that is no file is there")
        group = service_group()
        if group is not None and (there is None or (is_secret and (there.st_uid, there.st_gid) == (0, 0))):
            # A file of root's alone, that somebody has made for the secret, could not be read by the service.
            os.fchown(file.fileno(), 0, group)
            os.fchmod(file.fileno(), 0o640)
            return
        if there is None:
            return
        if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(file.fileno(), there.st_uid, there.st_gid)
        mode = stat.S_IMODE(there.st_mode)
        os.fchmod(file.fileno(), mode & 0o640 if is_secret else mode)


def secret_in(path: Path) -> str:
    """Return the one line of a file. Raises CredentialError."""
    return credentials.resolve({"file": str(path)}, path.absolute().parent).reveal()
