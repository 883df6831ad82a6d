"""Events about who is in which course."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from relay.events import other, text
from relay.events.kind import CurrentRows, EventKind, FactsTable, Field, Join, Lookup, Option, Related, Trigger
from relay.events.rows import NotThere, find, integer, integers, match, named, related_user

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        Join(
            table="enrol",
            alias="e",
            on="e.id = t.enrolid",
            columns={"courseid": "courseid", "methodstatus": "status"},
            keys=("id",),
        ),
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
#: The same with what an update tells beside.
CHANGED_ENROLMENTS = FactsTable(
    table="user_enrolments",
    shape="changed",
    columns=(*ENROLMENTS.columns, "timemodified"),
    joins=(ENROLMENTS.joins[0]._replace(columns={"courseid": "courseid", "enrol": "enrol"}), ENROLMENTS.joins[1]),
)
#: What an enrolment that is gone was in.
COURSE_NAMES = FactsTable(table="course", shape="names", columns=("id", "fullname", "shortname"))


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
    value="(SELECT ra.roleid FROM {p}role_assignments ra JOIN {p}context x ON x.id = ra.contextid "
    f"WHERE x.contextlevel = {CONTEXT_COURSE} AND x.instanceid = e.courseid AND ra.userid = t.userid "
    "ORDER BY ra.id LIMIT 1)",
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
        "coursename": text.shared_name(enrolment["fullname"]),
        "courseshortname": text.shared_name(enrolment["shortname"]),
        "roleid": facts.value_of(ROLES, enrolment) or STUDENT_ROLE,
        **integers(enrolment, "status", "timestart", "timeend", "timecreated"),
    }


def changed_enrolment_data(enrolment: Row, facts: Facts, options: Options) -> dict[str, Any]:
    """Return the `data` of enrollment_updated. Raises as `enrolment_data`."""
    return {
        **enrolment_data(enrolment, facts, options),
        **integers(enrolment, "timemodified"),
        "enrol": text.shared_name(enrolment["enrol"]),
    }


def _found(row: LogRow, enrolments: Mapping[int, Row]) -> Row:
    enrolment = find(enrolments, row, "user_enrolments")
    match("user", row.related_user_id, enrolment["userid"])
    if enrolment["courseid"] is None:
        raise NotThere("the row is gone: its enrolment method (table enrol) is no longer there")
    match("course", row.course_id, enrolment["courseid"])
    return enrolment


def _created(row: LogRow, facts: Facts, options: Options) -> dict[str, Any]:
    return enrolment_data(_found(row, facts.of(ENROLMENTS)), facts, options)


def _updated(row: LogRow, facts: Facts, options: Options) -> dict[str, Any]:
    return changed_enrolment_data(_found(row, facts.of(CHANGED_ENROLMENTS)), facts, options)


def _deleted(row: LogRow, facts: Facts, _options: Options) -> dict[str, Any]:
    """Return the `data` of enrollment_deleted: the row is gone, and `other` has what it was."""
    before = other.parse(row.other)
    enrolment = other.within(before, "userenrolment")
    course = facts.of(COURSE_NAMES).get(row.course_id or 0)
    return {
        "enrollmentid": named("enrolment", row.object_id),
        "userid": named("user", row.related_user_id),
        "courseid": named("course", row.course_id),
        "coursename": None if course is None else text.param_text(course["fullname"]),
        "courseshortname": None if course is None else text.param_text(course["shortname"]),
        "enrol": other.text({**before, **enrolment}, "enrol", text.param_text),
        **{name: other.integer(enrolment, name) for name in ("status", "timestart", "timeend", "timecreated")},
        "lastenrol": other.boolean(enrolment, "lastenrol"),
        "timedeleted": row.created_at,
    }


def _gone(enrolment_id: int, _row: Row | None, last: Mapping[str, Any], at: int) -> dict[str, Any]:
    """Return the `data` of enrollment_deleted without a log row: what was last sent of it is all that is known."""
    known = ("userid", "courseid", "coursename", "courseshortname", "enrol", "status", "timestart", "timeend")
    return {
        "enrollmentid": enrolment_id,
        **{name: last.get(name) for name in (*known, "timecreated")},
        "lastenrol": None,
        "timedeleted": at,
    }


def _has_no_role_yet(table: FactsTable, row: LogRow, facts: Facts) -> bool:
    """Say whether the enrolment is there and its role is not; False where roles are not read."""
    enrolment = facts.of(table).get(row.object_id or 0)
    if enrolment is None or _user_and_course(enrolment) is None or ROLES.name not in facts.pairs:
        return False
    return facts.value_of(ROLES, enrolment) is None


FIELDS = (
    Field("enrollmentid", "int", "user_enrolments.id"),
    Field("userid", "int", "user.id"),
    Field("courseid", "int", "course.id"),
    Field("coursename", "str", "the course's full name, without tags"),
    Field("courseshortname", "str", "its short name, without tags"),
    Field("roleid", "int", "5, Moodle's stock student role, unless `events.enrollment_created.role` is `actual`"),
    Field("status", "int", "0 active, 1 suspended"),
    Field("timestart", "int", "from when on, in unix seconds; 0 for no limit"),
    Field("timeend", "int", "until when, in unix seconds; 0 for no limit"),
    Field("timecreated", "int", "when the enrolment was made, in unix seconds"),
)

ENROLLMENT_CREATED = EventKind(
    name="enrollment_created",
    moodle_event=r"\core\event\user_enrolment_created",
    meaning="somebody was enrolled in a course",
    facts=ENROLMENTS,
    row_table="user_enrolments",
    subject=related_user,
    build=_created,
    fields=FIELDS,
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
        passing=("t.timestart", "t.timeend"),
        written="GREATEST(t.timecreated, t.timemodified)",
        # The method is switched off for all whom it has enrolled.
        beside=lambda enrolment: int(integer(enrolment["methodstatus"]) != 0),
    ),
    trigger=ROLE_CHANGES,
    explain="enrolment",
    id_field="enrollmentid",
    is_early=partial(_has_no_role_yet, ENROLMENTS),
)
ENROLLMENT_UPDATED = EventKind(
    name="enrollment_updated",
    moodle_event=r"\core\event\user_enrolment_updated",
    meaning="an enrolment was suspended, prolonged or else changed, or its role was",
    facts=CHANGED_ENROLMENTS,
    row_table=ENROLLMENT_CREATED.row_table,
    compared=tuple(field.name for field in FIELDS),
    subject=related_user,
    build=_updated,
    fields=(
        *FIELDS,
        Field("timemodified", "int", "when it was last changed, in unix seconds"),
        Field("enrol", "str", "the enrolment method, such as manual or cohort"),
    ),
    is_default=False,
    like=ENROLLMENT_CREATED,
    lookups=(ROLES,),
    current=CurrentRows(
        user="userid",
        time="timemodified",
        in_course="t.enrolid IN (SELECT e.id FROM {p}enrol e WHERE e.courseid = %s)",
        build=changed_enrolment_data,
    ),
    trigger=ROLE_CHANGES,
    explain=ENROLLMENT_CREATED.explain,
    id_field="enrollmentid",
    is_early=partial(_has_no_role_yet, CHANGED_ENROLMENTS),
)
ENROLLMENT_DELETED = EventKind(
    name="enrollment_deleted",
    moodle_event=r"\core\event\user_enrolment_deleted",
    meaning="somebody was taken out of a course",
    related=(Related(table=COURSE_NAMES, id_of=lambda row: row.course_id),),
    row_table=ENROLLMENT_CREATED.row_table,
    subject=related_user,
    build=_deleted,
    gone=_gone,
    fields=(
        Field("enrollmentid", "int", "user_enrolments.id, as it was"),
        Field("userid", "int", "user.id"),
        Field("courseid", "int", "course.id"),
        Field("coursename", "str or null", "the course's full name, without tags; null where the course is gone"),
        Field("courseshortname", "str or null", "its short name, without tags; null where the course is gone"),
        Field("enrol", "str or null", "the enrolment method, such as manual or cohort"),
        Field("status", "int or null", "as it was: 0 active, 1 suspended"),
        Field("timestart", "int or null", "from when on it was to be, in unix seconds; 0 for no limit"),
        Field("timeend", "int or null", "until when, in unix seconds; 0 for no limit"),
        Field("timecreated", "int or null", "when the enrolment was made, in unix seconds"),
        Field("lastenrol", "bool or null", "it was the user's last one in the course"),
        Field("timedeleted", "int", "when it was taken away, in unix seconds"),
    ),
    is_default=False,
    log_columns=("other",),
    explain=ENROLLMENT_CREATED.explain,
    id_field="enrollmentid",
)
