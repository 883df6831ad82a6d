"""Events about roles: who may do what, in a course, in the whole site, or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.events import other, text
from relay.events.kind import EventKind, FactsTable, Field, Related
from relay.events.rows import integer, match, named, related_user

if TYPE_CHECKING:
    from relay.events.kind import Facts, Options
    from relay.model import LogRow

ROLE_NAMES = FactsTable(table="role", columns=("id", "shortname"))
ASSIGNMENTS = FactsTable(table="role_assignments", columns=("id", "userid", "component", "timemodified"))
FIELDS = (
    Field("assignmentid", "int or null", "role_assignments.id"),
    Field("userid", "int", "user.id of who has, or had, the role"),
    Field("roleid", "int", "role.id"),
    Field("roleshortname", "str or null", "the role's short name, such as student; null where the role is gone"),
    Field("courseid", "int", "course.id; 0 outside of courses"),
    Field("contextlevel", "int or null", "where it holds: 10 the site, 30 a user, 40 a category, 50 a course, 70, 80"),
    Field("component", "str or null", "what gave it, such as enrol_cohort; '' for a person"),
    Field("timemodified", "int or null", "when it was given, in unix seconds; null where it is taken away"),
)


def _assignment_id(row: LogRow) -> int | None:
    return other.integer(other.parse(row.other), "id")


def _role(row: LogRow, facts: Facts, _options: Options) -> dict[str, Any]:
    """Return the `data`: the log row points to the role, and `other` names the assignment, which may be gone."""
    said = other.parse(row.other)
    role = facts.of(ROLE_NAMES).get(row.object_id or 0)
    assignment = facts.of(ASSIGNMENTS).get(_assignment_id(row) or 0)
    if assignment is not None:
        match("user", row.related_user_id, assignment["userid"])
        said = {"component": text.as_stored(assignment["component"]), **said}
    return {
        "assignmentid": other.integer(said, "id"),
        "userid": named("user", row.related_user_id),
        "roleid": named("role", row.object_id),
        "roleshortname": None if role is None else text.param_text(role["shortname"]),
        "courseid": row.course_id or 0,
        "contextlevel": row.context_level,
        "component": other.text(said, "component", text.param_text),
        "timemodified": None if assignment is None else integer(assignment["timemodified"]),
    }


def _is_not_there_yet(row: LogRow, facts: Facts) -> bool:
    return (_assignment_id(row) or 0) not in facts.of(ASSIGNMENTS)


ROLE_ASSIGNED = EventKind(
    name="role_assigned",
    moodle_event=r"\core\event\role_assigned",
    meaning="somebody was given a role",
    facts=ROLE_NAMES,
    related=(Related(table=ASSIGNMENTS, id_of=_assignment_id),),
    subject=related_user,
    build=_role,
    fields=FIELDS,
    is_default=False,
    log_columns=("other", "contextlevel"),
    id_field="assignmentid",
    is_early=_is_not_there_yet,
)
ROLE_UNASSIGNED = EventKind(
    name="role_unassigned",
    moodle_event=r"\core\event\role_unassigned",
    meaning="a role was taken away from somebody",
    facts=ROLE_NAMES,
    related=(Related(table=ASSIGNMENTS, id_of=_assignment_id),),
    subject=related_user,
    build=_role,
    fields=FIELDS,
    is_default=False,
    log_columns=("other", "contextlevel"),
    id_field="assignmentid",
)
