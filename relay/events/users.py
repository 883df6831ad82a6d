"""Events about people: who signed up, was changed, or was deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.events import other, text
from relay.events.kind import CurrentRows, EventKind, FactsTable, Field
from relay.events.rows import NoEvent, find, integer, integers, match, object_user

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.events.kind import Facts, Options
    from relay.events.rows import Row
    from relay.model import LogRow

USERS = FactsTable(
    table="user",
    columns=(
        *("id", "username", "firstname", "lastname", "email", "idnumber", "phone1", "city", "country"),
        *("suspended", "deleted", "timecreated", "timemodified"),
    ),
)
NO_GUEST = "NOT EXISTS (SELECT 1 FROM {p}config g WHERE g.name = 'siteguest' AND g.value = t.id)"
FIELDS = (
    Field("userid", "int", "user.id"),
    Field("username", "str", "as Moodle stores it"),
    Field("firstname", "str", "without tags"),
    Field("lastname", "str", "without tags"),
    Field("email", "str", "'' if it is no e-mail address"),
    Field("idnumber", "str", "the college's own number"),
    Field("phone1", "str", "the phone number"),
    Field("city", "str", "the town"),
    Field("country", "str", "two letters (ISO 3166-1)"),
    Field("suspended", "bool", "may not log in"),
    Field("deleted", "bool", "deleted in Moodle"),
    Field("timecreated", "int", "when the account was made, in unix seconds"),
    Field("timemodified", "int", "when it was last changed, in unix seconds"),
)


def user_data(user: Row) -> dict[str, Any]:
    """Return the `data` of user_created and user_updated."""
    texts = ("firstname", "lastname", "email", "idnumber", "phone1", "city", "country")
    return {
        "userid": integer(user["id"]),
        "username": text.as_stored(user["username"]),
        **{name: (text.param_email if name == "email" else text.param_text)(user[name]) for name in texts},
        "suspended": bool(integer(user["suspended"])),
        "deleted": bool(integer(user["deleted"])),
        **integers(user, "timecreated", "timemodified"),
    }


def _user(row: LogRow, facts: Facts, _options: Options) -> dict[str, Any]:
    user = find(facts.of(USERS), row, "user")
    match("user", row.related_user_id, user["id"])
    return user_data(user)


def _deleted_user(row: LogRow, facts: Facts, _options: Options) -> dict[str, Any]:
    """Return the `data` of user_deleted: Moodle has written over the row, and `other` has what it was before."""
    if object_user(row) <= 0:
        raise NoEvent("the log row names no user")
    user = facts.of(USERS).get(object_user(row))
    before = other.parse(row.other)
    return {
        "userid": object_user(row),
        "username": other.text(before, "username", text.as_stored),
        "email": other.text(before, "email", text.param_email),
        "idnumber": other.text(before, "idnumber", text.param_text),
        "deleted": None if user is None else bool(integer(user["deleted"])),
        "timemodified": None if user is None else integer(user["timemodified"]),
    }


def _gone(user_id: int, user: Row | None, last: Mapping[str, Any], _at: int) -> dict[str, Any]:
    """Return the `data` of user_deleted without a log row: Moodle has written over the row; what was sent is known."""
    return {
        "userid": user_id,
        **{name: last.get(name) for name in ("username", "email", "idnumber")},
        "deleted": None if user is None else bool(integer(user["deleted"])),
        "timemodified": None if user is None else integer(user["timemodified"]),
    }


USER_CREATED = EventKind(
    name="user_created",
    moodle_event=r"\core\event\user_created",
    meaning="somebody signed up, or was made",
    facts=USERS,
    row_table="user",
    subject=object_user,
    build=_user,
    fields=FIELDS,
    explain="user",
    id_field="userid",
)
USER_UPDATED = EventKind(
    name="user_updated",
    moodle_event=r"\core\event\user_updated",
    meaning="an account was changed or suspended",
    facts=USERS,
    row_table="user",
    subject=object_user,
    build=_user,
    fields=FIELDS,
    current=CurrentRows(
        name="users",
        # The guest account is no person; a deleted one is sent where it is asked for by id only.
        only=NO_GUEST,
        only_unnamed="t.deleted = 0",
        user="id",
        time="timemodified",
        in_course="t.id IN (SELECT ue.userid FROM {p}user_enrolments ue JOIN {p}enrol e ON e.id = ue.enrolid "
        "WHERE e.courseid = %s)",
        build=lambda row, _facts, _options: user_data(row),
        there=f"t.deleted = 0 AND {NO_GUEST}",
    ),
    explain="user",
    id_field="userid",
)
USER_DELETED = EventKind(
    name="user_deleted",
    moodle_event=r"\core\event\user_deleted",
    meaning="an account was deleted",
    facts=USERS,
    row_table="user",
    subject=object_user,
    build=_deleted_user,
    gone=_gone,
    fields=(
        Field("userid", "int", "user.id"),
        Field("username", "str or null", "as it was before"),
        Field("email", "str or null", "as it was before"),
        Field("idnumber", "str or null", "as it was before"),
        Field("deleted", "bool or null", "as the row says now; null where the row is gone"),
        Field("timemodified", "int or null", "when it was deleted, in unix seconds; null where the row is gone"),
    ),
    is_default=False,
    log_columns=("other",),
    explain="user",
    id_field="userid",
)
