"""`relay reload`: who asks for a reload hears whether the new config is in force, and why not."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from relay.config.credentials import service_of
from relay.errors import RelayError
from relay.service import asking
from relay.service.asking import Answer, Asker, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Relay

    from relay.demo.moodle import College


def test_who_asks_hears_whether_the_new_config_is_in_force_and_why_not(relay: Relay, college: College) -> None:
    assert college.connection.open
    with relay.start() as daemon:
        daemon.wait_for("relay.started")
        pid = str(daemon.process.pid)
        relay.set("status.max_age", "2h")
        assert "in force" in relay.run("reload", pid).stdout
        daemon.wait_for("config.reloaded")
        relay.set("backend.timeout", "ages")
        refused = relay.run("reload", pid, expect=1).stderr
        assert "the old config goes on" in refused
        assert "backend.timeout: " in refused
        relay.set("backend.timeout", "5s")
        relay.set("outbox.url", f"sqlite:///{relay.folder}/other.db")
        assert "another outbox needs a restart" in relay.run("reload", pid, expect=1).stderr
        relay.set("outbox.url", f"sqlite:///{relay.outbox}")
        assert daemon.stop() == 0
    assert f"There is no process {pid}" in relay.run("reload", pid, expect=1).stderr
    assert "relay.service does not run" in relay.run("reload", expect=1).stderr
    assert "is no relay" in relay.run("reload", "1", expect=1).stderr


def test_a_relay_that_is_told_to_end_meanwhile_says_so(relay: Relay, college: College) -> None:
    with relay.start() as daemon:
        daemon.wait_for("relay.started")
        college.run("LOCK TABLES {p}logstore_standard_log WRITE")
        said: list[Answer] = []
        asked = threading.Thread(target=lambda: said.append(ask(daemon.process.pid, itertools.repeat(0.0).__next__)))
        asked.start()
        daemon.wait_for("config.waiting")
        daemon.send(signal.SIGTERM)
        asked.join()
        daemon.ended(60)
    (answer,) = said
    assert not answer.is_accepted
    assert "ends" in answer.lines[0]


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that takes SIGHUP, and says nothing."""
    script = "import signal, sys; signal.signal(signal.SIGHUP, lambda *_: None); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as made:
        assert made.stdout is not None
        made.stdout.readline()
        yield made


def test_an_answer_of_another_process_is_none(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LOOK_S", 0.01)

    def clock() -> Iterator[float]:
        yield 0.0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.connect(f"\0relay-reload-{process.pid}")
            other.send(b"[true]")
        yield from (1.0, 2.0, asking.ANSWER_S)

    with pytest.raises(RelayError, match="has not answered"):
        ask(process.pid, clock().__next__)


def test_only_one_waits_for_an_answer(process: subprocess.Popen[bytes]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first:
        first.bind(f"\0relay-reload-{process.pid}")
        with pytest.raises(RelayError, match="Somebody else waits"):
            ask(process.pid, itertools.repeat(0.0).__next__)


def test_a_process_that_ends_without_an_answer_is_told_at_once(process: subprocess.Popen[bytes]) -> None:
    def clock() -> Iterator[float]:
        yield 0.0
        process.kill()
        process.wait()
        yield from itertools.repeat(0.0)

    with pytest.raises(RelayError, match=f"There is no process {process.pid}"):
        ask(process.pid, clock().__next__)


def test_a_signal_from_elsewhere_needs_no_answer() -> None:
    Asker().answer(Answer(is_accepted=True))


def test_a_long_answer_is_cut_to_what_it_decides() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waiting:
        waiting.bind(f"\0relay-reload-{os.getpid()}")
        Asker().answer(Answer(is_accepted=False, lines=("x" * asking.LARGEST_ANSWER,)))
        assert waiting.recv(asking.LARGEST_ANSWER) == b"[false]"


def test_the_service_of_a_config_is_known_by_its_folder() -> None:
    assert service_of(Path("/etc/relay")) == "relay.service"
    assert service_of(Path("/etc/relay/amman")) == "relay@amman.service"
