"""The commands for those who run Moodle: explain, sync, grants, seal, import-plugin, profile, purge, check."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import termios
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import forked
import pymysql
import pytest
from harness import TOKEN, Relay, with_password
from receiver import Receiver, Reply, Request

from relay.config import credentials
from relay.demo.moodle import College
from relay.errors import CredentialError
from relay.operations import plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.demo.mariadb import MariaDB

AT = 1_770_000_000


def graded(college: College) -> tuple[int, int, int]:
    """Return a user, their enrolment and their grade."""
    course = college.course("Computing", "C1")
    user = college.sign_up("Ada", "Lovelace", AT)
    enrolment = college.enrol(user, course, AT + 1)
    return user, enrolment, college.grade(user, college.assignment(course, "Engine"), 70, AT + 2)


# -- explain


def ends(relay: Relay, what: str, expect: int = 0) -> tuple[str, str]:
    """Return how a story ends: its sentence, and the command that moves it on."""
    lines = relay.run("explain", what, expect=expect).stdout.strip().split("\n")
    command = lines.pop() if lines[-1].startswith("-> ") else ""
    return lines[-1], command


def test_explain_tells_a_delivered_grade_from_row_to_answer(relay: Relay, college: College) -> None:
    _, _, grade = graded(college)
    relay.once()
    lines = relay.run("explain", f"grade:{grade}").stdout.strip().split("\n")
    assert [line.split("  ", 1)[1].split(" ")[0] for line in lines[:-2]] == ["Moodle:", "Moodle:", "outbox:", "attempt"]
    assert lines[-1].startswith("The backend took grade_updated ")
    for what in ("enrolment:1", "user:1", "log:3", relay.rows("SELECT event_id FROM {log}")[0][0]):
        assert ends(relay, what)[0].startswith("The backend took ")


def test_explain_a_duplicate(relay: Relay, college: College, backend: Receiver) -> None:
    graded(college)
    backend.answer = lambda _: Reply(body=b'{"status": "duplicate"}')
    relay.once()
    assert ends(relay, "log:1")[0].endswith("as a duplicate: it had it already.")


def test_explain_what_is_not_there(relay: Relay, college: College) -> None:
    graded(college)
    relay.once()
    assert ends(relay, "grade:99", expect=1)[0].startswith("There is no assign_grades.id 99 in Moodle")
    assert ends(relay, "log:99", expect=1)[0].startswith("There is no log row 99")
    assert ends(relay, "0" * 8 + "-0000-4000-8000-" + "0" * 12, expect=1)[0].startswith("No event with this id")
    assert relay.run("explain", "course:1", expect=2).stderr.startswith("relay: explain course:1")


def test_explain_a_row_without_a_log_row(relay: Relay, college: College) -> None:
    _, _, grade = graded(college)
    college.run("DELETE FROM {p}logstore_standard_log WHERE id = 3")
    relay.once()
    sentence, command = ends(relay, f"grade:{grade}")
    assert "no log row about it" in sentence
    assert command == "-> relay sync grades --user 1"


def test_explain_what_was_before_the_start(relay: Relay, college: College) -> None:
    _, _, grade = graded(college)
    relay.once("--from", "now")
    sentence, command = ends(relay, f"grade:{grade}")
    assert "before relay's first start" in sentence
    assert command == "-> relay sync grades --user 1"


def test_explain_a_disabled_type_and_an_ignored_actor(relay: Relay, college: College) -> None:
    graded(college)
    relay.set("events.grade_updated", {"enabled": False})
    relay.once()
    assert "events.grade_updated.enabled is false" in ends(relay, "grade:1")[0]
    relay.set("events.grade_updated", {"enabled": True})
    relay.set("events.ignore_actors", [2])
    assert "events.ignore_actors" in ends(relay, "grade:1")[0]


def test_explain_history_and_another_kind(relay: Relay, college: College) -> None:
    user, _, grade = graded(college)
    college.log("grade_updated", grade, user=user, at=AT, origin=None)
    college.log("grade_updated", grade, user=user, at=AT, eventname=r"\core\event\course_viewed")
    relay.once()
    assert "a course restore copied in" in ends(relay, "log:4")[0]
    assert r"is of \core\event\course_viewed" in ends(relay, "log:5")[0]


def test_explain_a_skipped_row(relay: Relay, college: College) -> None:
    college.log("grade_updated", 77, user=1, at=AT)
    relay.once()
    assert ends(relay, "log:1")[0].endswith(": the row is gone: there is no assign_grades.id 77.")


def test_explain_what_has_not_been_read(relay: Relay, college: College, mariadb: MariaDB) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    with mariadb.connect("moodle", autocommit=False) as slow:
        College(slow).sign_up("Late", "Comer", AT)
        college.sign_up("Grace", "Hopper", AT)
        relay.once()
        assert "its transaction may be open still" in ends(relay, "log:2")[0]
    college.sign_up("Edith", "Clarke", AT)
    assert "has not been seen yet: relay has read up to 3" in ends(relay, "log:4")[0]


@pytest.mark.parametrize(
    ("codes", "what", "sentence", "command"),
    [
        ([422], "log:1", "for good with 422: no such", "-> relay run --replay"),
        ([500, 500, 500], "log:1", "given up after 3 failed attempts; the last one: answer 500", "run --replay"),
        ([503], "log:1", "the next one is due at", "relay run --replay"),
        ([503], "log:3", "waits behind an earlier event of its user", "relay explain"),
        ([401], "log:3", "the circuit to the backend has been open since", "relay explain"),
        ([404], "log:1", "the circuit for user_created has been open since", "run --replay"),
    ],
)
def test_explain_what_is_not_delivered(
    codes: list[int], what: str, sentence: str, command: str, relay: Relay, college: College, backend: Receiver
) -> None:
    graded(college)
    codes = list(codes)
    backend.answer = lambda _: Reply(code=codes.pop(0) if codes else 200, body=b"no such country")
    gives_up = codes == [500, 500, 500]
    relay.set("retry", {"max_attempts": 3, "first_delay": "50ms" if gives_up else "1h", "max_delay": "1h"})
    relay.set("retry.multiplier", 1)
    relay.once("--timeout", "2s", expect=1)
    found = ends(relay, what)
    assert sentence in found[0]
    assert command in found[1]


def test_explain_a_pause_and_an_unknown_outcome(relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.set("enabled", False)
    relay.once(expect=1)
    assert "is a pause" in ends(relay, "log:1")[0]
    relay.set("enabled", True)
    assert "is due, and is sent as soon as relay runs" in ends(relay, "log:1")[0]
    arrived = threading.Event()

    def answer(_: Request) -> Reply:
        arrived.set()
        return Reply(stalls_s=30)

    backend.answer = answer
    with relay.start() as daemon:
        assert arrived.wait(30)
        assert "is under way: attempt 1 began at" in ends(relay, "log:1")[0]
        daemon.stop(signal.SIGKILL)
    assert "Nobody knows what came of attempt 1" in ends(relay, "log:1")[0]


def test_explain_shows_no_personal_data(relay: Relay, college: College) -> None:
    course = college.course("Computing", "C1")
    user = college.sign_up("Zebedee", "Quagga", AT)
    college.grade(user, college.assignment(course, "Engine"), 61, AT, comment="canary")
    relay.once()
    shown = relay.run("explain", f"user:{user}").stdout + relay.run("explain", "grade:1").stdout
    for canary in ("Zebedee", "Quagga", "canary", "61"):
        assert canary not in shown


# -- sync


@pytest.mark.parametrize(
    ("kind", "event_type"),
    [("users", "user_updated"), ("enrolments", "enrollment_created"), ("grades", "grade_updated")],
)
def test_sync_sends_current_rows_and_an_unchanged_one_once(
    kind: str, event_type: str, relay: Relay, college: College, backend: Receiver
) -> None:
    user, _, _ = graded(college)
    relay.once("--from", "now")
    relay.run("sync", kind, "--as", "7")
    (first,) = backend.posts
    assert first.envelope["event_type"] == event_type
    assert first.envelope["data"]["userid"] == user
    relay.run("sync", kind)
    assert len(backend.posts) == 1
    college.run("UPDATE {p}user SET city = 'Leeds'")
    college.run("UPDATE {p}user_enrolments SET status = 1")
    college.run("UPDATE {p}assign_grades SET grade = 40")
    relay.run("sync", kind)
    assert len({post.event_id for post in backend.posts}) == len(backend.posts) == 2
    history = relay.rows(
        "SELECT sync_type, sync_action, status, records_processed, records_failed, triggered_by, completed_at > 0 "
        "FROM mdl_mb_zoho_sync_history ORDER BY id"
    )
    assert history[0] == (kind, "all", "completed", 1, 0, 7, 1)
    assert len(history) == 3
    sums = relay.status()["conservation"]
    assert (sums["synced"], sums["holds"]) == (2, True)


def test_sync_takes_filters_and_shows_what_it_would_send(relay: Relay, college: College, backend: Receiver) -> None:
    one, other = college.course("Computing", "C1"), college.course("Maths", "M1")
    people = [college.sign_up("Ada", f"Number{i}", AT + i) for i in range(4)]
    for user in people[:2]:
        college.enrol(user, one, AT)
    college.enrol(people[2], other, AT)
    relay.once("--from", "now")

    def users(*arguments: str) -> list[int]:
        lines = relay.run("sync", "users", "--dry-run", *arguments).stdout.splitlines()
        return [json.loads(line)["data"]["userid"] for line in lines]

    assert users() == people
    assert users("--course", str(one)) == people[:2]
    assert users("--user", str(people[3])) == people[3:]
    assert users("--since", str(AT + 2)) == people[2:]
    assert backend.posts == []
    assert relay.rows("SELECT COUNT(*) FROM mdl_mb_zoho_sync_history") == [(0,)]
    relay.run("sync", "users", "--since", "soon", expect=2)


def test_a_sync_that_is_killed_goes_on_and_sends_every_row_once(
    relay: Relay, college: College, backend: Receiver
) -> None:
    college.run(
        "INSERT INTO {p}user (username, firstname, timecreated, timemodified) "
        "SELECT CONCAT('u', seq), 'Ada', %s, %s FROM seq_1_to_2500",
        AT,
        AT,
    )
    relay.once("--from", "now")
    relay.set("enabled", False)
    for chunks in (2, 3):
        process = forked.Started(relay.arguments("sync", "users"))
        while relay.rows("SELECT COUNT(*) FROM {log}")[0][0] < 500 * chunks and process.poll() is None:
            time.sleep(0.001)
        process.close()
    relay.set("enabled", True)
    relay.run("sync", "users")
    assert sorted(post.envelope["data"]["userid"] for post in backend.posts) == list(range(1, 2501))
    rows = relay.rows("SELECT status, records_processed FROM mdl_mb_zoho_sync_history")
    assert rows == [("completed", 2500)]


def test_sync_runs_beside_a_daemon_that_delivers(relay: Relay, college: College, backend: Receiver) -> None:
    graded(college)
    relay.set("moodle.start_from", "now")
    with relay.start() as daemon:
        daemon.wait_for("capture.began")
        finished = relay.run("sync", "grades")
        assert "the running relay delivers them" in finished.stdout
        assert len(backend.wait_for(1)) == 1
        daemon.wait_for("delivery.succeeded")
        assert daemon.stop() == 0


def test_sync_shows_a_bar_on_a_terminal(relay: Relay, college: College) -> None:
    graded(college)
    relay.once()
    try:
        leader, follower = pty.openpty()
    except OSError as error:
        pytest.skip(f"this machine has no terminals to give: {error}")
    termios.tcsetwinsize(follower, (24, 80))
    done = subprocess.run(relay.command("sync", "users"), stdout=subprocess.PIPE, stderr=follower, check=True)
    os.close(follower)
    assert b"1 rows" in os.read(leader, 65536).replace(b"\x1b", b"")
    os.close(leader)
    assert b"1 rows read, 1 new events" in done.stdout


# -- grants


def test_relay_works_with_exactly_what_grants_prints(
    relay: Relay, college: College, backend: Receiver, mariadb: MariaDB
) -> None:
    user, _, _ = graded(college)
    relay.set("events.enrollment_created", {"role": "actual"})
    printed = relay.run("grants", "--user", "least", "--host", "127.0.0.1").stdout
    college.run("DROP USER IF EXISTS least@'127.0.0.1'")
    for statement in with_password(printed).strip().split("\n"):
        college.run(statement)
    relay.set("moodle.database.user", "least")
    relay.set("moodle.database.password", "made-up")
    relay.once()
    assert len(backend.posts) == 3
    relay.run("sync", "users", "--course", "1", "--since", "0")
    relay.run("explain", f"user:{user}")
    relay.run("explain", "grade:1")
    checks = {check["name"]: check for check in json.loads(relay.run("check", "--json", expect=None).stdout)}
    assert checks["grants"]["verdict"] == "ok", checks["grants"]
    least = pymysql.connect(host="127.0.0.1", port=mariadb.port, user="least", password="made-up", database="moodle")
    with least, least.cursor() as cursor:
        for forbidden in ("SELECT password FROM mdl_user", "UPDATE mdl_user SET city = ''", "SELECT * FROM mdl_user"):
            with pytest.raises(pymysql.err.OperationalError, match="denied"):
                cursor.execute(forbidden)


# -- secrets


def test_a_sealed_secret_is_opened_where_its_key_is(
    relay: Relay, college: College, backend: Receiver, tmp_path: Path
) -> None:
    graded(college)
    done = subprocess.run(relay.command("seal"), input="sealed-canary\n", capture_output=True, text=True, check=True)
    assert "sealed-canary" not in done.stdout
    assert (tmp_path / "seal.key").stat().st_mode & 0o777 == 0o600
    relay.set("backend.token", {"sealed": done.stdout.strip().removeprefix("{sealed: ").removesuffix("}")})
    relay.once()
    assert backend.posts[0].headers["x-moodle-token"] == "sealed-canary"
    (tmp_path / "seal.key").write_text(f"{'A' * 43}=")
    finished = relay.once(expect=2)
    assert "backend.token: the sealed secret cannot be opened" in finished.stderr
    (tmp_path / "seal.key").unlink()
    assert "the key of sealed secrets is not there" in relay.once(expect=2).stderr


def test_the_seal_key_may_be_a_systemd_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = credentials.seal("made up", tmp_path)
    (tmp_path / "given").mkdir()
    (tmp_path / "seal.key").rename(tmp_path / "given" / credentials.SEAL_KEY)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "given"))
    assert credentials.unseal(sealed, tmp_path) == "made up"
    assert credentials.seal("made up", tmp_path) != sealed
    assert not (tmp_path / "seal.key").exists()


KEY = "67" * 32
#: Made with PHP's way: openssl_encrypt returns base64, behind the raw IV, in base64 again.
SEALED_TOKEN = "AAECAwQFBgcICQoLDA0ODw=="


def php_sealed(token: str) -> str:
    """Return a token as the plugin keeps it."""
    import base64  # noqa: PLC0415

    from cryptography.hazmat.primitives import padding  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.modes import CBC  # noqa: PLC0415

    iv = bytes(range(16))
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(AES(bytes.fromhex(KEY)), CBC(iv)).encryptor()
    raw = encryptor.update(padder.update(token.encode()) + padder.finalize()) + encryptor.finalize()
    return base64.b64encode(iv + base64.b64encode(raw)).decode()


def test_import_plugin_prints_a_config_that_works(
    relay: Relay, college: College, backend: Receiver, tmp_path: Path
) -> None:
    graded(college)
    settings = {"backend_url": backend.url, "api_token": php_sealed("tökén/+=="), "encryption_key": KEY, "enabled": "1",
                "moodle_url": "https://moodle.example.edu", "tenant_id": "north", "retry_enabled": "1"}  # fmt: skip
    for name, value in settings.items():
        college.insert("config_plugins", plugin=plugin.NAME, name=name, value=value)
    relay.config = {"moodle": {"database": relay.config["moodle"]["database"]}}
    printed = relay.run("import-plugin").stdout
    (tmp_path / "new.yaml").write_text(printed + f"outbox: {{url: 'sqlite:///{tmp_path}/outbox.db'}}\n")
    command = [sys.executable, "-m", "relay", "--config", str(tmp_path / "new.yaml"), "run", "--once", "--from"]
    subprocess.run([*command, "beginning"], check=True, stdout=subprocess.PIPE)
    assert len(backend.posts) == 3
    assert backend.posts[0].headers["x-moodle-token"].encode("latin-1").decode() == "tökén/+=="
    assert backend.posts[0].headers["x-tenant-id"] == "north"


def test_import_plugin_without_the_plugin_or_its_key_is_a_sentence(relay: Relay, college: College) -> None:
    assert "no settings of the plugin" in relay.run("import-plugin", expect=2).stderr
    for name, value in (
        ("backend_url", "https://b"),
        ("api_token", php_sealed("canary")),
        ("encryption_key", "00" * 32),
    ):
        college.insert("config_plugins", plugin=plugin.NAME, name=name, value=value)
    finished = relay.run("import-plugin", expect=2)
    assert "cannot be decrypted" in finished.stderr
    assert "canary" not in finished.stdout + finished.stderr
    with pytest.raises(CredentialError):
        plugin.decrypt(SEALED_TOKEN, KEY)


# -- profile and purge


def test_profile_asks_the_backend_and_shows_the_answer(relay: Relay, college: College, backend: Receiver) -> None:
    assert college.connection.open
    backend.answer = lambda _: Reply(
        body=b'{"name": "Ada\\u001b[31m", "grades": [{"course": "C1", "score": 70}], "x": null}'
    )
    shown = relay.run("profile", "42").stdout
    assert backend.requests[0].path == "/v1/students/profile?moodle_user_id=42"
    assert backend.requests[0].headers["x-moodle-token"] == TOKEN
    assert shown == "name: Ada?[31m\ngrades:\n  -\n    course: C1\n    score: 70\nx: \n"
    assert json.loads(relay.run("profile", "42", "--json").stdout)["grades"][0]["score"] == 70
    backend.answer = lambda _: Reply(body=b'{"a": 1, "b": true, "c": false, "d": 1.0, "e": 0, "f": []}')
    assert relay.run("profile", "42").stdout == "a: 1\nb: yes\nc: no\nd: 1.0\ne: 0\nf: none\n"
    backend.answer = lambda _: Reply(body=b'{"a":' * 500 + b"1" + b"}" * 500)
    assert relay.run("profile", "42").stdout.endswith(f"{'  ' * 499}a: 1\n")
    backend.answer = lambda _: Reply(code=404)
    assert "the backend answered 404" in relay.run("profile", "42", expect=1).stderr


def test_purge_deletes_only_what_was_delivered_long_ago_and_the_file_shrinks(
    relay: Relay, college: College, backend: Receiver
) -> None:
    for i in range(400):
        college.sign_up("Ada", f"Number{i}", AT + i, city="x" * 100)
    codes: dict[str, int] = {}
    backend.answer = lambda request: Reply(code=codes.setdefault(request.event_id, 422 if len(codes) == 7 else 200))
    relay.once(expect=1)
    college.log("grade_updated", 99, user=1, at=AT)
    relay.set("enabled", False)
    college.sign_up("Grace", "Hopper", AT)
    relay.once(expect=1)
    before = relay.outbox.stat().st_size
    assert relay.run("purge").stdout == "relay: 0 delivered events purged.\n"
    connection = sqlite3.connect(relay.outbox)
    connection.execute("UPDATE mdl_mb_zoho_event_log SET processed_at = processed_at - 100 * 86400")
    connection.commit()
    connection.close()
    assert relay.run("purge").stdout == "relay: 399 delivered events purged.\n"
    assert relay.statuses() == {"failed_all_retries": 1, "skipped": 1, "pending": 1}
    assert relay.rows("SELECT COUNT(*) FROM {attempt}") == [(1,)]
    assert relay.outbox.stat().st_size < before / 2
    sums = relay.status()["conservation"]
    assert (sums["purged"], sums["holds"]) == (399, True)


def test_status_check_says_what_needs_a_person(relay: Relay, college: College, backend: Receiver) -> None:
    graded(college)
    relay.once()
    said = relay.run("status", "--check", expect=1).stderr
    assert "no relay runs" in said
    assert "given up" not in said
    college.sign_up("Grace", "Hopper", AT)
    backend.answer = lambda _: Reply(code=422)
    relay.once(expect=1)
    assert "1 event was given up" in relay.run("status", "--check", expect=1).stderr


# -- check


def verdicts(relay: Relay, expect: int = 1) -> dict[str, dict[str, str]]:
    found = json.loads(relay.run("check", "--json", expect=expect).stdout)
    order = {"fail": 0, "warn": 1, "ok": 2}
    return {check["name"]: check for check in sorted(found, key=lambda one: -order[one["verdict"]])}


@pytest.mark.parametrize(
    ("path", "value", "name", "verdict", "found"),
    [
        ("moodle.database.host", "no-such-host.invalid", "database", "fail", "the name cannot be resolved"),
        ("moodle.database.port", 1, "database", "fail", "nobody listens there"),
        ("moodle.database.unix_socket", "/nowhere.sock", "database", "fail", "there is no such socket"),
        ("moodle.database.name", "moodel", "database", "fail", "there is no schema 'moodel'"),
        ("moodle.database.prefix", "m_", "database", "fail", "there is no table moodle.m_config"),
        ("backend.url", "https://no-such-host.invalid", "backend", "fail", "name cannot be resolved"),
        ("backend.url", "http://127.0.0.1:1", "backend", "fail", "the connection was refused"),
        ("backend.signing_keys", ["whsec_c2hvcnQ="], "signing", "fail", "is 5 bytes long"),
        ("backend.signing_keys", [], "signing", "warn", "there is no signing key"),
        ("outbox.url", "sqlite:////dev/null/nowhere/outbox.db", "outbox", "fail", "cannot be written"),
    ],
)  # fmt: skip
def test_check_names_the_cause(
    path: str, value: object, name: str, verdict: str, found: str, relay: Relay, college: College
) -> None:
    graded(college)
    relay.set(path, value)
    checks = verdicts(relay, expect=1 if verdict == "fail" else 0)
    assert checks[name]["verdict"] == verdict, checks[name]
    assert found in checks[name]["found"]
    assert checks[name]["hint"]


@pytest.mark.parametrize(
    ("statement", "name", "verdict", "found"),
    [
        (
            "UPDATE {p}config SET value = '2021051700' WHERE name = 'version'",
            "moodle version",
            "fail",
            "older than 4.0",
        ),
        ("UPDATE {p}config_plugins SET value = '' WHERE plugin = 'tool_log'", "log store", "fail", "switched off"),
        (
            "UPDATE {p}config_plugins SET value = '2' WHERE name = 'loglifetime'",
            "log retention",
            "warn",
            "after 2 days",
        ),
        ("ALTER TABLE {p}user DROP COLUMN city", "grants", "fail", "city"),
    ],
)
def test_check_looks_at_moodle(
    statement: str, name: str, verdict: str, found: str, relay: Relay, college: College
) -> None:
    college.run(statement)
    checks = verdicts(relay, expect=1 if verdict == "fail" else 0)
    assert checks[name]["verdict"] == verdict, checks
    assert found in checks[name]["found"]


def test_check_names_grants_that_are_missing_and_too_many(relay: Relay, college: College) -> None:
    college.run("DROP USER IF EXISTS odd@'127.0.0.1'")
    college.run("CREATE USER odd@'127.0.0.1'")
    college.run("GRANT SELECT, INSERT, DELETE ON moodle.* TO odd@'127.0.0.1'")
    relay.set("moodle.database.user", "odd")
    lines = relay.run("check").stdout
    assert "it may do more than read on moodle.*: DELETE, INSERT" in lines
    assert "it can read the password hashes in mdl_user" in lines
    college.run("REVOKE ALL ON moodle.* FROM odd@'127.0.0.1'")
    for line in relay.run("grants", "--user", "odd", "--host", "127.0.0.1").stdout.split("\n"):
        if line.startswith("GRANT"):
            college.run(line.replace("`commenttext`", "`commentformat`"))
    assert "may not read the column" in verdicts(relay)["grants"]["found"]
    assert "commenttext" in verdicts(relay)["grants"]["found"]


@pytest.mark.parametrize(
    ("answer", "name", "found"),
    [
        (lambda _: Reply(code=401), "backend", "answered 401: it does not know us"),
        (lambda _: Reply(code=503), "backend", "answered 503"),
        (lambda _: Reply(headers={"Date": format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)}),
         "clock", "s apart"),
        (lambda _: Reply(stalls_s=30), "backend", "no answer in time"),
    ],
)  # fmt: skip
def test_check_asks_the_backend(
    answer: Callable[[Request], Reply], name: str, found: str, relay: Relay, college: College, backend: Receiver
) -> None:
    assert college.connection.open
    backend.answer = answer
    relay.set("backend.timeout", "1s")
    checks = verdicts(relay)
    assert checks[name]["verdict"] == "fail"
    assert found in checks[name]["found"]
    assert backend.requests[0].path == "/v1/health"


def test_check_says_which_files_others_may_read(relay: Relay, college: College, tmp_path: Path) -> None:
    assert college.connection.open
    (tmp_path / "token").write_text("made-up")
    (tmp_path / "token").chmod(0o644)
    relay.set("backend.token", {"file": "token"})
    relay.set("backend.signing_keys", [])
    shown = relay.run("check").stdout
    assert f"backend.token: {tmp_path}/token can be read by other users" in shown
    assert f"{tmp_path}/config.yaml can be read by other users" in shown
    assert f"chmod g-w,o-rwx {tmp_path}/token" in shown


def test_check_of_a_wrong_config_shows_its_mistakes(relay: Relay, college: College) -> None:
    assert college.connection.open
    relay.set("backend.token", {"credential": "backend-token"})
    relay.set("backend.colour", "red")
    found = json.loads(relay.run("check", "--json", expect=2).stdout)
    assert [(check["name"], check["verdict"]) for check in found] == [("config", "fail")] * 2
    assert any("systemd gave no credentials" in check["found"] for check in found)
