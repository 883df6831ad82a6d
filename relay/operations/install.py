"""What `relay install` puts onto a machine beside the Python package, and what `relay uninstall` takes away again."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import relay
from relay.errors import RelayError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Where all of it lies; `/etc/systemd/system` stands before it, and is the administrator's own.
BASE = Path("/usr/local")
UNITS = BASE / "lib/systemd/system"
ADMINISTRATORS_UNITS = Path("/etc/systemd/system")
COMMAND = BASE / "bin/relay"
#: The files of `relay/systemd`, and where they go.
FILES = {
    "relay.service": UNITS / "relay.service",
    "relay-web.service": UNITS / "relay-web.service",
    "relay-web.socket": UNITS / "relay-web.socket",
    "relay-failed@.service": UNITS / "relay-failed@.service",
    "relay.sysusers.conf": BASE / "lib/sysusers.d/relay.conf",
    "relay.tmpfiles.conf": BASE / "lib/tmpfiles.d/relay.conf",
    "relay-service": BASE / "bin/relay-service",
}
#: Units that also come as templates, of which each instance serves a Moodle site of its own; what differs in these.
TEMPLATES = {
    "relay.service": "relay@.service",
    "relay-web.service": "relay-web@.service",
    "relay-web.socket": "relay-web@.socket",
}
DIFFERENCES = (
    ("Description=relay:", "Description=relay for %i:"),
    ("/etc/relay/", "/etc/relay/%i/"),
    ("StateDirectory=relay\n", "StateDirectory=relay/%i\n"),
    ("relay-web.socket", "relay-web@%i.socket"),
    ("/run/relay-web/web.sock", "/run/relay-web/%i.sock"),
    ("systemctl edit relay\n", "systemctl edit relay@NAME\n"),
    ("enable --now relay\n", "enable --now relay@NAME\n"),
    ("security relay ", "security relay@NAME "),
)
#: Where the files of this folder say that relay is.
PROGRAM = "/opt/relay/bin/relay"
#: Units that are started by hand, or by what these start.
ENABLED = ("relay.service", "relay@*.service", "relay-web.socket", "relay-web@*.socket")
STARTED = (*ENABLED, "relay-web.service", "relay-web@*.service", "relay-failed@*.service")
#: Folders that a unit does not see (ProtectHome=).
HIDDEN = (Path("/root"), Path("/home"), Path("/run/user"))
#: What was placed by hand before there was `relay install`.
OLDER = tuple(map(Path, ("/usr/lib/sysusers.d/relay.conf", "/usr/lib/tmpfiles.d/relay.conf")))
CONFIG, STATE = Path("/etc/relay"), Path("/var/lib/relay")
ACCOUNT = "relay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file that is written, or a link."""

    path: Path
    #: What stands in it, or where the link leads to.
    text: str
    mode: int = 0o644
    is_link: bool = False


def targets(program: Path, made: Mapping[Path, str]) -> list[Target]:
    """Return what is installed for a `relay` that lies there; `made`: further texts, by where they go below BASE."""
    found = [Target(path=BASE / path, text=text) for path, text in made.items()]
    for name, path in FILES.items():
        text = (resources.files(relay) / "systemd" / name).read_text()
        shown = text.replace(PROGRAM, str(program))
        found.append(Target(path=path, text=shown, mode=0o755 if path.parent.name == "bin" else 0o644))
        if name in TEMPLATES:
            found.append(Target(path=path.with_name(TEMPLATES[name]), text=_for_each_site(shown)))
    if program != COMMAND and not _is_others(program):
        found.append(Target(path=COMMAND, text=str(program), is_link=True))
    return sorted(found, key=lambda one: one.path)


def _for_each_site(unit: str) -> str:
    for one, each in DIFFERENCES:
        unit = unit.replace(one, each)
    return unit


def _is_others(program: Path) -> bool:
    """Say whether COMMAND is there and is not a link that was made for this relay, such as one of pipx."""
    return os.path.lexists(COMMAND) and not (COMMAND.is_symlink() and COMMAND.readlink() == program)


def program() -> Path:
    """Return where the `relay` of this process is. Raises UsageError where a service could not run it."""
    found = Path(sys.executable).parent / "relay"
    if not found.exists():
        raise UsageError(
            f"There is no `relay` beside {sys.executable}.", hint="Install it with pip or pipx, and run that one."
        )
    for path in (found, Path(sys.executable).resolve(), Path(relay.__file__).resolve()):
        where = next((folder for folder in HIDDEN if path.is_relative_to(folder)), None)
        where = where or next((one for one in path.parents if not one.stat().st_mode & 0o001), None)
        if where is not None:
            raise UsageError(
                f"The service could not run {path}: {where} is not open to its user.",
                hint="Install relay below /opt: python3 -m venv /opt/relay; or PIPX_HOME=/opt/pipx "
                "PIPX_BIN_DIR=/usr/local/bin pipx install ...",
            )
    return found


def install(wanted: Sequence[Target]) -> Iterator[str]:
    """Write files and links, make the account and its folders, and let systemd read the units; yield what was done.

    Raises RelayError where that fails; asked for again, it goes on.
    """
    for one in wanted:
        try:
            changed = _write(one)
        except OSError as error:
            raise RelayError(f"{one.path} cannot be written: {error.strerror}.", hint="Run it as root.") from None
        if changed:
            yield f"{one.path} is written."
    for one in wanted:
        own = ADMINISTRATORS_UNITS / one.path.name
        if one.path.parent == UNITS and own.is_file():
            yield (
                f"{own} stays, and systemd goes by it instead of {one.path}: move what you changed in it into "
                f"`systemctl edit {one.path.stem}`, and remove it."
            )
    _do("systemd-sysusers", "relay.conf")
    _do("systemd-tmpfiles", "--create", "relay.conf")
    _reload_systemd()


def _write(one: Target) -> bool:
    """Write a file or a link whole; say whether anything has changed."""
    if one.is_link:
        if one.path.is_symlink() and str(one.path.readlink()) == one.text:
            return False
    elif not one.path.is_symlink() and one.path.is_file() and one.path.read_bytes() == one.text.encode():
        one.path.chmod(one.mode)
        return False
    for folder in reversed(one.path.parents):
        # For all to enter, whatever the umask.
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o755)
    fresh = one.path.with_name(f".{one.path.name}.new")
    fresh.unlink(missing_ok=True)
    if one.is_link:
        fresh.symlink_to(one.text)
    else:
        fresh.write_text(one.text)
        fresh.chmod(one.mode)
    fresh.replace(one.path)
    return True


def uninstall(there: Sequence[Target], *, with_data: bool) -> Iterator[str]:
    """Stop and disable the units, and remove what `install` has written; yield what was done.

    `with_data`: also the config, the secrets, the outbox, what `systemctl edit` made, and the account. Raises
    RelayError where that fails; asked for again, it goes on.
    """
    links = ADMINISTRATORS_UNITS.glob("*.wants/*")
    enabled = sorted({link.name for link in links if any(link.match(unit) for unit in ENABLED)})
    if enabled:
        _do("systemctl", "disable", "--quiet", *enabled)
    if _is_booted():
        _do("systemctl", "stop", "--quiet", *STARTED)
        yield "the service is stopped."
    removed = [path for path in (*(one.path for one in there), *OLDER) if os.path.lexists(path)]
    if with_data:
        removed += [CONFIG, STATE, *(folder for unit in STARTED for folder in ADMINISTRATORS_UNITS.glob(f"{unit}.d"))]
        removed += [path for unit in STARTED for path in ADMINISTRATORS_UNITS.glob(unit)]
    for path in removed:
        try:
            _remove(path)
        except OSError as error:
            raise RelayError(f"{path} cannot be removed: {error.strerror}.", hint="Run it as root.") from None
        yield f"{path} is removed."
    _reload_systemd()
    if with_data and _has_account():
        _do("userdel", ACCOUNT)
        yield f"the account {ACCOUNT} is removed."


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, and the folders below BASE that are empty then and no system comes with."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    for folder in path.parents:
        depth = len(folder.parts) - len(BASE.parts)
        if not folder.is_relative_to(BASE) or depth <= 1 or folder.name == "man" or any(folder.iterdir()):
            return
        folder.rmdir()


def _has_account() -> bool:
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        return False
    return True


def _is_booted() -> bool:
    return Path("/run/systemd/system").is_dir()


def _reload_systemd() -> None:
    if _is_booted():
        _do("systemctl", "daemon-reload")


def _do(*command: str) -> None:
    """Run a command of the system. Raises RelayError with what it says where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 -- each is written here
    except OSError as error:
        raise RelayError(
            f"`{command[0]}` cannot be run: {error.strerror}.",
            hint="relay is a service of systemd: apt install systemd",
        ) from None
    if done.returncode != 0:
        raise RelayError(
            f"`{' '.join(command)}` has failed: {done.stderr.strip() or done.returncode}.",
            hint="Mend that, and run it again: it goes on.",
        )
