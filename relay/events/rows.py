"""Reading the rows of Moodle that builders are given, and saying why no event can be made of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay.model import LogRow

#: A row of Moodle, by column name, as the database gave it: numbers, decimals, text as bytes, None.
Row = Mapping[str, Any]


class NoEvent(Exception):
    """No event can be made of a row; the text says why, without personal data."""


class NotThere(NoEvent):
    """What a log row points to is gone, or not there yet: a replica, a proxy or an open transaction may be behind."""


def integer(value: Any) -> int:
    """Return a column as PHP's (int) would; NULL is 0."""
    return int(value or 0)


def integers(row: Row, *names: str) -> dict[str, int]:
    """Return columns of a row as numbers, by their names."""
    return {name: integer(row[name]) for name in names}


def find(rows: Mapping[int, Row], row: LogRow, table: str) -> Row:
    """Return the row that a log row points to. Raises NotThere where there is none."""
    found = rows.get(row.object_id or 0)
    if found is None:
        raise NotThere(f"the row is gone: there is no {table}.id {row.object_id}")
    return found


def named(what: str, logged: int | None) -> int:
    """Return the id of a user or an object that a log row names. Raises NoEvent where it names none."""
    if logged is None or logged <= 0:
        raise NoEvent(f"the log row names no {what}")
    return logged


def match(name: str, logged: int | None, found: Any) -> None:
    """Check that log row and row speak of the same user or course; NULL or 0 in the log says nothing.

    Raises NoEvent where they don't.
    """
    if logged and logged != integer(found):
        raise NoEvent(f"the row does not match the log row: {name} {integer(found)}, not {logged}")


def object_user(row: LogRow) -> int:
    """Return whom a log row is about where it points to the user: the events of users."""
    return row.object_id or 0


def related_user(row: LogRow) -> int:
    """Return whom a log row is about where it was done to somebody: enrolments, grades."""
    return row.related_user_id or 0


def object_course(row: LogRow) -> int:
    """Return what keeps events about one course in order where the log row points to the course: minus its id."""
    return -max(0, row.object_id or 0)
