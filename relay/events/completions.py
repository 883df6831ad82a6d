"""Events about courses that somebody has completed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.events import text
from relay.events.kind import EventKind, FactsTable, Field, Join
from relay.events.rows import find, integer, integers, match, related_user

if TYPE_CHECKING:
    from relay.events.kind import Facts, Options
    from relay.model import LogRow

COMPLETIONS = FactsTable(
    table="course_completions",
    columns=("id", "userid", "course", "timeenrolled", "timestarted", "timecompleted"),
    joins=(
        Join(
            table="course",
            alias="c",
            on="c.id = t.course",
            columns={"fullname": "fullname", "shortname": "shortname"},
            keys=("id",),
        ),
    ),
)


def _completion(row: LogRow, facts: Facts, _options: Options) -> dict[str, Any]:
    completion = find(facts.of(COMPLETIONS), row, "course_completions")
    match("user", row.related_user_id, completion["userid"])
    match("course", row.course_id, completion["course"])
    is_gone = completion["fullname"] is None
    return {
        "completionid": integer(completion["id"]),
        "userid": integer(completion["userid"]),
        "courseid": integer(completion["course"]),
        "coursename": None if is_gone else text.param_text(completion["fullname"]),
        "courseshortname": None if is_gone else text.param_text(completion["shortname"]),
        **integers(completion, "timeenrolled", "timestarted"),
        "timecompleted": None if completion["timecompleted"] is None else integer(completion["timecompleted"]),
    }


COURSE_COMPLETED = EventKind(
    name="course_completed",
    moodle_event=r"\core\event\course_completed",
    meaning="somebody completed a course",
    facts=COMPLETIONS,
    subject=related_user,
    build=_completion,
    fields=(
        Field("completionid", "int", "course_completions.id"),
        Field("userid", "int", "user.id of the student"),
        Field("courseid", "int", "course.id"),
        Field("coursename", "str or null", "the course's full name, without tags; null where the course is gone"),
        Field("courseshortname", "str or null", "its short name, without tags; null where the course is gone"),
        Field("timeenrolled", "int", "when the student was enrolled, in unix seconds; 0 where Moodle does not know"),
        Field("timestarted", "int", "when the student began, in unix seconds; 0 where Moodle does not know"),
        Field("timecompleted", "int or null", "when it was completed, in unix seconds; null where that was taken back"),
    ),
    is_default=False,
    id_field="completionid",
)
