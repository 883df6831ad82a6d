"""What is sent of an enrolment by two kinds: a change is told once, by the kind that is on, and never by both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import Relay
from stepped import AT, Captured
from test_changes import STUDENT, TEACHER, Course

from relay import config
from relay.demo.moodle import College


@pytest.fixture
def both(relay: Relay, college: College) -> Iterator[Captured]:
    """A capture that sends the role that somebody has, and changes as an event of their own."""
    assert college.connection.open
    relay.set("events.enrollment_created", {"role": "actual"})
    relay.set("events.enrollment_updated", {"enabled": True})
    relay.set("events.role_assigned", {"enabled": True})
    made = Captured(config.load(relay.write()))
    made.read()
    yield made
    made.close()


@pytest.fixture
def course(college: College) -> Course:
    return Course(college)


def roles(captured: Captured, event_type: str) -> list[int]:
    return [data["roleid"] for data in captured.data(event_type)]


def test_a_role_that_comes_later_is_told_as_a_change(both: Captured, college: College, course: Course) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    enrolment = course.enrol(ada, both.now)
    both.read()
    both.read(61)
    assert roles(both, "enrollment_created") == [STUDENT]
    course.assign(ada, TEACHER, both.now, other='{"id": 1}')
    both.read()
    both.restart()
    both.read(61)
    assert roles(both, "enrollment_created") == [STUDENT]
    (data,) = both.data("enrollment_updated")
    assert (data["enrollmentid"], data["roleid"], data["enrol"]) == (enrolment, TEACHER, "manual")
    assert [one["roleid"] for one in both.data("role_assigned")] == [TEACHER], "the log row is an event of its own, too"
    counts = both.outbox.counts()
    assert counts.seen_holds
    assert counts.captured_holds


def test_what_a_change_has_told_already_is_not_told_by_its_role(
    both: Captured, college: College, course: Course
) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    enrolment = course.enrol(ada, both.now)
    course.assign(ada, STUDENT, both.now)
    both.read()
    both.read(61)
    assert roles(both, "enrollment_created") == [STUDENT]
    # The method's plugin changes role and dates in one request.
    course.unassign(ada, STUDENT, both.now)
    course.assign(ada, TEACHER, both.now)
    college.run("UPDATE {p}user_enrolments SET timeend = 7 WHERE id = %s", enrolment)
    college.log("enrollment_updated", enrolment, user=ada, at=int(both.now), courseid=course.id)
    both.read()
    both.read(61)
    assert roles(both, "enrollment_updated") == [TEACHER]
    course.assign(ada, STUDENT, both.now)
    both.read()
    assert roles(both, "enrollment_updated") == [TEACHER], "the role that was given first counts, as before"


def test_a_sync_sends_once_what_a_change_has_told(relay: Relay, college: College, course: Course) -> None:
    """Sync sends enrollment_created, whose fields are compared, whichever of the kinds was the last one."""
    relay.set("events.enrollment_updated", {"enabled": True})
    ada = college.sign_up("Ada", "Lovelace", AT)
    enrolment = course.enrol(ada, AT)
    college.run("UPDATE {p}user_enrolments SET timemodified = 8")
    college.log("enrollment_updated", enrolment, user=ada, at=AT + 1, courseid=course.id)
    relay.once()
    assert "1 new event" in relay.run("sync", "enrolments").stdout
    assert "0 new event" in relay.run("sync", "enrolments").stdout
    college.run("UPDATE {p}user_enrolments SET timemodified = 9")
    college.log("enrollment_updated", enrolment, user=ada, at=AT + 2, courseid=course.id)
    relay.once()
    types = relay.rows("SELECT event_type FROM {log} WHERE event_type LIKE 'enrol%' ORDER BY id")
    assert [one for (one,) in types] == [
        "enrollment_created",
        "enrollment_updated",
        "enrollment_created",
        "enrollment_updated",
    ]


def test_explain_tells_of_an_enrolment_that_was_changed_and_ended(
    relay: Relay, college: College, course: Course
) -> None:
    for name in ("enrollment_updated", "enrollment_deleted"):
        relay.set(f"events.{name}", {"enabled": True})
    ada = college.sign_up("Ada", "Lovelace", AT)
    enrolment = course.enrol(ada, AT)
    college.log("enrollment_updated", enrolment, user=ada, at=AT + 1, courseid=course.id)
    relay.once()
    assert "The backend took enrollment_updated" in relay.run("explain", f"enrolment:{enrolment}").stdout
    college.run("DELETE FROM {p}user_enrolments")
    college.log("enrollment_deleted", enrolment, user=ada, at=AT + 2, courseid=course.id, other="{}")
    relay.once()
    story = relay.run("explain", f"enrolment:{enrolment}").stdout
    assert f"there is no user_enrolments.id {enrolment} now" in story
    assert "The backend took enrollment_deleted" in story
