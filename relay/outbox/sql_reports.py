"""Questions about what is recorded, in SQL: the Reports of both dialects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from relay.model import UNDELIVERED, Status
from relay.outbox.contract import Reports
from relay.outbox.sql import IDS
from relay.outbox.sql_lists import COURSE, SqlLists, first_undelivered, terms_of, whole
from relay.outbox.tables import ACKNOWLEDGED, ATTEMPTS, EVENTS, FOUND, PURGED, PURGED_IDS, STATE
from relay.outbox.values import Attempt, Counts, Recorded, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from relay.outbox.values import Selector

    Read = Callable[..., list[Any]]

#: The fields of a Recorded that are columns of the same name; what is made of others comes behind.
RECORDED = ("id", "event_id", "event_type", "log_id", "user_id", "occurred_at", "created_at", "due_at")
#: It was neither skipped nor forgotten.
HAS_DATA = "event_data IS NOT NULL"
#: The fields of an Attempt, in the order of the columns that are read.
ATTEMPT = ("number", "started_at", "duration_ms", "http_code", "outcome", "error")


class SqlReports(SqlLists, Reports):
    """Counts, what waits, and the events that somebody asks for, with their attempts."""

    def waiting(self) -> Waiting:
        return self._at_one_moment(self._waiting)

    def _waiting(self, read: Read) -> Waiting:
        first = first_undelivered(read)
        if first is None:
            return Waiting(count=0)
        ((created_at,),) = read(f"SELECT created_at FROM {{p}}{EVENTS} WHERE id = ?", (first,))
        ((due_at,),) = read(f"SELECT MIN(due_at) FROM {{p}}{EVENTS} WHERE due_at IS NOT NULL")
        return Waiting(count=self._count_waiting(read), oldest_created_at=created_at, oldest_due_at=due_at)

    def _count_waiting(self, read: Read) -> int:
        return int(read(f"SELECT COUNT(*) FROM {{p}}{EVENTS} WHERE due_at IS NOT NULL")[0][0])

    def counts(self) -> Counts:
        return self._at_one_moment(lambda read: _counts(read, self._by_state(read)))

    def _by_state(self, read: Read) -> list[Any]:
        """Return how many events there are of each type in each state: rows of the two and the number."""
        return read(f"SELECT event_type, status, COUNT(*) FROM {{p}}{EVENTS} GROUP BY status, event_type")

    def numbers(self, beginning: str) -> Mapping[str, int]:
        # A range, which uses the index: `/` is what comes behind a dot.
        found = self._rows(
            f"SELECT config_key, config_value FROM {{p}}{STATE} WHERE config_key >= ? AND config_key < ?",
            (f"{beginning}.", f"{beginning}/"),
        )
        return {str(key)[len(beginning) + 1 :]: int(value) for key, value in found}

    def select(self, selector: Selector) -> Sequence[int]:
        given = terms_of(selector)
        found = self._rows(
            f"SELECT id FROM {{p}}{EVENTS} WHERE {' AND '.join([*given, HAS_DATA, 'status <> ?'])} "
            "ORDER BY occurred_at, id",
            [*given.values(), Status.HELD],
        )
        return [row[0] for row in found]

    def count_held(self, selector: Selector) -> int:
        given = terms_of(selector)
        where = " AND ".join([*given, "status = ?"])
        statement = f"SELECT COUNT(*) FROM {{p}}{EVENTS} WHERE {where}"
        return int(self._rows(statement, [*given.values(), Status.HELD])[0][0])

    def row_ids(self, ids: Sequence[int], event_type: str, field: str) -> Mapping[int, int]:
        found: dict[int, int] = {}
        for start in range(0, len(ids), IDS):
            term, values = self._among(ids[start : start + IDS])
            statement = f"SELECT id, JSON_EXTRACT(event_data, '$.{field}') FROM {{p}}{EVENTS} WHERE event_type = ?"
            rows = self._rows(f"{statement} AND id {term}", (event_type, *values))
            found |= {row[0]: int(row[1]) for row in rows if row[1] is not None}
        return found

    def was_purged(self, log_id: int) -> bool | None:
        if self._rows(f"SELECT 1 FROM {{p}}{PURGED} WHERE log_id = ? LIMIT 1", (log_id,)):
            return True
        position = self.position()
        return None if position is None or log_id <= position.high - PURGED_IDS else False

    def count_forgotten(self, selector: Selector) -> int:
        given = terms_of(selector)
        where = " AND ".join([*given, "event_data IS NULL", "JSON_EXTRACT(last_error, '$.forgotten') = 1"])
        return int(self._rows(f"SELECT COUNT(*) FROM {{p}}{EVENTS} WHERE {where}", [*given.values()])[0][0])

    def count_undelivered(self, ids: Sequence[int] | None = None) -> int:
        statement = f"SELECT COUNT(*) FROM {{p}}{EVENTS} WHERE status IN (?, ?, ?) AND {HAS_DATA}"
        states = (*UNDELIVERED, Status.GAVE_UP)
        if ids is None:
            known = f"AND NOT (status = ? AND event_id IN (SELECT event_id FROM {{p}}{ACKNOWLEDGED}))"
            return int(self._rows(f"{statement} {known}", (*states, Status.GAVE_UP))[0][0])
        count = 0
        for start in range(0, len(ids), IDS):
            term, values = self._among(ids[start : start + IDS])
            count += int(self._rows(f"{statement} AND id {term}", (*states, *values))[0][0])
        return count

    def recorded(
        self,
        now: float,
        *,
        event_id: str | None = None,
        log_id: int | None = None,
        user_id: int | None = None,
        data: tuple[str, int] | None = None,
        skipped_type: str | None = None,
        types: frozenset[str] | None = None,
    ) -> Sequence[Recorded]:
        terms: dict[str, Any] = {"event_id = ?": event_id, "log_id = ?": log_id, "user_id = ?": user_id}
        if data is not None:
            terms[f"JSON_EXTRACT(event_data, '$.{data[0]}') = ?"] = data[1]
        if skipped_type is not None:
            terms |= {"status = ?": Status.SKIPPED, "event_type = ?": skipped_type}
        given = {term: value for term, value in terms.items() if value is not None}
        free, values = self._free(now)
        found = self._rows(
            f"SELECT {', '.join(RECORDED)}, status, retry_count, last_error, {COURSE}, {free} FROM {{p}}{EVENTS} "
            f"WHERE {' AND '.join(given)} ORDER BY occurred_at DESC, id DESC LIMIT 500",
            [*values, *given.values()],
        )
        return [self._recorded(row, types) for row in reversed(found)]

    def _recorded(self, row: Sequence[Any], types: frozenset[str] | None) -> Recorded:
        kept = dict(zip(RECORDED, row, strict=False))
        status, failures, error, course, is_free = row[len(RECORDED) :]
        return Recorded(
            **kept,
            course_id=whole(course),
            status=Status(status),
            failures=failures,
            last_error=json.loads(error or "{}"),
            taken=None if is_free else self._taken(kept["event_id"]),
            attempts=self._attempts(kept),
            waits_for=None if kept["due_at"] is None else self._earlier(kept, types),
            acknowledged=self._acknowledged(kept["event_id"]) if status == Status.GAVE_UP else None,
            found_at=None if kept["log_id"] is not None else self._found_at(kept["event_id"]),
        )

    def _acknowledged(self, event_id: str) -> tuple[int, str] | None:
        statement = f"SELECT acknowledged_at, reason FROM {{p}}{ACKNOWLEDGED} WHERE event_id = ?"
        found = self._rows(statement, (event_id,))
        return (int(found[0][0]), str(found[0][1] or "")) if found else None

    def _found_at(self, event_id: str) -> int | None:
        found = self._rows(f"SELECT found_at FROM {{p}}{FOUND} WHERE event_id = ?", (event_id,))
        return found[0][0] if found else None

    def _attempts(self, event: Mapping[str, Any]) -> Sequence[Attempt]:
        column, name = self._OF_EVENT
        found = self._rows(
            f"SELECT attempt, started_at, duration_ms, http_code, outcome, error FROM {{p}}{ATTEMPTS} "
            f"WHERE {column} = ? ORDER BY id",
            (event[name],),
        )
        return [Attempt(**dict(zip(ATTEMPT, row, strict=True))) for row in found]

    def _earlier(self, event: Mapping[str, Any], types: frozenset[str] | None) -> str | None:
        """Return the first undelivered event of the user before this one, given by its columns."""
        term, values = ("", ()) if types is None else self._among(sorted(types))
        found = self._rows(
            f"SELECT event_id FROM {{p}}{EVENTS} WHERE user_id = ? AND due_at IS NOT NULL "
            f"AND (occurred_at, id) < (?, ?) {term and f'AND event_type {term}'} ORDER BY occurred_at, id LIMIT 1",
            (event["user_id"], event["occurred_at"], event["id"], *values),
        )
        return found[0][0] if found else None


def _counts(read: Read, found: Iterable[Sequence[Any]]) -> Counts:
    """Return the counts, given how many events there are of each type in each state, of the same moment."""
    state = dict(read(f"SELECT config_key, config_value FROM {{p}}{STATE} WHERE config_key LIKE ?", ("count.%",)))
    by_type: dict[str, dict[str, int]] = {}
    for event_type, status, count in found:
        by_type.setdefault(event_type, {})[status] = count
    ignored = "count.ignored."
    return Counts(
        seen=int(state.get("count.seen", 0)),
        captured=int(state.get("count.captured", 0)),
        synced=int(state.get("count.synced", 0)),
        reconciled=int(state.get("count.reconciled", 0)),
        purged=int(state.get("count.purged", 0)),
        ignored={key.removeprefix(ignored): int(n) for key, n in state.items() if key.startswith(ignored)},
        by_type=by_type,
    )
