"""What waits for its delivery, in SQL: the statements of the Queue that are the same in both dialects."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from relay.outbox.contract import Queue
from relay.outbox.sql import Sql
from relay.outbox.tables import ATTEMPTS, EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Where a claim finds none among the first due events (all wait for an earlier one), it looks this many times further.
CLAIM_LOOKS = (1, 20, 400, 8000)


class SqlQueue(Sql, Queue):
    """Due times; how events are claimed and settled is the dialects' own."""

    def next_due(self, types: frozenset[str]) -> float | None:
        term, values = self._among(sorted(types))
        found = self._rows(
            f"SELECT due_at FROM {{p}}{EVENTS} WHERE due_at IS NOT NULL AND leased_by IS NULL AND event_type {term} "
            "ORDER BY due_at, id LIMIT 1",
            values,
        )
        return float(found[0][0]) if found else None

    def all_due(self, now: float) -> None:
        statement = (
            f"UPDATE {{p}}{EVENTS} SET due_at = CASE WHEN not_before > :now THEN not_before ELSE :now END "
            "WHERE due_at > :now"
        )
        self._do(lambda run: run(statement, {"now": now}))

    def set_back(self, seconds: float) -> None:
        statement = (
            f"UPDATE {{p}}{EVENTS} SET due_at = due_at - :by, "
            "not_before = CASE WHEN not_before > :by THEN not_before - :by ELSE 0 END WHERE due_at IS NOT NULL"
        )
        self._do(lambda run: run(statement, {"by": seconds}))

    def last_recorded_at(self) -> float:
        newest = [
            self._rows(f"SELECT {column} FROM {{p}}{table} ORDER BY id DESC LIMIT 1")
            for table, column in ((EVENTS, "created_at"), (ATTEMPTS, "started_at"))
        ]
        return max((float(found[0][0]) for found in newest if found), default=0.0)


def chosen_types(types: frozenset[str], only: str | None) -> Sequence[str]:
    """Return the types of which events are claimed."""
    return sorted(types if only is None else types & {only})


def fitting(ids: Sequence[int], sizes: Mapping[int, int], most_bytes: int) -> Sequence[int]:
    """Return the first of the events, of these sizes by id, that have so many bytes together: one at least."""
    before = accumulate((sizes[one] for one in ids), initial=0)
    return [one for one, others in zip(ids, before, strict=False) if others + sizes[one] <= most_bytes] or ids[:1]
