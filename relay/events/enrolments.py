"""Events about who is in which course."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.events import text
from relay.events.kind import CurrentRows, EventKind, FactsTable, Field, Join, Lookup, Option, Trigger
from relay.events.rows import NotThere, find, integer, integers, match, related_user

if TYPE_CHECKING:
    from relay.events.kind import Facts, Options
    from relay.events.rows import Row
    from relay.model import LogRow

#: Moodle's stock student role.
STUDENT_ROLE = 5
#: Moodle's context level of a course.
CONTEXT_COURSE = 50

ENROLMENTS = FactsTable(
    table="user_enrolments",
    columns=("id", "userid", "enrolid", "status", "timestart", "timeend", "timecreated"),
    joins=(
        Join(table="enrol", alias="e", on="e.id = t.enrolid", columns={"courseid": "courseid"}, keys=("id",)),
        Join(
            table="course",
            alias="c",
            on="c.id = e.courseid",
            columns={"fullname": "fullname", "shortname": "shortname"},
            keys=("id",),
        ),
    ),
    filters=("timemodified",),
)


def _user_and_course(enrolment: Row) -> tuple[int, int] | None:
    if enrolment["courseid"] is None:
        return None
    return integer(enrolment["userid"]), integer(enrolment["courseid"])


# Where the user has several roles in the course, the one assigned first counts: it is read last, and stays.
ROLES = Lookup(
    name="roles",
    statement=f"""
SELECT ra.userid AS first, x.instanceid AS second, ra.roleid AS value
FROM {{p}}role_assignments ra JOIN {{p}}context x ON x.id = ra.contextid
WHERE x.contextlevel = {CONTEXT_COURSE} AND ra.userid IN %s AND x.instanceid IN %s ORDER BY ra.id DESC
""",
    pair=_user_and_course,
    option=("role", "actual"),
    reads={
        "role_assignments": ("id", "userid", "contextid", "roleid"),
        "context": ("id", "contextlevel", "instanceid"),
    },
)


# Moodle fires role_assigned just after the enrolment, or whenever somebody is given another role.
ROLE_CHANGES = Trigger(
    moodle_events=(r"\core\event\role_assigned", r"\core\event\role_unassigned"),
    option=("role", "actual"),
    pair=lambda row: (row.related_user_id, row.course_id) if row.related_user_id and row.course_id else None,
    statement="""
SELECT ue.userid AS first, e.courseid AS second, ue.id AS id
FROM {p}user_enrolments ue JOIN {p}enrol e ON e.id = ue.enrolid
WHERE ue.userid IN %s AND e.courseid IN %s ORDER BY ue.id
""",
    # Without a role left, the user is being unenrolled.
    is_whole=lambda enrolment, facts: facts.value_of(ROLES, enrolment) is not None,
)


def enrolment_data(enrolment: Row, facts: Facts, _options: Options) -> dict[str, Any]:
    """Return the `data` of enrollment_created. Raises NotThere where the course is gone.

    The role is the stock student's unless roles were read.
    """
    if enrolment["fullname"] is None:
        raise NotThere("the row is gone: its course is no longer there")
    return {
        "enrollmentid": integer(enrolment["id"]),
        **integers(enrolment, "userid", "courseid"),
        "coursename": text.param_text(enrolment["fullname"]),
        "courseshortname": text.param_text(enrolment["shortname"]),
        "roleid": facts.value_of(ROLES, enrolment) or STUDENT_ROLE,
        **integers(enrolment, "status", "timestart", "timeend", "timecreated"),
    }


def _enrolment(row: LogRow, facts: Facts, options: Options) -> dict[str, Any]:
    enrolment = find(facts.of(ENROLMENTS), row, "user_enrolments")
    match("user", row.related_user_id, enrolment["userid"])
    if enrolment["courseid"] is None:
        raise NotThere("the row is gone: its enrolment method (table enrol) is no longer there")
    match("course", row.course_id, enrolment["courseid"])
    return enrolment_data(enrolment, facts, options)


def _has_no_role_yet(row: LogRow, facts: Facts) -> bool:
    """Say whether the enrolment is there and its role is not; False where roles are not read."""
    enrolment = facts.of(ENROLMENTS).get(row.object_id or 0)
    if enrolment is None or _user_and_course(enrolment) is None or ROLES.name not in facts.pairs:
        return False
    return facts.value_of(ROLES, enrolment) is None


ENROLLMENT_CREATED = EventKind(
    name="enrollment_created",
    moodle_event=r"\core\event\user_enrolment_created",
    meaning="somebody was enrolled in a course",
    facts=ENROLMENTS,
    row_table="user_enrolments",
    subject=related_user,
    build=_enrolment,
    fields=(
        Field("enrollmentid", "int", "user_enrolments.id"),
        Field("userid", "int", "user.id"),
        Field("courseid", "int", "course.id"),
        Field("coursename", "str", "the course's full name, without tags"),
        Field("courseshortname", "str", "its short name, without tags"),
        Field("roleid", "int", "5, Moodle's stock student role, unless `role: actual` is set"),
        Field("status", "int", "0 active, 1 suspended"),
        Field("timestart", "int", "from when on, in unix seconds; 0 for no limit"),
        Field("timeend", "int", "until when, in unix seconds; 0 for no limit"),
        Field("timecreated", "int", "when the enrolment was made, in unix seconds"),
    ),
    options=(
        Option(
            name="role",
            choices=("student", "actual"),
            meaning="`student` sends 5, Moodle's stock student role; `actual` the one that the user has in the course",
        ),
    ),
    lookups=(ROLES,),
    current=CurrentRows(
        name="enrolments",
        user="userid",
        time="timecreated",
        in_course="t.enrolid IN (SELECT e.id FROM {p}enrol e WHERE e.courseid = %s)",
        build=enrolment_data,
    ),
    trigger=ROLE_CHANGES,
    explain="enrolment",
    id_field="enrollmentid",
    is_early=_has_no_role_yet,
)
