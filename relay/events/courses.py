"""Events about courses: no user is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.events import other, text
from relay.events.kind import EventKind, FactsTable, Field
from relay.events.rows import find, integer, integers, match, named, object_course

if TYPE_CHECKING:
    from relay.events.kind import Facts, Options
    from relay.model import LogRow

COURSES = FactsTable(
    table="course",
    columns=(
        *("id", "fullname", "shortname", "idnumber", "category", "visible"),
        *("startdate", "enddate", "timecreated", "timemodified"),
    ),
)
FIELDS = (
    Field("courseid", "int", "course.id"),
    Field("coursename", "str", "the course's full name, without tags"),
    Field("courseshortname", "str", "its short name, without tags"),
    Field("idnumber", "str", "the college's own number of it"),
    Field("categoryid", "int", "course_categories.id"),
    Field("visible", "bool", "students see it"),
    Field("startdate", "int", "when it begins, in unix seconds"),
    Field("enddate", "int", "when it ends, in unix seconds; 0 for no end"),
    Field("timecreated", "int", "when it was made, in unix seconds"),
    Field("timemodified", "int", "when it was last changed, in unix seconds"),
)


def _course(row: LogRow, facts: Facts, _options: Options) -> dict[str, Any]:
    course = find(facts.of(COURSES), row, "course")
    match("course", row.course_id, course["id"])
    return {
        "courseid": integer(course["id"]),
        "coursename": text.param_text(course["fullname"]),
        "courseshortname": text.param_text(course["shortname"]),
        "idnumber": text.param_text(course["idnumber"]),
        "categoryid": integer(course["category"]),
        "visible": bool(integer(course["visible"])),
        **integers(course, "startdate", "enddate", "timecreated", "timemodified"),
    }


def _deleted(row: LogRow, _facts: Facts, _options: Options) -> dict[str, Any]:
    """Return the `data` of course_deleted: the row is gone, and `other` has what it was."""
    before = other.parse(row.other)
    return {
        "courseid": named("course", row.object_id),
        "coursename": other.text(before, "fullname", text.param_text),
        "courseshortname": other.text(before, "shortname", text.param_text),
        "idnumber": other.text(before, "idnumber", text.param_text),
    }


COURSE_CREATED = EventKind(
    name="course_created",
    moodle_event=r"\core\event\course_created",
    meaning="a course was made",
    facts=COURSES,
    subject=object_course,
    build=_course,
    fields=FIELDS,
    is_default=False,
    id_field="courseid",
)
COURSE_UPDATED = EventKind(
    name="course_updated",
    moodle_event=r"\core\event\course_updated",
    meaning="a course was renamed, hidden or else changed",
    facts=COURSES,
    subject=object_course,
    build=_course,
    fields=FIELDS,
    is_default=False,
    id_field="courseid",
)
COURSE_DELETED = EventKind(
    name="course_deleted",
    moodle_event=r"\core\event\course_deleted",
    meaning="a course was deleted",
    subject=object_course,
    build=_deleted,
    fields=(
        Field("courseid", "int", "course.id, as it was"),
        Field("coursename", "str or null", "its full name, as it was, without tags"),
        Field("courseshortname", "str or null", "its short name, as it was, without tags"),
        Field("idnumber", "str or null", "the college's own number of it, as it was"),
    ),
    is_default=False,
    log_columns=("other",),
    id_field="courseid",
)
