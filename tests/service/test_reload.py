"""A reload (SIGHUP): what cannot be made of a new config, and what has not ended, leaves the old relay in its place."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import PATIENCE_S
from receiver import Receiver, Reply

from relay import config
from relay.delivery import transport
from relay.service import wiring
from relay.service.daemon import BEAT_S, Signals, Systemd
from relay.service.lines import Lines
from relay.service.run import run

if TYPE_CHECKING:
    from harness import Relay

    from relay.demo.moodle import College

AT = 1_770_000_000


class Log(io.StringIO):
    """A stream of log lines that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    def write(self, text: str) -> int:
        with self._changed:
            self.lines += [json.loads(line) for line in text.splitlines()]
            self._changed.notify_all()
        return len(text)

    def wait_for(self, slug: str, count: int = 1) -> dict[str, Any]:
        """Return the line of this slug, once there are so many of them."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines if line["event"] == slug]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, PATIENCE_S), self.lines[-3:]
            return found()[count - 1]


class Running:
    """A daemon in a thread of the test."""

    def __init__(self, load: Callable[[], config.Config]) -> None:
        self.log = Log()
        self.signals = Signals()
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run, args=(load,))
        self._thread.start()

    def _run(self, load: Callable[[], config.Config]) -> None:
        self.code = run(load, self.signals, Systemd(None), Lines(self.log))

    def stop(self) -> int | None:
        self.signals.stop.set()
        self._thread.join(PATIENCE_S)
        return self.code


@contextlib.contextmanager
def running(load: Callable[[], config.Config]) -> Iterator[Running]:
    made = Running(load)
    try:
        yield made
    finally:
        made.stop()


def test_whatever_is_wrong_with_a_new_config_the_old_one_goes_on(
    relay: Relay, college: College, backend: Receiver, tmp_path: Path
) -> None:
    assert college.connection.open
    (tmp_path / "no.pem").write_text("no PEM at all")
    wrong = {
        "backend.ca_bundle": "no.pem",
        "moodle.database.tls": {"ca": "no.pem"},
        "backend.url": "https://%zz",
        "moodle.database.host": "a..b",
    }
    with relay.start() as daemon:
        daemon.wait_for("relay.started")
        for count, (key, value) in enumerate(wrong.items(), 1):
            before = json.dumps(relay.config)
            relay.set(key, value)
            relay.write()
            daemon.send(signal.SIGHUP)
            (mistake,) = daemon.wait_for("config.rejected", count)["mistakes"]
            assert mistake.startswith(key)
            relay.config = json.loads(before)
            college.sign_up("Ada", f"Number{count}", AT)
            assert len(backend.wait_for(count)) == count
        relay.set("backend.ca_bundle", "no.pem")
        assert daemon.stop() == 0
    assert relay.run("run", expect=2).stderr.count("backend.ca_bundle: ") == 1


@pytest.mark.parametrize("error", [ZeroDivisionError("made-up-secret"), OSError(5, "made-up-secret"), ValueError("%")])
def test_whatever_making_the_parts_raises_the_old_ones_go_on(
    error: Exception, relay: Relay, college: College, backend: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = config.load(relay.write())

    def refuse(*_: object, **_by_name: object) -> None:
        raise error

    with running(lambda: loaded) as daemon:
        # What sends is loaded behind the first look at the log.
        college.sign_up("Grace", "Hopper", AT)
        daemon.log.wait_for("delivery.succeeded")
        monkeypatch.setattr(transport, "Transport", refuse)
        daemon.signals.reload.set()
        rejected = daemon.log.wait_for("config.rejected")
        assert type(error).__name__ in rejected["error"]
        monkeypatch.setattr(wiring, "make_capture", refuse)
        monkeypatch.setattr(wiring, "make_sender", lambda *_: None)
        daemon.signals.reload.set()
        assert type(error).__name__ in daemon.log.wait_for("config.rejected", 2)["error"]
        college.sign_up("Ada", "Lovelace", AT)
        assert len(backend.wait_for(2)) == 2
        daemon.log.wait_for("delivery.succeeded", 2)
        assert daemon.stop() == 0
    assert "made-up-secret" not in json.dumps(daemon.log.lines)


def hang(college: College) -> None:
    """Lock Moodle's log, and wait until a pass of relay's waits for it."""
    college.run("LOCK TABLES {p}logstore_standard_log WRITE")
    ends_at = time.monotonic() + PATIENCE_S
    waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%%'"
    while not college.rows(waiting)[0][0]:
        assert time.monotonic() < ends_at, "no pass waits"
        time.sleep(0.01)


def test_a_loop_that_has_not_ended_is_not_replaced(relay: Relay, college: College, backend: Receiver) -> None:
    """The old one's query comes back late: were there two captures then, both would count what it has found."""
    college.sign_up("Ada", "Lovelace", AT)
    backend.answer = lambda _: Reply(code=503)
    with relay.start() as daemon:
        daemon.wait_for("delivery.failed")
        hang(college)
        for i in range(7):
            # History that a restore copied in: it is counted, and ignored.
            college.log("grade_updated", -31337, user=2, at=AT + i, origin=None)
        daemon.send(signal.SIGHUP)
        daemon.wait_for("config.waiting")
        # What is there is delivered meanwhile.
        backend.answer = lambda _: Reply()
        daemon.wait_for("delivery.succeeded")
        assert daemon.count("config.reloaded") == 0
        college.run("UNLOCK TABLES")
        daemon.wait_for("config.reloaded")
        college.sign_up("Grace", "Hopper", AT)
        daemon.wait_for("delivery.succeeded", 2)
        assert daemon.stop() == 0
    counts = relay.status()["conservation"]
    assert counts["holds"]
    assert (counts["seen"], counts["ignored"]) == (9, 7)


def test_a_signal_ends_a_reload_that_waits(relay: Relay, college: College) -> None:
    with relay.start() as daemon:
        daemon.wait_for("relay.started")
        hang(college)
        daemon.send(signal.SIGHUP)
        daemon.wait_for("config.waiting")
        assert daemon.stop() == 0
    assert daemon.count("config.reloaded") == 0
    assert daemon.count("relay.stopped") == 1


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGTERM])
def test_the_watchdog_is_fed_while_a_reload_or_a_stop_waits_for_requests(
    ending: int, relay: Relay, college: College, backend: Receiver, tmp_path: Path
) -> None:
    goes_on = threading.Event()

    def answer(_: object) -> Reply:
        goes_on.wait(PATIENCE_S)
        return Reply()

    backend.answer = answer
    relay.set("backend.timeout", "50s")
    college.sign_up("Ada", "Lovelace", AT)
    with listening(tmp_path) as (name, notified), relay.start({"NOTIFY_SOCKET": name}) as daemon:
        backend.wait_for(1)
        daemon.send(ending)
        begins = b"RELOADING=1" if ending == signal.SIGHUP else b"STOPPING=1"
        while not notified.recv(4096).startswith(begins):
            pass
        for _ in range(4):
            notified.settimeout(8 * BEAT_S)
            fed = notified.recv(4096).split(b"\n")
            assert fed[0] == b"WATCHDOG=1"
            assert fed[1].startswith(b"EXTEND_TIMEOUT_USEC=")
        goes_on.set()
        if ending == signal.SIGHUP:
            daemon.wait_for("config.reloaded")
        daemon.stop()


def test_systemd_is_told_how_it_is_at_this_moment(
    relay: Relay, college: College, backend: Receiver, tmp_path: Path
) -> None:
    backend.answer = lambda _: Reply(code=401)
    relay.constants = {"relay.service.report:BEAT_S": 0.05}
    college.sign_up("Ada", "Lovelace", AT)
    with listening(tmp_path) as (name, notified), relay.start({"NOTIFY_SOCKET": name}) as daemon:

        def hear(words: str) -> None:
            while not any(
                line.startswith("STATUS=") and words in line for line in notified.recv(4096).decode().split("\n")
            ):
                pass

        hear("othing is delivered: ")
        backend.answer = lambda _: Reply()
        hear(f"Delivering to {backend.url}")
        relay.set("enabled", False)
        relay.write()
        daemon.send(signal.SIGHUP)
        hear("paused")
        relay.set("enabled", True)
        relay.set("moodle.database.name", "nowhere")
        relay.write()
        daemon.send(signal.SIGHUP)
        hear("nowhere")
        daemon.stop()


@contextlib.contextmanager
def listening(folder: Path) -> Iterator[tuple[str, socket.socket]]:
    """Listen as systemd does; yield the name for NOTIFY_SOCKET, and the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        # A path may be 107 bytes long; the abstract name is not bound to a folder.
        name = f"@relay-test-{os.getpid()}-{folder.name}"
        notified.bind("\0" + name[1:])
        notified.settimeout(PATIENCE_S)
        yield name, notified
