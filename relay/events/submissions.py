"""Events about work that is handed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.events import text
from relay.events.kind import EventKind, FactsTable, Field, Join
from relay.events.rows import find, integer, integers, match

if TYPE_CHECKING:
    from relay.events.kind import Facts, Options
    from relay.model import LogRow

SUBMISSIONS = FactsTable(
    table="assign_submission",
    columns=(
        *("id", "assignment", "userid", "groupid", "attemptnumber", "status", "latest"),
        *("timecreated", "timemodified"),
    ),
    joins=(
        Join(
            table="assign",
            alias="a",
            on="a.id = t.assignment",
            columns={"courseid": "course", "name": "name", "duedate": "duedate"},
            keys=("id",),
        ),
        Join(
            table="course",
            alias="c",
            on="c.id = a.course",
            columns={"fullname": "fullname", "shortname": "shortname"},
            keys=("id",),
        ),
    ),
)


def _student(row: LogRow) -> int:
    """Return who handed in: Moodle names the student only where somebody else did it for them."""
    return row.related_user_id or max(0, row.actor_id)


def _submission(row: LogRow, facts: Facts, _options: Options) -> dict[str, Any]:
    found = find(facts.of(SUBMISSIONS), row, "assign_submission")
    if integer(found["userid"]):
        match("user", row.related_user_id, found["userid"])
    if found["courseid"] is not None:
        match("course", row.course_id, found["courseid"])
    return {
        "submissionid": integer(found["id"]),
        "userid": integer(found["userid"]),
        "actor": row.actor_id,
        "groupid": integer(found["groupid"]),
        "assignmentid": integer(found["assignment"]),
        "assignmentname": None if found["name"] is None else text.param_text(found["name"]),
        "courseid": integer(found["courseid"] or row.course_id),
        "coursename": None if found["fullname"] is None else text.param_text(found["fullname"]),
        "courseshortname": None if found["shortname"] is None else text.param_text(found["shortname"]),
        **integers(found, "attemptnumber"),
        "status": None if found["status"] is None else text.param_text(found["status"]),
        "latest": bool(integer(found["latest"])),
        "duedate": None if found["duedate"] is None else integer(found["duedate"]),
        **integers(found, "timecreated", "timemodified"),
    }


SUBMISSION_SUBMITTED = EventKind(
    name="submission_submitted",
    moodle_event=r"\mod_assign\event\assessable_submitted",
    meaning="work was handed in for an assignment",
    facts=SUBMISSIONS,
    subject=_student,
    build=_submission,
    fields=(
        Field("submissionid", "int", "assign_submission.id"),
        Field("userid", "int", "user.id of the student; 0 for the work of a group"),
        Field("actor", "int", "user.id of who handed it in"),
        Field("groupid", "int", "groups.id of the group whose work it is; 0 for a student's own"),
        Field("assignmentid", "int", "assign.id"),
        Field("assignmentname", "str or null", "without tags; null where the assignment is gone"),
        Field("courseid", "int", "course.id"),
        Field("coursename", "str or null", "the course's full name, without tags; null where the course is gone"),
        Field("courseshortname", "str or null", "its short name, without tags; null where the course is gone"),
        Field("attemptnumber", "int", "the attempt, from 0"),
        Field("status", "str or null", "draft, submitted, reopened or new, as the row says now"),
        Field("latest", "bool", "it is the latest attempt"),
        Field("duedate", "int or null", "until when it was to be handed in, in unix seconds; 0 for no limit"),
        Field("timecreated", "int", "when the submission was begun, in unix seconds"),
        Field("timemodified", "int", "when it was last changed, in unix seconds"),
    ),
    is_default=False,
    id_field="submissionid",
)
