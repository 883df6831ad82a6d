"""A private MariaDB server in a temporary folder, of which nothing is left afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql

from relay.demo.interrupts import output_of
from relay.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    #: Within what it returns, Ctrl-C may end a wait.
    Heard = Callable[[], AbstractContextManager[None]]

#: How long a start may take, in seconds.
START_MOST_S = 60.0
#: Below it, ports have names of their own (IANA, some up to here).
LEAST_PORT = 10240
INSTALL = "apt install mariadb-server-core mariadb-client-core"
#: Debian keeps the server where only root's PATH looks.
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
#: A folder in memory, which takes a fifth of the time; where it has so many bytes left.
MEMORY, ROOM = Path("/dev/shm"), 512 * 1024 * 1024  # noqa: S108 -- a folder with a random name is made in it
#: An empty server that is quick to start and takes little memory.
OPTIONS = ("--skip-log-bin", "--performance-schema=OFF", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M")


def find_program(name: str) -> str:
    """Return where a program of the server is. Raises RelayError where it is not installed."""
    found = shutil.which(name, path=SEARCH)
    if found is None:
        raise RelayError(f"There is no {name} on this machine.", hint=f"Install it: {INSTALL}.")
    return found


class MariaDB:
    """A server that listens on 127.0.0.1 and on a socket; its root user has no password."""

    def __init__(self, folder: Path, options: Sequence[str] = (), heard: Heard = contextlib.nullcontext) -> None:
        self.folder = folder
        self._heard = heard
        self.socket = folder / "mariadb.sock"
        self.port = free_port()
        self._options = (*OPTIONS, *options)
        self._process: subprocess.Popen[bytes] | None = None

    def install(self) -> None:
        """Make the system tables. Raises RelayError."""
        (self.folder / "tmp").mkdir(exist_ok=True)
        with subprocess.Popen(  # noqa: S603 -- a program that was looked up
            [
                find_program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={self.folder / 'data'}",
                f"--tmpdir={self.folder / 'tmp'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                # Without it, it ends where this machine's name has no address; nothing here goes by that.
                "--force",
                *_as_root(),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us to handle.
            start_new_session=True,
        ) as making:
            try:
                with self._heard():
                    said = output_of(making)
            except BaseException:
                # It is a shell script: the server that it has started would go on, and write into the folder.
                os.killpg(making.pid, signal.SIGKILL)
                making.communicate()
                raise
        if making.returncode:
            raise RelayError(f"mariadb-install-db failed (exit code {making.returncode}).", hint=_tail(said))

    def start(self) -> None:
        """Start the server and wait until it takes connections. Raises RelayError."""
        log = self.folder / "mariadbd.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 -- a program that was looked up
                [
                    find_program("mariadbd"),
                    "--no-defaults",
                    f"--datadir={self.folder / 'data'}",
                    f"--socket={self.socket}",
                    # Servers that share one folder for their temporary files take each other's away.
                    f"--tmpdir={self.folder / 'tmp'}",
                    f"--pid-file={self.folder / 'mariadbd.pid'}",
                    f"--port={self.port}",
                    "--bind-address=127.0.0.1",
                    *self._options,
                    *_as_root(),
                ],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        ends_at = time.monotonic() + START_MOST_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends_at:
                raise RelayError("mariadbd did not start.", hint=_tail(log.read_bytes()))
            with self._heard():
                time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the server; with SIGKILL, as a power cut would."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def connect(self, database: str | None = None, **options: Any) -> pymysql.connections.Connection[Any]:
        """Return a new connection as root."""
        connection = pymysql.connect(
            user="root",
            database=database,
            charset="utf8mb4",
            # Else the driver reads the CAs of the system each time, in case the server wants TLS.
            **{"autocommit": True, "ssl_disabled": True, **options, "defer_connect": True},
        )
        # The driver leaves a socket of its own open where nobody listens.
        path = socket.socket(socket.AF_UNIX)
        try:
            path.connect(str(self.socket))
        except OSError:
            path.close()
            raise
        connection.connect(path)
        return connection


@contextlib.contextmanager
def throwaway(options: Sequence[str] = (), heard: Heard = contextlib.nullcontext) -> Iterator[MariaDB]:
    """Run a server within; its folder goes with it. Ctrl-C ends its waits within `heard`. Raises RelayError."""
    with tempfile.TemporaryDirectory(prefix="relay-mariadb-", dir=place()) as folder:
        server = MariaDB(Path(folder), options, heard)
        server.install()
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGKILL)


def place(room: int = ROOM) -> Path | None:
    """Return where a throwaway folder goes: in memory, where `room` bytes are left, if TMPDIR is unset; else None."""
    with contextlib.suppress(OSError):
        if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > room:
            return MEMORY
    return None


def _as_root() -> tuple[str, ...]:
    """Return what the server wants to hear before it runs as root; there is no other user on a fresh machine."""
    return ("--user=root",) if os.geteuid() == 0 else ()


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free and stays so until it is used.

    It lies below those that the kernel gives to connections (ip(7), ip_local_port_range): one of these may be the near
    end of anybody's connection by the time that a server asks for it.
    """
    first = 32768
    with contextlib.suppress(OSError):
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(1000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", LEAST_PORT + secrets.randbelow(max(first - LEAST_PORT, 1000))))
            return int(probe.getsockname()[1])
    raise RelayError("No free port was found on 127.0.0.1.")


def _tail(raw: bytes) -> str:
    """Return the first line that speaks of an error, else the last one."""
    lines = raw.decode("utf-8", "replace").strip().split("\n")
    return next((line for line in lines if "error" in line.lower()), lines[-1])
