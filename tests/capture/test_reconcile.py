"""Reconcile finds what Moodle never logged, sends it once, and nothing that the log has told."""

from __future__ import annotations

import itertools
import json
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from reconciled import Reconciled

from relay import config
from relay.capture import current
from relay.capture.daily import CROWDED_S, LOOK_S, Daily
from relay.errors import MoodleTooSlow, MoodleUnreachable
from relay.moodle.reader import MoodleReader
from relay.rules import prints
from relay.service import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness import Relay
    from receiver import Receiver

    from relay.capture.reconcile import Progress
    from relay.demo.moodle import College
    from relay.events.kind import EventKind, Options
    from relay.moodle.contract import Stretch, Sum

pytestmark = pytest.mark.by_turns("reconciled")
AT = 1_770_000_000


@pytest.fixture
def learned(college: College, reconciled: Reconciled) -> Reconciled:
    """A small college, captured and learned."""
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.sign_up("Bob", "Byte", AT)
    course = college.course("Computing", "C1")
    college.enrol(ada, course, AT)
    college.grade(ada, college.assignment(course, "Essay"), 61, AT, "<p>Good</p>")
    college.insert("scale", scale="Poor,Fine")
    reconciled.learn()
    return reconciled


def test_the_first_pass_learns_and_the_next_one_finds_nothing(learned: Reconciled) -> None:
    for name in ("users", "enrolments", "grades"):
        assert learned.run(name) == []
    assert learned.sent() == []
    assert learned.log.slugs().count("reconcile.finished") == 6


CHANGES = [
    ("UPDATE {p}user SET email = 'sql@college.example' WHERE id = 1", "users", "user_updated", "email"),
    ("UPDATE {p}user SET idnumber = 'A1', timemodified = 5 WHERE id = 1", "users", "user_updated", "idnumber"),
    ("UPDATE {p}user_enrolments SET status = 1", "enrolments", "enrollment_created", "status"),
    ("UPDATE {p}user_enrolments SET timeend = 99", "enrolments", "enrollment_created", "timeend"),
    ("UPDATE {p}course SET fullname = 'Ceramics'", "enrolments", "enrollment_created", "coursename"),
    ("UPDATE {p}course SET fullname = 'Ceramics'", "grades", "grade_updated", "coursename"),
    ("UPDATE {p}assign_grades SET grade = 31", "grades", "grade_updated", "score"),
    ("UPDATE {p}assign SET grade = 80", "grades", "grade_updated", "score"),
    ("UPDATE {p}assign SET name = 'Exam'", "grades", "grade_updated", "assignmentname"),
    ("UPDATE {p}assign SET grade = -1", "grades", "grade_updated", "score"),
    ("UPDATE {p}assignfeedback_comments SET commenttext = 'Fine'", "grades", "grade_updated", "feedback"),
    ("DELETE FROM {p}assignfeedback_comments", "grades", "grade_updated", "feedback"),
]


@pytest.mark.parametrize(("change", "table", "event_type", "field"), CHANGES)
def test_a_change_without_a_log_row_is_found_and_sent_once(
    learned: Reconciled, college: College, change: str, table: str, event_type: str, field: str
) -> None:
    before = learned.sent("event_type = '" + event_type.replace("user_updated", "user_created") + "'")
    college.run(change)
    assert learned.run(table, fix=False) == [(1, "changed", event_type)]
    assert learned.run(table, fix=False) == [(1, "changed", event_type)], "it is found again until it is sent"
    assert learned.run(table) == [(1, "changed", event_type)]
    assert learned.run(table) == []
    ((sent_type, data),) = learned.sent()
    assert sent_type == event_type
    assert data[field] != before[0][1][field]
    counts = learned.outbox.counts()
    assert counts.reconciled == 1
    assert counts.captured_holds


def too_large(row: Mapping[str, Any]) -> str | None:
    """Let an outbox find certain events too large."""
    return "it is too large" if b'"city": "large"' in (row["body"] or b"") else None


def test_what_the_outbox_cannot_keep_differs_until_it_can(
    learned: Reconciled, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed or missing: it is found and said at each pass, and sent at the first one that can."""
    college.run("UPDATE {p}user SET city = 'large' WHERE id = 1")
    college.insert("user", username="late", city="large", timecreated=AT)
    college.run("UPDATE {p}user SET city = 'Amman' WHERE id = 2")
    differ = [(1, "changed", "user_updated"), (3, "missing", "user_updated")]
    with monkeypatch.context() as small:
        small.setattr(learned.outbox, "_too_large", too_large)
        assert learned.run("users") == sorted([*differ, (2, "changed", "user_updated")])
        assert learned.run("users") == differ
    reasons = [fields["reason"] for slug, fields in learned.log.lines if slug == "event.skipped"]
    assert reasons == ["it cannot be kept: it is too large"] * 4
    assert [data["city"] for _, data in learned.sent()] == ["Amman"]
    sent = [fields["sent"] for slug, fields in learned.log.lines if slug == "reconcile.finished"]
    assert sent[-2:] == [1, 0]
    assert learned.run("users") == differ
    assert [data["city"] for _, data in learned.sent()] == ["Amman", "large", "large"]
    assert learned.run("users") == []
    counts = learned.outbox.counts()
    assert (counts.reconciled, counts.seen_holds, counts.captured_holds) == (3, True, True)


def test_a_chunk_of_which_nothing_can_be_kept_comes_to_an_end(
    learned: Reconciled, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More differ than are looked at in one go: the others are not waited for."""
    monkeypatch.setattr(current, "ROWS_AT_ONCE", 2)
    for number in range(5):
        college.insert("user", username=f"late{number}", city="large", timecreated=AT)
    with monkeypatch.context() as small:
        small.setattr(learned.outbox, "_too_large", too_large)
        assert len(learned.run("users")) == 2
    assert [row_id for row_id, _, _ in learned.run("users")] == [3, 4, 5, 6, 7]
    assert len(learned.sent()) == 5


def test_what_no_log_row_tells_of_is_missing(learned: Reconciled, college: College) -> None:
    """Rows of a process that was killed: users, an enrolment, a grade; and one that a teacher only looked at."""
    times = {"timecreated": AT, "timemodified": AT}
    college.insert("user", username="killed", firstname="K", **times)
    college.insert("user_enrolments", enrolid=1, userid=2, timecreated=AT, timemodified=AT)
    college.insert("assign_grades", assignment=1, userid=2, grade=39, grader=3, **times)
    college.release(2, 1, 39)
    college.insert("assign_grades", assignment=1, userid=3, grade=-1, grader=-1, **times)
    assert learned.run("users") == [(3, "missing", "user_updated")]
    assert learned.run("enrolments") == [(2, "missing", "enrollment_created")]
    assert learned.run("grades") == [(2, "missing", "grade_updated")]
    assert [learned.run(name) for name in ("users", "enrolments", "grades")] == [[], [], []]
    assert [data.get("userid") for _, data in learned.sent()] == [3, 2, 2]


def test_a_change_that_alters_no_payload_sends_nothing(learned: Reconciled, college: College) -> None:
    college.run("UPDATE {p}user SET city = 'Leeds<br>' WHERE id = 1")
    assert len(learned.run("users")) == 1
    college.run("UPDATE {p}user SET city = 'Leeds<hr>' WHERE id = 1")
    college.run("UPDATE {p}assignfeedback_comments SET commenttext = '<b>Good</b>'")
    assert learned.run("users") == []
    assert learned.run("grades") == []
    assert len(learned.sent()) == 1


def test_what_was_gone_is_told_where_the_config_asks_for_it(relay: Relay, college: College) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.sign_up("Bob", "Byte", AT)
    relay.set("events.user_deleted.enabled", True)
    made = Reconciled(relay, config.load(relay.write()))
    made.learn()
    college.run("UPDATE {p}user SET deleted = 1, username = 'x', email = 'y', timemodified = 7 WHERE id = %s", ada)
    assert made.run("users", fix=False) == [(1, "gone", "user_deleted")]
    assert made.run("users") == [(1, "gone", "user_deleted")]
    assert made.run("users") == []
    ((event_type, data),) = made.sent()
    assert (event_type, data["userid"], data["email"], data["deleted"]) == (
        "user_deleted",
        1,
        "ada.lovelace@college.example",
        True,
    )
    made.close()


def test_a_deletion_that_the_log_has_told_is_not_told_again(relay: Relay, college: College) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    relay.set("events.user_deleted.enabled", True)
    made = Reconciled(relay, config.load(relay.write()))
    made.learn()
    college.run("UPDATE {p}user SET deleted = 1 WHERE id = %s", ada)
    college.log("user_deleted", ada, user=ada, at=AT + 1, other='{"username": "ada"}')
    made.read()
    assert made.run("users") == []
    assert made.sent() == []
    made.close()


def test_changes_and_ends_of_enrolments_have_their_own_events_where_they_are_on(relay: Relay, college: College) -> None:
    for name in ("enrollment_updated", "enrollment_deleted"):
        relay.set(f"events.{name}.enabled", True)
    ada = college.sign_up("Ada", "Lovelace", AT)
    course = college.course("Computing", "C1")
    college.enrol(ada, course, AT)
    made = Reconciled(relay, config.load(relay.write()))
    made.learn()
    bob = college.sign_up("Bob", "Byte", AT)
    college.insert("user_enrolments", enrolid=1, userid=bob, timecreated=AT, timemodified=AT)
    college.run("UPDATE {p}user_enrolments SET status = 1 WHERE id = 1")
    made.read()
    assert made.run("enrolments") == [(1, "changed", "enrollment_updated"), (2, "missing", "enrollment_created")]
    assert made.run("enrolments") == []
    college.run("DELETE FROM {p}user_enrolments WHERE id = 1")
    assert made.run("enrolments") == [(1, "gone", "enrollment_deleted")]
    assert made.run("enrolments") == []
    types, data = zip(*made.sent(), strict=True)
    assert types == ("enrollment_created", "enrollment_updated", "enrollment_deleted")
    assert (data[2]["enrollmentid"], data[2]["userid"], data[2]["courseid"], data[2]["status"]) == (1, ada, course, 1)
    assert len(held_rows(made)) == 0
    made.close()


def test_an_end_that_the_log_tells_is_not_told_again(relay: Relay, college: College) -> None:
    relay.set("events.enrollment_deleted.enabled", True)
    ada = college.sign_up("Ada", "Lovelace", AT)
    course = college.course("Computing", "C1")
    college.enrol(ada, course, AT)
    made = Reconciled(relay, config.load(relay.write()))
    made.learn()
    college.run("DELETE FROM {p}user_enrolments")
    college.log("enrollment_deleted", 1, user=ada, at=AT + 1, courseid=course, other="{}")
    made.read()
    assert made.run("enrolments") == []
    assert made.sent() == []
    made.close()


def test_an_enrolment_that_is_gone_is_found(learned: Reconciled, college: College) -> None:
    college.run("DELETE FROM {p}user_enrolments")
    assert learned.run("enrolments", fix=False) == [(1, "gone", "")]
    assert learned.run("enrolments") == [(1, "gone", "")]
    assert learned.run("enrolments") == []
    assert learned.sent() == []


# -- the log wins


def test_a_difference_counts_when_it_is_fifteen_minutes_old(learned: Reconciled, college: College) -> None:
    college.run("UPDATE {p}user SET city = 'Leeds' WHERE id = 1")
    began_at = learned.now
    steps: list[float] = []
    assert len(learned.run("users", grace_s=900.0, after_step=lambda _: steps.append(learned.now))) == 1
    assert learned.now - began_at == 900.0
    assert steps[0] == began_at


def test_what_the_log_tells_in_time_is_no_difference(learned: Reconciled, college: College) -> None:
    """The row is changed, found to differ, and its log row comes only then."""
    college.run("UPDATE {p}user SET city = 'Leeds', timemodified = %s WHERE id = 1", AT + 5)
    logged: list[int] = []

    def log_it(_progress: object) -> None:
        if not logged:
            logged.append(college.log("user_updated", 1, user=1, at=AT + 5))
            learned.read()

    assert learned.run("users", grace_s=900.0, after_step=log_it) == []
    assert learned.sent() == []
    assert learned.run("users") == []


def test_what_the_log_has_not_told_yet_waits_until_it_has_been_read(learned: Reconciled, college: College) -> None:
    college.run("UPDATE {p}user SET city = 'Leeds', timemodified = %s WHERE id = 1", AT + 5)
    college.log("user_updated", 1, user=1, at=AT + 5)
    reconciling = learned.make("users")
    progress = reconciling.begin(learned.now)
    while not progress.is_looking:
        progress, found = reconciling.step(progress, learned.now)
        assert not found
    assert reconciling.ready_at(progress, learned.now) == float("inf")
    learned.read()
    assert learned.run("users") == []


def test_a_logged_change_that_is_taken_back_by_sql_is_found(learned: Reconciled, college: College) -> None:
    """The table is as it was when it was learned; the backend has been told something else since."""
    college.update(1, AT + 1, city="Paris")
    learned.read()
    college.run("UPDATE {p}user SET city = '', timemodified = %s WHERE id = 1", AT)
    assert learned.run("users") == [(1, "changed", "user_updated")]
    assert learned.run("users") == []


def test_a_row_that_changes_back_is_sent_again_with_another_id(learned: Reconciled, college: College) -> None:
    for city in ("Leeds", "Hull", "Leeds", ""):
        college.run("UPDATE {p}user SET city = %s WHERE id = 1", city)
        assert len(learned.run("users")) == 1
    assert [data["city"] for _, data in learned.sent()] == ["Leeds", "Hull", "Leeds", ""]


def test_what_an_ignored_account_has_done_is_not_sent_after_all(relay: Relay, college: College) -> None:
    """The backend writes back by an account of its own: that must not come back to it a day later."""
    ada = college.sign_up("Ada", "Lovelace", AT)
    relay.set("events.ignore_actors", [77])
    made = Reconciled(relay, config.load(relay.write()))
    made.learn()
    college.run("UPDATE {p}user SET city = 'Leeds' WHERE id = %s", ada)
    college.log("user_updated", ada, user=ada, at=AT + 1, userid=77)
    made.read()
    assert made.run("users") == []
    college.run("UPDATE {p}user SET city = 'Hull' WHERE id = %s", ada)
    assert len(made.run("users")) == 1
    made.close()


def test_a_role_that_an_ignored_account_has_given_is_not_sent_after_all(relay: Relay, college: College) -> None:
    relay.set("events.ignore_actors", [77])
    relay.set("events.enrollment_created", {"role": "actual"})
    ada, course = college.sign_up("Ada", "Lovelace", AT), college.course("Computing", "C1")
    college.enrol(ada, course, AT)
    made = Reconciled(relay, config.load(relay.write()))
    made.learn()
    for role, actor, found in ((3, 77, 0), (4, 78, 0), (9, None, 1)):
        college.run("UPDATE {p}role_assignments SET roleid = %s", role)
        if actor is not None:
            logged = {"eventname": r"\core\event\role_assigned", "courseid": course, "userid": actor}
            college.log("enrollment_created", role, user=ada, at=AT + role, **logged)
        made.read()
        assert len(made.run("enrolments")) == found
    sent = [data["roleid"] for _, data in made.sent("event_type = 'enrollment_created'")]
    assert sent == [5, 4, 9]
    assert "count.ignored.actor" not in {key for (key,) in relay.rows("SELECT config_key FROM mdl_mb_zoho_config")}
    made.close()


def test_logged_changes_that_go_on_beside_a_pass_are_no_differences(
    reconciled: Reconciled, college: College, is_full: bool
) -> None:
    """Some are captured at once, some later; one row changes without a log row among them."""
    chance, count, passes = random.Random(15), *((4000, 5) if is_full else (1500, 2))
    fill(college, count)
    reconciled.learn()
    logged: list[int] = []

    def go_on(progress: Progress) -> None:
        if progress.is_done:
            return
        for _ in range(40):
            row_id = chance.randrange(1, count)
            logged.append(college.update(row_id, AT + len(logged), city=f"C{len(logged)}"))
        if chance.random() < 0.5:
            reconciled.read()

    for _ in range(passes):
        college.run("UPDATE {p}user SET phone1 = CONCAT(phone1, '1') WHERE id = %s", count)
        assert reconciled.run("users", grace_s=900.0, after_step=go_on) == [(count, "changed", "user_updated")]
        reconciled.read()
        assert reconciled.run("users", grace_s=900.0) == []
    assert len(logged) > 30 * passes
    assert len(reconciled.sent()) == passes


# -- what Moodle keeps from the student


def held_rows(reconciled: Reconciled) -> list[tuple[str, str | None]]:
    return [tuple(row) for row in reconciled.relay.rows("SELECT status, event_data FROM {log} WHERE status = 'held'")]


def test_a_difference_that_moodle_keeps_from_the_student_is_held_once(learned: Reconciled, college: College) -> None:
    """Marked anonymously: no log row, and nothing in the gradebook; shown later, without a log row either."""
    college.insert("user", username="blind", timecreated=AT)
    ((item,),) = college.rows("SELECT id FROM {p}grade_items LIMIT 1")
    college.insert("assign_grades", assignment=1, userid=3, grade=39, grader=3, timecreated=AT, timemodified=AT)
    assert learned.run("grades") == [(2, "missing", "grade_updated")]
    assert learned.run("grades") == []
    assert len(held_rows(learned)) == 1
    assert learned.sent() == [] or all("39" not in str(data) for _, data in learned.sent())
    college.insert("grade_grades", itemid=item, userid=3, finalgrade=39)
    learned.read(after_s=61.0)
    assert held_rows(learned) == []
    assert learned.run("grades") == []
    assert [data["score"] for kind, data in learned.sent() if kind == "grade_updated"] == [39.0]
    counts = learned.outbox.counts()
    assert (counts.reconciled, counts.captured_holds) == (1, True)


def test_a_grade_that_was_held_when_it_was_learned_is_missing_once_it_is_shown(
    reconciled: Reconciled, college: College
) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    course = college.course("Computing", "C1")
    college.assignment(course, "Essay")
    ((item,),) = college.rows("SELECT id FROM {p}grade_items LIMIT 1")
    college.insert("assign_grades", assignment=1, userid=ada, grade=39, grader=3, timecreated=AT, timemodified=AT)
    later = int(time.time()) + 100
    college.insert("grade_grades", itemid=item, userid=ada, finalgrade=39, hidden=later)
    reconciled.learn()
    assert reconciled.run("grades") == []
    reconciled.set_clock(later + 1)
    assert reconciled.run("grades") == [(1, "missing", "grade_updated")], "its time has passed, and nothing is written"
    assert [data["score"] for _, data in reconciled.sent()] == [39.0]
    assert reconciled.run("grades") == []


def test_a_grade_that_is_hidden_and_shown_again_is_not_sent_again(learned: Reconciled, college: College) -> None:
    for hidden in (1, 0):
        college.run("UPDATE {p}grade_grades SET hidden = %s", hidden)
        assert learned.run("grades") == []
    assert learned.sent() == []


# -- what time does


def test_a_time_that_passes_is_told_once_each(learned: Reconciled, college: College) -> None:
    """Nothing is written then; and what was written behind that time has told of it."""
    now = int(time.time())
    college.run("UPDATE {p}user_enrolments SET timestart = %s, timeend = %s, timemodified = 5", now + 60, now + 120)
    learned.run("enrolments")
    for moment, count in ((now + 59, 0), (now + 60, 1), (now + 61, 0), (now + 500, 1), (now + 60, 0), (now + 900, 0)):
        learned.set_clock(moment)
        assert len(learned.run("enrolments")) == count
    assert len(learned.sent()) == 3
    assert len({data["timeend"] for _, data in learned.sent()}) == 1


def test_a_time_that_had_passed_when_the_row_was_written_is_not_told(learned: Reconciled, college: College) -> None:
    now = int(time.time())
    college.run("INSERT INTO {p}user (username, timecreated) VALUES ('new', 1)")
    enrolment = college.enrol(2, 1, now + 100)
    learned.read()
    assert enrolment
    learned.set_clock(now + 500)
    assert learned.run("enrolments") == []


def test_a_method_that_is_switched_off_and_on_is_told(learned: Reconciled, college: College) -> None:
    for status in (1, 0, 0):
        college.run("UPDATE {p}enrol SET status = %s", status)
        learned.run("enrolments")
    assert len(learned.sent()) == 2
    assert len({str(data) for _, data in learned.sent()}) == 1


# -- what a digest must tell apart


PAIRS = [
    ("city = 'ab', country = 'c'", "city = 'a', country = 'bc'"),
    ("city = '1:a', country = ''", "city = '1', country = ':a'"),
    ("city = 'N', country = ''", "city = '', country = 'N'"),
    ("city = '0:', country = ''", "city = '', country = '0'"),
]


@pytest.mark.parametrize(("one", "another"), PAIRS)
def test_texts_that_are_cut_elsewhere_differ(learned: Reconciled, college: College, one: str, another: str) -> None:
    college.run(f"UPDATE {{p}}user SET {one} WHERE id = 1")
    learned.run("users")
    college.run(f"UPDATE {{p}}user SET {another} WHERE id = 1")
    assert learned.run("users") == [(1, "changed", "user_updated")]


def test_null_and_nothing_differ_in_the_digest(learned: Reconciled, college: College) -> None:
    """Here the payload tells them apart by `score`: a grade of NULL is none."""
    college.run("UPDATE {p}assign_grades SET grade = 0")
    assert len(learned.run("grades")) == 1
    college.run("UPDATE {p}assign_grades SET grade = NULL")
    assert len(learned.run("grades")) == 1


def test_a_server_without_md5_makes_its_digests_by_another_hash(
    reconciled: Reconciled, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MySQL 9.6 is. Where it was another server before, what has not changed is learned anew."""
    college.sign_up("Ada", "Lovelace", AT)
    reconciled.learn()
    monkeypatch.setattr("relay.moodle.digests.MD5", "MD5_THAT_IS_NOT_THERE(?)")
    reconciled.tables.close()
    assert reconciled.run("users") == []
    college.run("UPDATE {p}user SET city = REPEAT('x', 100) WHERE id = 1")
    assert reconciled.run("users") == [(1, "changed", "user_updated")]
    assert reconciled.run("users") == []


def test_rows_that_swap_what_they_say_are_found(learned: Reconciled, college: College) -> None:
    college.run("UPDATE {p}user SET idnumber = CONCAT('A', id)")
    learned.run("users")
    college.run("UPDATE {p}user SET idnumber = CONCAT('A', 3 - id)")
    assert [row_id for row_id, *_ in learned.run("users")] == [1, 2]


def test_random_silent_changes_are_all_found_and_nothing_else(reconciled: Reconciled, college: College) -> None:
    chance = random.Random(15)
    college.run(
        "INSERT INTO {p}user (username, firstname, lastname, timecreated, timemodified) "
        "SELECT CONCAT('u', seq), 'Ada', CONCAT('L', seq MOD 7), %s, %s FROM seq_1_to_3000",
        AT,
        AT,
    )
    reconciled.learn()
    for _ in range(3):
        changed = chance.sample(range(1, 3001), 400)
        for row_id in changed:
            college.run("UPDATE {p}user SET city = CONCAT(city, %s) WHERE id = %s", chance.choice("abc"), row_id)
        assert [row_id for row_id, *_ in reconciled.run("users")] == sorted(changed)
    assert len(reconciled.sent()) == 1200
    chunk = reconciled.outbox.chunk("user", 0)
    assert chunk is not None
    rows = len(prints.decode(chunk.prints))
    assert len(chunk.prints) <= 12 * rows


SILENT = {
    "users": (
        "UPDATE {p}user SET city = CONCAT(city, 'x') WHERE id = %s",
        "UPDATE {p}user SET suspended = 1 - suspended WHERE id = %s",
        "UPDATE {p}user SET idnumber = CONCAT(idnumber, '|') WHERE id = %s",
    ),
    "enrolments": (
        "UPDATE {p}user_enrolments SET status = 1 - status WHERE id = %s",
        "UPDATE {p}user_enrolments SET timeend = timeend + 5 WHERE id = %s",
        "DELETE FROM {p}user_enrolments WHERE id = %s",
    ),
    "grades": (
        "UPDATE {p}assign_grades SET grade = grade + 1 WHERE id = %s",
        "UPDATE {p}assignfeedback_comments SET commenttext = CONCAT(commenttext, '!') WHERE grade = %s",
        "DELETE FROM {p}assignfeedback_comments WHERE grade = %s",
        "UPDATE {p}assign_grades SET grade = NULL WHERE id = %s",
    ),
}


def test_silent_changes_of_every_table_are_found_and_nothing_else(reconciled: Reconciled, college: College) -> None:
    """10,042 of them over 60,000 rows, pairs of equal edits among them, were found by the same statements."""
    rows, chance = 600, random.Random(15)
    fill(college, rows)
    college.assignment(college.course("Computing", "C1"), "Essay")
    for statement in (
        "user_enrolments (enrolid, userid, timecreated, timemodified) SELECT 1, seq, 9, 9",
        "assign_grades (assignment, userid, timecreated, timemodified, grader, grade) SELECT 1, seq, 9, 9, 2, 40",
        "assignfeedback_comments (assignment, grade, commenttext) SELECT 1, seq, CONCAT('Well ', seq MOD 5)",
        "grade_grades (itemid, userid, finalgrade) SELECT 1, seq, 50",
    ):
        college.run(f"INSERT INTO {{p}}{statement} FROM seq_1_to_{rows}")
    reconciled.learn()
    for name, statements in SILENT.items():
        changed = chance.sample(range(1, rows + 1), 90)
        for row_id in changed:
            college.run(chance.choice(statements), row_id)
        college.run("UPDATE {p}user SET password = CONCAT(password, 'p')")
        assert [row_id for row_id, *_ in reconciled.run(name)] == sorted(changed)
        assert reconciled.run(name) == []


def test_a_pass_that_was_broken_off_goes_on_where_it_was(reconciled: Reconciled, college: College) -> None:
    college.run(
        "INSERT INTO {p}user (username, firstname, timecreated, timemodified) "
        "SELECT CONCAT('u', seq), 'Ada', %s, %s FROM seq_1_to_3000",
        AT,
        AT,
    )
    reconciled.read()
    for _ in range(2):
        college.run("UPDATE {p}user SET city = CONCAT(city, 'x') WHERE id MOD 100 = 0")
        reconciling = reconciled.make("users")
        progress, _found = reconciling.step(reconciling.begin(reconciled.now), reconciled.now)
        resumed = reconciled.make("users").resumed()
        assert resumed == progress
        assert 0 < progress.after < 3000
        reconciled.run("users")
    assert len(reconciled.sent()) == 30


def test_two_passes_at_once_send_a_difference_once(learned: Reconciled, college: College) -> None:
    """A person asks for a pass while the daemon is at the same chunk; the data say nothing new, so the ids differ."""
    college.run("UPDATE {p}enrol SET status = 1")
    one, another = learned.make("enrolments"), learned.make("enrolments", asked=True)
    progress = another.begin(learned.now)
    with learned.between_read_and_write(lambda: one.step(one.begin(learned.now), learned.now)):
        same, found = another.step(progress, learned.now)
    assert (same, found) == (progress, ())
    while not progress.is_done:
        progress, found = another.step(progress, learned.now)
        assert not found
    assert len(learned.sent()) == 1


# -- what goes wrong on the way


class Unruly(MoodleReader):
    """Moodle's tables, read as ever; before each chunk something happens."""

    happens: Callable[[], object] = staticmethod(lambda: None)
    most_rows = 10_000

    def moment(self) -> int:
        self.happens()
        return super().moment()

    def sum(self, kind: EventKind, stretch: Stretch, options: Options) -> Sum:
        found = super().sum(kind, stretch, options)
        if found.rows > self.most_rows:
            raise MoodleTooSlow("it took too long")
        return found


@pytest.fixture
def unruly(learned: Reconciled) -> Unruly:
    made = parts.make_moodle(learned.loaded)
    learned.tables.close()
    learned.tables = unruly = Unruly(made._address, made._kinds)
    return unruly


def fill(college: College, rows: int) -> None:
    college.run(
        "INSERT INTO {p}user (username, firstname, timecreated, timemodified) "
        f"SELECT CONCAT('u', seq), 'Ada', {AT}, {AT} FROM seq_1_to_{rows}"
    )


def test_a_database_that_is_slow_is_asked_for_less_and_nothing_is_lost(
    learned: Reconciled, college: College, unruly: Unruly
) -> None:
    fill(college, 900)
    assert len(learned.run("users")) == 900
    unruly.most_rows = 100
    college.run("UPDATE {p}user SET city = 'Leeds' WHERE id MOD 10 = 0")
    assert len(learned.run("users")) == 90
    assert learned.run("users") == []
    unruly.most_rows = 10
    with pytest.raises(MoodleTooSlow, match="too slow"):
        learned.run("users")


def test_one_slow_statement_does_not_keep_the_chunks_small(reconciled: Reconciled, college: College) -> None:
    fill(college, 8000)
    reconciling = reconciled.make("users")
    moments = itertools.chain((0.0, 1.0), itertools.repeat(1.0))
    reconciling._table._monotonic = lambda: next(moments)
    progress, ends = reconciling.begin(reconciled.now), [0]
    while not progress.is_done:
        progress, _found = reconciling.step(progress, reconciled.now)
        ends.append(progress.after)
    sizes = [end - begin for begin, end in itertools.pairwise(ends) if end > begin]
    assert sizes == [1000, 500, 1000, 2000, 3500]


def test_a_statement_that_takes_too_long_is_ended_by_the_server(learned: Reconciled) -> None:
    moodle = parts.make_moodle(learned.loaded, limit_s=0.05)
    with pytest.raises(MoodleTooSlow):
        moodle.select("SELECT COUNT(*) FROM seq_1_to_1000000 a JOIN seq_1_to_1000000 b")
    moodle.close()


def test_a_table_that_is_changed_meanwhile_is_read_again(learned: Reconciled, college: College, unruly: Unruly) -> None:
    college.run("UPDATE {p}user SET city = 'Leeds' WHERE id = 1")
    changes = ["ALTER TABLE {p}user ADD COLUMN spare INT, ALGORITHM = COPY"]
    unruly.happens = lambda: changes and college.run(changes.pop())
    reconciling = learned.make("users")
    with pytest.raises(MoodleUnreachable):
        reconciling.step(reconciling.begin(learned.now), learned.now)
    assert learned.run("users") == [(1, "changed", "user_updated")]


def test_rows_that_were_only_not_readable_are_not_gone(learned: Reconciled, college: College) -> None:
    """A replica that is behind: the row is there again before it has been gone for long enough."""
    college.run("CREATE TABLE {p}kept AS SELECT * FROM {p}user_enrolments")
    college.run("DELETE FROM {p}user_enrolments")
    steps: list[int] = []

    def come_back(_progress: object) -> None:
        if not steps:
            college.run("INSERT INTO {p}user_enrolments SELECT * FROM {p}kept")
        steps.append(1)

    assert learned.run("enrolments", grace_s=900.0, after_step=come_back) == []
    assert learned.run("enrolments") == []


def test_ids_that_are_far_apart_take_no_longer(learned: Reconciled, college: College) -> None:
    college.run("INSERT INTO {p}user (id, username, timecreated) VALUES (9000000000000, 'far', 1)")
    assert len(learned.run("users")) == 1
    college.run("UPDATE {p}user SET city = 'Leeds' WHERE id = 9000000000000")
    assert learned.run("users") == [(9000000000000, "changed", "user_updated")]


# -- the daemon's own passes


def test_the_daemon_begins_a_pass_once_an_interval_and_takes_its_share(learned: Reconciled, college: College) -> None:
    ticks = iter(range(1000))
    daily = Daily(
        outbox=learned.outbox,
        tables=("users", "grades"),
        interval_s=86400.0,
        share=0.05,
        start=lambda name: learned.make(name, grace_s=900.0),
        monotonic=lambda: float(next(ticks)) / 10,
    )
    college.run("UPDATE {p}user SET city = 'Leeds' WHERE id = 1")
    began_at = learned.now
    delays = []
    for _ in range(300):
        delays.append(daily.run_once(learned.now))
        learned.now += delays[-1]
    assert min(delays) == pytest.approx(0.1 * 19)
    assert max(delays) == LOOK_S
    assert learned.log.slugs().count("reconcile.finished") == 5
    assert learned.log.fields("reconcile.found") == {"table": "users", "changed": 1, "events": 1}
    assert 900 < learned.now - began_at < 86400
    (found_at,) = learned.relay.rows("SELECT found_at FROM mdl_mb_zoho_found")[0]
    assert 900 <= found_at - began_at < 1000
    learned.now = began_at + 86400.0
    while learned.log.slugs().count("reconcile.finished") < 7:
        learned.now += daily.run_once(learned.now)


def test_the_daemon_waits_with_a_pass_while_much_is_undelivered(learned: Reconciled) -> None:
    daily = Daily(
        outbox=learned.outbox,
        tables=("users",),
        interval_s=86400.0,
        share=1.0,
        start=learned.make,
        monotonic=time.monotonic,
        crowd=1,
    )
    assert learned.outbox.waiting().count > 1
    assert daily.run_once(learned.now) == CROWDED_S
    assert learned.log.slugs().count("reconcile.finished") == 3


# -- the command


def test_an_operator_learns_looks_and_fixes(relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once("--from", "now")
    assert "users: 1 rows learned" in relay.run("reconcile").stdout
    college.run("UPDATE {p}user SET city = 'Leeds'")
    looked = relay.run("reconcile", "--grace", "0s", "--json", expect=1)
    expected = [{"table": "users", "id": 1, "kind": "changed", "event_type": "user_updated"}]
    assert json.loads(looked.stdout) == expected
    assert backend.posts == []
    fixed = relay.run("reconcile", "users", "--fix", "--grace", "0s")
    assert "1 differ, 1 events recorded" in fixed.stdout
    assert [post.envelope["data"]["city"] for post in backend.posts] == ["Leeds"]
    assert relay.run("reconcile", "--json").stdout.strip() == "[]"
    history = relay.rows("SELECT sync_type, sync_action, status FROM mdl_mb_zoho_sync_history ORDER BY id")
    assert history[0] == ("reconcile", "users", "completed")
    assert relay.status()["conservation"]["reconciled"] == 1


def test_the_daemon_learns_by_itself_and_says_so(relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.set("moodle.start_from", "now")
    relay.set("reconcile.share", "100%")
    with relay.start() as daemon:
        daemon.wait_for("reconcile.finished", 3)
        lines = [line for line in daemon.lines if line["event"] == "reconcile.finished"]
        assert [(line["table"], line["rows"], line["learned"]) for line in lines] == [
            ("users", 1, True),
            ("enrolments", 0, True),
            ("grades", 0, True),
        ]
        assert daemon.stop() == 0
        daemon.close()
    assert relay.status()["compared"]["users"]["rows"] == 1
    assert backend.posts == []


def test_a_daemon_that_is_to_compare_nothing_does_not(relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.set("reconcile.interval", "never")
    with relay.start() as daemon:
        daemon.wait_for("event.captured")
        assert daemon.stop() == 0
        daemon.close()
    assert relay.status()["compared"] == {}
    assert relay.rows("SELECT COUNT(*) FROM mdl_mb_zoho_chunk") == [(0,)]


def test_the_story_of_an_event_says_that_no_log_row_told_of_it(relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    relay.run("reconcile", "users")
    college.run("UPDATE {p}user SET city = 'Leeds'")
    relay.run("reconcile", "users", "--fix", "--grace", "0s")
    told = relay.run("explain", "user:1").stdout
    assert "Changed without a log row; found at " in told
    assert "compared     users at " in relay.run("status").stdout
