"""A college, a relay that is restarted as systemd would, and everything that can go wrong around them."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import crash
import forked
import pymysql
from harness import Daemon
from receiver import Receiver, Reply, Request

from relay.demo.moodle import College

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pytest
    from harness import Relay

    from relay.demo.mariadb import MariaDB

    #: What an outbox keeps by key, and how many events stand in each state.
    Snapshot = tuple[dict[str, str], dict[str, int]]
    #: Seeds, and seconds of faults for each.
    Schedule = tuple[Sequence[int], int]

#: The backend's answers while it is out of order.
BAD_CODES = (301, 400, 401, 403, 404, 405, 408, 410, 413, 422, 425, 429, 500, 502, 503, 504)


STATE = "SELECT config_key, config_value FROM mdl_mb_zoho_config"
STATUSES = "SELECT status, COUNT(*) FROM mdl_mb_zoho_event_log GROUP BY status"


class Proxy:
    """Passes connections on to a port of 127.0.0.1; can cut them, or stop forwarding."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._mark: bytes | None = None
        self._most_bytes, self._breaks = sys.maxsize, 0
        #: Set once it has stalled at a mark.
        self.has_stalled = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._forwards = threading.Event()
        self._forwards.set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            #: How many bytes were said since the last answer.
            said = Counter[str]()
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink, said, source is near), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, said: Counter[str], is_said: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                said["bytes"] = said["bytes"] + len(data) if is_said else 0
                if self._is_too_much(said["bytes"]):
                    break
                self._look(data)
                self._forwards.wait()
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _is_too_much(self, size: int) -> bool:
        with self._lock:
            breaks = size > self._most_bytes and self._breaks > 0
            self._breaks -= breaks
            return breaks

    def refuse(self, most_bytes: int, times: int = sys.maxsize) -> None:
        """Close a connection that says more than so many bytes at once, without an answer; so many times."""
        with self._lock:
            self._most_bytes, self._breaks = most_bytes, times

    def _look(self, data: bytes) -> None:
        with self._lock:
            if self._mark is not None and self._mark in data:
                self._mark = None
                self.stall()
                self.has_stalled.set()

    def cut(self) -> None:
        """Break every connection."""
        with self._lock:
            gone, self._open = self._open, set()
        for one in gone:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def stall(self) -> None:
        """Forward nothing until `resume`."""
        self._forwards.clear()

    def stall_at(self, mark: bytes) -> None:
        """Forward nothing from the moment on when somebody is about to say this."""
        with self._lock:
            self._mark = mark

    def resume(self) -> None:
        self._forwards.set()

    def close(self) -> None:
        # A thread that waits in accept(2) is not woken by a close. The next signal that the system restarts the call
        # after (seteuid(2) sends one to each thread) has it accept from whatever has the file's number by then.
        with contextlib.suppress(OSError):  # it is closed
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        self.resume()
        self.cut()


class Writers:
    """Processes of Moodle: each writes events in transactions, of which some commit late, and some never."""

    def __init__(self, mariadb: MariaDB, count: int, seed: int) -> None:
        self._mariadb = mariadb
        self.is_over = threading.Event()
        #: Users of whom a row appeared late.
        self.late: set[int] = set()
        #: How long a transaction may be held, in seconds.
        self.hold_s = 3.0
        self._threads = [
            threading.Thread(target=self._write, args=(random.Random(f"{seed}/{i}"),)) for i in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.is_over.set()
        for thread in self._threads:
            thread.join()

    def _write(self, chance: random.Random) -> None:
        people: list[int] = []
        while not self.is_over.is_set():
            try:
                with self._mariadb.connect("moodle", autocommit=False) as connection:
                    self._transactions(College(connection), chance, people)
            except Exception:  # noqa: BLE001 -- the server is killed at any moment: what did not commit is not there
                self.is_over.wait(0.05)

    def _transactions(self, college: College, chance: random.Random, people: list[int]) -> None:
        while not self.is_over.is_set():
            at = int(time.time())
            new: list[int] = []
            for _ in range(chance.choice((1, 1, 1, 5))):
                if not people or chance.random() < 0.3:
                    new.append(college.sign_up("Ada", f"Number{chance.randrange(10**9)}", at))
                else:
                    college.update(chance.choice(people), at, city=f"Town {chance.randrange(100)}")
            if chance.random() < 0.1:
                # Everyone in it counts as late: an update of an older user may appear after a later one.
                self.late.update([*new, *people])
                self.is_over.wait(chance.random() * self.hold_s)
            if chance.random() < 0.05:
                college.connection.rollback()
                continue
            college.connection.commit()
            people += new
            del people[:-20]
            self.is_over.wait(chance.random() * 0.02)


class Backend:
    """Decides what the receiver answers, and keeps what it took."""

    def __init__(self, receiver: Receiver, chance: random.Random) -> None:
        self._receiver = receiver
        self._chance = chance
        self._lock = threading.Lock()
        self.mode = "well"
        #: How often it took each event, and how often it said so.
        self.takes: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        receiver.answer = self.answer

    @property
    def taken(self) -> set[str]:
        return set(self.takes)

    def answer(self, request: Request) -> Reply:
        with self._lock:
            mode, choice = self.mode, self._chance.random()
            code = self._chance.choice(BAD_CODES)
            if mode in ("well", "takes and resets", "takes and stalls"):
                self.takes[request.event_id] += 1
            if mode == "well":
                self.told[request.event_id] += 1
        if mode in ("resets", "takes and resets"):
            return Reply(hangs_up=True)
        if mode in ("stalls", "takes and stalls"):
            return Reply(stalls_s=3.0)
        if mode == "any answer":
            return Reply(code=code, headers={"Retry-After": "1"} if choice < 0.2 else {})
        return Reply()

    def misbehave(self, chance: random.Random) -> str:
        """Be out of order for a moment; return how."""
        mode = self.mode = chance.choice(("resets", "stalls", "takes and resets", "takes and stalls", "any answer"))
        time.sleep(0.5 + chance.random() * 2)
        self.mode = "well"
        return mode


class Supervised:
    """A relay that is started again whenever it ends, as systemd does."""

    def __init__(self, relay: Relay, clock: Path, *, may_end_with: frozenset[int] = frozenset()) -> None:
        """Take `may_end_with`, exit codes that are no mistake, besides that of a good end."""
        self._relay = relay
        self._clock = clock
        self._may_end_with = may_end_with | {0, -signal.SIGKILL}
        self._is_over = False
        self._daemon: Daemon | None = None
        self._lock = threading.Lock()
        self.starts = 0
        #: The most memory that a relay had, in KiB.
        self.peak_kib = 0
        self.exits: Counter[int] = Counter()
        self.errors: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        command = ["never:", "0", "--", "--config", str(self._relay.folder / "config.yaml"), "run"]
        while not self._is_over:
            with self._lock:
                self._daemon = Daemon(forked.Started(command, crash.main, env={"RELAY_TEST_CLOCK": str(self._clock)}))
                self.starts += 1
            code = self._daemon.ended(10_000)
            self._daemon.close()
            self.exits[code] += 1
            if code not in self._may_end_with:
                self.errors.append(self._daemon.errors)

    def kill(self) -> None:
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        with self._lock:
            if self._daemon is not None:
                self._daemon.send(number)

    def measure(self) -> None:
        with self._lock:
            process = self._daemon.process if self._daemon else None
        if process is not None:
            with contextlib.suppress(OSError, IndexError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                self.peak_kib = max(self.peak_kib, int(status.split("VmHWM:")[1].split()[0]))

    def stop(self) -> None:
        self._is_over = True
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        self._thread.join()


class Reader:
    """Reads the outbox all the time, as a monitor would, and adds up."""

    def __init__(self, read: Callable[[], Snapshot | None]) -> None:
        self._read = read
        self.readings = 0
        self.wrong: list[str] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(0.05):
            try:
                found = self._read()
            except sqlite3.OperationalError as error:
                self.wrong.append(str(error))
            else:
                if found is not None:
                    self._add_up(*found)

    def _add_up(self, state: dict[str, str], statuses: dict[str, int]) -> None:
        self.readings += 1
        count = {key: int(value) for key, value in state.items() if key.startswith("count.")}
        ignored = sum(value for key, value in count.items() if key.startswith("count.ignored."))
        skipped = statuses.pop("skipped", 0)
        if count.get("count.seen", 0) != count.get("count.captured", 0) + skipped + ignored:
            self.wrong.append(f"seen: {json.dumps(count)} {skipped}")
        if count.get("count.captured", 0) != sum(statuses.values()):
            self.wrong.append(f"captured: {json.dumps(count)} {json.dumps(statuses)}")


def read_file(path: Path) -> Snapshot | None:
    """Return what an outbox in a file holds at this moment; None where it cannot be read now."""
    if not path.exists():
        return None
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10, isolation_level=None)
    try:
        connection.execute("BEGIN")
        return dict(connection.execute(STATE)), dict(connection.execute(STATUSES))
    except sqlite3.OperationalError as error:
        # Right after a kill nobody has the file open, and a reader that may not write cannot mend the WAL's index.
        if "readonly" in str(error) or "unable to open" in str(error):
            return None
        raise
    finally:
        connection.close()


def by_seed(metafunc: pytest.Metafunc, short: Schedule, full: Schedule) -> None:
    """Run a test for each seed, with its seconds: those of the short version, or with --full; or for --seed alone."""
    seeds, seconds = full if metafunc.config.getoption("--full") else short
    seed = metafunc.config.getoption("--seed")
    metafunc.parametrize(("seed", "seconds"), [(one, seconds) for one in ((seed,) if seed else seeds)])


def wait_for_outbox(relay: Relay, patience_s: float) -> None:
    """Wait until a relay has made its outbox's file, so many seconds at most."""
    began = time.monotonic()
    while not relay.outbox.exists():
        assert time.monotonic() < began + patience_s, "no relay has come so far as to make an outbox"
        time.sleep(0.05)


def wait_for_all(relay: Relay, patience_s: float) -> float:
    """Wait until nothing is to be delivered any more, so many seconds at most; return after how many that was."""
    began = time.monotonic()
    while time.monotonic() < began + patience_s:
        found = relay.status()
        if found["lag"] == 0 and found["undelivered"] == 0:
            break
        time.sleep(0.1)
    return time.monotonic() - began


class Faults:
    """What can be done to a world, by name, with how often; each undoes itself."""

    def __init__(self, kinds: Mapping[str, tuple[int, Callable[[random.Random], object]]]) -> None:
        """Take each kind with its weight; what it returns, if that is text, is counted too."""
        self._kinds = kinds
        self.counts: Counter[str] = Counter()

    def one(self, chance: random.Random) -> None:
        """Let one of them happen."""
        names = list(self._kinds)
        (name,) = chance.choices(names, [self._kinds[name][0] for name in names])
        self.counts[name] += 1
        how = self._kinds[name][1](chance)
        if isinstance(how, str):
            self.counts[f"  it {how}"] += 1

    def __str__(self) -> str:
        return ", ".join(f"{name}: {count}" for name, count in sorted(self.counts.items()))


def kill_database(mariadb: MariaDB, chance: random.Random) -> None:
    """Kill a server, and start it again within a second."""
    mariadb.stop(signal.SIGKILL)
    time.sleep(chance.random())
    mariadb.start()


class LoneFaults(Faults):
    """What can be done to a relay that is alone on its outbox, a file."""

    def __init__(
        self, mariadb: MariaDB, proxy: Proxy, backend: Backend, relay: Supervised, clock: Path, outbox: Path
    ) -> None:
        self._mariadb, self._proxy = mariadb, proxy
        self._clock, self._outbox = clock, outbox
        super().__init__(
            {
                "relay killed": (8, lambda _: relay.kill()),
                "database killed": (2, partial(kill_database, mariadb)),
                "connections cut": (2, lambda _: proxy.cut()),
                "connections stalled": (1, self._stall),
                "database read-only": (1, self._read_only),
                "tables locked": (1, self._lock_tables),
                "outbox locked": (1, self._lock_outbox),
                "clock jumped": (1, self._jump),
                "backend out of order": (4, backend.misbehave),
            }
        )

    def _stall(self, chance: random.Random) -> None:
        self._proxy.stall()
        time.sleep(chance.random() * 2)
        self._proxy.resume()

    def _read_only(self, chance: random.Random) -> None:
        with self._mariadb.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET GLOBAL read_only = 1")
            time.sleep(chance.random())
            cursor.execute("SET GLOBAL read_only = 0")

    def _lock_tables(self, chance: random.Random) -> None:
        with self._mariadb.connect("moodle", read_timeout=10) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION lock_wait_timeout = 1")
            with contextlib.suppress(pymysql.err.OperationalError):
                cursor.execute("LOCK TABLES mdl_user WRITE, mdl_logstore_standard_log WRITE")
                time.sleep(chance.random() * 2)

    def _lock_outbox(self, chance: random.Random) -> None:
        if not self._outbox.exists():
            return
        connection = sqlite3.connect(self._outbox, isolation_level=None, timeout=10)
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(chance.random() * 2)
            connection.execute("ROLLBACK")
        connection.close()

    def _jump(self, chance: random.Random) -> None:
        self._clock.with_suffix(".new").write_text(str(chance.choice((-3600, 0, 3600))))
        self._clock.with_suffix(".new").replace(self._clock)
