"""The workers of a pool that send: each posts the deliveries of one user, one after the other. It serves `dispatch`."""

from __future__ import annotations

import queue
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from relay.delivery.pacer import NOTHING
from relay.delivery.width import MANY, ahead, count_slow, fastest_at_first, least_ahead, width
from relay.model import Delivery, Outcome
from relay.rules.retry import holds_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.delivery.pacer import Pacer, Seen
    from relay.delivery.pool import Pool
    from relay.delivery.shared_circuit import SharedCircuit
    from relay.outbox.contract import Queue

#: Posts one delivery at a time (unix seconds), and says what came of it.
Post = Callable[[Delivery, float], Outcome]
#: The error kind of a request that this relay broke off itself.
STOPPED = "stopped"


class Purpose(StrEnum):
    """Why deliveries are sent."""

    #: They are due.
    NORMAL = "normal"
    #: One goes through an open circuit, to see whether the backend is well again.
    PROBE = "probe"
    #: They were recorded long ago, and a person asked for them.
    REPLAY = "replay"


class UserQueue(NamedTuple):
    """Deliveries of one user, the earliest first. The user's id is what the field calls the ordering key.

    One worker sends all of them, one after the other, and the outbox leases no other event of the user meanwhile: so
    none overtakes an earlier one.
    """

    purpose: Purpose
    deliveries: Sequence[Delivery]
    #: The pacer's epoch when they were claimed.
    epoch: int


class Result(NamedTuple):
    """What came of one delivery; no outcome where its request was not sent."""

    purpose: Purpose
    delivery: Delivery
    outcome: Outcome | None = None
    #: The attempt fell under an open circuit.
    is_outage: bool = False
    #: The backend refused it as there were too many requests.
    is_throttled: bool = False
    #: Unix seconds.
    started_at: float = 0.0
    #: How long the attempt took, in seconds.
    took_s: float = 0.0


#: Makes a pool, given how many workers there may be, what each does with an item, and a name for them.
MakePool = Callable[[int, Callable[[UserQueue], None], str], "Pool[UserQueue]"]


class Workers:
    """Gives users' queues to a pool's workers, and collects what came of them.

    `submit`, `collect` and `close` are for the thread of the passes; the workers do the rest.
    """

    def __init__(
        self,
        *,
        outbox: Queue,
        post: Post,
        circuits: SharedCircuit,
        pacer: Pacer,
        concurrency: int,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        make_pool: MakePool,
    ) -> None:
        """Take two clocks, in seconds: unix time, and monotonic."""
        self._outbox = outbox
        self._post = post
        self._circuits = circuits
        self._pacer = pacer
        self._concurrency = concurrency
        self._clock = clock
        self._monotonic = monotonic
        self._pool = make_pool(concurrency, self._deliver, "sender")
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        #: How long the fastest request of late took, in seconds.
        self._fastest_s = fastest_at_first(concurrency)
        #: When each request that is under way began, by its attempt and the monotonic clock.
        self._began: dict[int, float] = {}
        #: How many deliveries may be claimed at once.
        self.ahead = least_ahead(concurrency)
        #: Send nothing more than what is being sent at this moment.
        self.is_stopping = False
        #: Called when a pass is worth having at once; whoever runs the passes sets it.
        self.wake: Callable[[], None] = lambda: None
        #: A worker has asked for the next pass already.
        self._is_woken = False

    @property
    def are_short(self) -> bool:
        """Whether fewer users' queues wait than there are workers: one that is done may have nothing to take."""
        return self._pool.backlog() < self._pool.width

    def submit(self, user_queue: UserQueue) -> None:
        """Let the next worker that is free send this."""
        self._pool.submit(user_queue)

    def collect(self) -> Sequence[Result]:
        """Return what has come back; adapt how many workers there are, and how much is claimed, to how fast it came.

        Raises what ended a worker: then nobody knows what came of its delivery.
        """
        if self._pool.error is not None:
            raise self._pool.error
        # Before the results are taken: one that comes later asks for a pass again.
        self._is_woken = False
        results = [self._results.get() for _ in range(self._results.qsize())]
        began = list(self._began.values())
        slow = count_slow(began, self._monotonic(), self._pool.width)
        times = [one.took_s for one in results if one.outcome is not None]
        if times:
            self._fastest_s = min(times)
            self.ahead = ahead(self.ahead, len(times), self._concurrency)
        if times or slow:
            self._pool.widen(width(self._fastest_s, len(began), slow, self._concurrency))
        self._pool.share_core(is_wanted=len(began) + len(times) >= MANY)
        return results

    def close(self) -> None:
        """End the workers; call it when nothing is under way any more."""
        self._pool.close(timeout_s=1.0)

    def _deliver(self, user_queue: UserQueue) -> None:
        """Send a user's deliveries, up to one that the later ones have to wait for."""
        purpose = user_queue.purpose
        must_wait = False
        for delivery in user_queue.deliveries:
            # Whatever held one up may be over a moment later: the later ones must not overtake it then.
            must_wait = must_wait or self._is_halted(delivery, user_queue)
            if must_wait:
                self._results.put(Result(purpose=purpose, delivery=delivery))
                continue
            result = self._attempt(delivery, purpose)
            self._results.put(result)
            must_wait = result.outcome is not None and holds_user(result.outcome) and purpose is not Purpose.REPLAY
        if not self._is_woken and (self._pool.backlog() == 0 or self._results.qsize() >= self.ahead // 4):
            self._is_woken = True
            self.wake()

    def _is_halted(self, delivery: Delivery, user_queue: UserQueue) -> bool:
        if self.is_stopping or not self._outbox.may_send(delivery):
            return True
        if user_queue.purpose is not Purpose.PROBE and user_queue.epoch != self._pacer.epoch:
            return True
        return user_queue.purpose is Purpose.NORMAL and self._circuits.breaker.covers(delivery.event_type)

    def _attempt(self, delivery: Delivery, purpose: Purpose) -> Result:
        started_at = self._clock()
        self._began[delivery.attempt_id] = began_at = self._monotonic()
        try:
            outcome = self._post(delivery, started_at)
        finally:
            del self._began[delivery.attempt_id]
        seen = NOTHING
        if purpose is not Purpose.PROBE:
            seen = self._pacer.observe(delivery, outcome, began_at, len(self._began))
        return Result(
            purpose=purpose,
            delivery=delivery,
            outcome=outcome,
            is_outage=outcome.error_kind == STOPPED or self._is_outage(delivery, outcome, purpose, seen),
            is_throttled=seen.is_throttled,
            started_at=started_at,
            took_s=self._monotonic() - began_at,
        )

    def _is_outage(self, delivery: Delivery, outcome: Outcome, purpose: Purpose, seen: Seen) -> bool:
        """Let the circuits know of an outcome; say whether its attempt fell under an open one."""
        if purpose is Purpose.REPLAY:
            # It is sent whatever the circuits say, and by a process of its own: those of the daemon are not its to
            # open or close.
            return self._circuits.breaker.covers(delivery.event_type)
        return self._circuits.observe(delivery, outcome, seen.weight)
