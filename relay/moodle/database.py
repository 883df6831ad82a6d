"""The read-only SQL: log rows after an id, ids within gaps, facts for a batch (one query a kind, never one a row)."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pymysql
import pymysql.converters
import pymysql.cursors
from pymysql.constants import FIELD_TYPE

from relay.errors import MoodleRefused, MoodleUnreachable
from relay.events.payload import MOODLE_EVENTS, EventType, Facts
from relay.model import LogRow
from relay.moodle.tables import (
    ANY_LOG_ROW,
    CONTEXT_COURSE,
    COUNT_IN_RANGE,
    CURRENT,
    ENROLMENTS,
    FIRST_SINCE,
    GRADES,
    GRANTS,
    HARMLESS,
    IDS_IN_RANGE,
    IN_COURSE,
    KINDS,
    LOG_OF_COURSE,
    LOG_OF_TIME,
    LOG_STORE,
    MAX_ID,
    MIN_ID,
    NEXT_ID,
    PASSWORDS,
    PLUGIN_SETTINGS,
    ROLES,
    ROW_TIME,
    ROWS_BY_ID,
    ROWS_IN_RANGE,
    SITE,
    USERS,
)
from relay.rules import server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.events.payload import Row
    from relay.model import Gap
    from relay.rules.server import Address

#: A page of the log spans at most this many ids, so that no query is long.
SPAN = 20_000
#: At most this many relevant rows in a page, and so many grades among them: what is held in memory at once, a megabyte
#: of feedback with each grade perhaps.
PAGE = 1000
GRADES_A_PAGE = 100
#: Values in one IN list, and gaps in one statement.
CHUNK = 500
GAPS_A_QUERY = 100


def _decimal(raw: bytes | str) -> Decimal:
    return Decimal(raw.decode() if isinstance(raw, bytes) else raw)


#: With text as bytes, the driver hands decimals over as bytes too.
CONVERSIONS: dict[Any, Any] = {
    **pymysql.converters.conversions,
    FIELD_TYPE.DECIMAL: _decimal,
    FIELD_TYPE.NEWDECIMAL: _decimal,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A stretch of the log, read at one moment."""

    #: The first and the last id of the stretch; below `first` nothing is there.
    first: int
    last: int
    #: The rows of the four kinds, in the order of their ids.
    rows: tuple[LogRow, ...]
    #: All ids that are there; None where none is missing.
    ids: tuple[int, ...] | None
    #: More is there behind it.
    is_more: bool

    def present(self) -> Sequence[int]:
        """Return all ids that are there, in ascending order."""
        return range(self.first, self.last + 1) if self.ids is None else self.ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What Moodle says of itself."""

    #: Moodle's `siteidentifier`.
    identifier: str
    #: Moodle's version number, such as 2023112400.
    version: int
    release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStore:
    """How Moodle keeps its log."""

    is_enabled: bool
    #: After how many days rows are deleted; 0 for never.
    lifetime_days: int


class Moodle:
    """One connection to Moodle's database, made when it is needed, and made anew after it broke. For one thread.

    Every method raises MoodleUnreachable where the same call may work later, MoodleRefused where it won't.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: pymysql.connections.Connection[Any] | None = None

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        if self._connection is not None:
            with contextlib.suppress(pymysql.Error, OSError):
                self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads within see the database at one moment."""
        with self._translated():
            self._query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        yield
        with self._translated():
            self._query("COMMIT")

    def max_id(self) -> int:
        """Return the highest id in the log, 0 where it is empty."""
        return self._number(MAX_ID)

    def min_id(self) -> int:
        """Return the lowest id in the log, 0 where it is empty."""
        return self._number(MIN_ID)

    def first_since(self, seconds: int) -> int | None:
        """Return the lowest id of the rows triggered at or after a time (unix seconds), or None."""
        return self._number(FIRST_SINCE, seconds) or None

    def row_time(self, log_id: int) -> int | None:
        """Return when the row was triggered (unix seconds), or None where there is no such row."""
        rows = self._select(ROW_TIME, log_id)
        return int(rows[0]["timecreated"]) if rows else None

    def page(self, after: int, top: int) -> Page | None:
        """Return the next stretch of the log behind an id and up to `top`, or None where none is there."""
        first = self._number(NEXT_ID, after)
        if not first or first > top:
            return None
        last = min(top, first + SPAN - 1)
        found = self._select(ROWS_IN_RANGE, first, last, tuple(KINDS), PAGE)
        all_rows = _log_rows(found)
        rows = _cut(all_rows)
        if len(rows) < len(all_rows):
            last = rows[-1].id
        elif len(found) == PAGE:
            last = int(found[-1]["id"])
        count = self._number(COUNT_IN_RANGE, first, last)
        is_whole = count == last - first + 1
        ids = None if is_whole else self.ids(first, last, SPAN)
        return Page(first=first, last=last, rows=rows, ids=ids, is_more=last < top)

    def ids(self, low: int, high: int, limit: int) -> tuple[int, ...]:
        """Return the ids that are there from `low` to `high`, the first `limit` of them."""
        return tuple(int(row["id"]) for row in self._select(IDS_IN_RANGE, low, high, limit))

    def count_each(self, gaps: Sequence[Gap]) -> list[int]:
        """Return how many rows are there in each gap."""
        counts: list[int] = []
        for start in range(0, len(gaps), GAPS_A_QUERY):
            some = gaps[start : start + GAPS_A_QUERY]
            statement = " UNION ALL ".join(
                f"SELECT {number} AS number, ({COUNT_IN_RANGE}) AS rows_there" for number in range(len(some))
            )
            bounds = [bound for gap in some for bound in (gap.low, gap.high)]
            found = {int(row["number"]): int(row["rows_there"]) for row in self._select(statement, *bounds)}
            counts.extend(found[number] for number in range(len(some)))
        return counts

    def rows(self, ids: Sequence[int]) -> tuple[LogRow, ...]:
        """Return those of the rows with these ids that are of the four kinds."""
        found: list[LogRow] = []
        for start in range(0, len(ids), CHUNK):
            found.extend(_log_rows(self._select(ROWS_BY_ID, tuple(ids[start : start + CHUNK]), tuple(KINDS))))
        return tuple(found)

    def facts(self, rows: Sequence[LogRow], *, with_roles: bool) -> Facts:
        """Return what Moodle's tables say about these log rows: one query a kind."""
        wanted: dict[str, set[int]] = {}
        for row in rows:
            if row.object_id is not None and row.object_id > 0:
                wanted.setdefault(row.event_type, set()).add(row.object_id)
        users = wanted.get(EventType.USER_CREATED, set()) | wanted.get(EventType.USER_UPDATED, set())
        enrolments = self._by_id(ENROLMENTS, wanted.get(EventType.ENROLLMENT_CREATED, set()))
        return Facts(
            users=self._by_id(USERS, users),
            enrolments=enrolments,
            grades=self._by_id(GRADES, wanted.get(EventType.GRADE_UPDATED, set())),
            roles=self._roles(enrolments.values()) if with_roles else {},
        )

    def site(self) -> Site:
        """Return what Moodle says of itself. Raises MoodleRefused where this is no Moodle."""
        values = {_text(row["name"]): _text(row["value"]) for row in self._select(SITE)}
        if not values.get("siteidentifier"):
            raise MoodleRefused(
                f"The table {self._address.prefix}config in {self._address.name} has no siteidentifier: "
                "this is no Moodle that has been set up.",
                hint="Mend moodle.database.name or moodle.database.prefix.",
            )
        version = re.match(r"\d*", values.get("version", ""))
        return Site(
            identifier=values["siteidentifier"],
            version=int((version and version[0]) or 0),
            release=values.get("release", ""),
        )

    def try_tables(self) -> None:
        """Run each statement that relay reads facts with, for rows that do not exist.

        Raises MoodleRefused, naming the table or column, where one may not be read or is not there.
        """
        self._select(ROWS_BY_ID, (0,), tuple(KINDS))
        for statement in (USERS, ENROLMENTS, GRADES):
            self._select(statement, (0,))
        self._select(ROLES, CONTEXT_COURSE, (0,), (0,))

    def too_much(self) -> list[str]:
        """Return what the database user may do and need not, a sentence's end for each."""
        found = []
        for row in self._select(GRANTS):
            granted = re.match(r"GRANT (.*?) ON (\S+) TO", _text(next(iter(row.values()))))
            # Columns in brackets belong to the privilege before them.
            names = re.sub(r"\([^)]*\)", "", granted[1]).split(",") if granted else []
            writing = sorted({name.strip() for name in names} - HARMLESS)
            if writing and granted:
                found.append(f"it may do more than read on {granted[2].replace('`', '')}: {', '.join(writing)[:80]}")
        with contextlib.suppress(MoodleRefused):
            self._select(PASSWORDS)
            found.append(f"it can read the password hashes in {self._address.prefix}user")
        return found

    def current_ids(
        self, event_type: EventType, after: int, limit: int, *, user: int | None, course: int | None, since: int | None
    ) -> list[int]:
        """Return the ids of current rows behind an id, of a user, a course, or changed since a time only."""
        statement, values = CURRENT[event_type], [after, user or 0]
        terms = {
            ("t.id = %s" if event_type is EventType.USER_UPDATED else "t.userid = %s"): user,
            IN_COURSE[event_type]: course,
            "t.timemodified >= %s": since,
        }
        for term, value in terms.items():
            if value is not None:
                statement += f" AND {term}"
                values.append(value)
        return [int(row["id"]) for row in self._select(f"{statement} ORDER BY t.id LIMIT %s", *values, limit)]

    def current(self, event_type: EventType, ids: Sequence[int], *, with_roles: bool) -> Facts:
        """Return what Moodle's tables say about these rows now."""
        if event_type is EventType.USER_UPDATED:
            return Facts(users=self._by_id(USERS, set(ids)))
        if event_type is EventType.GRADE_UPDATED:
            return Facts(grades=self._by_id(GRADES, set(ids)))
        enrolments = self._by_id(ENROLMENTS, set(ids))
        return Facts(enrolments=enrolments, roles=self._roles(enrolments.values()) if with_roles else {})

    def any_log_row(self, log_id: int) -> tuple[str, LogRow | None] | None:
        """Return a log row's event name and, if it is of the four kinds, the row; None where there is none."""
        for row in self._select(ANY_LOG_ROW, log_id):
            name = _text(row["eventname"])
            return name, _log_row(row, KINDS[name]) if name in KINDS else None
        return None

    def log_of(
        self, types: Sequence[EventType], object_id: int, *, course: int | None, times: Sequence[int]
    ) -> list[LogRow]:
        """Return the log rows about an object: those of a course, else those within an hour of one of the times."""
        names = tuple(MOODLE_EVENTS[event_type] for event_type in types)
        if course is not None:
            return list(_log_rows(self._select(LOG_OF_COURSE, course, object_id, names)))
        found: dict[int, LogRow] = {}
        for at in times:
            rows = _log_rows(self._select(LOG_OF_TIME, at - 3600, at + 3600, object_id, names))
            found.update((row.id, row) for row in rows)
        return [found[log_id] for log_id in sorted(found)]

    def plugin_settings(self, plugin: str) -> dict[str, str]:
        """Return the settings of a Moodle plugin, some of which are secrets."""
        return {_text(row["name"]): _text(row["value"]) for row in self._select(PLUGIN_SETTINGS, plugin)}

    def log_store(self) -> LogStore:
        """Return how Moodle keeps its log."""
        values = {(_text(row["plugin"]), _text(row["name"])): _text(row["value"]) for row in self._select(LOG_STORE)}
        stores = values.get(("tool_log", "enabled_stores"), "").split(",")
        lifetime = values.get(("logstore_standard", "loglifetime"), "0")
        return LogStore(
            is_enabled="logstore_standard" in stores, lifetime_days=int(lifetime) if lifetime.isdigit() else 0
        )

    def _roles(self, enrolments: Sequence[Row] | Any) -> dict[tuple[int, int], int]:
        pairs = {(int(e["userid"]), int(e["courseid"])) for e in enrolments if e["courseid"] is not None}
        if not pairs:
            return {}
        users, courses = {user for user, _ in pairs}, {course for _, course in pairs}
        rows = self._select(ROLES, CONTEXT_COURSE, tuple(courses), tuple(users))
        return {(int(row["userid"]), int(row["courseid"])): int(row["roleid"]) for row in rows}

    def _by_id(self, statement: str, ids: set[int]) -> dict[int, Row]:
        ordered = sorted(ids)
        found: dict[int, Row] = {}
        for start in range(0, len(ordered), CHUNK):
            chunk = tuple(ordered[start : start + CHUNK])
            found.update((int(row["id"]), row) for row in self._select(statement, chunk))
        return found

    def _number(self, statement: str, *values: Any) -> int:
        row = self._select(statement, *values)[0]
        return int(next(iter(row.values())) or 0)

    def _select(self, statement: str, *values: Any) -> Sequence[Row]:
        with self._translated():
            return self._query(statement.replace("{p}", self._address.prefix), values)

    def _query(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Row]:
        if self._connection is None:
            self._connection = self._connect()
        with self._connection.cursor() as cursor:
            cursor.execute(statement, tuple(values) or None)
            rows: Sequence[Row] = cursor.fetchall()
            return rows

    def _connect(self) -> pymysql.connections.Connection[Any]:
        return server.connect(
            self._address,
            # Text comes as bytes: one row with invalid text must not stop the others.
            use_unicode=False,
            conv=CONVERSIONS,
            autocommit=True,
            init_command="SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            cursorclass=pymysql.cursors.DictCursor,
        )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the driver says into a MoodleError; the connection is closed, as its state is unknown."""
        try:
            yield
        except (pymysql.Error, OSError) as error:
            self.close()
            found = server.explained(error, self._address)
            made = MoodleRefused if found.is_refusal else MoodleUnreachable
            raise made(found.sentence, hint=found.hint) from error
        except BaseException:
            self.close()
            raise


def _log_rows(rows: Sequence[Row]) -> tuple[LogRow, ...]:
    """Return the rows of the four kinds: the column's collation lets other spellings of their names through."""
    return tuple(_log_row(row, KINDS[name]) for row in rows if (name := _text(row["eventname"])) in KINDS)


def _cut(rows: tuple[LogRow, ...]) -> tuple[LogRow, ...]:
    """Return the rows up to the last grade that a page may hold."""
    grades = [index for index, row in enumerate(rows) if row.event_type is EventType.GRADE_UPDATED]
    return rows[: grades[GRADES_A_PAGE - 1] + 1] if len(grades) >= GRADES_A_PAGE else rows


def _log_row(row: Row, event_type: str) -> LogRow:
    return LogRow(
        id=int(row["id"]),
        event_type=event_type,
        object_id=_optional(row["objectid"]),
        actor_id=int(row["userid"] or 0),
        related_user_id=_optional(row["relateduserid"]),
        course_id=_optional(row["courseid"]),
        created_at=int(row["timecreated"] or 0),
        origin=None if row["origin"] is None else _text(row["origin"]),
    )


def _optional(value: Any) -> int | None:
    return None if value is None else int(value)


def _text(value: bytes | str | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
