"""No command sends, shows or advises to send what Moodle keeps from the student: neither a score nor a comment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from receiver import Reply

from relay.events.catalogue import KINDS

if TYPE_CHECKING:
    from harness import Relay
    from receiver import Receiver

    from relay.demo.moodle import College

AT = 1_770_000_000
SCORE, COMMENT = "77.77000", "<p>canary</p>"


def essay(college: College, *, is_released: bool) -> tuple[int, int, int]:
    """Return a student, the assignment and their grade of it."""
    course = college.course("Computing", "C1")
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.enrol(ada, course, AT)
    work = college.assignment(course, "Essay")
    return ada, work, college.grade(ada, work, SCORE, AT + 1, COMMENT, is_released=is_released)


def grades(backend: Receiver) -> list[str]:
    return [post.event_id for post in backend.posts if "grade_updated" in post.path]


@pytest.mark.by_turns("which")
@pytest.mark.parametrize("which", ["relay", "other"])
@pytest.mark.parametrize("hide", ["finalgrade = NULL", "hidden = 1"])
def test_nothing_of_a_held_grade_is_in_any_request_line_or_screen(
    hide: str, which: str, relay: Relay, other: Relay, college: College, backend: Receiver
) -> None:
    """With all types on, whatever is asked for."""
    used = {"relay": relay, "other": other}[which]
    for name in KINDS:
        used.set(f"events.{name}.enabled", True)
    used.set("log.level", "debug")
    ada, _, grade = essay(college, is_released=True)
    college.run(f"UPDATE {{p}}grade_grades SET feedback = %s, {hide}", COMMENT)
    college.log("gradebook_grade_updated", 1, user=ada, at=AT + 1, courseid=1, other='{"finalgrade":"77.77000"}')
    shown = ""
    for command in (
        ("run", "--dry-run", "--from", "beginning"),
        ("run", "--once"),
        ("reconcile", "all", "--grace", "0s", "--json"),
        ("reconcile", "grades", "--grace", "0s", "--fix"),
        ("status",),
        ("status", "--json"),
        ("metrics",),
        ("events",),
        ("events", "--json"),
        ("explain", f"grade:{grade}"),
        ("explain", f"user:{ada}", "--json"),
        ("explain", "log:3"),
        ("explain", "log:4"),
        ("sync", "grades", "--dry-run"),
        ("sync", "grades"),
        ("sync", "grades", "--user", str(ada)),
        ("run", "--replay", "status=held"),
        ("run", "--replay", f"user={ada}"),
        ("run", "--replay", "type=gradebook_grade_updated", "--debug"),
        ("purge",),
        ("forget", str(ada)),
        ("run", "--once", "--debug"),
    ):
        done = used.run(*command, expect=None)
        assert done.code in {0, 1}, command
        assert "Traceback" not in done.stderr
        shown += done.stdout + done.stderr
    files = [path.read_bytes().decode("latin-1") for path in used.folder.glob("outbox.db*")]
    rows = repr([used.rows(f"SELECT * FROM {table}") for table in ("{log}", "{attempt}")])
    sent = "".join(post.body.decode() for post in backend.posts)
    for text in (shown, sent, rows, *files):
        assert "canary" not in text
        assert "77.7" not in text
        assert "Distinction" not in text
    assert grades(backend) == []
    assert used.statuses()["held"] == 2
    assert used.status()["conservation"]["holds"]


def test_a_dry_run_says_what_would_be_held(relay: Relay, college: College) -> None:
    essay(college, is_released=False)
    done = relay.run("run", "--dry-run", "--from", "beginning")
    assert len(done.log) == 2
    assert "relay: log row 3 would be held: Moodle's gradebook has no grade" in done.stderr


def test_sync_sends_none_and_says_so(relay: Relay, college: College, backend: Receiver) -> None:
    ada, work, _ = essay(college, is_released=False)
    relay.once("--from", "now")
    for extra in ((), ("--dry-run",)):
        done = relay.run("sync", "grades", *extra)
        assert "1 row not sent: Moodle keeps these grades from their students." in done.stderr
    assert grades(backend) == []
    college.release(ada, work, SCORE)
    assert "not sent" not in relay.run("sync", "grades").stderr
    assert len(grades(backend)) == 1


def test_a_replay_of_what_is_held_is_refused(relay: Relay, college: College, backend: Receiver) -> None:
    essay(college, is_released=False)
    relay.once()
    ((event_id,),) = relay.rows("SELECT event_id FROM {log} WHERE status = 'held'")
    for selector in (event_id, "status=held", "type=grade_updated"):
        done = relay.run("run", "--replay", selector, expect=1)
        assert "0 of 1 recorded events sent again" in done.stderr
        assert "1 not sent: Moodle keeps these grades from their students." in done.stderr
    assert grades(backend) == []


def test_a_replay_of_what_was_sent_and_is_hidden_now_is_refused(
    relay: Relay, college: College, backend: Receiver
) -> None:
    ada, work, _ = essay(college, is_released=True)
    relay.once()
    college.release(ada, work, None)
    backend.forget()
    done = relay.run("run", "--replay", f"user={ada}", expect=1)
    assert "2 of 3 recorded events sent again" in done.stderr
    assert grades(backend) == []
    college.release(ada, work, SCORE)
    relay.run("run", "--replay", "type=grade_updated")
    assert len(grades(backend)) == 1


@pytest.mark.parametrize("code", [200, 422])
def test_a_replay_of_what_is_gone_from_moodle_is_refused(
    code: int, relay: Relay, college: College, backend: Receiver
) -> None:
    """It may have been hidden before that, whether it was delivered or not; the config may send it all the same."""
    backend.answer = lambda request: Reply(code=code if "grade_updated" in request.path else 200)
    _, _, grade = essay(college, is_released=True)
    relay.once(expect=None)
    college.run("UPDATE {p}grade_items SET hidden = 1")
    for table in ("grade_grades", "grade_items", "assign_grades"):
        college.run(f"DELETE FROM {{p}}{table}")
    backend.forget()
    backend.answer = lambda _: Reply()
    done = relay.run("run", "--replay", "type=grade_updated", expect=1)
    assert "0 of 1 recorded events sent again" in done.stderr
    assert "1 not sent: gone from Moodle, which may have hidden these grades before." in done.stderr
    assert "not sent: Moodle keeps" not in done.stderr
    shown = relay.run("explain", f"grade:{grade}").stdout
    assert ("Nothing sends it now: its row is gone from Moodle" in shown) is (code == 422)
    assert "--replay" not in shown
    assert backend.posts == []
    relay.set("events.grade_updated.unreleased", "send")
    relay.run("run", "--replay", "type=grade_updated")
    assert len(grades(backend)) == 1


def test_a_replay_that_concerns_no_grade_does_not_ask_moodle(relay: Relay, college: College, backend: Receiver) -> None:
    essay(college, is_released=True)
    relay.once()
    relay.set("moodle.database.port", 9)
    relay.run("run", "--replay", "type=user_created")
    done = relay.run("run", "--replay", "type=grade_updated", expect=3)
    assert "Moodle" in done.stderr
    assert len(grades(backend)) == 1


@pytest.mark.parametrize("what", ["grade:1", "log:3", "event"])
def test_explain_says_why_it_is_held_and_what_releases_it(what: str, relay: Relay, college: College) -> None:
    essay(college, is_released=False)
    relay.once()
    ((event_id,),) = relay.rows("SELECT event_id FROM {log} WHERE status = 'held'")
    shown = relay.run("explain", event_id if what == "event" else what).stdout
    assert f"event {event_id} (grade_updated of user 1) held from log row 3" in shown
    assert "is held: Moodle's gradebook has no grade for the student" in shown
    assert "sends it with this id once Moodle shows it to the student." in shown
    assert "->" not in shown


def test_explain_finds_it_where_the_log_row_is_gone(relay: Relay, college: College) -> None:
    _, _, grade = essay(college, is_released=False)
    relay.once()
    college.run("DELETE FROM {p}logstore_standard_log WHERE id = 3")
    assert "is held" in relay.run("explain", f"grade:{grade}").stdout


@pytest.mark.parametrize("start", ["now", "beginning"])
def test_explain_advises_no_command_that_would_send_it(start: str, relay: Relay, college: College) -> None:
    """Of a grade marked anonymously there is no log row: it advised the very sync that sent it."""
    _, _, grade = essay(college, is_released=False)
    if start == "beginning":
        college.run("DELETE FROM {p}logstore_standard_log WHERE id = 3")
    relay.once("--from", start)
    shown = relay.run("explain", f"grade:{grade}").stdout
    assert "sync" not in shown
    assert "Nothing sends it now: Moodle's gradebook has no grade for the student" in shown


def test_the_accounts_hold_and_a_move_takes_what_is_held(relay: Relay, college: College, other: Relay) -> None:
    ada, work, _ = essay(college, is_released=False)
    relay.once()
    held = relay.rows("SELECT event_id FROM {log} WHERE status = 'held'")
    other.set("moodle.database.port", relay.config["moodle"]["database"]["port"])
    relay.run("move-outbox", str(other.write()))
    sums = other.status()["conservation"]
    assert (sums["held"], sums["holds"]) == (1, True)
    college.release(ada, work, SCORE)
    other.once()
    assert list(other.rows("SELECT event_id FROM {log} WHERE event_type = 'grade_updated' AND status = 'success'")) == [
        tuple(row) for row in held
    ]


def test_the_first_pass_of_a_new_outbox_sends_what_is_shown_and_refuses_to_replay_what_is_held(
    relay: Relay, college: College, backend: Receiver
) -> None:
    """What this relay has captured itself is judged already: it is not held once more before it is sent."""
    ada, work, _ = essay(college, is_released=True)
    done = relay.once()
    assert "held" not in done.stderr
    assert len(grades(backend)) == 1
    college.grade(ada, work, SCORE, AT + 5, COMMENT, is_released=False)
    relay.once()
    done = relay.run("run", "--replay", "status=held", expect=1)
    assert "0 of 1 recorded events sent again" in done.stderr
    assert len(grades(backend)) == 1


def test_grades_are_compared_where_the_attempt_is_told_too(relay: Relay, college: College) -> None:
    relay.set("events.grade_updated.attempt", True)
    essay(college, is_released=True)
    relay.once()
    relay.run("reconcile", "grades")
    assert relay.run("reconcile", "grades", "--grace", "0s", "--json").stdout.strip() == "[]"
