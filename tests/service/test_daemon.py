"""The daemon under signals, kills and outages: a real process, a real database, a real backend."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import crash
import pytest
from receiver import Receiver, Reply, Request, receiver

from relay.demo.mariadb import throwaway
from relay.demo.moodle import College
from relay.errors import RelayError

if TYPE_CHECKING:
    from harness import Relay

    from relay.demo.mariadb import MariaDB

AT = 1_770_000_000


def sign_up(college: College, count: int) -> None:
    for i in range(count):
        college.sign_up("Ada", f"Number{i}", AT + i)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_ends_well_and_loses_and_doubles_nothing(
    number: int, relay: Relay, college: College, backend: Receiver
) -> None:
    sign_up(college, 300)
    with relay.start() as daemon:
        backend.wait_for(20)
        assert daemon.stop(number) == 0
        assert daemon.lines[-1]["event"] == "relay.stopped"
    assert relay.rows("SELECT COUNT(*) FROM {attempt} WHERE outcome = 'unknown'") == [(0,)]
    relay.once()
    ids = [post.event_id for post in backend.posts]
    assert len(ids) == len(set(ids)) == 300


def test_a_stop_waits_for_what_is_under_way_and_records_it(relay: Relay, college: College, backend: Receiver) -> None:
    sign_up(college, 3)
    arrived, goes_on = threading.Event(), threading.Event()

    def answer(_: Request) -> Reply:
        arrived.set()
        goes_on.wait(30)
        return Reply()

    backend.answer = answer
    relay.set("backend.concurrency", 1)
    with relay.start() as daemon:
        assert arrived.wait(30)
        daemon.send(signal.SIGTERM)
        with pytest.raises(TimeoutError):
            daemon.ended(0.5)
        goes_on.set()
        assert daemon.ended(30) == 0
    assert relay.statuses() == {"success": 1, "pending": 2}
    assert relay.rows("SELECT outcome FROM {attempt}") == [("success",)]


def test_a_second_signal_ends_at_once_and_the_request_is_repeated_as_it_was(
    relay: Relay, college: College, backend: Receiver
) -> None:
    sign_up(college, 1)
    arrived, goes_on = threading.Event(), threading.Event()

    def answer(_: Request) -> Reply:
        arrived.set()
        goes_on.wait(30)
        return Reply()

    backend.answer = answer
    with relay.start() as daemon:
        assert arrived.wait(30)
        daemon.send(signal.SIGTERM)
        with pytest.raises(TimeoutError):
            daemon.ended(0.3)
        assert daemon.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    assert relay.rows("SELECT outcome FROM {attempt}") == [("unknown",)]
    goes_on.set()
    relay.once()
    first, second = backend.posts
    assert (first.event_id, first.body) == (second.event_id, second.body)
    assert relay.rows("SELECT attempt, outcome FROM {attempt} ORDER BY id") == [(1, "unknown"), (2, "success")]


def test_a_kill_at_any_moment_loses_nothing_and_every_request_has_its_row(
    relay: Relay, college: College, backend: Receiver
) -> None:
    for round_ in range(5):
        sign_up(college, 60)
        with relay.start():
            backend.wait_for(len(backend.posts) + 5 + 9 * round_)
    relay.once()
    seen: dict[str, set[bytes]] = {}
    for post in backend.posts:
        seen.setdefault(post.event_id, set()).add(post.body)
    assert len(seen) == 300
    assert all(len(bodies) == 1 for bodies in seen.values())
    ((rows,),) = relay.rows("SELECT COUNT(*) FROM {attempt}")
    assert rows >= len(backend.posts)
    assert relay.statuses() == {"success": 300}
    assert relay.status()["conservation"]["holds"]


def test_sighup_takes_a_new_config_and_keeps_the_old_one_where_it_is_wrong(
    relay: Relay, college: College, backend: Receiver
) -> None:
    with receiver() as other, relay.start() as daemon:
        daemon.wait_for("relay.started")
        relay.set("backend.url", "ftp://backend.example")
        relay.set("retries", {})
        relay.write()
        daemon.send(signal.SIGHUP)
        rejected = daemon.wait_for("config.rejected")
        assert {line.split(":")[0] for line in rejected["mistakes"]} == {"retries", "backend.url"}
        college.sign_up("Ada", "Lovelace", AT)
        assert len(backend.wait_for(1)) == 1
        daemon.wait_for("delivery.succeeded")
        relay.set("backend.url", other.url)
        del relay.config["retries"]
        relay.write()
        daemon.send(signal.SIGHUP)
        daemon.wait_for("config.reloaded")
        college.sign_up("Grace", "Hopper", AT + 1)
        assert len(other.wait_for(1)) == 1
        assert daemon.stop() == 0
    assert len(backend.posts) == 1


def test_a_database_that_goes_away_is_said_once_and_waited_for(
    relay: Relay, backend: Receiver, mariadb: MariaDB
) -> None:
    assert mariadb.port
    with throwaway() as server:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE moodle")
        with server.connect("moodle") as connection:
            College(connection).build()
        relay.set("moodle.database.port", server.port)
        with relay.start() as daemon:
            daemon.wait_for("relay.started")
            server.stop(signal.SIGKILL)
            said = daemon.wait_for("moodle.unreachable")
            assert said["error"].startswith(f"Moodle's database at 127.0.0.1:{server.port}")
            relay.once(expect=3)
            server.start()
            daemon.wait_for("moodle.recovered")
            with server.connect("moodle") as connection:
                College(connection).sign_up("Ada", "Lovelace", AT)
            assert len(backend.wait_for(1)) == 1
            assert daemon.stop() == 0
            assert daemon.count("moodle.unreachable") == 1


def test_without_a_database_once_exits_3_with_a_sentence(relay: Relay) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        relay.set("moodle.database.port", nobody.getsockname()[1])
        finished = relay.once(expect=3)
    sentence, remedy = finished.stderr.splitlines()
    assert sentence.startswith("relay: Moodle's database at 127.0.0.1:")
    assert "Start the database server" in remedy


@pytest.mark.parametrize(
    ("wrong", "sentence", "remedy"),
    [
        ("password", "the user 'reader' or the password is wrong", "moodle.database.password"),
        ("grant", "may not read the table moodle.mdl_assign_grades", "Then grant SELECT"),
        ("prefix", "there is no table moodle.m_", "moodle.database.prefix"),
        ("schema", "may not use the schema 'moodel'", "or give access"),
    ],
)
def test_what_the_database_refuses_is_explained(
    wrong: str, sentence: str, remedy: str, relay: Relay, college: College
) -> None:
    user = college.sign_up("Ada", "Lovelace", AT)
    college.grade(user, college.assignment(college.course("Computing", "C1"), "Engine"), 70, AT)
    college.run("CREATE OR REPLACE USER reader@localhost IDENTIFIED BY 'made-up-password'")
    college.run("CREATE OR REPLACE USER reader@'127.0.0.1' IDENTIFIED BY 'made-up-password'")
    tables = [row[0] for row in college.rows("SHOW TABLES")]
    for table in tables:
        if wrong != "grant" or table != "mdl_assign_grades":
            for host in ("localhost", "127.0.0.1"):
                college.run(f"GRANT SELECT ON moodle.{table} TO reader@'{host}'")
    if wrong == "prefix":
        for host in ("localhost", "127.0.0.1"):
            college.run(f"GRANT SELECT ON moodle.* TO reader@'{host}'")
    relay.set("moodle.database.user", "reader")
    relay.set("moodle.database.password", "mistyped" if wrong == "password" else "made-up-password")
    if wrong == "prefix":
        relay.set("moodle.database.prefix", "m_")
    if wrong == "schema":
        relay.set("moodle.database.name", "moodel")
    finished = relay.once(expect=3)
    assert sentence in finished.stderr
    assert remedy in finished.stderr
    assert "made-up-password" not in finished.stderr
    assert "mistyped" not in finished.stderr
    check = relay.run("check", expect=1)
    assert sentence in check.stdout


def test_a_second_relay_on_the_same_outbox_says_so_and_ends(relay: Relay, college: College) -> None:
    assert college.connection.open
    with relay.start() as daemon:
        daemon.wait_for("relay.started")
        finished = relay.once(expect=3)
        assert "Another relay" in finished.stderr
        assert daemon.stop() == 0


def test_a_clock_that_was_set_back_while_relay_was_down_makes_nobody_wait(
    relay: Relay, college: College, backend: Receiver, tmp_path: Path
) -> None:
    ahead = tmp_path / "clock"
    ahead.write_text("3600")
    college.sign_up("Ada", "Lovelace", AT)
    relay.set("enabled", False)
    program = [sys.executable, crash.__file__, "never:", "0", "--"]
    command = [*program, "--config", str(relay.write()), "run", "--once"]
    done = subprocess.run(command, env={**os.environ, "RELAY_TEST_CLOCK": str(ahead)}, check=False, capture_output=True)
    assert done.returncode == 1
    relay.set("enabled", True)
    assert "clock.set_back" in relay.once().slugs()
    assert len(backend.posts) == 1


def test_once_ends_in_time_where_what_is_due_waits_for_what_is_not(
    relay: Relay, college: College, backend: Receiver
) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.update(ada, AT + 1, city="London")
    relay.set("enabled", False)
    relay.once(expect=1)
    with contextlib.closing(sqlite3.connect(relay.outbox)) as connection:
        connection.execute("UPDATE mdl_mb_zoho_event_log SET due_at = due_at + 86400 WHERE id = 1")
        connection.commit()
    relay.set("enabled", True)
    relay.once("--timeout", "1s", expect=1)
    assert backend.posts == []


def test_systemd_hears_when_it_is_ready_and_alive_and_stopping(relay: Relay, college: College, tmp_path: Path) -> None:
    assert college.connection.open
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        # A path may be 107 bytes long; the abstract name is not bound to a folder.
        name = f"@relay-test-{os.getpid()}-{tmp_path.name}"
        notify.bind("\0" + name[1:])
        notify.settimeout(30)
        with relay.start({"NOTIFY_SOCKET": name}) as daemon:
            wanted = {"READY=1", "WATCHDOG=1", f"STATUS=Delivering to {relay.config['backend']['url']}"}
            said: list[str] = []
            while wanted:
                said += (heard := notify.recv(4096).decode()).split("\n")
                wanted -= set(said)
            # A large outbox may take long to open: its tables are brought to another version first.
            first = next(number for number, line in enumerate(said) if line.startswith("EXTEND_TIMEOUT_USEC="))
            assert first < said.index("READY=1")
            daemon.send(signal.SIGTERM)
            while heard != "STOPPING=1":
                heard = notify.recv(4096).decode()
            assert daemon.ended(30) == 0


def test_the_outbox_is_made_for_its_owner_alone(relay: Relay, college: College) -> None:
    assert college.connection.open
    relay.set("outbox.url", f"sqlite:///{relay.folder}/made/outbox.db")
    relay.once()
    assert (relay.folder / "made").stat().st_mode & 0o777 == 0o750
    assert (relay.folder / "made" / "outbox.db").stat().st_mode & 0o777 == 0o600


def test_an_outbox_that_is_damaged_is_left_as_it_is(relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.outbox.write_bytes(b"no outbox at all" * 300)
    finished = relay.once(expect=3)
    assert "is damaged" in finished.stderr
    assert relay.outbox.read_bytes() == b"no outbox at all" * 300


def test_no_secret_and_no_personal_data_is_in_a_log_line(relay: Relay, college: College, backend: Receiver) -> None:
    canaries = ["Zebedee", "Quagga", "zq@canary.example", "0123canary", "Canaryton", "canary-remark", "canary-token"]
    first, last, email, phone, city, remark, token = canaries
    relay.set("backend.token", token)
    relay.set("log.level", "debug")
    user = college.sign_up(first, last, AT, email=email, phone1=phone, city=city, username="canary-name")
    engine = college.assignment(college.course("Computing", "C1"), "Engine")
    college.grade(user, engine, "61.23000", AT + 1, comment=f"<p>{remark}</p>")
    college.log("grade_updated", -31337, user=user, at=AT + 2)
    backend.answer = lambda request: Reply(code=422 if "user" in request.path else 500, body=request.body)
    relay.set("retry.max_attempts", 2)
    shown = ""
    for arguments, code in (
        (("run", "--once", "--timeout", "3s"), 1),
        (("status",), 0),
        (("check",), None),
        (("explain", f"user:{user}"), 0),
        (("explain", "log:3"), 0),
        (("sync", "grades"), 1),
        (("profile", str(user)), 1),
        (("run", "--replay", "failed"), 1),
        (("run", "--replay", "status=lost", "--debug"), 2),
        (("purge",), 0),
        (("grants",), 0),
    ):
        finished = relay.run(*arguments, expect=code)
        shown += finished.stdout + finished.stderr
    with relay.start() as daemon:
        daemon.wait_for("relay.started")
        shown += Path(f"/proc/{daemon.process.pid}/cmdline").read_text()
        shown += Path(f"/proc/{daemon.process.pid}/environ").read_text()
        assert daemon.stop() == 0
        shown += json.dumps(daemon.lines) + daemon.errors
    # The worst case: a traceback of a failing database, with a password.
    relay.set("moodle.database.password", "canary-token")
    relay.set("moodle.database.user", "nobody")
    shown += relay.run("run", "--once", "--debug", expect=3).stderr
    assert len(backend.posts) >= 3
    for canary in [*canaries, "61.23", "canary-name"]:
        assert canary not in shown
    ((stored,),) = relay.rows("SELECT COUNT(*) FROM {log} WHERE last_error LIKE '%' || ? || '%'", token)
    assert stored == 0


def test_mariadb_that_is_not_installed_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.demo.mariadb.SEARCH", "/nowhere")
    with pytest.raises(RelayError, match="There is no mariadb-install-db"), throwaway():
        pass
