"""Questions about what is recorded, in SQL: the Reports of both dialects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from relay.model import UNDELIVERED, Status
from relay.outbox.contract import Reports
from relay.outbox.sql import Sql
from relay.outbox.tables import ACKNOWLEDGED, ATTEMPTS, EVENTS, STATE
from relay.outbox.values import Attempt, Counts, Recorded, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.outbox.values import Selector

#: The columns of an event that are told, in the order of `_recorded`; until when it is leased comes behind them.
RECORDED = "id, event_id, event_type, log_id, user_id, occurred_at, created_at, status, retry_count, last_error, due_at"
#: The fields of an Attempt, in the order of the columns that are read.
ATTEMPT = ("number", "started_at", "duration_ms", "http_code", "outcome", "error")


class SqlReports(Sql, Reports):
    """Counts, what waits, and the events that somebody asks for, with their attempts."""

    def waiting(self) -> Waiting:
        found = self._rows(f"SELECT COUNT(*), MIN(created_at) FROM {{p}}{EVENTS} WHERE due_at IS NOT NULL")
        return Waiting(count=found[0][0], oldest_created_at=found[0][1])

    def counts(self) -> Counts:
        return self._at_one_moment(_counts)

    def select(self, selector: Selector) -> Sequence[int]:
        terms = {
            "event_id = ?": selector.event_id,
            "status = ?": selector.status,
            "event_type = ?": selector.event_type,
            "user_id = ?": selector.user_id,
            "occurred_at >= ?": selector.since,
            "occurred_at <= ?": selector.until,
        }
        given = {term: value for term, value in terms.items() if value is not None}
        found = self._rows(
            f"SELECT id FROM {{p}}{EVENTS} WHERE {' AND '.join([*given, 'status <> ?'])} ORDER BY occurred_at, id",
            [*given.values(), Status.SKIPPED],
        )
        return [row[0] for row in found]

    def count_undelivered(self, ids: Sequence[int] | None = None) -> int:
        term, values = ("", ()) if ids is None else self._among(ids)
        known = (
            f"AND NOT (status = ? AND event_id IN (SELECT event_id FROM {{p}}{ACKNOWLEDGED}))" if ids is None else ""
        )
        return int(
            self._rows(
                f"SELECT COUNT(*) FROM {{p}}{EVENTS} WHERE status IN (?, ?, ?) {term and f'AND id {term}'} {known}",
                (*UNDELIVERED, Status.GAVE_UP, *values, *([Status.GAVE_UP] if known else [])),
            )[0][0]
        )

    def recorded(
        self,
        now: float,
        *,
        event_id: str | None = None,
        log_id: int | None = None,
        user_id: int | None = None,
        data: tuple[str, int] | None = None,
        types: frozenset[str] | None = None,
    ) -> Sequence[Recorded]:
        terms: dict[str, Any] = {"event_id = ?": event_id, "log_id = ?": log_id, "user_id = ?": user_id}
        if data is not None:
            terms[f"JSON_EXTRACT(event_data, '$.{data[0]}') = ?"] = data[1]
        given = {term: value for term, value in terms.items() if value is not None}
        found = self._rows(
            f"SELECT {RECORDED}, {self._LEASED_UNTIL} FROM {{p}}{EVENTS} WHERE {' AND '.join(given)} "
            "ORDER BY occurred_at DESC, id DESC LIMIT 500",
            list(given.values()),
        )
        return [self._recorded(row, now, types) for row in reversed(found)]

    def _recorded(self, row: Sequence[Any], now: float, types: frozenset[str] | None) -> Recorded:
        row_id, event_id, event_type, log_id, user_id, occurred_at, created_at, status, failures = row[:9]
        error, due_at, leased_until = row[9:]
        return Recorded(
            id=row_id,
            event_id=event_id,
            event_type=event_type,
            log_id=log_id,
            user_id=user_id,
            occurred_at=occurred_at,
            created_at=created_at,
            status=Status(status),
            failures=failures,
            last_error=json.loads(error or "{}"),
            due_at=due_at,
            is_under_way=leased_until is not None and leased_until > now,
            attempts=self._attempts(event_id),
            waits_for=None if due_at is None else self._earlier(row_id, user_id, occurred_at, types),
        )

    def _attempts(self, event_id: str) -> Sequence[Attempt]:
        found = self._rows(
            f"SELECT attempt, started_at, duration_ms, http_code, outcome, error FROM {{p}}{ATTEMPTS} "
            "WHERE event_id = ? ORDER BY id",
            (event_id,),
        )
        return [Attempt(**dict(zip(ATTEMPT, row, strict=True))) for row in found]

    def _earlier(self, row_id: int, user_id: int, occurred_at: int, types: frozenset[str] | None) -> str | None:
        """Return the first undelivered event of a user before this one."""
        term, values = ("", ()) if types is None else self._among(sorted(types))
        found = self._rows(
            f"SELECT event_id FROM {{p}}{EVENTS} WHERE user_id = ? AND due_at IS NOT NULL "
            f"AND (occurred_at, id) < (?, ?) {term and f'AND event_type {term}'} ORDER BY occurred_at, id LIMIT 1",
            (user_id, occurred_at, row_id, *values),
        )
        return found[0][0] if found else None


def _counts(read: Callable[..., list[Any]]) -> Counts:
    """Return the counts, by queries that all see one moment."""
    state = dict(read(f"SELECT config_key, config_value FROM {{p}}{STATE} WHERE config_key LIKE ?", ("count.%",)))
    by_type: dict[str, dict[str, int]] = {}
    for event_type, status, count in read(
        f"SELECT event_type, status, COUNT(*) FROM {{p}}{EVENTS} GROUP BY status, event_type"
    ):
        by_type.setdefault(event_type, {})[status] = count
    ignored = "count.ignored."
    return Counts(
        seen=int(state.get("count.seen", 0)),
        captured=int(state.get("count.captured", 0)),
        synced=int(state.get("count.synced", 0)),
        purged=int(state.get("count.purged", 0)),
        ignored={key.removeprefix(ignored): int(n) for key, n in state.items() if key.startswith(ignored)},
        by_type=by_type,
    )
