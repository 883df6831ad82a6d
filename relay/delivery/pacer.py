"""The pace of one relay: workers report each answer, and passes ask how many requests may go. It serves `dispatch`."""

from __future__ import annotations

import math
import threading
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from relay.rules import pace, retry
from relay.rules.retry import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.model import Delivery, Log, Outcome

#: After so many refusals of one event, others being taken in between, it is about the event and not about the rate.
OWN_AFTER = 3
#: The most events whose refusals are counted.
COUNTED_MOST = 1000
#: What is taken is measured over about the last so many seconds.
MEASURED_S = 10.0
#: A 503 that asks for a pause is a limit of the rate while requests are taken; so many of them in a row are an outage.
ROUNDS_503 = 3
#: How many failures each of these counts for in the circuit's streak.
WEIGHT_503 = 4


class Seen(NamedTuple):
    """What an outcome says of the rate."""

    #: The request was refused because there were too many: this says nothing against its event.
    is_throttled: bool = False
    #: For how many failures it counts in the circuit's streak: 0 for one of several that were refused together.
    weight: int = 1


#: It says nothing of the rate.
NOTHING = Seen()


class Pacer:
    """Slows down to what the backend takes, and speeds up again. Safe to use from several threads."""

    def __init__(self, monotonic: Callable[[], float], log: Log) -> None:
        self._monotonic = monotonic
        self._log = log
        self._lock = threading.Lock()
        self._pace = pace.UNLIMITED
        #: When the pace was last slowed down.
        self._slowed_at = -math.inf
        #: How many requests were taken, about, and since when.
        self._taken = 0.0
        self._measured_from = -math.inf
        #: Any was taken since the last refusal; since the last outage.
        self._has_taken = self._is_serving = False
        #: How often each event was refused.
        self._refusals: Counter[str] = Counter()
        #: Rises with each refusal: what was claimed before it is not sent after it.
        self.epoch = 0

    def room(self) -> float:
        """Return how many requests may go now; infinity where there is no limit."""
        if self._pace is pace.UNLIMITED:
            return math.inf
        now = self._monotonic()
        with self._lock:
            self._pace = pace.lifted(self._pace, now)
            is_lifted = self._pace is pace.UNLIMITED
            found = pace.room(self._pace, now)
        if is_lifted:
            self._log.info("delivery.unthrottled")
        return found

    def spend(self, requests: int) -> None:
        """Note that so many requests are let go."""
        if self._pace is not pace.UNLIMITED:
            with self._lock:
                self._pace = pace.spent(self._pace, requests, self._monotonic())

    def wait_s(self) -> float:
        """Return after how many seconds the next request may go; 0 where one may now."""
        return max(0.0, self._pace.next_at - self._monotonic())

    def observe(self, delivery: Delivery, outcome: Outcome, began_at: float, under_way: int) -> Seen:
        """Note what came of a request that began at a time; `under_way` others have no answer yet."""
        now = self._monotonic()
        if retry.classify(outcome) in (Verdict.TAKEN, Verdict.REFUSED):
            with self._lock:
                self._count(delivery, began_at, now)
            return NOTHING
        is_busy = outcome.http_code == 503 and outcome.retry_after_s is not None and self._is_serving
        if outcome.http_code != 429 and not is_busy:
            return NOTHING
        with self._lock:
            if began_at < self._slowed_at:
                return Seen(is_throttled=True, weight=0)
            if self._is_its_own(delivery):
                return Seen(is_throttled=True)
            was_unlimited = self._pace is pace.UNLIMITED
            self._slow_down(outcome, now, under_way)
            rounds, rate, pause_s = self._pace.rounds, pace.rate(self._pace, now), self._pace.resumes_at - now
            self._is_serving = self._is_serving and not (is_busy and rounds >= ROUNDS_503)
        if was_unlimited:
            known = {} if math.isinf(rate) else {"per_s": round(rate, 1)}
            self._log.warning("delivery.throttled", http_code=outcome.http_code, pause_s=round(pause_s, 1), **known)
        return Seen(is_throttled=True, weight=WEIGHT_503 if is_busy else 1)

    def _count(self, delivery: Delivery, began_at: float, now: float) -> None:
        """Count a request that was taken, over the last seconds."""
        self._has_taken = self._is_serving = True
        self._pace = pace.taken(self._pace)
        if self._refusals:
            self._refusals.pop(delivery.event_id, None)
        measured_s = now - self._measured_from
        if measured_s > 2 * MEASURED_S:
            self._measured_from, self._taken = began_at, 0.0
        elif measured_s > MEASURED_S:
            self._measured_from += measured_s / 2
            self._taken /= 2
        self._taken += 1

    def _is_its_own(self, delivery: Delivery) -> bool:
        """Count a refusal of an event, and say whether it says something of the event only."""
        if len(self._refusals) > COUNTED_MOST:
            self._refusals.clear()
        self._refusals[delivery.event_id] += 1
        return self._has_taken and self._refusals[delivery.event_id] > OWN_AFTER

    def _slow_down(self, outcome: Outcome, now: float, under_way: int) -> None:
        measured_s = now - self._measured_from
        is_measured = measured_s <= 2 * MEASURED_S
        self._pace = pace.refused(
            self._pace,
            now,
            retry_after_s=outcome.retry_after_s,
            sent=self._taken + under_way + 1,
            taken=self._taken if is_measured else 0.0,
            seconds=measured_s,
        )
        self._slowed_at = now
        self._has_taken = False
        self.epoch += 1
        # What was taken within a moment says little: it is measured on, the pause included.
        if self._pace.resumes_at - self._measured_from >= 2 * pace.MEASURED_LEAST_S:
            self._measured_from, self._taken = self._pace.resumes_at, 0.0
