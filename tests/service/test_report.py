"""What a running relay says of itself; tests/web/test_staged_faults.py has the faults that all name alike."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import sqlite3
import stat
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import promtool
import pytest
from harness import PATIENCE_S, Relay
from receiver import Receiver

from relay import cli, config
from relay.demo.mariadb import free_port
from relay.demo.moodle import College
from relay.errors import MoodleError
from relay.operations.status import MoodleLog
from relay.service import parts, report, wiring
from relay.service.exporter import Exporter
from relay.service.logs import make_log
from relay.service.loops import Daemon

AT = 1_770_000_000


class Heard:
    """What systemd is told by a daemon, to be waited for."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def wait_for(self, is_so: Callable[[str], bool]) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so(said := self._daemon.describe()):
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
        return said


@contextlib.contextmanager
def running(relay: Relay) -> Iterator[Heard]:
    """Run a relay in this process within, which reports without delay."""
    loaded = config.load(relay.write())
    with parts.opened(loaded, parts.REAL, create=True) as opened:
        opened.outbox.hold(opened.now())
        made = wiring.make_relay(loaded, opened, make_log(loaded.log, io.StringIO(), parts.REAL.now))
        daemon = Daemon(made, opened)
        daemon.start()
        try:
            yield Heard(daemon)
        finally:
            daemon.stop()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "BEAT_S", 0.05)


def ask(capsys: pytest.CaptureFixture[str], relay: Relay, *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.main(["--config", str(relay.write()), *arguments])
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def named(text: str) -> set[str]:
    """Return the conditions that hold by the metrics."""
    return {line.split('"')[1] for line in text.splitlines() if line.startswith("relay_problem") and line[-1] == "1"}


def test_a_relay_that_is_well_is_silent_to_all(
    relay: Relay, college: College, backend: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    relay.set("metrics.textfile", str(relay.folder / "relay.prom"))
    college.sign_up("Ada", "Lovelace", AT)
    # One that has ended before is no reason to say, at the start, that none runs.
    relay.once()
    with running(relay) as heard:
        assert heard.wait_for(lambda said: said != "Starting") == f"Delivering to {backend.url}"
        assert ask(capsys, relay, "status", "--nagios")[0] == 0
        assert ask(capsys, relay, "status", "--check")[0] == 0
        assert named((relay.folder / "relay.prom").read_text()) == set()


def test_a_relay_that_has_ended_or_was_killed_is_missed_at_once(
    relay: Relay, college: College, capsys: pytest.CaptureFixture[str]
) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    code, line = ask(capsys, relay, "status", "--nagios")
    assert (code, line[:14]) == (2, "RELAY CRITICAL")
    for number in (15, 9):
        with relay.start() as daemon:
            daemon.wait_for("delivery.succeeded" if number == 15 else "relay.started")
            daemon.stop(number)
        code, shown = ask(capsys, relay, "status", "--check")
        assert (code, "no relay runs: the last one ended at" in shown) == (1, True)


def test_rows_that_nobody_reads_are_told_with_their_age(
    relay: Relay, college: College, capsys: pytest.CaptureFixture[str]
) -> None:
    relay.once()
    college.sign_up("Ada", "Lovelace", int(time.time()) - 3 * 86400)
    code, shown = ask(capsys, relay, "status", "--check")
    assert code == 1
    assert "a log row of Moodle has been unread for 3 d" in shown
    assert named(ask(capsys, relay, "metrics")[1]) == {"stopped", "unread"}


def test_an_outbox_that_cannot_be_written_is_told_to_systemd(relay: Relay, college: College) -> None:
    assert college.connection.open
    with running(relay) as heard:
        heard.wait_for(lambda said: said.startswith("Delivering"))
        with contextlib.closing(sqlite3.connect(relay.outbox)) as other:
            refuse = "BEGIN SELECT RAISE(FAIL, ''); END"
            table = "mdl_mb_zoho_config"
            other.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON {table} WHEN NEW.config_key LIKE 'pass.%' {refuse}")
            said = heard.wait_for(lambda said: not said.startswith("Delivering"))
            other.execute("DROP TRIGGER refuse")
        assert "outbox" in said
        heard.wait_for(lambda said: said.startswith("Delivering"))


def test_a_relay_on_a_shared_outbox_tells_of_its_lease(
    other: Relay, college: College, backend: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    college.sign_up("Ada", "Lovelace", int(time.time()))
    path = other.folder / "relay.prom"
    other.set("metrics.textfile", str(path))
    with running(other) as heard:
        backend.wait_for(1)
        heard.wait_for(lambda said: said.startswith("Delivering") and "relay_members 1\n" in path.read_text())
        text = path.read_text()
        assert "relay_lease_held 1\n" in text
        assert named(text) == set()
        assert ask(capsys, other, "status", "--check")[0] == 0


def test_what_a_relay_saw_of_the_log_says_nothing_once_another_one_reads_it(
    other: Relay, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    loaded = config.load(other.write())
    log = make_log(loaded.log, io.StringIO(), parts.REAL.now)
    with parts.opened(loaded, parts.REAL, create=True) as opened:
        now = opened.now()
        opened.outbox.hold(now)
        made = wiring.make_relay(loaded, opened, log)
        made.capture_pass(now)
        assert (made.captured_at, made.log_seen().is_on) == (now, True)
        college.run("RENAME TABLE {p}logstore_standard_log TO {p}elsewhere")
        with pytest.raises(MoodleError):
            made.capture_pass(now)
        assert made.log_seen().error
        monkeypatch.setattr(opened.outbox, "leads", lambda: False)
        made.capture_pass(now)
        assert (made.captured_at, made.log_seen()) == (0.0, MoodleLog())


# -- the metrics


def test_the_textfile_is_whole_and_for_everybody_whatever_the_umask(relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    path = relay.folder / "relay.prom"
    relay.set("metrics.textfile", str(path))
    before = os.umask(0o077)
    try:
        with running(relay) as heard:
            heard.wait_for(lambda said: said.startswith("Delivering"))
            assert stat.S_IMODE(path.stat().st_mode) == 0o644
            text = path.read_text()
    finally:
        os.umask(before)
    assert text.endswith("\n")
    assert "relay_build_info" in text
    # Behind its end, the file says that none runs.
    assert named(path.read_text()) == {"stopped"}
    assert [one.name for one in relay.folder.iterdir() if "prom" in one.name] == ["relay.prom"]


def get(where: str, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://{where}{path}", timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return str(answer.read().decode())


def test_counters_do_not_fall_over_a_restart(relay: Relay, college: College) -> None:
    port = free_port()
    relay.set("metrics.listen", f"127.0.0.1:{port}")
    college.sign_up("Ada", "Lovelace", int(time.time()))
    success = 'relay_attempts_total{outcome="success"}'
    values: list[dict[str, float]] = []
    for _ in range(2):
        with running(relay) as heard:
            heard.wait_for(lambda said: said.startswith("Delivering"))
            deadline = time.monotonic() + PATIENCE_S
            wanted = len(values) + 1
            while (found := counters(get(f"127.0.0.1:{port}"))).get(success, 0) < wanted:
                assert time.monotonic() < deadline
            values.append(found)
        college.sign_up("Grace", "Hopper", int(time.time()))
    first, second = values
    assert all(second[name] >= first[name] for name in first)
    assert second["relay_delivery_latency_seconds_count"] == 2
    assert second["relay_attempt_duration_seconds_count"] == 2


def counters(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if line[0] != "#" and any(end in name for end in ("_total", "_count", "_sum", "_bucket")):
            found[name] = float(value)
    return found


def exporter(where: str | tuple[str, int], text: str = "relay_up 1\n") -> Exporter:
    return Exporter(
        where, lambda: text, make_log(config.schema.LogConfig(level="info", format="json"), io.StringIO(), lambda: 0.0)
    )


def asked(made: Exporter, ask: Callable[[], object]) -> None:
    """Let the exporter answer what is asked meanwhile."""
    thread = threading.Thread(target=ask)
    thread.start()
    while thread.is_alive():
        assert made.run_once() == 0.0
    thread.join()
    made.close()


def test_the_figures_are_served_on_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    made = exporter(str(path))
    answers = []

    def request() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            while client.connect_ex(str(path)):
                time.sleep(0.01)
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            answers.append(client.makefile("rb").read())

    asked(made, request)
    assert answers[0].startswith(b"HTTP/1.0 200 OK\r\n")
    assert answers[0].endswith(b"relay_up 1\n")
    assert not path.exists()


def test_a_socket_that_a_killed_relay_has_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    made = exporter(str(path))
    assert made.run_once() == 0.0
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    made.close()


def test_an_address_that_is_taken_is_said_once_and_ends_nothing(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        lines = io.StringIO()
        log = make_log(config.schema.LogConfig(level="info", format="json"), lines, lambda: 0.0)
        made = Exporter(("127.0.0.1", other.getsockname()[1]), str, log)
        assert made.run_once() > 0
        assert made.run_once() > 0
    (line,) = lines.getvalue().splitlines()
    assert json.loads(line)["event"] == "metrics.failed"
    assert tmp_path.exists()


def test_promtool_finds_nothing_in_what_a_relay_serves(relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    given = relay.run("metrics").stdout
    assert promtool.run("check", "metrics", given=given) == ""
