"""The real relay as a subprocess, with a config of its own, and the Moodle that it reads."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import crash
import forked
import pymysql
from pymysql.constants import CLIENT

from relay import cli
from relay.demo.mariadb import MariaDB
from relay.demo.moodle import College
from relay.outbox.mysql import MysqlOutbox
from relay.rules.server import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

TOKEN = "a-token-made-up-for-tests"
SYMMETRIC_KEY = "whsec_bWFkZSB1cCBmb3IgdGVzdHMgb25seSwgMzIgYnl0ZXM="
#: How long anything is waited for that is sure to come, in seconds.
PATIENCE_S = 60.0
#: For `Relay.constants`: leases on a shared outbox that end a third as late.
SHORT_LEASES = {
    "relay.outbox.mysql_lease:LEASE_S": 4.0,
    "relay.service.lease:RENEW_S": 1.0,
    "relay.service.relay:RENEW_S": 1.0,
}
#: The same: an outbox in a file that somebody else has locked is given up soon.
SHORT_LOCKS = {"relay.outbox.sqlite_database:BUSY_MS": 300, "relay.outbox.sqlite_database:PROBE_MS": 300}
#: How long a command may take, in seconds: the full fault suite has long ones.
RUN_S = 600.0


def empty_outbox(port: int) -> Address:
    """Make an empty schema for an outbox on a server of 127.0.0.1; return where it is."""
    with (
        pymysql.connect(host="127.0.0.1", port=port, user="root", ssl_disabled=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("DROP DATABASE IF EXISTS outbox")
        cursor.execute("CREATE DATABASE outbox")
    return Address(host="127.0.0.1", port=port, name="outbox", user="root", password="", prefix="mdl_")


def shared_outbox(address: Address) -> MysqlOutbox:
    """Open an outbox in a schema, as the relay of a process does."""
    elapsed = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    return MysqlOutbox(address, elapsed=elapsed, sleep=time.sleep, token=partial(secrets.token_hex, 16))


class GivenServer(MariaDB):
    """A server of 127.0.0.1 that runs already, MySQL perhaps; its root user has no password. It is not ended."""

    def __init__(self, port: int) -> None:
        super().__init__(Path())
        self.port = port

    def connect(self, database: str | None = None, **options: Any) -> pymysql.connections.Connection[Any]:
        given = {"host": "127.0.0.1", "port": self.port, "user": "root", "charset": "utf8mb4", "ssl_disabled": True}
        return pymysql.connect(database=database, **{**given, "autocommit": True, **options})


@contextlib.contextmanager
def fresh_moodle(mariadb: MariaDB) -> Iterator[College]:
    """Make an empty Moodle in the schema `moodle`, in the place of the one that was there."""
    with mariadb.connect() as connection:
        made = College(connection)
        if mariadb in _BUILT and _BUILT[mariadb] == _definitions(made):
            # Nobody has changed a table: to empty them takes half of the time.
            connection.select_db("moodle")
            for (table,) in made.rows(_WRITTEN):
                # TRUNCATE makes a table anew, which takes longer; but the next id is 1 then. Settings need none.
                made.run(f"DELETE FROM {table}" if table in _SETTINGS else f"TRUNCATE TABLE {table}")
            made.set_up()
        else:
            made.run("DROP DATABASE IF EXISTS moodle")
            made.run("CREATE DATABASE moodle CHARACTER SET utf8mb4")
            connection.select_db("moodle")
            made.build()
            if not isinstance(mariadb, GivenServer):
                _BUILT[mariadb] = _definitions(made)
        yield made


#: Servers that have a Moodle which the tests made, and how often they had been told to define something by then.
_BUILT: weakref.WeakKeyDictionary[MariaDB, int] = weakref.WeakKeyDictionary()
_DEFINITIONS = (
    "SELECT SUM(variable_value) FROM information_schema.global_status WHERE "
    "variable_name REGEXP '^Com_(alter|create|drop|rename)_' AND variable_name NOT REGEXP 'user|role|temporary'"
)
#: The tables in which something was. A test has servers whose SELECT ends after one row where it names no limit.
_WRITTEN = (
    "SELECT table_name FROM information_schema.tables "
    "WHERE table_schema = 'moodle' AND (auto_increment > 1 OR table_rows > 0) LIMIT 100"
)
_SETTINGS = ("mdl_config", "mdl_config_plugins")


def _definitions(made: College) -> int:
    return int(made.rows(_DEFINITIONS)[0][0])


def load_dump(mariadb: MariaDB, dump: Path) -> None:
    """Make the database of a real Moodle in the schema `moodle`, in the place of the one that was there."""
    with mariadb.connect(client_flag=CLIENT.MULTI_STATEMENTS) as connection, connection.cursor() as cursor:
        for statements in (
            "DROP DATABASE IF EXISTS moodle; CREATE DATABASE moodle CHARACTER SET utf8mb4; USE moodle",
            gzip.decompress(dump.read_bytes()).decode(),
        ):
            cursor.execute(statements)
            while cursor.nextset():
                pass


def with_password(printed: str, password: str = "made-up") -> str:
    """Return what `relay grants` prints, with a password that the test knows."""
    return re.sub(r"IDENTIFIED BY '[^']*';", lambda _: f"IDENTIFIED BY '{password}';", printed)


def within(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run `relay ARGUMENTS` within this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main(arguments)
        except SystemExit as ended:  # of --help and --version
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(["relay", *arguments], code, out.getvalue(), err.getvalue())


class Relay:
    """A relay in a folder: its config, its outbox, and what it prints."""

    def __init__(self, folder: Path, mariadb: MariaDB, backend_url: str) -> None:
        self.folder = folder
        #: Values that constants of relay have in what is started from now on, by `MODULE:NAME` (`forked.py`).
        self.constants: Mapping[str, float] = {}
        self.outbox = folder / "outbox.db"
        self.shared_outbox: Address | None = None
        self.config: dict[str, Any] = {
            "moodle": {
                "url": "https://moodle.college.example",
                "database": {"host": "127.0.0.1", "port": mariadb.port, "name": "moodle", "user": "root"},
                "poll_interval": "20ms",
                "start_from": "beginning",
            },
            "backend": {"url": backend_url, "token": TOKEN, "timeout": "5s", "signing_keys": [SYMMETRIC_KEY]},
            "retry": {"first_delay": "50ms", "max_delay": "200ms"},
            "outbox": {"url": f"sqlite:///{self.outbox}"},
        }

    def share(self, address: Address) -> None:
        """Keep the outbox in a schema, together with other relays."""
        self.shared_outbox = address
        self.set("outbox.url", f"mysql://{address.user}@{address.host}:{address.port}/{address.name}")

    def set(self, path: str, value: Any) -> None:
        """Change a value of the config, such as `backend.timeout`."""
        section = self.config
        *sections, name = path.split(".")
        for one in sections:
            section = section.setdefault(one, {})
        section[name] = value

    def write(self) -> Path:
        path = self.folder / "config.yaml"
        path.write_text(json.dumps(self.config))  # JSON is YAML
        return path

    def arguments(self, *arguments: str) -> list[str]:
        """Return the arguments of `relay`, its config among them, which is written."""
        return ["--config", str(self.write()), *arguments]

    def command(self, *arguments: str) -> list[str]:
        """Return a command for what has to begin as a user's does, with a Python of its own."""
        return [sys.executable, "-m", "relay", *self.arguments(*arguments)]

    def run(self, *arguments: str, expect: int | None = 0, env: Mapping[str, str] | None = None) -> Finished:
        """Run a command to its end: within this process, as long as nothing is to be other in it."""
        # Where nobody listens at a socket's path, the driver leaves the socket of its own open.
        is_alone = env is not None or self.constants or "unix_socket" in self.config["moodle"]["database"]
        if not is_alone:
            done = within(self.arguments(*arguments))
        else:
            done = forked.run(self.arguments(*arguments), RUN_S, env=env, constants=self.constants)
        if expect is not None:
            assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr}"
        return Finished(done)

    def crash(self, step: str, count: int, *arguments: str) -> Finished:
        """Run a command that is killed at a step (`crash.py`), which has to come."""
        given = [step, str(count), "--", *self.arguments(*arguments)]
        done = forked.run(given, PATIENCE_S, crash.main, constants=self.constants)
        assert done.returncode == -signal.SIGKILL, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return Finished(done)

    def once(self, *arguments: str, expect: int | None = 0) -> Finished:
        return self.run("run", "--once", *arguments, expect=expect)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def start(self, env: Mapping[str, str] | None = None) -> Daemon:
        return Daemon(forked.Started(self.arguments("run"), env=env, constants=self.constants))

    def start_alone(self, env: Mapping[str, str] | None = None) -> Daemon:
        """Start it as a user or systemd does, with a Python of its own."""
        environment, pipe = {**os.environ, **(env or {})}, subprocess.PIPE
        return Daemon(subprocess.Popen(self.command("run"), stdout=pipe, stderr=pipe, text=True, env=environment))

    def rows(self, statement: str, *values: Any) -> Sequence[Any]:
        """Ask the outbox something, as a monitoring script would: `log` and `attempt` name the two tables."""
        names = {"{log}": "mdl_mb_zoho_event_log", "{attempt}": "mdl_mb_zoho_event_attempt"}
        for name, table in names.items():
            statement = statement.replace(name, table)
        if self.shared_outbox is not None:
            with pymysql.connect(**self.shared_outbox.options()) as other, other.cursor() as cursor:
                cursor.execute(statement.replace("?", "%s"), values)
                return list(cursor.fetchall())
        connection = sqlite3.connect(f"file:{self.outbox}?mode=ro", uri=True)
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def write_state(self, key: str, value: str) -> None:
        """Leave a state in the outbox's file, as a relay that was killed would."""
        with contextlib.closing(sqlite3.connect(self.outbox)) as connection, connection:
            connection.execute("UPDATE mdl_mb_zoho_config SET config_value = ? WHERE config_key = ?", (value, key))

    def statuses(self) -> dict[str, int]:
        return dict(self.rows("SELECT status, COUNT(*) FROM {log} GROUP BY status"))


class Finished:
    """What a command has printed."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.stdout = done.stdout
        self.stderr = done.stderr

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.split("\n") if line]

    def slugs(self) -> list[str]:
        return [line["event"] for line in self.log]


class Daemon:
    """A running `relay run`, whose log lines can be waited for."""

    def __init__(self, process: subprocess.Popen[str] | forked.Started) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.errors = ""
        self._changed = threading.Condition()
        self._has_ended = False
        self._threads = [threading.Thread(target=self._read_log), threading.Thread(target=self._read_errors)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            # A kill may come in the midst of a write; nothing else may.
            if not line.endswith("\n") and self.process.wait(PATIENCE_S) == -signal.SIGKILL:
                break
            with self._changed:
                self.lines.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()

    def wait_until(self, is_so: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Wait until the log lines so far are as wanted."""
        with self._changed:
            self._changed.wait_for(lambda: is_so(self.lines) or self._has_ended, PATIENCE_S)
            assert is_so(self.lines), f"the log ends without it: {self.lines[-5:]} {self.errors}"

    def wait_for(self, slug: str, count: int = 1) -> dict[str, Any]:
        """Return the log line of an event, once there are so many of them."""
        self.wait_until(lambda lines: sum(line["event"] == slug for line in lines) >= count)
        return [line for line in self.lines if line["event"] == slug][count - 1]

    def count(self, slug: str) -> int:
        with self._changed:
            return sum(line["event"] == slug for line in self.lines)

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask for the end, and return the exit code."""
        self.send(number)
        return self.ended(PATIENCE_S)

    def ended(self, timeout_s: float) -> int:
        """Wait for the end and return the exit code. Raises TimeoutError."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        for thread in self._threads:
            thread.join()
        return code

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.stop(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Let go of a process that has ended."""
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
