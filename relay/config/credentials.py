"""Secrets of the config: read from a file, the environment or systemd, or sealed; masked wherever they are shown."""

from __future__ import annotations

import base64
import grp
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from relay.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MASK = "********"
#: Where systemd puts what `LoadCredential=` names (systemd.exec(5)).
CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"
#: Where they are while a service runs, in a folder for each: for root, and for the user that it runs as.
OF_SERVICES = Path("/run/credentials")
#: Where the config of the service is; that of another Moodle site, such as `amman`, is in the folder `amman` of it.
CONFIGS = Path("/etc/relay")
#: The group of the service (relay.sysusers.conf): it reads what root alone writes.
GROUP = "relay"
#: The key of sealed secrets: the name of its credential, and of its file beside the config.
SEAL_KEY, SEAL_KEY_FILE = "relay-seal-key", "seal.key"
#: The version that a sealed secret begins with: a later one can be told from it.
SEALED = "v1:"
#: AES-GCM's nonce, in bytes.
NONCE = 12
#: The largest file that is taken for a secret, in bytes: a secret is one line.
LARGEST_FILE = 65536


#: How a command gets what the service alone can read, such as what systemd gives to it.
AS_SERVICE = (
    "Run it as root: `relay-service COMMAND`, for instance `relay-service check` (`relay-service @NAME COMMAND` for "
    "relay@NAME)."
)
#: How a file gets its secret.
FILL = (
    "`relay init` asks for what is missing. By hand: `cat > FILE`, paste the secret, Enter, Ctrl-D; "
    "`relay keygen > FILE` makes a signing key."
)


class Secret:
    """A value that is masked wherever it is printed or logged; `reveal` returns it."""

    __slots__ = ("_value", "hint", "origin", "path", "problem")

    def __init__(
        self, value: str, *, origin: str = "open", path: Path | None = None, problem: str = "", hint: str = ""
    ) -> None:
        self._value = value
        #: Why it cannot be read here, and what to do; '' where it can. Who looks at a config takes one that cannot.
        self.problem = problem
        self.hint = hint
        #: Where it comes from: `open` (written in the config), or such as `file PATH`.
        self.origin = origin
        #: The file that it was, or should be, read from, if it is in one.
        self.path = path

    def reveal(self) -> str:
        """Return the value itself. Raises CredentialError where it cannot be read here."""
        if self.problem:
            raise CredentialError(f"This needs a secret that cannot be read here: {self.problem}.", hint=self.hint)
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
    if more or kind not in REFERENCES or not isinstance(name, str) or not name:
        raise CredentialError(
            f"a secret is given as one of {', '.join(f'{{{kind}: …}}' for kind in REFERENCES)}, or as text"
        )
    return REFERENCES[kind](name, base)


def missing(error: CredentialError) -> Secret:
    """Return what stands for a secret that cannot be read here: whoever reveals it gets this error's problem."""
    path = Path(error.file) if error.file else None
    return Secret("", origin="missing", path=path, problem=str(error), hint=error.hint)


def _from_file(name: str, base: Path) -> Secret:
    try:
        path = base / Path(name).expanduser()
    except RuntimeError:
        raise CredentialError(f"{name}: there is no home of that user") from None
    try:
        return Secret(_read(path), origin=f"file {path}", path=path)
    except CredentialError as error:
        raise CredentialError(str(error), hint=error.hint, file=str(path)) from None


def _from_environment(name: str, _base: Path) -> Secret:
    value = os.environ.get(name)
    if not value:
        raise CredentialError(f"the environment variable {name} is not set", hint=AS_SERVICE)
    return Secret(value, origin=f"env {name}")


def _from_systemd(name: str, base: Path) -> Secret:
    folder = _credentials_folder(base)
    if folder is None:
        raise CredentialError(
            f"systemd gave no credentials to this process (LoadCredential={name}:/path in the unit of the service)",
            hint=AS_SERVICE,
        )
    if "/" in name:
        raise CredentialError(f"{name} is a path; a systemd credential is a name, as in LoadCredential=")
    # Without its path: systemd sets the file's mode, so `relay check` need not look at it.
    return Secret(_read(folder / name), origin=f"credential {name}")


def _sealed(text: str, base: Path) -> Secret:
    return Secret(unseal(text, base), origin="sealed")


def seal(value: str, base: Path) -> str:
    """Return a secret encrypted with AES-256-GCM, for the config as `{sealed: …}`.

    The key is the systemd credential `relay-seal-key`, else the file `seal.key` beside the config, in the folder
    `base`; that is made where there is none, for the service to read where root makes it. Raises CredentialError.
    """
    path = base / SEAL_KEY_FILE
    if _credential(SEAL_KEY, base) is None and not is_there(path):
        try:
            made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            raise CredentialError(f"the key {path} cannot be made: {error.strerror}") from None
        with os.fdopen(made, "w") as file:
            group = service_group()
            if group is not None:
                os.fchown(made, 0, group)
                os.fchmod(made, 0o640)
            file.write(base64.b64encode(_aesgcm().generate_key(256)).decode() + "\n")
    nonce = os.urandom(NONCE)
    sealed = _seal_key(base).encrypt(nonce, value.encode(), SEALED.encode())
    return SEALED + base64.b64encode(nonce + sealed).decode()


def unseal(text: str, base: Path) -> str:
    """Return the secret that `seal` encrypted. Raises CredentialError."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 -- for those who seal: a tenth of a short command

    try:
        raw = base64.b64decode(text.removeprefix(SEALED), validate=True)
        opened = _seal_key(base).decrypt(raw[:NONCE], raw[NONCE:], SEALED.encode())
        return opened.decode()
    except (ValueError, InvalidTag):
        raise CredentialError(
            "the sealed secret cannot be opened: it was cut, or sealed with another key; seal it again"
        ) from None


def _aesgcm() -> type[AESGCM]:
    from cryptography.hazmat.primitives.ciphers import aead  # noqa: PLC0415 -- as above

    return aead.AESGCM


def _seal_key(base: Path) -> AESGCM:
    path = _credential(SEAL_KEY, base) or base / SEAL_KEY_FILE
    if not is_there(path):
        raise CredentialError(
            f"the key of sealed secrets is not there: neither the credential {SEAL_KEY} nor {path}", hint=AS_SERVICE
        )
    try:
        return _aesgcm()(base64.b64decode(_read(path), validate=True))
    except ValueError:
        raise CredentialError(f"{path} holds no key: it must be 32 bytes in base64") from None


def _credential(name: str, base: Path) -> Path | None:
    """Return the file of a systemd credential, or None where it was not given."""
    folder = _credentials_folder(base)
    path = None if folder is None else folder / name
    return path if path is not None and is_there(path) else None


def _credentials_folder(base: Path) -> Path | None:
    """Return where systemd has put what it gave to this process, else to the running service; None for nowhere."""
    given = os.environ.get(CREDENTIALS_DIRECTORY)
    of_service = OF_SERVICES / service_of(base)
    return Path(given) if given else of_service if os.access(of_service, os.R_OK | os.X_OK) else None


def service_group() -> int | None:
    """Return the group of the service where root may give files to it, else None."""
    try:
        return grp.getgrnam(GROUP).gr_gid if os.geteuid() == 0 else None
    except KeyError:
        return None


def site_of(base: Path) -> str:
    """Return whose config is in the folder `base`: the Moodle site's name, such as `amman`; '' for the only one."""
    return base.name if base.parent == CONFIGS else ""


def service_of(base: Path) -> str:
    """Return the service whose config is in the folder `base`."""
    site = site_of(base)
    return f"relay@{site}.service" if site else "relay.service"


#: How a secret can be given (contract, section 6).
REFERENCES: dict[str, Callable[[str, Path], Secret]] = {
    "file": _from_file,
    "env": _from_environment,
    "credential": _from_systemd,
    "sealed": _sealed,
}


def _read(path: Path) -> str:
    """Return a file's only line."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except OSError as error:
        hint = FILL if isinstance(error, FileNotFoundError) else AS_SERVICE
        raise CredentialError(f"the file {path} cannot be read: {error.strerror}", hint=hint) from None
    try:
        text = raw.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError:
        raise CredentialError(f"the file {path} holds no UTF-8 text") from None
    if not text.strip():
        raise CredentialError(f"the file {path} is empty", hint=FILL)
    if len(raw) > LARGEST_FILE or "\n" in text or "\0" in text:
        raise CredentialError(f"the file {path} holds more than one line: a secret is one")
    return text


def is_there(path: Path) -> bool:
    """Say whether there is a file; one that may not be looked at is, and reading it says what the matter is."""
    try:
        return path.exists()
    except OSError:
        return True


def mode_warning(path: Path) -> str | None:
    """Return why a file that holds a secret is not private, or None if it is, or cannot be looked at."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    others = [who for bit, who in ((0o004, "read"), (0o022, "written")) if mode & bit]
    return f"{path} can be {' and '.join(others)} by other users (mode {mode:04o})" if others else None
