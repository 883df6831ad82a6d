"""A fresh Debian in a folder, with systemd as its first process: what tests/fresh.sh tries relay on."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: How long a start of systemd, and any command, may take, in seconds.
BOOT_S, COMMAND_S = 90.0, 900.0
#: What the machine's own pip goes by, for one that has a proxy or a mirror.
PIP = ("PIP_CERT", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "PIP_PROXY")
#: Where the root has the certificates that PIP_CERT names; an installation of ca-certificates leaves it alone.
CERTIFICATES = "/root/certificates.pem"

#: What changes by itself, or by other packages.
PASSED_OVER = """proc sys dev run tmp root var/log var/cache var/lib/apt var/lib/dpkg var/lib/systemd var/lib/mysql
    var/backups var/tmp"""


class Failed(Exception):
    """A command did something else than it should."""


def base(suite: str, cache: Path) -> Path:
    """Return the folder of a Debian as debootstrap makes it: nothing but what is essential, and systemd."""
    made = cache / f"base-{suite}"
    if not (made / "usr/bin/apt-get").exists():
        packages = cache / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                *("debootstrap", f"--cache-dir={packages}", "--variant=minbase"),
                *("--include=systemd,systemd-sysv,dbus", suite, str(made)),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return made


class Root:
    """A root that runs. Commands in it are root's, by its own shell, with nothing of the machine's environment."""

    def __init__(self, folder: Path, leader: int) -> None:
        self.folder = folder
        self._leader = leader
        self._pip = {name: os.environ[name] for name in PIP if name in os.environ}
        if "PIP_CERT" in self._pip:
            self._pip["PIP_CERT"] = CERTIFICATES

    def run(
        self, script: str, *, expect: int | None = 0, given: str = "", cwd: str = "/root", is_shown: bool = True
    ) -> str:
        """Run a script; return what it prints, errors too. Raises Failed where it ends with another exit code."""
        if is_shown:
            print("\n".join(f"   {line}" for line in script.strip().splitlines()), flush=True)
        done = subprocess.run(
            self.command(script, cwd=cwd),
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=COMMAND_S,
        )
        if expect is not None and done.returncode != expect:
            raise Failed(f"exit {done.returncode}, not {expect}:\n{script}\n{done.stdout}")
        return done.stdout

    def command(self, script: str, *, cwd: str = "/root") -> list[str]:
        """Return the command that runs a script in this root."""
        environment = {
            "HOME": "/root",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            **self._pip,
        }
        given = [f"{name}={value}" for name, value in environment.items()]
        inside = ["/usr/bin/env", "-i", *given, "/bin/sh", "-euc", f"cd {cwd}\n{script}"]
        return ["nsenter", "--target", str(self._leader), "--all", "--", *inside]

    def files(self) -> set[str]:
        """Return every file, folder and link but those of the running system and of apt, dpkg, Python and logs."""
        prune = " -o ".join(f"-path /{path}" for path in PASSED_OVER.split())
        found = f"find / -xdev \\( {prune} \\) -prune -o ! -name __pycache__ ! -name '*.pyc' -print"
        return set(self.run(found, is_shown=False).split("\n"))


@contextlib.contextmanager
def running(suite: str, cache: Path) -> Iterator[Root]:
    """Start a fresh root; nothing of it is left afterwards."""
    folder = cache / f"root-{suite}-{os.getpid()}"
    try:
        subprocess.run(["cp", "-a", "--reflink=auto", str(base(suite, cache)), str(folder)], check=True)
        # As Debian's installer does.
        (folder / "etc/hosts").write_text("127.0.0.1 localhost\n")
        if "PIP_CERT" in os.environ:
            shutil.copy(os.environ["PIP_CERT"], folder / CERTIFICATES.lstrip("/"))
        with _booted(folder) as leader:
            yield Root(folder, leader)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _booted(folder: Path) -> Iterator[int]:
    """Start systemd in a root; yield its process, as it is seen from outside."""
    with (folder.parent / f"{folder.name}.console").open("wb") as console:
        nspawn = subprocess.Popen(
            [
                *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--resolv-conf=copy-host"),
                *("--console=read-only", f"--directory={folder}", "--boot"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            # Debian 13's systemd takes no other kind of control groups.
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )
    try:
        yield _leader(nspawn)
    finally:
        # To systemd-nspawn, SIGTERM is a request for an orderly end of what it runs.
        nspawn.terminate()
        try:
            nspawn.wait(BOOT_S)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()
        (folder.parent / f"{folder.name}.console").unlink()


def _leader(nspawn: subprocess.Popen[bytes]) -> int:
    """Wait until systemd has started all; return its process. Raises Failed."""
    ends_at = time.monotonic() + BOOT_S
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
    while time.monotonic() < ends_at and nspawn.poll() is None:
        found = children.read_text().split()
        if found:
            asked: Sequence[str] = [
                "nsenter",
                "--target",
                found[0],
                "--all",
                "--",
                "/bin/systemctl",
                "is-system-running",
            ]
            said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
            if said in ("running", "degraded"):
                return int(found[0])
        time.sleep(0.2)
    raise Failed("systemd does not start in a root here: this needs systemd-nspawn, as root, and its capabilities.")
