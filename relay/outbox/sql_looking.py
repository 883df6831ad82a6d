"""What the page asks, in SQL: lists and figures made of stretches of an index, and of no whole table."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from relay.model import Status
from relay.outbox.looking import Bucket, HistoryLine, Leaf, Looking
from relay.outbox.sql import IDS
from relay.outbox.sql_lists import COURSE, END, LISTED, PLAIN, SqlLists, first_undelivered, line_of, terms_of
from relay.outbox.tables import ATTEMPTS, EVENTS, HISTORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.outbox.values import Listed, Selector

#: How many events are looked through for a text or a time before the page is shown.
LOOK = 2_000
#: And of how many bytes their data may be, going by so many of them.
BYTES, SIZED = 8_000_000, 50
#: More events of one user than this are not sorted: they are looked for among the last events of all.
MANY = 20_000
#: How many attempts of a stretch are read, in so many places of it.
SAMPLE, PLACES = 80, 4
#: Nothing of a held event is found by what it says.
TEXT = (
    "(event_id LIKE ? ESCAPE '!' OR LOWER(COALESCE(last_error, '')) LIKE ? ESCAPE '!' "
    f"OR (status <> '{Status.HELD}' AND LOWER(COALESCE(event_data, '')) LIKE ? ESCAPE '!'))"
)
LINE = (
    *("id", "sync_type", "sync_action", "status", "records_processed", "records_failed"),
    *("started_at", "completed_at", "error_message", "triggered_by"),
)


class SqlLooking(SqlLists, Looking):
    """Reads what the page shows."""

    def leaf(self, selector: Selector, limit: int, *, text: str = "", before: int | None = None) -> Leaf:
        looks_within = bool(text) or selector.since is not None or selector.until is not None or selector.user_id
        most = LOOK if looks_within else limit + 1
        ids = self._looked_through(selector, before, most)
        if text and (fit := self._readable(ids)) < len(ids):
            ids, most = ids[:fit], fit
        given = terms_of(selector)
        values: list[Any] = [*given.values()]
        terms = [PLAIN.get(term, term) for term in given]
        if text:
            terms.append(TEXT)
            values += [_pattern(text), _pattern(text), _pattern(json.dumps(text, ensure_ascii=False)[1:-1])]
        found: list[Any] = []
        for start in range(0, len(ids), IDS):
            among, some = self._among(ids[start : start + IDS])
            found += self._rows(
                f"SELECT {', '.join(LISTED)}, status, last_error, {COURSE}, id FROM {{p}}{EVENTS} "
                f"WHERE {' AND '.join([*terms, f'id {among}'])} ORDER BY id DESC LIMIT ?",
                [*values, *some, limit + 1 - len(found)],
            )
            if len(found) > limit:
                break
        shown = [line_of(row[:-1]) for row in found[:limit]]
        if len(found) > limit:
            return Leaf(events=shown, before=found[limit - 1][-1])
        if len(ids) < most:
            return Leaf(events=shown)
        ((at,),) = self._rows(f"SELECT created_at FROM {{p}}{EVENTS} WHERE id = ?", (ids[-1],))
        return Leaf(events=shown, before=ids[-1], looked_back_to=at)

    def _looked_through(self, selector: Selector, before: int | None, most: int) -> list[int]:
        """Return the ids of the last events that may be meant, by an index each, the last recorded first."""
        end = END if before is None else before
        if selector.event_id is not None:
            return self._ids({"event_id = ?": selector.event_id}, end, most)
        if selector.user_id is not None and not self._has_many(selector.user_id):
            return self._ids({"user_id = ?": selector.user_id}, end, most)
        return self._ids_of_states(selector, end, most)

    def _has_many(self, user_id: int) -> bool:
        """Say whether so many events are of a user (what is about nobody is of user 0) that sorting them takes long."""
        statement = f"SELECT COUNT(*) FROM (SELECT 1 FROM {{p}}{EVENTS} WHERE user_id = ? LIMIT {MANY + 1}) some"
        ((count,),) = self._rows(statement, (user_id,))
        return bool(count > MANY)

    def _readable(self, ids: Sequence[int]) -> int:
        """Return how many of these events can be read through, going by the size of the first ones."""
        among, some = self._among(ids[:SIZED])
        statement = f"SELECT COALESCE(SUM(LENGTH(event_data)), 0) FROM {{p}}{EVENTS} WHERE id {among}"
        ((size,),) = self._rows(statement, tuple(some))
        return max(SIZED, BYTES * SIZED // max(1, int(size)))

    def oldest_undelivered(self) -> Listed | None:
        first = first_undelivered(self._rows)
        return None if first is None else next(iter(self.listed_rows([first])), None)

    def history(self, limit: int) -> Sequence[HistoryLine]:
        found = self._rows(f"SELECT {', '.join(LINE)} FROM {{p}}{HISTORY} ORDER BY id DESC LIMIT ?", (limit,))
        return [
            HistoryLine(
                id=row[0],
                sync_type=row[1],
                action=row[2],
                status=row[3],
                processed=row[4] or 0,
                failed=row[5] or 0,
                started_at=row[6],
                completed_at=row[7],
                error=row[8],
                triggered_by=row[9],
            )
            for row in found
        ]

    # -- what was delivered when

    def trend(self, edges: Sequence[float]) -> Sequence[Bucket]:
        ((last,),) = self._rows(f"SELECT COALESCE(MAX(id), 0) FROM {{p}}{ATTEMPTS}")
        ids: list[int] = []
        for edge in edges:
            ids.append(self._first_since(edge, ids[-1] if ids else 1, last + 1))
        return [self._bucket(since, low, high) for since, low, high in zip(edges[:-1], ids[:-1], ids[1:], strict=True)]

    def _first_since(self, at: float, low: int, high: int) -> int:
        """Return the id of the first attempt at or after a time: they begin in the order of their ids, but for some."""
        statement = f"SELECT id, started_at FROM {{p}}{ATTEMPTS} WHERE id >= ? ORDER BY id LIMIT 1"
        while low < high:
            middle = (low + high) // 2
            found = self._rows(statement, (middle,))
            if found and found[0][1] < at:
                low = found[0][0] + 1
            else:
                high = middle
        return low

    def _bucket(self, since: float, low: int, high: int) -> Bucket:
        looked, rows = 0, []
        for first, end in _places(low, high):
            looked += end - first
            rows += self._rows(
                f"SELECT e.log_id, e.processed_at, e.occurred_at FROM {{p}}{ATTEMPTS} a "
                f"JOIN {{p}}{EVENTS} e ON e.event_id = a.event_id "
                "WHERE a.id >= ? AND a.id < ? AND a.outcome IN ('success', 'duplicate')",
                (first, end),
            )
        waits = sorted(max(0, row[1] - row[2]) for row in rows if row[0] is not None and row[1] is not None)
        return Bucket(
            since=since,
            delivered=round(len(rows) * (high - low) / looked) if looked else 0,
            is_estimated=looked < high - low,
            median_s=_part(waits, 0.5),
            slow_s=_part(waits, 0.95),
        )


def _places(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield what is read of a stretch of ids: all of it, or some in several places."""
    if high - low <= SAMPLE:
        if low < high:
            yield low, high
        return
    each = SAMPLE // PLACES
    for place in range(PLACES):
        first = low + (high - low - each) * place // (PLACES - 1)
        yield first, first + each


def _part(values: Sequence[float], part: float) -> float | None:
    return values[min(len(values) - 1, math.floor(len(values) * part))] if values else None


def _pattern(text: str) -> str:
    """Return the pattern of what holds a text, in small letters."""
    escaped = "".join(f"!{one}" if one in "!%_" else one for one in text.lower())
    return f"%{escaped}%"
