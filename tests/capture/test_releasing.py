"""Grades that Moodle keeps from the student: held, and let out in each way that Moodle has (contract, section 2)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from stepped import AT, Captured

from relay import config
from relay.capture import held as releasing
from relay.model import Status

if TYPE_CHECKING:
    from harness import Relay
    from receiver import Receiver

    from relay.demo.moodle import College

#: What must never be seen: a score that no time or id holds, and a comment.
SCORE, COMMENT = "77.77000", "<p>canary</p>"
TYPES = frozenset({"user_created", "user_updated", "enrollment_created", "grade_updated"})
LOOK_S = releasing.LOOK_EVERY_S + 1


class Class:
    """Ada in a course with an assignment, of which nothing was recorded yet."""

    def __init__(self, college: College) -> None:
        self.college = college
        self.course = college.course("Computing", "C1")
        self.ada = college.sign_up("Ada", "Lovelace", AT)
        self.enrolment = college.enrol(self.ada, self.course, AT)
        self.work = college.assignment(self.course, "Essay")
        self.at = AT

    def grade(self, *, is_released: bool = False) -> int:
        self.at += 1
        return self.college.grade(self.ada, self.work, SCORE, self.at, COMMENT, is_released=is_released)

    def show(self) -> None:
        self.college.release(self.ada, self.work, SCORE)

    def now(self) -> int:
        """Return the time by the clock of Moodle's database."""
        return int(self.college.rows("SELECT UNIX_TIMESTAMP()")[0][0])


@pytest.fixture
def ada(college: College, captured: Captured) -> Class:
    made = Class(college)
    captured.read()
    return made


def grades(captured: Captured) -> list[tuple[Status, str, str]]:
    """Return status, id and reason of what was recorded of grades, in the order of the log."""
    rows = captured.outbox._rows(  # type: ignore[attr-defined]
        "SELECT status, event_id, last_error FROM {p}mb_zoho_event_log WHERE event_type = 'grade_updated' "
        "ORDER BY log_id"
    )
    return [(Status(row[0]), row[1], str(json.loads(row[2] or "{}").get("reason", ""))) for row in rows]


def holds(captured: Captured) -> list[Status]:
    """Return the states of the grades; the accounts hold."""
    counts = captured.outbox.counts()
    assert counts.seen_holds
    assert counts.captured_holds
    return [state for state, _, _ in grades(captured)]


def everything(captured: Captured) -> str:
    """Return all that the outbox's file holds, and all that was logged."""
    captured.outbox._rows("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[attr-defined]
    path = captured.loaded.outbox.sqlite_path
    assert path is not None
    return path.read_bytes().decode("latin-1") + repr(captured.log.lines)


def test_a_held_grade_is_recorded_with_its_reason_and_nothing_of_it(ada: Class, captured: Captured) -> None:
    grade = ada.grade()
    captured.read()
    ((state, event_id, reason),) = grades(captured)
    assert (state, holds(captured)) == (Status.HELD, [Status.HELD])
    assert "not released" in reason
    assert captured.data("grade_updated") == [{}]
    assert captured.outbox.remembered("assign_grades", [grade]) == {}
    assert captured.log.fields("event.held") == {
        "event_id": event_id,
        "event_type": "grade_updated",
        "log_id": 3,
        "user_id": 1,
        "reason": reason,
    }
    assert "canary" not in everything(captured)
    assert "77.77" not in everything(captured)


def test_it_holds_up_nothing_else_of_its_user(ada: Class, captured: Captured) -> None:
    ada.grade()
    captured.read()
    ada.college.update(ada.ada, AT + 9, city="York")
    captured.read()
    claimed = captured.outbox.claim(captured.now, 9, lease_s=9, types=TYPES)
    assert [one.event_type for one in claimed] == ["user_created", "enrollment_created", "user_updated"]
    assert captured.outbox.count_undelivered() == 3


@pytest.mark.parametrize(
    "hide",
    [
        "UPDATE {p}grade_items SET hidden = 1",
        "UPDATE {p}grade_grades SET hidden = 1",
        "UPDATE {p}grade_items SET hidden = UNIX_TIMESTAMP() + 500",
        "UPDATE {p}grade_grades SET hidden = UNIX_TIMESTAMP() + 500",
        "UPDATE {p}grade_grades SET finalgrade = NULL",
        "DELETE FROM {p}grade_grades",
        "DELETE FROM {p}grade_items",
        "UPDATE {p}grade_items SET itemnumber = 1000",
        "UPDATE {p}grade_items SET itemmodule = 'quiz'",
    ],
)
def test_what_the_gradebook_hides_is_held_and_sent_with_its_id_when_it_shows_it(
    hide: str, ada: Class, captured: Captured
) -> None:
    """None of these leaves a log row about the grade: it is found by looking."""
    before = {table: ada.college.rows(f"SELECT * FROM {{p}}{table}") for table in ("grade_items", "grade_grades")}
    assert not before["grade_grades"]
    grade = ada.grade(is_released=True)
    shown = {table: ada.college.rows(f"SELECT * FROM {{p}}{table}") for table in before}
    ada.college.run(hide)
    captured.read()
    ((_, event_id, _),) = grades(captured)
    assert holds(captured) == [Status.HELD]
    for table, rows in shown.items():
        ada.college.run(f"DELETE FROM {{p}}{table}")
        for row in rows:
            ada.college.run(f"INSERT INTO {{p}}{table} VALUES ({', '.join(['%s'] * len(row))})", *row)
    assert captured.read() == 0, "it is not time to look yet"
    assert captured.read(LOOK_S) == 1
    assert grades(captured) == [(Status.PENDING, event_id, "")]
    (data,) = captured.data("grade_updated")
    assert (data["gradeid"], data["score"], data["feedback"]) == (grade, 77.77, "canary")
    assert captured.log.fields("event.released")["event_id"] == event_id
    assert captured.outbox.remembered("assign_grades", [grade])[grade].event_id == event_id
    assert holds(captured) == [Status.PENDING]
    assert captured.read(LOOK_S) == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {p}user_enrolments SET status = 1, timeend = 5",
        "UPDATE {p}grade_grades SET hidden = UNIX_TIMESTAMP() - 5",
        "UPDATE {p}grade_grades SET finalgrade = 0",
        "UPDATE {p}assign_grades SET grade = -1",
        "UPDATE {p}assign SET grade = 0",
    ],
)
def test_these_hold_nothing(change: str, ada: Class, captured: Captured) -> None:
    ada.grade(is_released=True)
    ada.college.run(change)
    captured.read()
    assert holds(captured) == [Status.PENDING]


@pytest.mark.parametrize("change", ["grade = NULL", "grade = -1"])
def test_what_is_not_graded_is_not_held(change: str, ada: Class, captured: Captured) -> None:
    ada.grade()
    ada.college.run(f"UPDATE {{p}}assign_grades SET {change}")
    captured.read()
    assert holds(captured) == [Status.PENDING]
    assert captured.data("grade_updated")[0]["score"] is None


@pytest.mark.parametrize(
    ("hide", "feedback"),
    [
        ("UPDATE {p}grade_items SET hidden = 1", ""),
        ("UPDATE {p}grade_grades SET hidden = UNIX_TIMESTAMP() + 500", ""),
        ("UPDATE {p}grade_grades SET hidden = UNIX_TIMESTAMP() - 500", "canary"),
    ],
)
def test_the_comment_of_what_is_not_graded_is_sent_only_where_moodle_shows_it(
    hide: str, feedback: str, ada: Class, captured: Captured, relay: Relay
) -> None:
    grade = ada.grade()
    ada.college.run("UPDATE {p}assign_grades SET grade = -1")
    ada.college.run(hide)
    captured.read()
    assert holds(captured) == [Status.PENDING]
    assert captured.data("grade_updated")[0]["feedback"] == feedback
    assert ("canary" in everything(captured)) is bool(feedback)
    shown = relay.run("sync", "grades", "--dry-run", "--user", "1").stdout
    assert json.loads(shown)["data"]["feedback"] == feedback
    relay.set("events.grade_updated.unreleased", "send")
    sent = json.loads(relay.run("sync", "grades", "--dry-run", "--user", "1").stdout)["data"]
    assert (sent["gradeid"], sent["feedback"]) == (grade, "canary")


def test_the_next_log_row_about_it_releases_it_at_once(ada: Class, captured: Captured) -> None:
    ada.grade()
    captured.read()
    ((_, event_id, _),) = grades(captured)
    ada.grade(is_released=True)
    assert captured.read() == 2
    assert holds(captured) == [Status.PENDING, Status.PENDING]
    assert grades(captured)[0][1] == event_id
    assert captured.data("grade_updated")[0] == captured.data("grade_updated")[1]


def test_of_several_the_newest_is_sent_and_the_older_are_skipped(ada: Class, captured: Captured) -> None:
    for _ in range(3):
        ada.grade()
        captured.read()
    ids = [event_id for _, event_id, _ in grades(captured)]
    ada.show()
    assert captured.read(LOOK_S) == 1
    later = "a later one was released"
    assert grades(captured) == [
        (Status.SKIPPED, ids[0], later),
        (Status.SKIPPED, ids[1], later),
        (Status.PENDING, ids[2], ""),
    ]
    assert holds(captured)
    assert captured.log.slugs().count("event.skipped") == 2


def test_what_is_hidden_until_a_time_is_sent_at_that_time(ada: Class, captured: Captured) -> None:
    """By the clock of Moodle's database, whatever relay's own clock says: that is years behind here."""
    ada.grade(is_released=True)
    until = ada.now() + 2
    ada.college.run("UPDATE {p}grade_items SET hidden = %s", until)
    captured.read()
    assert "hidden in Moodle's gradebook until" in grades(captured)[0][2]
    captured.now = float(until)
    assert captured.read(0) == 0, "relay's clock alone decides nothing"
    assert 0 < captured.capture.next_look_in(captured.now) <= 2
    while ada.now() < until:
        time.sleep(0.05)
    assert captured.read(2) == 1
    assert holds(captured) == [Status.PENDING]


def test_a_look_at_many_is_fair_and_resumes(ada: Class, captured: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """One query for each piece; what came first does not keep the last from being seen."""
    monkeypatch.setattr(releasing, "AT_ONCE", 4)
    people = [ada.college.sign_up("Ben", str(i), AT) for i in range(10)]
    for ben in people:
        ada.college.grade(ben, ada.work, SCORE, AT, is_released=False)
    captured.read()
    ada.college.release(people[-1], ada.work, SCORE)
    captured.now += LOOK_S
    passes = [captured.capture.run_once(captured.now) for _ in range(4)]
    assert [(one.accepted, one.is_more) for one in passes] == [(0, True), (0, True), (1, False), (0, False)]


def test_a_held_event_of_a_grade_that_is_gone_is_skipped(ada: Class, captured: Captured) -> None:
    grade = ada.grade()
    captured.read()
    ada.college.run("DELETE FROM {p}assign_grades")
    captured.read(LOOK_S)
    assert grades(captured)[0][2] == f"the row is gone: there is no assign_grades.id {grade}"
    assert holds(captured) == [Status.SKIPPED]


def test_without_an_enrolment_it_is_given_up_after_a_day(ada: Class, captured: Captured) -> None:
    """Also where relay is started anew meanwhile; an enrolment in between counts."""
    ada.grade()
    captured.read()
    (enrolment,) = ada.college.rows("SELECT * FROM {p}user_enrolments")
    marks = ", ".join(["%s"] * len(enrolment))

    def leave_for(seconds: float) -> None:
        ada.college.run("DELETE FROM {p}user_enrolments")
        captured.read(LOOK_S)
        captured.restart()
        captured.read(seconds)

    leave_for(86_390)
    assert holds(captured) == [Status.HELD]
    ada.college.run(f"INSERT INTO {{p}}user_enrolments VALUES ({marks})", *enrolment)
    captured.read(LOOK_S)
    leave_for(86_390)
    assert holds(captured) == [Status.HELD]
    captured.read(LOOK_S)
    assert grades(captured)[0][2] == "its student has had no enrolment in the course for a day"
    assert holds(captured) == [Status.SKIPPED]


def test_a_grade_that_was_sent_and_is_hidden_again_is_said_and_not_sent(ada: Class, captured: Captured) -> None:
    ada.grade(is_released=True)
    captured.read()
    captured.outbox.claim(captured.now, 9, lease_s=60, types=TYPES)
    ada.grade()
    captured.read()
    (first, first_id, _), (second, second_id, _) = grades(captured)
    assert (first, second) == (Status.PENDING, Status.HELD)
    said = captured.log.fields("grade.hidden_again")
    assert (said["event_id"], said["sent"]) == (second_id, first_id)


def test_send_is_the_old_way_and_lets_out_what_was_held(ada: Class, relay: Relay, captured: Captured) -> None:
    ada.grade()
    captured.read()
    relay.set("events.grade_updated.unreleased", "send")
    captured.loaded = config.load(relay.write())
    captured.restart()
    captured.read()
    assert holds(captured) == [Status.PENDING]
    assert captured.data("grade_updated")[0]["score"] == 77.77


def test_a_kind_that_is_switched_off_stays_held(ada: Class, relay: Relay, captured: Captured) -> None:
    ada.grade()
    captured.read()
    relay.set("events.grade_updated.enabled", False)
    captured.loaded = config.load(relay.write())
    captured.restart()
    ada.show()
    captured.read(LOOK_S)
    assert holds(captured) == [Status.HELD]


def test_the_daemon_sends_what_is_released_with_the_id_it_had(
    ada: Class, captured: Captured, relay: Relay, backend: Receiver
) -> None:
    ada.grade()
    captured.read()
    ((_, event_id, _),) = grades(captured)
    ada.show()
    done = relay.once()
    assert [post.event_id for post in backend.posts if "grade_updated" in post.path] == [event_id]
    assert "event.released" in done.slugs()
    assert relay.status()["conservation"]["holds"]


def test_once_says_how_many_are_held_and_is_well(ada: Class, relay: Relay, backend: Receiver) -> None:
    ada.grade()
    done = relay.once()
    assert "1 event held" in done.stderr
    assert relay.status()["by_status"]["held"] == relay.status()["conservation"]["held"] == 1
    assert relay.status()["undelivered"] == 0
    assert all("grade_updated" not in post.path for post in backend.posts)
    shown = done.stdout + done.stderr + relay.run("status").stdout
    assert "canary" not in shown
    assert "77.77" not in shown


def test_what_was_recorded_and_never_sent_is_not_sent_when_it_is_hidden_again(ada: Class, captured: Captured) -> None:
    """The backend was away meanwhile: what it never got it does not get."""
    grade = ada.grade(is_released=True)
    captured.read()
    ada.grade()
    captured.read()
    assert holds(captured) == [Status.HELD, Status.HELD]
    assert captured.outbox.remembered("assign_grades", [grade]) == {}
    assert "grade.hidden_again" not in captured.log.slugs()
    assert captured.data("grade_updated") == [{}, {}]
    ada.show()
    captured.read(LOOK_S)
    assert holds(captured) == [Status.SKIPPED, Status.PENDING]


def test_what_an_older_relay_recorded_is_looked_at_before_it_is_sent(
    ada: Class, captured: Captured, relay: Relay, backend: Receiver
) -> None:
    """One that Moodle shows keeps its bytes; of one that it keeps back nothing stays."""
    ada.grade(is_released=True)
    ben = ada.college.sign_up("Ben", "Nevis", AT)
    hidden = ada.college.grade(ben, ada.work, "66.66", AT, is_released=True)
    captured.read()
    shown = captured.data("grade_updated")[0]
    ada.college.release(ben, ada.work, None)
    assert holds(captured) == [Status.PENDING, Status.PENDING]
    relay.once()
    assert [one.envelope["data"] for one in backend.posts if "grade_updated" in one.path] == [shown]
    assert holds(captured) == [Status.SUCCESS, Status.HELD]
    assert captured.outbox.remembered("assign_grades", [hidden]) == {}
    assert "66.66" not in "".join(json.dumps(data) for data in captured.data("grade_updated"))


HIDE = [
    "UPDATE {p}grade_items SET hidden = 1",
    "UPDATE {p}grade_grades SET hidden = UNIX_TIMESTAMP() + 500",
    "UPDATE {p}grade_grades SET finalgrade = NULL",
]


@pytest.mark.parametrize("hide", HIDE)
def test_what_is_hidden_before_its_first_attempt_is_held_at_the_next_look(
    hide: str, ada: Class, captured: Captured
) -> None:
    """Nothing in the log says it; the backend is away, or the queue is long."""
    grade = ada.grade(is_released=True)
    captured.read()
    ((_, event_id, _),) = grades(captured)
    ada.college.run(hide)
    captured.read()
    assert holds(captured) == [Status.PENDING], "it is not time to look yet"
    captured.read(LOOK_S)
    assert [(state, one) for state, one, _ in grades(captured)] == [(Status.HELD, event_id)]
    assert "Moodle's gradebook" in grades(captured)[0][2]
    assert holds(captured) == [Status.HELD]
    assert captured.data("grade_updated") == [{}]
    assert captured.outbox.remembered("assign_grades", [grade]) == {}
    assert captured.log.fields("event.held")["event_id"] == event_id
    assert captured.outbox.claim(captured.now, 9, lease_s=9, types=frozenset({"grade_updated"})) in ((), [])
    ada.college.run("UPDATE {p}grade_items SET hidden = 0")
    ada.college.run("UPDATE {p}grade_grades SET hidden = 0, finalgrade = %s", SCORE)
    captured.read(LOOK_S)
    assert [(state, one) for state, one, _ in grades(captured)] == [(Status.PENDING, event_id)]
    assert captured.data("grade_updated")[0]["score"] == 77.77


def test_what_has_an_attempt_goes_on_with_its_bytes(ada: Class, captured: Captured) -> None:
    """The backend may have taken the request."""
    ada.grade(is_released=True)
    captured.read()
    claimed = captured.outbox.claim(captured.now, 9, lease_s=60, types=TYPES)
    ada.college.run(HIDE[0])
    captured.read(LOOK_S)
    assert holds(captured) == [Status.PENDING]
    captured.outbox.release([one for one in claimed if one.event_type == "grade_updated"])
    captured.read(LOOK_S)
    assert holds(captured) == [Status.HELD], "that request never left"


def test_what_waits_of_a_student_who_has_left_the_course_is_sent(ada: Class, captured: Captured) -> None:
    """Moodle deletes the gradebook's rows then; Moodle showed the grade, and the registrar still needs it."""
    ada.grade(is_released=True)
    captured.read()
    for table in ("user_enrolments", "grade_grades"):
        ada.college.run(f"DELETE FROM {{p}}{table}")
    captured.read(LOOK_S)
    captured.read(2 * releasing.ABSENT_S)
    assert holds(captured) == [Status.PENDING]
    assert captured.data("grade_updated")[0]["score"] == 77.77


def test_the_queue_is_looked_at_in_pieces(ada: Class, captured: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "AT_ONCE", 4)
    for i in range(10):
        ben = ada.college.sign_up("Ben", str(i), AT)
        ada.college.grade(ben, ada.work, SCORE, AT, is_released=True)
    captured.read()
    ada.college.run(HIDE[0])
    captured.now += LOOK_S
    while captured.capture.run_once(captured.now).is_more:
        pass
    assert holds(captured) == [Status.HELD] * 10
    assert captured.data("grade_updated") == [{}] * 10


@pytest.mark.parametrize("command", [("run", "--once"), ("sync", "users")])
def test_what_lay_in_the_outbox_is_looked_at_before_anything_is_sent(
    command: tuple[str, ...], ada: Class, relay: Relay, backend: Receiver
) -> None:
    """Relay was stopped, or paused, while it was hidden; a sync without a daemon delivers, too."""
    relay.set("enabled", False)
    relay.once(expect=1)
    ada.grade(is_released=True)
    relay.once(expect=1)
    ada.college.run(HIDE[0])
    relay.set("enabled", True)
    relay.run(*command)
    assert [post.path for post in backend.posts if "grade" in post.path] == []
    assert len(backend.posts) > 0
    assert relay.statuses()["held"] == 1


def test_the_daemon_looks_before_it_sends_and_sends_where_moodle_is_away(
    ada: Class, relay: Relay, backend: Receiver
) -> None:
    relay.set("enabled", False)
    ada.grade(is_released=True)
    relay.once(expect=1)
    ada.college.run(HIDE[0])
    relay.set("enabled", True)
    with relay.start() as daemon:
        daemon.wait_for("delivery.succeeded", 2)
        daemon.wait_for("event.held")
        assert daemon.stop() == 0
    assert [post.path for post in backend.posts if "grade" in post.path] == []
    ada.college.run("UPDATE {p}grade_items SET hidden = 0")
    ada.college.update(ada.ada, AT + 9, city="York")
    relay.set("enabled", False)
    relay.once(expect=1)
    relay.set("enabled", True)
    relay.set("moodle.database.port", 9)
    with relay.start() as daemon:
        daemon.wait_for("moodle.unreachable")
        daemon.wait_for("delivery.succeeded", 2)
        assert daemon.stop() == 0
    assert [post.path.rsplit("/", 1)[1] for post in backend.posts][2:] == ["grade_updated", "user_updated"]


def test_the_payload_is_what_stands_there_when_it_is_released(ada: Class, captured: Captured) -> None:
    """Moodle 5.1 takes off a late penalty; the teacher has changed the comment meanwhile."""
    ada.college.run("ALTER TABLE {p}assign_grades ADD COLUMN penalty DECIMAL(10,5) NOT NULL DEFAULT 0")
    captured.restart()
    ada.grade()
    captured.read()
    ada.college.run("UPDATE {p}assign_grades SET grade = 80, penalty = 12.5")
    ada.college.run("UPDATE {p}assignfeedback_comments SET commenttext = 'Mended'")
    ada.show()
    captured.read(LOOK_S)
    (data,) = captured.data("grade_updated")
    assert (data["score"], data["btec_grade"], data["feedback"]) == (70.0, "Distinction", "Mended")


def test_the_daemon_wakes_for_what_is_hidden_until_a_time(ada: Class, relay: Relay, backend: Receiver) -> None:
    """However rarely it reads the log."""
    relay.set("moodle.poll_interval", "10m")
    ada.grade(is_released=True)
    ada.college.run("UPDATE {p}grade_items SET hidden = UNIX_TIMESTAMP() + 5")
    with relay.start() as daemon:
        daemon.wait_for("event.held")
        daemon.wait_for("event.released")
        daemon.wait_until(
            lambda lines: any(
                (line["event"], line.get("event_type")) == ("delivery.succeeded", "grade_updated") for line in lines
            )
        )
        assert daemon.stop() == 0
    assert len([post for post in backend.posts if "grade_updated" in post.path]) == 1
