"""The further kinds: what is sent of each, field by field, and what where its row is gone; off by default."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness import Relay
from receiver import Receiver, Reply, Request

from relay.demo.moodle import College
from relay.events.catalogue import KINDS

AT = 1_770_000_000
FURTHER = [kind.name for kind in KINDS.values() if not kind.is_default]


@pytest.fixture
def all_on(relay: Relay) -> Relay:
    """A relay with all kinds switched on."""
    for name in FURTHER:
        relay.set(f"events.{name}", {"enabled": True})
    return relay


@pytest.fixture
def ada(college: College) -> int:
    return college.sign_up("Ada", "Lovelace", AT)


@pytest.fixture
def course(college: College) -> int:
    course = college.course("Computing <b>1</b>", "C1")
    college.run("UPDATE {p}course SET category = 3, idnumber = 'N-1', startdate = 11, enddate = 12, timecreated = 13")
    return course


def sent(backend: Receiver, event_type: str) -> list[list[tuple[str, Any]]]:
    """Return the fields of each event of a type, in their order."""
    posts = [post for post in backend.posts if post.envelope["event_type"] == event_type]
    assert {post.path for post in posts} <= {f"/v1/events/moodle/{event_type}"}
    return [list(post.envelope["data"].items()) for post in posts]


def skipped(relay: Relay) -> dict[str, str]:
    """Return the reasons of what no event could be made of, by type."""
    rows = relay.rows("SELECT event_type, last_error FROM {log} WHERE status = 'skipped'")
    return {event_type: json.loads(error)["reason"] for event_type, error in rows}


def test_enrollment_updated(all_on: Relay, college: College, backend: Receiver, ada: int, course: int) -> None:
    enrolment = college.enrol(ada, course, AT)
    college.run("UPDATE {p}user_enrolments SET status = 1, timeend = 99, timemodified = %s", AT + 5)
    college.log("enrollment_updated", enrolment, user=ada, at=AT + 5, courseid=course)
    all_on.once()
    assert sent(backend, "enrollment_updated") == [
        [
            ("enrollmentid", enrolment),
            ("userid", ada),
            ("courseid", course),
            ("coursename", "Computing 1"),
            ("courseshortname", "C1"),
            ("roleid", 5),
            ("status", 1),
            ("timestart", AT),
            ("timeend", 99),
            ("timecreated", AT),
            ("timemodified", AT + 5),
            ("enrol", "manual"),
        ]
    ]


GONE = {"id": "7", "status": "1", "enrolid": "2", "timestart": "3", "timeend": 4, "timecreated": "5", "lastenrol": True}


def php(value: Any) -> bytes:
    """Return a value as PHP's serialize() writes it."""
    if isinstance(value, bool):
        return b"b:%d;" % value
    if isinstance(value, int):
        return b"i:%d;" % value
    if isinstance(value, dict):
        return b"a:%d:{%b}" % (len(value), b"".join(php(key) + php(one) for key, one in value.items()))
    text = str(value).encode()
    return b's:%d:"%b";' % (len(text), text)


@pytest.mark.parametrize("as_text", [lambda value: json.dumps(value).encode(), php], ids=["json", "php"])
@pytest.mark.parametrize("is_course_there", [True, False])
def test_enrollment_deleted(
    all_on: Relay,
    college: College,
    backend: Receiver,
    ada: int,
    course: int,
    as_text: Any,
    is_course_there: bool,
) -> None:
    if not is_course_there:
        college.run("DELETE FROM {p}course")
    other = as_text({"userenrolment": {**GONE, "courseid": course, "enrol": "self"}, "enrol": "self"})
    college.log("enrollment_deleted", 7, user=ada, at=AT + 5, courseid=course, other=other)
    all_on.once()
    assert sent(backend, "enrollment_deleted") == [
        [
            ("enrollmentid", 7),
            ("userid", ada),
            ("courseid", course),
            ("coursename", "Computing 1" if is_course_there else None),
            ("courseshortname", "C1" if is_course_there else None),
            ("enrol", "self"),
            ("status", 1),
            ("timestart", 3),
            ("timeend", 4),
            ("timecreated", 5),
            ("lastenrol", True),
            ("timedeleted", AT + 5),
        ]
    ]


def test_course_completed(all_on: Relay, college: College, backend: Receiver, ada: int, course: int) -> None:
    times = {"timeenrolled": 1, "timestarted": 2, "timecompleted": 3}
    completion = college.insert("course_completions", userid=ada, course=course, **times)
    college.log("course_completed", completion, user=ada, at=AT + 5, courseid=course)
    college.log("course_completed", completion + 1, user=ada, at=AT + 6, courseid=course)
    all_on.once()
    names = [("coursename", "Computing 1"), ("courseshortname", "C1")]
    assert sent(backend, "course_completed") == [
        [("completionid", completion), ("userid", ada), ("courseid", course), *names, *times.items()]
    ]
    assert skipped(all_on) == {
        "course_completed": f"the row is gone: there is no course_completions.id {completion + 1}"
    }


def test_a_completion_outlives_its_course(
    all_on: Relay, college: College, backend: Receiver, ada: int, course: int
) -> None:
    completion = college.insert("course_completions", userid=ada, course=course)
    college.log("course_completed", completion, user=ada, at=AT + 5, courseid=course)
    college.run("DELETE FROM {p}course")
    all_on.once()
    (fields,) = sent(backend, "course_completed")
    assert fields[3:5] == [("coursename", None), ("courseshortname", None)]
    assert fields[-1] == ("timecompleted", None)


@pytest.mark.parametrize("is_there", [True, False])
def test_gradebook_grade_deleted(
    all_on: Relay, college: College, backend: Receiver, ada: int, course: int, is_there: bool
) -> None:
    of = {"itemtype": "mod", "itemmodule": "quiz", "iteminstance": 8, "itemname": "Quiz <b>1</b>"}
    item = college.insert("grade_items", courseid=course, **of)
    if not is_there:
        college.run("DELETE FROM {p}grade_items")
    for at, grade in enumerate(("55.50000", None, -3, 10**400)):
        other = json.dumps({"itemid": str(item), "overridden": False, "finalgrade": grade})
        college.log("gradebook_grade_deleted", 70 + at, user=ada, at=AT + at, courseid=course, other=other)
    all_on.once()
    first, *others = sent(backend, "gradebook_grade_deleted")
    assert first == [
        ("gradeid", 70),
        ("itemid", item),
        ("userid", ada),
        ("courseid", course),
        ("finalgrade", 55.5),
        *({**of, "itemname": "Quiz 1"}.items() if is_there else dict.fromkeys(of).items()),
    ]
    assert [dict(one)["finalgrade"] for one in others] == [None, -3.0, None]


def test_a_path_that_the_backend_does_not_have_holds_up_no_other(
    all_on: Relay, college: College, backend: Receiver, ada: int, course: int
) -> None:
    backend.answer = lambda request: Reply(code=404 if request.path.endswith("course_updated") else 200)
    enrolment = college.enrol(ada, course, AT + 1)
    for at in range(2, 5):
        college.log("course_updated", course, user=None, at=AT + at, courseid=course)
    college.log("enrollment_updated", enrolment, user=ada, at=AT + 5, courseid=course)
    college.log("course_deleted", course, user=None, at=AT + 6, courseid=course, other="{}")
    all_on.once("--timeout", "1s", expect=1)
    waiting = all_on.rows("SELECT event_type, COUNT(*) FROM {log} WHERE status <> 'success' GROUP BY event_type")
    assert waiting == [("course_updated", 3)]
    assert len(sent(backend, "enrollment_updated")) == len(sent(backend, "course_deleted")) == 1


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("event_type", ["role_assigned", "role_unassigned"])
def test_roles(
    all_on: Relay, college: College, backend: Receiver, ada: int, course: int, event_type: str, is_there: bool
) -> None:
    role = college.insert("role", shortname="student")
    given = college.insert("role_assignments", roleid=role, userid=ada, timemodified=9, component="enrol_cohort")
    if not is_there:
        college.run("DELETE FROM {p}role_assignments")
        college.run("DELETE FROM {p}role")
    other = json.dumps({"id": str(given), "component": "enrol_cohort", "itemid": "0"})
    college.log(event_type, role, user=ada, at=AT + 5, courseid=course, contextlevel=50, other=other)
    college.log(event_type, role, user=ada, at=AT + 6, courseid=None, contextlevel=10, other=other)
    all_on.once()
    in_course, in_site = sent(backend, event_type)
    assert in_course == [
        ("assignmentid", given),
        ("userid", ada),
        ("roleid", role),
        ("roleshortname", "student" if is_there else None),
        ("courseid", course),
        ("contextlevel", 50),
        ("component", "enrol_cohort"),
        ("timemodified", 9 if is_there else None),
    ]
    assert dict(in_site) == {**dict(in_course), "courseid": 0, "contextlevel": 10}


@pytest.mark.parametrize("event_type", ["course_created", "course_updated"])
def test_courses(all_on: Relay, college: College, backend: Receiver, course: int, event_type: str) -> None:
    college.run("UPDATE {p}course SET visible = 0, timemodified = 14")
    college.log(event_type, course, user=None, at=AT + 5, courseid=course, other='{"fullname": "of then"}')
    college.log(event_type, course + 1, user=None, at=AT + 6, courseid=course + 1, other='{"fullname": "gone"}')
    all_on.once()
    assert sent(backend, event_type) == [
        [
            ("courseid", course),
            ("coursename", "Computing 1"),
            ("courseshortname", "C1"),
            ("idnumber", "N-1"),
            ("categoryid", 3),
            ("visible", False),
            ("startdate", 11),
            ("enddate", 12),
            ("timecreated", 13),
            ("timemodified", 14),
        ]
    ]
    assert skipped(all_on) == {event_type: f"the row is gone: there is no course.id {course + 1}"}


def test_course_deleted(all_on: Relay, college: College, backend: Receiver) -> None:
    said = {"shortname": "C9", "fullname": "Gone <i>now</i>", "idnumber": "N-9"}
    college.log("course_deleted", 99, user=None, at=AT + 5, courseid=99, other=json.dumps(said))
    college.log("course_deleted", 98, user=None, at=AT + 6, courseid=98, other="null")
    college.log("course_deleted", None, user=None, at=AT + 7, courseid=0, other="null")
    all_on.once()
    texts = ("coursename", "Gone now"), ("courseshortname", "C9"), ("idnumber", "N-9")
    # Events of two courses don't wait for each other.
    assert sorted(sent(backend, "course_deleted")) == [
        [("courseid", 98), *((name, None) for name, _ in texts)],
        [("courseid", 99), *texts],
    ]
    assert skipped(all_on) == {"course_deleted": "the log row names no course"}


@pytest.mark.parametrize("is_group", [False, True])
def test_submission_submitted(
    all_on: Relay, college: College, backend: Receiver, ada: int, course: int, is_group: bool
) -> None:
    assignment = college.assignment(course, "Essay <b>1</b>")
    college.run("UPDATE {p}assign SET duedate = 77")
    owner = {"userid": 0, "groupid": 8} if is_group else {"userid": ada, "groupid": 0}
    times = {"timecreated": 1, "timemodified": 2}
    work = college.insert(
        "assign_submission", assignment=assignment, attemptnumber=1, status="submitted", latest=1, **owner, **times
    )
    college.log("submission_submitted", work, user=None, at=AT + 5, courseid=course, userid=ada)
    all_on.once()
    assert sent(backend, "submission_submitted") == [
        [
            ("submissionid", work),
            ("userid", owner["userid"]),
            ("actor", ada),
            ("groupid", owner["groupid"]),
            ("assignmentid", assignment),
            ("assignmentname", "Essay 1"),
            ("courseid", course),
            ("coursename", "Computing 1"),
            ("courseshortname", "C1"),
            ("attemptnumber", 1),
            ("status", "submitted"),
            ("latest", True),
            ("duedate", 77),
            *times.items(),
        ]
    ]
    assert all_on.rows("SELECT user_id FROM {log} WHERE event_type = 'submission_submitted'") == [(ada,)]


def test_work_that_does_not_match_its_log_row_is_skipped(
    all_on: Relay, college: College, backend: Receiver, ada: int, course: int
) -> None:
    work = college.insert("assign_submission", assignment=college.assignment(course, "Essay"), userid=ada)
    college.log("submission_submitted", work, user=ada + 1, at=AT, courseid=course)
    all_on.once()
    assert sent(backend, "submission_submitted") == []
    assert skipped(all_on) == {"submission_submitted": f"the row does not match the log row: user {ada}, not {ada + 1}"}


def test_they_are_off_by_default_and_switched_on_they_send_nothing_of_the_past_and_say_so(
    relay: Relay, college: College
) -> None:
    for event_type in FURTHER:
        college.log(event_type, 7, user=7, at=AT, courseid=7, other="{}")
    relay.once()
    assert relay.status()["conservation"]["seen"] == 0
    for name in FURTHER:
        relay.set(f"events.{name}", {"enabled": True})
    said = [line for line in relay.once().log if line["event"] == "events.uncovered"]
    assert sorted(line["event_type"] for line in said) == sorted(FURTHER)
    assert all(line["since"] <= line["until"] for line in said)
    hints = {line["event_type"]: line["hint"] for line in said}
    assert "relay sync enrolments --since" in hints["enrollment_updated"]
    assert all("nothing left" in hints[name] for name in FURTHER if name != "enrollment_updated")
    assert "events.uncovered" not in relay.once().slugs()
    assert relay.rows("SELECT * FROM {log}") == []
    for event_type in FURTHER:
        college.log(event_type, 7, user=7, at=AT + 1, courseid=7, other="{}")
    relay.once()
    rows = relay.rows("SELECT event_type, log_id FROM {log} ORDER BY log_id")
    assert rows == [(name, len(FURTHER) + 1 + index) for index, name in enumerate(FURTHER)]


def test_the_rights_that_a_kind_needs_are_asked_for_with_it(relay: Relay) -> None:
    before = set(relay.run("grants").stdout.splitlines())
    relay.set("events.course_completed", {"enabled": True})
    more, *_ = sorted(set(relay.run("grants").stdout.splitlines()) - before, reverse=True)
    assert "`timecompleted`) ON `moodle`.`mdl_course_completions`" in more


def test_events_of_one_course_come_in_order_on_a_shared_outbox_too(
    other: Relay, college: College, backend: Receiver, course: int
) -> None:
    other.set("events.course_updated", {"enabled": True})
    other.set("events.course_deleted", {"enabled": True})
    for at in range(5):
        college.log("course_updated", course, user=None, at=AT + at, courseid=course)
    college.log("course_deleted", course, user=None, at=AT + 6, courseid=course, other="{}")
    other.once()
    times = [post.envelope["timestamp"] for post in backend.posts]
    assert len(times) == 6
    assert times == sorted(times)
    assert set(other.rows("SELECT user_id FROM {log}")) == {(-course,)}


def test_events_of_one_user_come_in_the_order_they_happened_over_all_types(
    all_on: Relay, college: College, backend: Receiver, ada: int, course: int
) -> None:
    enrolment = college.enrol(ada, course, AT + 1)
    grade = college.grade(ada, college.assignment(course, "Essay"), 70, AT + 2)
    completion = college.insert("course_completions", userid=ada, course=course, timecompleted=3)
    college.log("course_completed", completion, user=ada, at=AT + 3, courseid=course)
    college.log("enrollment_deleted", enrolment, user=ada, at=AT + 4, courseid=course, other="{}")
    college.log("user_deleted", ada, user=ada, at=AT + 5, other="{}")
    assert grade
    refused: list[str] = []

    def answer(request: Request) -> Reply:
        """Take each event at its second attempt."""
        is_first = request.event_id not in refused
        refused.append(request.event_id)
        return Reply(code=503 if is_first else 200)

    backend.answer = answer
    all_on.once()
    order = [post.envelope["event_type"] for post in backend.posts]
    assert list(dict.fromkeys(order)) == [
        "user_created",
        "enrollment_created",
        "grade_updated",
        "course_completed",
        "enrollment_deleted",
        "user_deleted",
    ]
    assert order == sorted(order, key=list(dict.fromkeys(order)).index), "a later one came between two attempts"
