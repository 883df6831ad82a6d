"""Moodle's log: rows behind an id, ids within gaps, and the rows about an object."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from relay.model import LogRow
from relay.moodle.contract import BYTES_AT_ONCE, Page
from relay.moodle.database import number_or_none, text
from relay.moodle.sizes import SizeReader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.events.kind import EventKind
    from relay.events.rows import Row
    from relay.model import Gap
    from relay.rules.server import Address

#: A page of the log spans at most this many ids, so that no query is long.
SPAN = 20_000
#: At most this many relevant rows in a page: what is held in memory at once.
ROWS_IN_PAGE = 1000
#: Among how many ids a row is looked for that nobody has read: it takes a server a second or less.
SPAN_UNREAD = 1_000_000
#: Gaps in one statement.
GAPS_IN_QUERY = 100

# Every statement reads a range of primary keys, or rows by primary or indexed key. {p} is the checked table prefix.
MAX_ID = "SELECT MAX(id) FROM {p}logstore_standard_log"
MIN_ID = "SELECT MIN(id) FROM {p}logstore_standard_log"
NEXT_ID = "SELECT MIN(id) FROM {p}logstore_standard_log WHERE id > %s"
#: The columns of each row that is read. Others come along where a kind needs them; `other` can be large.
LOG_COLUMNS = ("id", "eventname", "objectid", "userid", "relateduserid", "courseid", "timecreated", "origin")
ROWS_IN_RANGE = """
SELECT {columns} FROM {p}logstore_standard_log WHERE id BETWEEN %s AND %s AND eventname IN %s ORDER BY id LIMIT %s
"""
ROWS_BY_ID = "SELECT {columns} FROM {p}logstore_standard_log WHERE id IN %s AND eventname IN %s ORDER BY id"
ANY_ROW = "SELECT {columns} FROM {p}logstore_standard_log WHERE id = %s"
COUNT_IN_RANGE = "SELECT COUNT(*) FROM {p}logstore_standard_log WHERE id BETWEEN %s AND %s"
# What is there of a gap: tells a row that came from one that was deleted, and reads the primary key alone.
FINGERPRINT = """
SELECT %s AS number, COUNT(*) AS there, SUM(CRC32(id)) AS crc FROM {p}logstore_standard_log WHERE id BETWEEN %s AND %s
"""
# By the primary key, and no further than to the first one.
FIRST_UNREAD = """
SELECT timecreated FROM {p}logstore_standard_log
WHERE id BETWEEN %s AND %s AND eventname IN %s AND origin IS NOT NULL ORDER BY id LIMIT 1
"""
IDS_IN_RANGE = "SELECT id FROM {p}logstore_standard_log WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"
# `timecreated` has an index; ids are not in its order, so this is the lowest id of all rows since then.
FIRST_SINCE = "SELECT MIN(id) FROM {p}logstore_standard_log WHERE timecreated >= %s"
ROW_TIME = "SELECT timecreated FROM {p}logstore_standard_log WHERE id = %s"
# `courseid` and `timecreated` have indexes, `objectid` has none. In the order of ids, a server with many rows would go
# through all of them up to the hundredth, by the primary key.
ROWS_OF_COURSE = """
SELECT {columns} FROM {p}logstore_standard_log
WHERE courseid = %s AND objectid = %s AND eventname IN %s ORDER BY id LIMIT 100
"""
ROWS_OF_TIME = """
SELECT {columns} FROM {p}logstore_standard_log
WHERE timecreated BETWEEN %s AND %s AND objectid = %s AND eventname IN %s ORDER BY timecreated LIMIT 100
"""
#: So many of the newest ids are looked at: `eventname` has no index.
NEWEST_IDS = 200_000
NEWEST_OF_KIND = """
SELECT {columns} FROM {p}logstore_standard_log WHERE id > %s AND eventname = %s ORDER BY id DESC LIMIT %s
"""


def log_columns(kinds: Sequence[EventKind]) -> tuple[str, ...]:
    """Return the columns of the log that are read for these kinds."""
    return (*LOG_COLUMNS, *dict.fromkeys(name for kind in kinds for name in kind.log_columns))


class LogReader(SizeReader):
    """Reads the log (contract.LogReads)."""

    def __init__(
        self,
        address: Address,
        kinds: Sequence[EventKind],
        triggered: Sequence[EventKind] = (),
        *,
        limit_s: float | None = None,
    ) -> None:
        super().__init__(address, kinds, triggered, limit_s=limit_s)
        names: defaultdict[str, list[EventKind]] = defaultdict(list)
        for kind in self.kinds:
            names[kind.moodle_event].append(kind)
        for kind in triggered:
            for name in kind.trigger.moodle_events if kind.trigger else ():
                names[name].append(kind)
        #: For which kinds log rows of a name are read: an event of its own comes before a trigger of others.
        self._names: Mapping[str, Sequence[EventKind]] = dict(names)
        self._eventnames = tuple(self._names)
        self._columns = ", ".join(log_columns(self.kinds))

    def max_id(self) -> int:
        return self.number_again(MAX_ID)

    def min_id(self) -> int:
        return self.number(MIN_ID)

    def first_since(self, seconds: int) -> int | None:
        return self.number(FIRST_SINCE, seconds) or None

    def row_time(self, log_id: int) -> int | None:
        rows = self.select(ROW_TIME, log_id)
        return int(rows[0]["timecreated"]) if rows else None

    def page(self, after: int, top: int) -> Page | None:
        first = self.number(NEXT_ID, after)
        if not first or first > top:
            return None
        last = min(top, first + SPAN - 1)
        found = self._log(ROWS_IN_RANGE, first, last, self._eventnames, ROWS_IN_PAGE)
        all_rows = self._relevant(found)
        rows = self._cut(all_rows)
        if len(rows) < len(all_rows):
            last = rows[-1].id
        elif len(found) == ROWS_IN_PAGE:
            last = int(found[-1]["id"])
        count = self.number(COUNT_IN_RANGE, first, last)
        is_whole = count == last - first + 1
        ids = None if is_whole else self.ids(first, last, SPAN)
        return Page(first=first, last=last, rows=rows, ids=ids, is_more=last < top)

    def unread_since(self, after: int, top: int) -> int | None:
        rows = self.select(FIRST_UNREAD, after + 1, min(top, after + SPAN_UNREAD), self._eventnames)
        return int(rows[0]["timecreated"]) if rows else None

    def ids(self, low: int, high: int, limit: int) -> tuple[int, ...]:
        return tuple(int(row["id"]) for row in self.select(IDS_IN_RANGE, low, high, limit))

    def fingerprints(self, gaps: Sequence[Gap]) -> list[tuple[int, int]]:
        prints: list[tuple[int, int]] = []
        for start in range(0, len(gaps), GAPS_IN_QUERY):
            some = gaps[start : start + GAPS_IN_QUERY]
            statement = " UNION ALL ".join([FINGERPRINT] * len(some))
            values = [value for number, gap in enumerate(some) for value in (number, gap.low, gap.high)]
            found = {int(row["number"]): row for row in self.select(statement, *values)}
            prints += [(int(row["there"]), int(row["crc"] or 0)) for _, row in sorted(found.items())]
        return prints

    def rows(self, ids: Sequence[int]) -> tuple[LogRow, ...]:
        statement = ROWS_BY_ID.replace("{columns}", self._columns)
        return self._relevant(list(self.select_for(statement, ids, self._eventnames)))

    def any_log_row(self, log_id: int) -> tuple[str, LogRow | None] | None:
        for row in self._log(ANY_ROW, log_id):
            name = text(row["eventname"])
            return name, _log_row(row, self._names[name][0]) if name in self._names else None
        return None

    def log_of(
        self, kinds: Sequence[EventKind], object_id: int, *, course: int | None, times: Sequence[int]
    ) -> list[LogRow]:
        names = tuple(kind.moodle_event for kind in kinds)
        if course is not None:
            return list(self._relevant(self._log(ROWS_OF_COURSE, course, object_id, names)))
        found: dict[int, LogRow] = {}
        for at in times:
            rows = self._relevant(self._log(ROWS_OF_TIME, at - 3600, at + 3600, object_id, names))
            found.update((row.id, row) for row in rows)
        return [found[log_id] for log_id in sorted(found)]

    def newest(self, kind: EventKind, limit: int) -> list[LogRow]:
        return list(self._relevant(self._log(NEWEST_OF_KIND, self.max_id() - NEWEST_IDS, kind.moodle_event, limit)))

    def _log(self, statement: str, *values: object) -> Sequence[Row]:
        return self.select(statement.replace("{columns}", self._columns), *values)

    def _relevant(self, rows: Sequence[Row]) -> tuple[LogRow, ...]:
        """Return the rows of the kinds: the column's collation lets other spellings of their names through.

        A row that is an event of its own and a trigger of another kind comes twice.
        """
        return tuple(_log_row(row, kind) for row in rows for kind in self._names.get(text(row["eventname"]), ()))

    def _cut(self, rows: tuple[LogRow, ...]) -> tuple[LogRow, ...]:
        """Return the rows up to the last one that a page may hold, as what they point to may be large.

        What else is made of the same log row stays with it.
        """
        most = {kind.name: kind.most_in_page for kind in self.kinds if kind.most_in_page is not None}
        seen: Counter[str] = Counter()
        for row in rows:
            seen[row.event_type] += 1
            if seen[row.event_type] == most.get(row.event_type):
                rows = tuple(one for one in rows if one.id <= row.id)
                break
        for kind in self.kinds if len(rows) > 1 else ():
            self._ask_sizes(kind, sorted({row.object_id or 0 for row in rows if row.event_type == kind.name}))
        size = 0
        for row in rows:
            size += self._known_size(row.event_type, row.object_id)
            if size > BYTES_AT_ONCE and row.id > rows[0].id:
                rows = tuple(one for one in rows if one.id < row.id)
                break
        self._forget_sizes((row.event_type, row.object_id) for row in rows)
        return rows


def _log_row(row: Row, kind: EventKind) -> LogRow:
    other, table = row.get("other"), row.get("objecttable")
    return LogRow(
        id=int(row["id"]),
        event_type=kind.name,
        object_id=number_or_none(row["objectid"]),
        actor_id=int(row["userid"] or 0),
        related_user_id=number_or_none(row["relateduserid"]),
        course_id=number_or_none(row["courseid"]),
        created_at=int(row["timecreated"] or 0),
        origin=None if row["origin"] is None else text(row["origin"]),
        other=other if isinstance(other, bytes) else None,
        context_level=number_or_none(row.get("contextlevel")),
        object_table=None if table is None else text(table),
        is_trigger=text(row["eventname"]) != kind.moodle_event,
    )
