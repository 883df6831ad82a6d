"""Lists of events, in SQL: the last ones that are meant, found by an index each, and not by a look at all events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from relay.model import UNDELIVERED, Status
from relay.outbox.sql import IDS, OF_STATUS, Sql
from relay.outbox.tables import EVENTS
from relay.outbox.values import Listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from relay.outbox.values import Selector

#: The fields of a Listed that are columns of the same name; what is made of others comes behind.
LISTED = ("event_id", "event_type", "log_id", "user_id", "occurred_at", "created_at", "attempts")
#: The course that an event is about, where it is about one.
COURSE = "JSON_EXTRACT(event_data, '$.courseid')"
#: Of rows that are found by something else: no index is used for these.
PLAIN = {
    "status = ?": OF_STATUS,
    "event_type = ?": "COALESCE(event_type, '') = ?",
    "user_id = ?": "user_id + 0 = ?",
    "occurred_at >= ?": "occurred_at + 0 >= ?",
    "occurred_at <= ?": "occurred_at + 0 <= ?",
}
#: Behind the last row.
END = 2**62
#: Among so many of the last events it is looked first for those of a time: most are asked for soon after it.
NEAR = 5_000
#: Of no more events than this, those of a time are looked for one by one.
FEW = 20_000


class SqlLists(Sql):
    """Finds the last events that a selector means."""

    #: What is put behind the table's name to find events by their own time.
    _BY_TIME = ""

    def listed(self, selector: Selector, limit: int) -> Sequence[Listed]:
        return list(self.listed_rows(self._listed_ids(selector, limit)))

    def listed_rows(self, ids: Sequence[int]) -> Iterator[Listed]:
        columns = f"{', '.join(LISTED)}, status, last_error, {COURSE}"
        for start in range(0, len(ids), IDS):
            some = ids[start : start + IDS]
            term, values = self._among(some)
            rows = self._rows(f"SELECT {columns}, id FROM {{p}}{EVENTS} WHERE id {term}", values)
            found = {row[-1]: line_of(row[:-1]) for row in rows}
            yield from (found[one] for one in some if one in found)

    def _listed_ids(self, selector: Selector, limit: int) -> list[int]:
        given = terms_of(selector)
        by = next((term for term in ("event_id = ?", "user_id = ?") if term in given), None)
        if by is not None:
            terms = {term if term == by else PLAIN.get(term, term): value for term, value in given.items()}
            return self._ids(terms, END, limit)
        if selector.since is None and selector.until is None:
            return self._ids_of_states(selector, END, limit)
        ((last,),) = self._rows(f"SELECT COALESCE(MAX(id), 0) FROM {{p}}{EVENTS}")
        plain = {PLAIN[term]: value for term, value in given.items()}
        near = self._ids({"id > ?": last - NEAR, **plain}, END, limit)
        if len(near) == limit:
            return near
        times = {term: value for term, value in given.items() if term.startswith("occurred_at")}
        pairs = list(self._pairs(selector)) if len(times) < len(given) else []
        if pairs and all(self._are_few(*pair) for pair in pairs):
            return self._ids_of_pairs(pairs, END, limit, times)
        states = {PLAIN[term]: value for term, value in given.items() if term not in times}
        return self._ids({**times, **states}, END, limit, self._BY_TIME)

    def _ids(self, terms: Mapping[str, Any], end: int, most: int, by: str = "") -> list[int]:
        """Return the ids of the last events before a row of which these terms hold."""
        where = " AND ".join([*terms, "id < ?"])
        statement = f"SELECT id FROM {{p}}{EVENTS} {by} WHERE {where} ORDER BY id DESC LIMIT ?"
        return [row[0] for row in self._rows(statement, (*terms.values(), end, most))]

    def _ids_of_states(self, selector: Selector, end: int, most: int) -> list[int]:
        """Return the ids of the last events before a row that are in a state and of a type, where these are named."""
        if selector.status is None and selector.event_type is None:
            return self._ids({}, end, most)
        return self._ids_of_pairs(self._pairs(selector), end, most)

    def _ids_of_pairs(
        self, pairs: Iterable[tuple[str, str]], end: int, most: int, terms: Mapping[str, Any] | None = None
    ) -> list[int]:
        found: set[int] = set()
        for status, name in pairs:
            found.update(self._ids({"status = ?": status, "event_type = ?": name, **(terms or {})}, end, most))
        return sorted(found, reverse=True)[:most]

    def _pairs(self, selector: Selector) -> Iterator[tuple[str, str]]:
        """Yield the states with the types that are meant."""
        for status in list(Status) if selector.status is None else [selector.status]:
            named = selector.event_type
            for name in types_in(self._rows, status) if named is None else [named]:
                yield status, name

    def _are_few(self, status: str, name: str) -> bool:
        some = f"SELECT 1 FROM {{p}}{EVENTS} WHERE status = ? AND event_type = ? LIMIT {FEW + 1}"
        ((count,),) = self._rows(f"SELECT COUNT(*) FROM ({some}) some", (status, name))
        return bool(count <= FEW)


def types_in(read: Callable[..., list[Any]], status: Status) -> Iterator[str]:
    """Yield the types of which there are events in a state, by a step of an index each."""
    statement = f"SELECT MIN(event_type) FROM {{p}}{EVENTS} WHERE status = ? AND event_type > ?"
    name: str | None = ""
    while (name := read(statement, (status, name))[0][0]) is not None:
        yield name


def first_undelivered(read: Callable[..., list[Any]]) -> int | None:
    """Return the row of the undelivered event that was recorded first; None where there is none."""
    statement = f"SELECT MIN(id) FROM {{p}}{EVENTS} WHERE status = ? AND event_type = ?"
    firsts = [
        row[0] for status in UNDELIVERED for name in types_in(read, status) for row in read(statement, (status, name))
    ]
    return min((one for one in firsts if one is not None), default=None)


def terms_of(selector: Selector) -> dict[str, Any]:
    """Return the terms of a selector, each with its value."""
    terms = {
        "event_id = ?": selector.event_id,
        "status = ?": selector.status,
        "event_type = ?": selector.event_type,
        "user_id = ?": selector.user_id,
        "occurred_at >= ?": selector.since,
        "occurred_at <= ?": selector.until,
    }
    return {term: value for term, value in terms.items() if value is not None}


def line_of(row: Sequence[Any]) -> Listed:
    """Return the line of a list: a row of LISTED, the status, the last error, and the course."""
    status, error, course = row[len(LISTED) :]
    kept = dict(zip(LISTED, row, strict=False))
    return Listed(**kept, status=Status(status), last_error=json.loads(error or "{}"), course_id=whole(course))


def whole(value: Any) -> int | None:
    """Return a number that was taken out of JSON; a schema gives text, and `null` for none."""
    return int(value) if str(value).isdecimal() else None
