"""What waits for its delivery, in SQL: the statements of the Queue that are the same in both dialects."""

from __future__ import annotations

import threading
from abc import abstractmethod
from itertools import accumulate
from typing import TYPE_CHECKING

from relay.errors import OutboxRefused
from relay.outbox import rows
from relay.outbox.contract import Queue
from relay.outbox.sql import Sql
from relay.outbox.tables import ATTEMPTS, EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.model import Delivery
    from relay.outbox.values import Settled

#: Where a claim finds none among the first due events (all wait for an earlier one), it looks this many times further.
CLAIM_LOOKS = (1, 20, 400, 8000)


class SqlQueue(Sql, Queue):
    """What is under way here, and due times; how events are claimed and settled is the dialects' own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: The events that are under way here, each with the name it was claimed under and its attempt's row.
        self._held: dict[int, tuple[str, int]] = {}

    @property
    @abstractmethod
    def _claims_as(self) -> str:
        """The name that what is claimed now has: another one once what was under way is another's."""

    @abstractmethod
    def _settle(self, settled: Sequence[Settled], now: float, state: Mapping[str, str] | None) -> None:
        """Do what `settle` promises, in one transaction."""

    # -- what is under way here

    def _claimed(self, claimed: Sequence[Delivery], name: str = "") -> Sequence[Delivery]:
        """Note what has been claimed, under a name, and return it."""
        with self._lock:
            self._held.update({one.id: (name or self._claims_as, one.attempt_id) for one in claimed})
        return claimed

    def _is_ours(self, delivery: Delivery) -> bool:
        """Say whether a claim is still this relay's: claims end when it lets go, or another one takes it for dead."""
        return self._held.get(delivery.id) == (self._claims_as, delivery.attempt_id)

    def _settled(self, deliveries: Sequence[Delivery]) -> None:
        """Note that these are under way no longer."""
        with self._lock:
            for one in deliveries:
                if self._held.get(one.id, ("", 0))[1] == one.attempt_id:
                    del self._held[one.id]

    def settle(self, settled: Sequence[Settled], now: float, state: Mapping[str, str] | None = None) -> None:
        try:
            self._settle(settled, now, state)
        except OutboxRefused:
            # Better without what the backend said than sent for ever.
            self._settle([rows.without_texts(one) for one in settled], now, state)
        self._settled([one.delivery for one in settled])

    # -- when what waits is due

    def next_due(self, types: frozenset[str], now: float) -> float | None:
        term, values = self._among(sorted(types))
        free, free_values = self._free(now)
        found = self._rows(
            f"SELECT due_at FROM {{p}}{EVENTS} WHERE due_at IS NOT NULL AND {free} AND event_type {term} "
            "ORDER BY due_at, id LIMIT 1",
            (*free_values, *values),
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
