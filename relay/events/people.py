"""What Moodle's own tables say of who somebody is, for the page: statements, and the columns that they read. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The columns, by table. `config` is read anyway, for siteadmins.
COLUMNS: dict[str, tuple[str, ...]] = {
    "user": ("id", "username", "deleted", "suspended"),
    "role_assignments": ("userid", "roleid", "contextid"),
    "role": ("id", "archetype"),
    "context": ("id", "contextlevel", "instanceid"),
    "user_enrolments": ("userid", "enrolid", "status", "timestart", "timeend"),
    "enrol": ("id", "courseid", "status"),
}
#: Moodle compares usernames without regard to case, and the server perhaps without accents: the caller compares again.
ACCOUNT = "SELECT id, username FROM {p}user WHERE username = %s AND deleted = 0 AND suspended = 0"
IS_THERE = "SELECT COUNT(*) FROM {p}user WHERE id = %s AND deleted = 0 AND suspended = 0 AND username <> 'guest'"
ADMINS = "SELECT value FROM {p}config WHERE name = 'siteadmins'"
#: In the context of the whole site (10): a manager of one category is none of the others.
MANAGES = """
SELECT COUNT(*) FROM {p}role_assignments ra JOIN {p}role r ON r.id = ra.roleid JOIN {p}context c ON c.id = ra.contextid
WHERE ra.userid = %s AND c.contextlevel = 10 AND r.archetype = 'manager'
"""
#: In courses (50). Moodle leaves the role to a teacher whose enrolment was suspended or has ended: they teach no more.
TEACHES = """
SELECT DISTINCT c.instanceid AS course
FROM {p}role_assignments ra JOIN {p}role r ON r.id = ra.roleid JOIN {p}context c ON c.id = ra.contextid
WHERE ra.userid = %s AND c.contextlevel = 50 AND r.archetype IN ('editingteacher', 'teacher') AND EXISTS (
    SELECT 1 FROM {p}user_enrolments ue JOIN {p}enrol e ON e.id = ue.enrolid
    WHERE ue.userid = ra.userid AND e.courseid = c.instanceid AND ue.status = 0 AND e.status = 0
      AND ue.timestart <= UNIX_TIMESTAMP() AND (ue.timeend = 0 OR ue.timeend > UNIX_TIMESTAMP()))
"""
#: Who has left is deleted from there; who is suspended is one of the course's users still.
IS_IN = """
SELECT COUNT(*) FROM {p}user_enrolments ue JOIN {p}enrol e ON e.id = ue.enrolid
WHERE ue.userid = %s AND e.courseid IN %s
"""


def with_people(columns: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return columns, by table, with those that tell who somebody is, each once."""
    tables = dict.fromkeys((*columns, *COLUMNS))
    return {name: tuple(dict.fromkeys((*columns.get(name, ()), *COLUMNS.get(name, ())))) for name in tables}
