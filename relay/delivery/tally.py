"""Counts what comes of attempts, in memory: whoever runs the passes writes the numbers down from time to time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from relay.model import UNDELIVERED
from relay.outbox.rows import outcome_name
from relay.rules.histogram import ATTEMPT, BEGINNING, DELIVERY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.outbox.values import Settled


class Tally:
    """Numbers by key of the outbox's state. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        #: When the backend last took an event, in unix seconds; 0.0 before the first one.
        self.taken_at = 0.0

    def add(self, settled: Sequence[Settled], now: float) -> None:
        """Count attempts that were recorded at `now` (unix seconds)."""
        with self._lock:
            counts = self._counts
            for one in settled:
                outcome = outcome_name(one)
                key = f"{BEGINNING}.attempts.{outcome}"
                counts[key] = counts.get(key, 0) + 1
                ATTEMPT.add(counts, one.outcome.duration_ms)
                if outcome in ("success", "duplicate"):
                    self.taken_at = now
                # What sync made, or somebody sent again, was not made to be sent at that time.
                is_new = one.delivery.log_id is not None and one.delivery.status in UNDELIVERED
                if is_new and outcome in ("success", "duplicate"):
                    DELIVERY.add(counts, max(0, round(1000 * (now - one.delivery.occurred_at))))

    def take(self) -> Mapping[str, int]:
        """Return what has been counted since the last call, to be written down."""
        with self._lock:
            taken, self._counts = self._counts, {}
        return taken

    def give_back(self, taken: Mapping[str, int]) -> None:
        """Take back what could not be written down."""
        with self._lock:
            for key, count in taken.items():
                self._counts[key] = self._counts.get(key, 0) + count
