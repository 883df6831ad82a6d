"""Brings due times forward when the clock was set back: no event waits too long. It serves `dispatch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.delivery.shared_circuit import SharedCircuit
    from relay.model import Log
    from relay.outbox.contract import Queue

#: A clock that is behind by so much, in seconds, was set back: less is what machines correct all the time.
TOLERANCE_S = 1.0


class ClockGuard:
    """Compares the time of each pass with that of the one before."""

    def __init__(self, outbox: Queue, circuits: SharedCircuit, clock: Callable[[], float], log: Log) -> None:
        self._outbox = outbox
        self._circuits = circuits
        self._log = log
        self._clock = clock
        self._last_pass: float | None = None

    def look(self, now: float) -> None:
        """Bring all due times and probes forward where `now` (unix seconds) is before the last pass.

        Raises OutboxError.
        """
        if self._last_pass is None:
            # What was recorded later than now was recorded by a clock that has been set back since. `now` may be older:
            # another relay records while the outbox is waited for.
            self._last_pass = self._outbox.last_recorded_at()
            now = self._clock()
        behind_s = self._last_pass - now
        self._last_pass = now
        if behind_s <= TOLERANCE_S:
            return
        self._log.warning("clock.set_back", seconds=round(behind_s))
        # Of relays that share an outbox and its clock, one brings the due times forward, and once.
        if self._outbox.leads():
            self._outbox.set_back(behind_s)
        self._circuits.probe_now(now)
