"""A role that is given later than the enrolment reaches the backend, however late, and once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from stepped import AT, Captured

from relay import config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Relay

    from relay.demo.moodle import College

TEACHER, STUDENT = 3, 5
ASSIGNED, UNASSIGNED = r"\core\event\role_assigned", r"\core\event\role_unassigned"


class Course:
    """A course, in which people are enrolled and given roles as Moodle does."""

    def __init__(self, college: College) -> None:
        self.college = college
        self.id = college.course("Computing", "C1")
        ((self.context,),) = college.rows("SELECT id FROM {p}context WHERE instanceid = %s", self.id)

    def enrol(self, user: int, at: float) -> int:
        """Enrol without a role, as a cohort's sync does first."""
        enrolment = self.college.enrol(user, self.id, int(at))
        self.college.run("DELETE FROM {p}role_assignments WHERE userid = %s", user)
        return enrolment

    def assign(self, user: int, role: int, at: float, **columns: Any) -> None:
        self.college.insert("role_assignments", roleid=role, contextid=self.context, userid=user)
        self._log(user, role, at, eventname=ASSIGNED, **columns)

    def unassign(self, user: int, role: int, at: float) -> None:
        self.college.run("DELETE FROM {p}role_assignments WHERE userid = %s AND roleid = %s", user, role)
        self._log(user, role, at, eventname=UNASSIGNED)

    def _log(self, user: int, role: int, at: float, **columns: Any) -> None:
        # objectid is the role's, not the assignment's (RULES: "role / role.id").
        self.college.log("enrollment_created", role, user=user, at=int(at), courseid=self.id, **columns)


@pytest.fixture
def actual(relay: Relay, college: College) -> Iterator[Captured]:
    """A capture that sends the role that somebody has."""
    assert college.connection.open
    relay.set("events.enrollment_created", {"role": "actual"})
    made = Captured(config.load(relay.write()))
    made.read()
    yield made
    made.close()


@pytest.fixture
def course(college: College) -> Course:
    return Course(college)


def roles(captured: Captured) -> list[int]:
    """Return the role of each enrolment event so far."""
    return [data["roleid"] for data in captured.data("enrollment_created")]


def holds(captured: Captured) -> bool:
    counts = captured.outbox.counts()
    return counts.seen_holds and counts.captured_holds


def test_a_role_within_a_minute_is_waited_for_and_sent_once(actual: Captured, college: College, course: Course) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    course.enrol(ada, actual.now)
    actual.read()
    assert roles(actual) == []
    course.assign(ada, TEACHER, actual.now + 8)
    actual.read(8)
    actual.read(61)
    assert roles(actual) == [TEACHER]
    assert holds(actual)


@pytest.mark.parametrize("late_s", [70, 5 * 86400])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_role_that_comes_later_is_sent_with_an_id_of_its_own(
    late_s: int, actual: Captured, college: College, course: Course, *, is_restarted: bool
) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    course.enrol(ada, actual.now)
    actual.read()
    actual.read(61)
    assert roles(actual) == [STUDENT]
    course.assign(ada, TEACHER, actual.now + late_s)
    if is_restarted:
        actual.restart()
    actual.read(late_s)
    assert roles(actual) == [STUDENT, TEACHER]
    actual.restart()
    actual.read(61)
    assert roles(actual) == [STUDENT, TEACHER]
    assert holds(actual)


def test_a_role_in_the_same_request_makes_one_event(actual: Captured, college: College, course: Course) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    course.enrol(ada, actual.now)
    course.assign(ada, TEACHER, actual.now)
    actual.read()
    actual.read(61)
    assert roles(actual) == [TEACHER]


def test_another_role_that_changes_nothing_sends_nothing(actual: Captured, college: College, course: Course) -> None:
    """The role that was given first counts."""
    ada = college.sign_up("Ada", "Lovelace", AT)
    course.enrol(ada, actual.now)
    course.assign(ada, TEACHER, actual.now)
    actual.read()
    assert roles(actual) == [TEACHER]
    course.assign(ada, STUDENT, actual.now)
    actual.read()
    assert roles(actual) == [TEACHER]
    counts = actual.outbox.counts()
    assert counts.seen == counts.captured, "a log row that changes nothing is not counted"


def test_a_role_that_is_exchanged_is_sent(actual: Captured, college: College, course: Course) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    course.enrol(ada, actual.now)
    course.assign(ada, STUDENT, actual.now)
    actual.read()
    assert roles(actual) == [STUDENT]
    course.assign(ada, TEACHER, actual.now)
    course.unassign(ada, STUDENT, actual.now)
    actual.read()
    assert roles(actual) == [STUDENT, TEACHER]


def test_who_is_being_unenrolled_is_not_sent_as_a_student(actual: Captured, college: College, course: Course) -> None:
    """Moodle takes the roles away before the enrolment."""
    ada = college.sign_up("Ada", "Lovelace", AT)
    course.enrol(ada, actual.now)
    course.assign(ada, TEACHER, actual.now)
    actual.read()
    assert roles(actual) == [TEACHER]
    course.unassign(ada, TEACHER, actual.now)
    actual.read()
    college.run("DELETE FROM {p}user_enrolments")
    actual.read(61)
    assert roles(actual) == [TEACHER]


def test_an_enrolment_of_before_relay_began_is_sent_when_its_role_changes(
    actual: Captured, college: College, course: Course
) -> None:
    """Nothing was ever sent of it: its own event might be on its way, so a minute is waited."""
    ada = college.sign_up("Ada", "Lovelace", AT)
    actual.read()
    college.insert(
        "user_enrolments", enrolid=college.rows("SELECT id FROM {p}enrol")[0][0], userid=ada, timestart=1, timecreated=1
    )
    course.assign(ada, TEACHER, actual.now)
    actual.read()
    assert roles(actual) == []
    actual.read(61)
    assert roles(actual) == [TEACHER]
    assert holds(actual)


@pytest.mark.parametrize("columns", [{"origin": None}, {"userid": 77}])
def test_history_and_ignored_actors_change_nothing(
    columns: dict[str, Any], relay: Relay, college: College, course: Course
) -> None:
    relay.set("events.enrollment_created", {"role": "actual"})
    relay.set("events.ignore_actors", [77])
    captured = Captured(config.load(relay.write()))
    ada = college.sign_up("Ada", "Lovelace", AT)
    course.enrol(ada, AT)
    captured.read()
    assert roles(captured) == [STUDENT]
    course.assign(ada, TEACHER, captured.now, **columns)
    captured.read()
    assert roles(captured) == [STUDENT]
    assert dict(captured.outbox.counts().ignored) == {}
    captured.close()


def test_without_actual_roles_no_role_is_read(captured: Captured, college: College, course: Course) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    course.enrol(ada, captured.now)
    course.assign(ada, TEACHER, captured.now)
    captured.read()
    assert roles(captured) == [STUDENT]
    assert captured.outbox.counts().seen == 2


def test_explain_says_what_a_role_changed(relay: Relay, college: College, course: Course) -> None:
    relay.set("events.enrollment_created", {"role": "actual"})
    ada = college.sign_up("Ada", "Lovelace", AT)
    course.enrol(ada, AT)
    relay.once()
    course.assign(ada, TEACHER, AT + 90)
    course.assign(ada, STUDENT, AT + 91)
    relay.once()
    ((last,),) = college.rows("SELECT MAX(id) FROM {p}logstore_standard_log")
    assert "The backend took enrollment_created" in relay.run("explain", f"log:{last - 1}").stdout
    assert "what was sent did not change by it" in relay.run("explain", f"log:{last}").stdout
