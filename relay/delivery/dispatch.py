"""One pass of delivery: settle what has come back, claim what is due, hand it to the senders.

A pass is a turn: it never waits for the backend. What is under way between turns is in the pool's queue and threads.
Deliveries of one user travel in one lane, one after the other, so that no later one overtakes.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from relay.model import UNDELIVERED, Delivery, Outcome, Status
from relay.outbox.contract import Settled
from relay.rules import retry
from relay.rules.retry import Breaker, Circuit, Decision, Verdict
from relay.service.daemon import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from relay.model import Log
    from relay.outbox.contract import Outbox

    #: Posts one delivery at a time (unix seconds), and says what came of it.
    Post = Callable[[Delivery, float], Outcome]

#: How long a turn may be waited for while requests are under way, in seconds: results are recorded in groups.
GROUP_S = 0.05
#: How long at most while nothing is: what another process made due is found then, in seconds.
IDLE_S = 1.0
#: How long the interpreter works for one delivery, roughly, in seconds.
WORK_S = 0.0004
#: A request that takes so long, in seconds, waits for the backend and not for the other threads.
SLOW_S = 0.01
#: So many turns' deliveries are claimed ahead, as the last turn was, ...
AHEAD_TURNS = 8
#: ... but no more than this many: what is claimed is in memory.
MOST_AHEAD = 1024
#: The error kind of a request that this relay broke off itself.
STOPPED = "stopped"


class Kind(StrEnum):
    """Why a lane is under way."""

    NORMAL = "normal"
    #: It goes through an open circuit, to see whether the backend is back.
    PROBE = "probe"
    #: It was recorded long ago, and a person asked for it.
    REPLAY = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Deliveries that go one after the other."""

    kind: Kind
    deliveries: Sequence[Delivery]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one delivery; no outcome where its request was not sent."""

    kind: Kind
    delivery: Delivery
    outcome: Outcome | None = None
    #: The attempt fell under an open circuit.
    is_outage: bool = False
    #: Unix seconds.
    started_at: float = 0.0
    #: How long the attempt took, in seconds.
    took_s: float = 0.0


class Dispatch:
    """Delivers what is due. `run_once` is for one thread; the senders are threads of the pool."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        post: Post,
        policy: retry.Policy,
        concurrency: int,
        attempt_s: float,
        clock: Callable[[], float],
        jitter: Callable[[], float],
        log: Log,
        is_paused: bool = False,
    ) -> None:
        """Take `attempt_s`, which bounds one attempt, in seconds, and `jitter`, random numbers from 0 to 1."""
        self._outbox = outbox
        self._post = post
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._log = log
        self._is_paused = is_paused
        self._concurrency = concurrency
        self._attempt_s = attempt_s
        #: How many deliveries may be claimed at once: enough that no sender waits for the next turn.
        self._least_depth = self._depth = 4 * concurrency + 32
        self._pool: Pool[Lane] = Pool(concurrency, self._deliver, "sender")
        #: The time of the fastest request of late, in seconds; before there is one, as if all senders were of use.
        self._fastest_s = concurrency * WORK_S
        #: When each request that is under way began, by the monotonic clock.
        self._began: dict[int, float] = {}
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._unsettled: list[Result] = []
        self._under_way = 0
        #: The types that a probe is under way for.
        self._probing: set[str] = set()
        self._lock = threading.Lock()
        #: The state `circuit` as this relay has read or written it last.
        self._circuit = outbox.state("circuit") or ""
        self._breaker = retry.decode(json.loads(self._circuit or "{}"))
        self._saved_breaker = self._breaker
        self._is_stopping = False
        # What was recorded later than now was recorded by a clock that has been set back since.
        self._last_turn = outbox.last_recorded_at()
        #: A sender has asked for the next turn already.
        self._is_woken = False
        #: Set when a turn is worth having before its time.
        self.wake: Callable[[], None] = lambda: None

    @property
    def under_way(self) -> int:
        """How many deliveries are claimed and not settled yet."""
        return self._under_way

    @property
    def breaker(self) -> Breaker:
        """The circuits as they are now."""
        return self._breaker

    def stop(self) -> None:
        """Send nothing more than what is being sent at this moment."""
        self._is_stopping = True

    def close(self) -> None:
        """End the senders; call it when nothing is under way any more."""
        self._pool.close(timeout_s=1.0)

    def run_once(self, now: float) -> float:
        """Take one turn; return after how many seconds the next is wanted."""
        self._mind_the_clock(now)
        self.settle(now)
        if self._is_stopping or self._is_paused:
            return GROUP_S if self._under_way else IDLE_S
        self._adopt()
        claimed = self._claim(now)
        if self._under_way:
            return GROUP_S
        return self._idle_s(now, claimed)

    def replay(self, ids: Sequence[int], now: float) -> int:
        """Put recorded events under way once more, whatever their state; return how many are.

        Those that are under way already are left out.
        """
        deliveries = self._outbox.claim_again(ids, now, lease_s=self._lease_s())
        self._submit(deliveries, Kind.REPLAY)
        return len(deliveries)

    # -- claiming

    def _lease_s(self) -> float:
        """Return how long a claim holds, in seconds; what a lane still has is never claimed twice.

        Only a lane as long as all that is claimed can last so long.
        """
        return self._attempt_s * self._depth + 60.0

    def _claim(self, now: float) -> int:
        breaker = self._breaker
        if breaker.whole is not None:
            if self._under_way == 0 and now >= breaker.whole.probe_at:
                return self._probe(now, frozenset(breaker.paths)) or self._probe(now, frozenset())
            return 0
        blocked = frozenset(breaker.paths)
        claimed = 0
        for event_type, circuit in breaker.paths.items():
            if event_type not in self._probing and now >= circuit.probe_at:
                claimed += self._probe(now, blocked - {event_type}, only=event_type)
        room = self._depth - self._under_way
        if room < self._depth // 2:
            return claimed
        due_at = self._outbox.next_due(blocked)
        if due_at is None or due_at > now:
            return claimed
        deliveries = self._outbox.claim(now, room, lease_s=self._lease_s(), blocked=blocked)
        self._submit(deliveries, Kind.NORMAL)
        return claimed + len(deliveries)

    def _probe(self, now: float, blocked: frozenset[str], only: str | None = None) -> int:
        if not self._is_first_to_probe(now, only):
            return 0
        found = self._outbox.claim(now, 50, lease_s=self._lease_s(), blocked=blocked, only=only, probe=True)
        self._probing.update(one.event_type for one in found)
        self._submit(found, Kind.PROBE)
        return len(found)

    def _is_first_to_probe(self, now: float, only: str | None) -> bool:
        """Of relays that share an outbox, let one probe: the one that puts off the next probe of all of them."""
        if not self._outbox.is_shared:
            return True
        with self._lock:
            before = self._breaker
            later = retry.put_off(before, only, now + self._attempt_s + IDLE_S)
            text = json.dumps(retry.encode(later))
            if not self._outbox.swap_state("circuit", self._circuit, text, now):
                return False
            self._breaker = self._saved_breaker = later
            self._circuit = text
        return True

    def _adopt(self) -> None:
        """Take over the circuits as another relay on the same outbox has found them."""
        if not self._outbox.is_shared:
            return
        text = self._outbox.state("circuit") or ""
        with self._lock:
            is_unsaved = retry.encode(self._breaker) != retry.encode(self._saved_breaker)
            if text == self._circuit or is_unsaved:
                return
            found = retry.decode(json.loads(text or "{}"))
            self._breaker = self._saved_breaker = replace(self._breaker, whole=found.whole, paths=found.paths)
            self._circuit = text

    def _submit(self, deliveries: Iterable[Delivery], kind: Kind) -> None:
        lanes: defaultdict[int, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            lanes[delivery.user_id].append(delivery)
        for lane in lanes.values():
            self._under_way += len(lane)
            self._pool.submit(Lane(kind=kind, deliveries=lane))

    def _idle_s(self, now: float, claimed: int) -> float:
        """Return how long nothing will be to do, unless another process makes something due."""
        breaker = self._breaker
        times = [circuit.probe_at for circuit in (breaker.whole, *breaker.paths.values()) if circuit is not None]
        if breaker.whole is None and not claimed:
            due_at = self._outbox.next_due(frozenset(breaker.paths))
            times += [due_at] if due_at is not None else []
        # What is due and was not claimed waits for another process, or there is nothing to probe with.
        return min([IDLE_S, *(at - now for at in times if at > now)])

    def _mind_the_clock(self, now: float) -> None:
        """Bring the due times forward when the clock was set back: no event waits for an hour that is repeated."""
        behind = self._last_turn - now
        self._last_turn = now
        if behind > IDLE_S:
            self._log.warning("clock.set_back", seconds=round(behind))
            # Of relays that share an outbox and its clock, one brings the due times forward, and once.
            if self._outbox.leads():
                self._outbox.set_back(behind)
            with self._lock:
                self._breaker = retry.probe_now(self._breaker, now)

    # -- sending, in the pool's threads

    def _deliver(self, lane: Lane) -> None:
        held = False
        for delivery in lane.deliveries:
            if held or self._is_halted(delivery, lane.kind):
                self._results.put(Result(kind=lane.kind, delivery=delivery))
                continue
            result = self._attempt(delivery, lane.kind)
            self._results.put(result)
            held = result.outcome is not None and _holds_user(result.outcome) and lane.kind is not Kind.REPLAY
        if not self._is_woken and (self._pool.backlog() == 0 or self._results.qsize() >= self._depth // 4):
            self._is_woken = True
            self.wake()

    def _attempt(self, delivery: Delivery, kind: Kind) -> Result:
        started_at = self._clock()
        self._began[delivery.id] = began_at = time.monotonic()
        try:
            outcome = self._post(delivery, started_at)
        finally:
            del self._began[delivery.id]
        return Result(
            kind=kind,
            delivery=delivery,
            outcome=outcome,
            is_outage=self._observe(delivery, outcome),
            started_at=started_at,
            took_s=time.monotonic() - began_at,
        )

    def _is_halted(self, delivery: Delivery, kind: Kind) -> bool:
        if self._is_stopping or not self._outbox.may_send(delivery):
            return True
        return kind is Kind.NORMAL and self._breaker.covers(delivery.event_type)

    def _observe(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Count the outcome at once, so that an open circuit holds back the next request; say if it fell under one."""
        if outcome.error_kind == STOPPED:
            return True
        with self._lock:
            before = self._breaker
            self._breaker = after = retry.observe(before, delivery, outcome, self._policy, self._clock())
        if after is not before:
            self._say_circuits(before, after, outcome)
        return before.covers(delivery.event_type) or after.covers(delivery.event_type)

    # -- settling

    def _collect(self) -> None:
        """Take what has come back, and let there be as many senders and as much claimed as that shows to be of use."""
        if self._pool.error is not None:
            raise self._pool.error
        # Before the results are taken: one that comes later asks for a turn again.
        self._is_woken = False
        results = [self._results.get() for _ in range(self._results.qsize())]
        self._unsettled += results
        began = list(self._began.values())
        before = time.monotonic() - SLOW_S - WORK_S * self._pool.width
        slow = sum(began_at < before for began_at in began)
        times = [one.took_s for one in results if one.outcome is not None]
        if times:
            self._fastest_s = min(times)
            # What the next turns will need. Shrinking slowly: a turn that came early says little of the rate.
            wanted = min(AHEAD_TURNS * len(times), MOST_AHEAD)
            self._depth = max(self._least_depth, wanted, self._depth * 3 // 4)
        if times or slow:
            self._pool.widen(width(self._fastest_s, len(began), slow, self._concurrency))

    def settle(self, now: float) -> float:
        """Record what has come back; return after how many seconds there may be more.

        Raises OutboxError; nothing is forgotten then, and the next call tries again.
        """
        self._collect()
        breaker = self._breaker
        closed = _closed(self._saved_breaker, breaker)
        sent = [one for one in self._unsettled if one.outcome is not None and one.outcome.error_kind != STOPPED]
        unsent = [one.delivery for one in self._unsettled if one.outcome is None]
        settled = [self._decided(one, one.outcome, now) for one in sent if one.outcome is not None]
        changed = retry.encode(breaker) != retry.encode(self._saved_breaker)
        if settled or changed:
            text = json.dumps(retry.encode(breaker))
            self._outbox.settle(settled, now, {"circuit": text} if changed else None)
            self._circuit = text if changed else self._circuit
        if unsent:
            self._outbox.release(unsent)
        if closed:
            self._outbox.all_due(now)
        self._saved_breaker = breaker
        self._under_way -= len(self._unsettled)
        self._probing -= {one.delivery.event_type for one in self._unsettled if one.kind is Kind.PROBE}
        self._unsettled.clear()
        if settled:
            with self._log.together():
                for one in settled:
                    self._say(one)
        return GROUP_S

    def _decided(self, result: Result, outcome: Outcome, now: float) -> Settled:
        delivery = result.delivery
        # Randomness costs a call of the system: only what is tried again needs it.
        jitter = 0.0 if retry.classify(outcome) is Verdict.TAKEN else self._jitter()
        decision = retry.decide(delivery, outcome, self._policy, now=now, jitter=jitter, is_outage=result.is_outage)
        if result.kind is Kind.REPLAY and delivery.status not in UNDELIVERED and decision.status is not Status.SUCCESS:
            # It had ended, and asking once more has not changed that.
            decision = Decision(
                status=delivery.status, due_at=None, failures=delivery.failures, verdict=decision.verdict
            )
        return Settled(
            delivery=delivery,
            outcome=outcome,
            decision=decision,
            started_at=result.started_at,
            holds_user=_holds_user(outcome),
        )

    # -- saying

    def _say(self, one: Settled) -> None:
        fields = {
            "event_id": one.delivery.event_id,
            "event_type": str(one.delivery.event_type),
            "log_id": one.delivery.log_id,
            "attempt": one.delivery.attempt,
            "http_code": one.outcome.http_code,
            "duration_ms": one.outcome.duration_ms,
        }
        if one.decision.verdict is Verdict.TAKEN:
            self._log.info("delivery.succeeded", **fields, **({"duplicate": True} if one.outcome.duplicate else {}))
            return
        fields |= {"error": one.outcome.error_kind} if one.outcome.error_kind else {}
        if one.decision.due_at is None:
            self._log.error("delivery.gave_up", **fields)
        else:
            self._log.warning("delivery.failed", **fields, retry_in_s=round(one.decision.due_at - self._last_turn, 1))

    def _say_circuits(self, before: Breaker, after: Breaker, outcome: Outcome) -> None:
        """Say which circuits this outcome has opened or closed."""
        scopes: list[tuple[str | None, Circuit | None, Circuit | None]] = [(None, before.whole, after.whole)]
        scopes += [(name, before.paths.get(name), after.paths.get(name)) for name in {*before.paths, *after.paths}]
        for name, was_open, is_open in scopes:
            path = {} if name is None else {"event_type": str(name)}
            if is_open is not None and was_open is None:
                reason, hint = is_open.reason, _hint(outcome)
                self._log.error("circuit.opened", reason=reason, http_code=outcome.http_code, hint=hint, **path)
            elif was_open is not None and is_open is None:
                seconds = round(self._clock() - was_open.opened_at, 1)
                self._log.warning("circuit.closed", open_for_s=seconds, **path)


def width(fastest_s: float, under_way: int, slow: int, concurrency: int) -> int:
    """Return how many senders are of use.

    Given the time of the fastest request of late in seconds, how many requests are under way, and how many of these are
    slow. The interpreter works for one request at a time, so further threads are of use while a request waits for the
    backend; where that answers before another could be sent, they only wake each other. The fastest shows how long the
    backend takes, since it did not wait for other threads. Slow ones are made up for, twice, as the next ones may be
    slow too; where all are, nothing is known but that, and there may be as many as allowed.
    """
    if slow and slow == under_way:
        return concurrency
    return min(concurrency, 1 + int(fastest_s / WORK_S) + 2 * slow)


def _holds_user(outcome: Outcome) -> bool:
    """Say whether later events of the user wait: not for one that ended, nor for one whose path is not there."""
    return retry.classify(outcome) in (Verdict.NOT_NOW, Verdict.UNKNOWN_CALLER)


def _closed(before: Breaker, after: Breaker) -> bool:
    """Say whether a circuit has closed."""
    whole = before.whole is not None and after.whole is None
    return whole or bool(before.paths.keys() - after.paths.keys())


def _hint(outcome: Outcome) -> str:
    verdict = retry.classify(outcome)
    if verdict is Verdict.UNKNOWN_CALLER:
        return "The backend does not know this relay: mend backend.token (and signing_keys). Nothing is lost meanwhile."
    if verdict is Verdict.NO_SUCH_PATH:
        return "The backend has no such path: mend backend.url, or the backend. Other kinds of event go on."
    return "The backend fails or is away: events wait, none is used up. relay check says more."
