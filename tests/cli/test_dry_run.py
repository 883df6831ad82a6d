"""`relay run --dry-run`, from outside: it prints the envelopes, and sends and records nothing (contract, section 5)."""

from __future__ import annotations

import json
import sqlite3
import subprocess

import pytest
from harness import TOKEN, Relay
from receiver import Receiver

from relay.demo.moodle import College

#: 2026-02-02T02:40:00Z
AT = 1_770_000_000


@pytest.fixture
def graded(college: College) -> College:
    """A college with an event of three kinds, one a second, and a log row behind them whose grade is gone."""
    course = college.course("Computing", "C1")
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.enrol(ada, course, AT + 1)
    college.grade(ada, college.assignment(course, "Essay"), 70, AT + 2, "<p>Well\u2028argued</p>")
    gone = college.grade(ada, college.assignment(course, "Project"), 60, AT + 3)
    college.run("DELETE FROM {p}assign_grades WHERE id = %s", gone)
    return college


def dump(relay: Relay) -> list[str]:
    """Return all that the outbox holds, as SQL."""
    connection = sqlite3.connect(f"file:{relay.outbox}?mode=ro", uri=True)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def types(text: str) -> list[str]:
    return [json.loads(line)["event_type"] for line in text.splitlines()]


def test_it_prints_a_line_of_json_for_each_event_and_what_would_be_skipped_on_stderr(
    relay: Relay, graded: College
) -> None:
    assert graded.connection.open
    finished = relay.run("run", "--dry-run", "--from", "beginning")
    # splitlines() sees line ends where JSON has none, U+2028 among them: some readers do too.
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [line["event_type"] for line in lines] == ["user_created", "enrollment_created", "grade_updated"]
    assert [line["timestamp"][-3:] for line in lines] == ["00Z", "01Z", "02Z"]
    assert lines[2]["data"]["feedback"] == "Well\u2028argued"
    assert finished.stderr == "relay: log row 4 would be skipped: the row is gone: there is no assign_grades.id 2\n"
    assert TOKEN not in finished.stdout


def test_it_sends_nothing_and_leaves_no_outbox(relay: Relay, graded: College, backend: Receiver) -> None:
    assert graded.connection.open
    before = graded.rows("CHECKSUM TABLE {p}user, {p}logstore_standard_log, {p}config")
    assert relay.run("run", "--dry-run", "--from", "beginning").stdout
    assert backend.requests == []
    assert [path.name for path in relay.folder.iterdir()] == ["config.yaml"]
    assert graded.rows("CHECKSUM TABLE {p}user, {p}logstore_standard_log, {p}config") == before


def test_beside_an_outbox_it_shows_what_comes_next_and_changes_nothing(
    relay: Relay, graded: College, backend: Receiver
) -> None:
    relay.once()
    graded.update(1, AT + 4, city="London")
    backend.forget()
    before = dump(relay)
    finished = relay.run("run", "--dry-run")
    assert (types(finished.stdout), finished.stderr) == (["user_updated"], "")
    assert dump(relay) == before
    assert backend.requests == []


def test_what_it_prints_is_what_is_sent_then(relay: Relay, graded: College, backend: Receiver) -> None:
    assert graded.connection.open
    printed = relay.run("run", "--dry-run", "--from", "beginning").stdout
    relay.once()
    sent = sorted((post.body for post in backend.posts), key=lambda body: json.loads(body)["timestamp"])
    # Only the line ends that JSON does not know are written otherwise.
    assert printed.replace("\\u2028", "\u2028") == "".join(f"{body.decode()}\n" for body in sent)


def test_what_is_switched_off_or_ignored_is_not_printed(relay: Relay, graded: College) -> None:
    relay.set("events.enrollment_created", {"enabled": False})
    relay.set("events.ignore_actors", [77])
    graded.run("UPDATE {p}logstore_standard_log SET userid = 77 WHERE id IN (1, 4)")
    finished = relay.run("run", "--dry-run", "--from", "beginning")
    assert (types(finished.stdout), finished.stderr) == (["grade_updated"], "")


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("now", []),
        ("2026-02-02T02:40:01Z", ["enrollment_created", "grade_updated"]),
        ("3", ["grade_updated"]),
        ("5", []),
    ],
)
def test_it_starts_where_it_is_told(start: str, expected: list[str], relay: Relay, graded: College) -> None:
    assert graded.connection.open
    finished = relay.run("run", "--dry-run", "--from", start)
    assert types(finished.stdout) == expected
    assert finished.stderr.count("would be skipped") == (start not in {"now", "5"})


def test_without_from_it_starts_where_the_config_says(relay: Relay, graded: College) -> None:
    assert graded.connection.open
    relay.set("moodle.start_from", "2")
    assert types(relay.run("run", "--dry-run").stdout) == ["enrollment_created", "grade_updated"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "99"], "relay: The log ends at id 4: it cannot be read from id 99 on.\n"),
        (["--replay", "failed", "--once"], "relay: --once and --replay cannot go together.\n"),
        (["--replay", "failed", "--from", "3"], "relay: --replay and --from cannot go together.\n"),
    ],
)
def test_what_cannot_be_carried_out_is_a_sentence_and_exit_2(
    arguments: list[str], sentence: str, relay: Relay, graded: College
) -> None:
    assert graded.connection.open
    finished = relay.run("run", "--dry-run", *arguments, expect=2)
    assert finished.stderr.startswith(sentence)
    assert "Traceback" not in finished.stderr
    assert finished.stdout == ""
    assert not relay.outbox.exists()


def test_a_wrong_config_is_exit_2(relay: Relay) -> None:
    relay.set("backend.tenant", "typo")
    finished = relay.run("run", "--dry-run", expect=2)
    assert "backend.tenant" in finished.stderr
    assert finished.stdout == ""


def test_a_database_that_cannot_be_read_is_exit_3(relay: Relay) -> None:
    relay.set("moodle.database.port", 9)  # nothing listens there
    finished = relay.run("run", "--dry-run", expect=3)
    assert finished.stderr.startswith("relay: ")
    assert "Traceback" not in finished.stderr
    assert not relay.outbox.exists()


def test_a_reader_that_has_seen_enough_ends_it_quietly(relay: Relay, college: College) -> None:
    """As in `relay run --dry-run | head -1`, with more to come than a pipe holds."""
    for i in range(300):
        college.sign_up("Ada", f"Number{i}", AT + i, city="x" * 120)
    process = subprocess.Popen(
        relay.command("run", "--dry-run", "--from", "beginning"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["event_type"] == "user_created"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


# -- a replay, and --from where the log has been read


def test_a_dry_replay_lists_what_would_be_sent_and_sends_nothing(
    relay: Relay, graded: College, backend: Receiver
) -> None:
    relay.once()
    sent, recorded = (
        len(backend.posts),
        relay.rows("SELECT event_type, event_id FROM {log} ORDER BY occurred_at LIMIT 3"),
    )
    finished = relay.run("run", "--replay", "status=success", "--dry-run")
    lines = finished.stdout.splitlines()
    assert [tuple(line.split()[2:4]) for line in lines] == recorded
    assert f"relay: {len(recorded)} recorded events would be sent again." in finished.stderr
    assert not any(name in finished.stdout for name in ("Ada", "Lovelace", "Engine"))
    assert len(backend.posts) == sent
    assert relay.rows("SELECT COUNT(*) FROM {attempt}") == [(sent,)]
    assert graded.connection.open


def test_a_dry_replay_names_no_grade_that_moodle_keeps_back(relay: Relay, graded: College) -> None:
    relay.once()
    graded.run("UPDATE {p}grade_items SET hidden = 1")
    finished = relay.run("run", "--replay", "type=grade_updated", "--dry-run")
    assert finished.stdout == ""
    assert "1 not sent: Moodle keeps these grades" in finished.stderr


def test_a_dry_replay_of_nothing_says_so(relay: Relay, graded: College) -> None:
    assert graded.connection.open
    relay.once()
    assert "means no recorded event" in relay.run("run", "--replay", "user=99", "--dry-run").stderr
    nobody = "00000000-0000-4000-8000-000000000000"
    assert "means no recorded event" in relay.run("run", "--replay", nobody, "--dry-run", expect=1).stderr


def test_from_says_that_it_changes_nothing_where_the_log_has_been_read(relay: Relay, graded: College) -> None:
    assert graded.connection.open
    assert "changes nothing" not in relay.once("--from", "beginning").stderr
    for mode in ("--once", "--dry-run"):
        said = relay.run("run", mode, "--from", "beginning").stderr
        assert "--from beginning changes nothing: the log has been read up to row 4" in said
        assert "relay sync users" in said
