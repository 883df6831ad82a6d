"""One pass of delivery: record what has come back, claim what is due, hand it to the workers that send.

It serves the daemon, `run --once`, sync and replay. A pass never waits for the backend: requests go on in the workers'
threads while no pass runs, and the next pass records what came of them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from relay.delivery.clock_guard import ClockGuard
from relay.delivery.outcome import decided, say
from relay.delivery.pacer import Pacer
from relay.delivery.replays import REPLAY_BATCH, Replays
from relay.delivery.shared_circuit import SharedCircuit
from relay.delivery.tally import Tally
from relay.delivery.workers import STOPPED, Purpose, Result, UserQueue, Workers
from relay.outbox.pausing import Pause
from relay.rules import circuit, retry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.delivery.workers import MakePool, Post
    from relay.model import Delivery, Log
    from relay.outbox.contract import Queue
    from relay.rules.circuit import Breaker

#: How long the next pass may be waited for while requests are under way, in seconds: results are recorded in groups.
GROUP_S = 0.05
#: How long at most while nothing is: what another process made due is found then, in seconds.
IDLE_S = 1.0
#: Of how many due events those that fit into memory are chosen, at the least.
LOOKED_AT_LEAST = 8
#: Of how many due events a probe is chosen.
PROBE_LIMIT = 50
#: Bodies of so many bytes are in memory at once, and that of one more event.
BYTES_MOST = 16_000_000
#: So many are claimed at once: while they are read from the outbox, there are several copies of them.
BYTES_AT_ONCE = 4_000_000


class Settings(NamedTuple):
    """What the config says of delivery."""

    policy: retry.Policy
    #: The event types that may be sent; events of any other type stay in the outbox as they are.
    types: frozenset[str]
    #: How many requests may be under way at once.
    concurrency: int
    #: How long one attempt lasts at the most, in seconds.
    attempt_s: float
    #: Nothing is sent: events wait in the outbox.
    is_paused: bool = False


class Dispatch:
    """Delivers what is due. `run_once`, `replay` and `settle` are for one thread; the workers have their own."""

    #: How many deliveries are under way, and how many bytes their bodies have.
    _under_way = 0
    _bytes = 0
    #: How many bytes an event had, on the average, when some were last claimed.
    _size = 1

    def __init__(
        self,
        *,
        outbox: Queue,
        post: Post,
        settings: Settings,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        jitter: Callable[[], float],
        make_pool: MakePool,
        log: Log,
    ) -> None:
        """Take what delivery needs from outside; nothing is sent, or read from the outbox, before the first pass.

        `clock` gives unix seconds, by the clock of all who use the outbox, and `monotonic` seconds that never go back;
        `jitter` gives random numbers from 0 to 1; `make_pool` makes the workers' threads.
        """
        self._outbox = outbox
        self._settings = settings
        self._jitter = jitter
        self._log = log
        self._circuits = SharedCircuit(outbox=outbox, policy=settings.policy, clock=clock, log=log)
        self._clock_guard = ClockGuard(outbox, self._circuits, clock, log)
        self._pacer = Pacer(monotonic, log)
        self._workers = Workers(
            outbox=outbox,
            post=post,
            circuits=self._circuits,
            pacer=self._pacer,
            concurrency=settings.concurrency,
            clock=clock,
            monotonic=monotonic,
            make_pool=make_pool,
        )
        #: What has come of attempts.
        self.tally = Tally()
        self._unsettled: list[Result] = []
        self._replays, self._pause = Replays(), Pause(outbox)
        #: The types that a probe is under way for.
        self._probing: set[str] = set()

    @property
    def wake(self) -> Callable[[], None]:
        """Called when a pass is worth having before its time; whoever runs the passes sets it."""
        return self._workers.wake

    @wake.setter
    def wake(self, wake: Callable[[], None]) -> None:
        self._workers.wake = wake

    @property
    def under_way(self) -> int:
        """How many deliveries are claimed and not settled yet, and events still to be sent again."""
        return self._under_way + len(self._replays.waiting)

    @property
    def replayed(self) -> int:
        """How many events have been sent again."""
        return self._replays.sent

    @property
    def redelivered(self) -> int:
        """How many of the events that have been sent again the backend has taken."""
        return self._replays.delivered

    @property
    def pace_wait_s(self) -> float:
        """For how long nothing is sent as the backend takes no more, in seconds; 0 where nothing waits for that."""
        return self._pacer.wait_s()

    @property
    def types(self) -> frozenset[str]:
        """The event types that may be sent."""
        return self._settings.types

    @property
    def breaker(self) -> Breaker:
        """The circuits as they are now."""
        return self._circuits.breaker

    def stop(self) -> None:
        """Send nothing more than what is being sent at this moment."""
        self._workers.is_stopping = True

    def close(self) -> None:
        """End the workers; call it when nothing is under way any more."""
        self._workers.close()

    def run_once(self, now: float) -> float:
        """Do one pass at `now` (unix seconds); return after how many seconds the next one is wanted.

        Raises OutboxError, and whatever ended a worker.
        """
        self._circuits.load()
        self._clock_guard.look(now)
        self.settle(now)
        if self._workers.is_stopping or self.is_paused(now):
            return GROUP_S if self._under_way else IDLE_S
        self._circuits.adopt()
        self._claim_due(now)
        return GROUP_S if self._under_way else self._idle_s(now)

    def is_paused(self, now: float) -> bool:
        """Say whether nothing is sent: by the config, or as somebody has asked for that. Raises OutboxError."""
        return self._settings.is_paused or self._pause.holds(now)

    def replay(self, ids: Sequence[int], now: float) -> None:
        """Send recorded events (row ids) once more, whatever their state; `replayed` says how many have been sent.

        Those that are under way already are left out. As many are sent at once as the backend takes and memory holds;
        `settle` goes on with the others. Raises OutboxError.
        """
        self._circuits.load()
        self._replays.waiting.extend(ids)
        self._go_on_replaying(now)

    def _go_on_replaying(self, now: float) -> None:
        if self._workers.is_stopping:
            self._replays.waiting.clear()
        # A later event of a user waits for the earlier ones, so all that are under way come back first.
        while self._replays.waiting and not self._under_way:
            epoch, fitting = self._pacer.epoch, max(1, BYTES_MOST // self._replays.size)
            count = int(min(self._pacer.room(), fitting, REPLAY_BATCH, len(self._replays.waiting)))
            if not count:
                return
            ids = [self._replays.waiting.popleft() for _ in range(count)]
            deliveries = self._outbox.claim_again(ids, now, lease_s=self._lease_s(), types=self.types)
            self._pacer.spend(len(deliveries))
            self._replays.size = max([1, *(len(one.body) for one in deliveries)])
            self._submit(deliveries, Purpose.REPLAY, epoch)

    # -- claiming

    def _lease_s(self) -> float:
        """Return how long a claim holds, in seconds: a delivery that still waits for its worker is not claimed again.

        The longest wait is that of the last delivery of a user who has all that is claimed.
        """
        return self._settings.attempt_s * self._workers.ahead + 60.0

    def _flowing(self) -> frozenset[str]:
        """Return the event types whose path has no open circuit."""
        return self.types.difference(self.breaker.paths)

    def _claim_due(self, now: float) -> None:
        """Claim what may be sent now, and hand it to the workers."""
        if self.breaker.backend is not None:
            self._probe_backend(now)
            return
        self._probe_paths(now)
        flowing = self._flowing()
        # Read before the room is: a refusal in between would go unnoticed.
        epoch = self._pacer.epoch
        ahead, bytes_left = self._workers.ahead, BYTES_MOST - self._bytes
        room = min(ahead - self._under_way, self._pacer.room())
        # Many at once cost less than the same number one by one, unless a worker has to wait for them.
        is_worth_it = ahead - self._under_way >= ahead // 2 or self._workers.are_short
        if not is_worth_it or bytes_left <= 0 or room <= 0:
            return
        due_at = self._outbox.next_due(flowing, now)
        if due_at is None or due_at > now:
            return
        bytes_left = min(bytes_left, BYTES_AT_ONCE)
        # The outbox looks at all that it may claim: not at many more than will fit.
        limit = int(min(room, max(LOOKED_AT_LEAST, 2 * bytes_left // self._size)))
        deliveries = self._claim(now, limit, flowing, most_bytes=bytes_left)
        self._pacer.spend(len(deliveries))
        self._submit(deliveries, Purpose.NORMAL, epoch)

    def _probe_backend(self, now: float) -> None:
        backend = self.breaker.backend
        if backend is None or self._under_way or now < backend.probe_at:
            return
        if self._may_probe(now):
            # An event whose path has no open circuit of its own says most of the backend; any is better than none.
            _ = self._probe(now, self._flowing()) or self._probe(now, self.types)

    def _probe_paths(self, now: float) -> None:
        flowing = self._flowing()
        for name, path in self.breaker.paths.items():
            # A stored circuit may be of a type that this relay does not know: there is nothing to probe it with.
            if name in self.types and name not in self._probing and now >= path.probe_at and self._may_probe(now, name):
                self._probe(now, flowing | {name}, only=name)

    def _may_probe(self, now: float, only: str | None = None) -> bool:
        """Say whether it is this relay's turn to probe the backend, or the path of one type; others wait meanwhile."""
        return self._circuits.is_first_to_probe(only, now, now + self._settings.attempt_s + IDLE_S)

    def _probe(self, now: float, types: frozenset[str], only: str | None = None) -> bool:
        """Claim one event for a probe: of one type only, or of any of these; say whether there was one."""
        found = self._claim(now, PROBE_LIMIT, types, only=only, is_probe=True)
        self._probing.update(one.event_type for one in found)
        self._submit(found, Purpose.PROBE)
        return bool(found)

    def _claim(
        self,
        now: float,
        limit: int,
        types: frozenset[str],
        *,
        most_bytes: int = BYTES_MOST,
        only: str | None = None,
        is_probe: bool = False,
    ) -> Sequence[Delivery]:
        """Claim events of these types, or `only` of one of them. Other types don't hold up later events of a user."""
        return self._outbox.claim(
            now, limit, lease_s=self._lease_s(), types=types, most_bytes=most_bytes, only=only, probe=is_probe
        )

    def _submit(self, deliveries: Sequence[Delivery], purpose: Purpose, epoch: int = 0) -> None:
        size = sum(len(one.body) for one in deliveries)
        self._bytes += size
        self._size = max(1, size // max(1, len(deliveries)))
        users: defaultdict[int, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            users[delivery.user_id].append(delivery)
        for of_user in users.values():
            self._under_way += len(of_user)
            self._workers.submit(UserQueue(purpose=purpose, deliveries=of_user, epoch=epoch))

    def _idle_s(self, now: float) -> float:
        """Return in how many seconds a probe or an event is due next, IDLE_S at most."""
        breaker = self.breaker
        circuits = (breaker.backend, *breaker.paths.values())
        times = [one.probe_at for one in circuits if one is not None]
        if breaker.backend is None:
            due_at = self._outbox.next_due(self._flowing(), now)
            times += [max(due_at, now + self._pacer.wait_s())] if due_at is not None else []
        # What is due and was not claimed waits for another process, or there is nothing to probe with.
        return min([IDLE_S, *(at - now for at in times if at > now)])

    # -- settling

    def settle(self, now: float) -> float:
        """Record at `now` (unix seconds) what has come back; return how many seconds to wait before the next call.

        Raises OutboxError; nothing is forgotten then, and the next call tries again. Raises whatever ended a worker.
        """
        self._circuits.load()
        self._unsettled += self._workers.collect()
        circuits = self._circuits.unsaved()
        # What this relay broke off itself may have reached the backend: its attempt stays `unknown`, its lease ends,
        # and it is sent again.
        settled = [
            decided(one, one.outcome, self._settings.policy, self._jitter, now)
            for one in self._unsettled
            if one.outcome is not None and one.outcome.error_kind != STOPPED
        ]
        unsent = [one.delivery for one in self._unsettled if one.outcome is None]
        if settled or circuits.text is not None:
            self._outbox.settle(settled, now, None if circuits.text is None else {circuit.STATE: circuits.text})
            self.tally.add(settled, now)
        if unsent:
            self._outbox.release(unsent)
        if circuits.has_closed:
            self._outbox.all_due(now)
        self._circuits.has_saved(circuits)
        self._forget_unsettled()
        if settled:
            with self._log.buffered():
                for one in settled:
                    say(self._log, one, now)
        self._go_on_replaying(now)
        return GROUP_S

    def _forget_unsettled(self) -> None:
        """Take what has been recorded off what is under way; what was not sent again is still to be."""
        done = self._unsettled
        self._under_way -= len(done)
        self._bytes -= sum(len(one.delivery.body) for one in done)
        self._probing -= {one.delivery.event_type for one in done if one.purpose is Purpose.PROBE}
        replays = [one for one in done if one.purpose is Purpose.REPLAY]
        outcomes = [one.outcome for one in replays if one.outcome is not None]
        self._replays.sent += len(outcomes)
        self._replays.delivered += sum(retry.classify(one) is retry.Verdict.TAKEN for one in outcomes)
        self._replays.waiting.extendleft(one.delivery.id for one in reversed(replays) if one.outcome is None)
        done.clear()
