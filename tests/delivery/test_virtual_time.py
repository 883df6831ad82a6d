"""Delivery stepped in one thread, by a clock that only the test moves: days of retries in an instant, on a real outbox.

Whoever runs the passes brings two clocks and the pool. Here both clocks are one number, and the pool's workers are
functions that are called in turn.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque
from contextlib import nullcontext
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from relay.delivery import dispatch
from relay.delivery.dispatch import Dispatch, Settings
from relay.events import envelope
from relay.events.kind import Options
from relay.model import Delivery, Outcome, Position
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.values import Batch
from relay.rules import circuit, retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay.delivery.workers import UserQueue

OPTIONS = Options(site="site", moodle_url="https://moodle.example", tenant_id="default")
POLICY = retry.Policy()
START = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
#: How many workers there are, and how long each request takes, in seconds.
WORKERS, REQUEST_S = 3, 0.05
USERS, EVENTS_EACH = 12, 5
#: A result is recorded by the next pass: so much after it came, in seconds, where a worker sends a user's events.
PASS_S = EVENTS_EACH * REQUEST_S
JITTER = 0.5
CIRCUIT = {"opened_at": START - DAY, "reason": "the backend answered 404", "probe_at": START - HOUR, "probes": 9}


class Stepped:
    """A pool whose workers take a step when they are told to, in the test's own thread.

    Those that take a step together begin at the same moment, and the clock stands at the end of the longest then.
    """

    error = None

    def __init__(self, world: World, width: int, work: Callable[[UserQueue], None]) -> None:
        self.width = width
        self._world = world
        self._work = work
        self._items: deque[UserQueue] = deque()

    def submit(self, item: UserQueue) -> None:
        self._items.append(item)

    def widen(self, width: int) -> None:
        self.width = width

    def backlog(self) -> int:
        return len(self._items)

    def close(self, timeout_s: float) -> None:
        assert not self._items, f"left, whatever {timeout_s} s are for"

    def step(self) -> int:
        """Let each worker do its next item; return how many had one."""
        began_at = ended_at = self._world.now
        busy = min(self.width, len(self._items))
        for _ in range(busy):
            self._world.now = began_at
            self._work(self._items.popleft())
            ended_at = max(ended_at, self._world.now)
        self._world.now = ended_at
        return busy


class World:
    """An outbox full of events, a backend that is a function, and the time."""

    def __init__(self, folder: Path, answer: Callable[[Delivery, float], Outcome], stored: str = "") -> None:
        """Take what the backend answers, given a delivery and how many seconds have passed, and stored circuits."""
        self.now = START
        self._answer = answer
        #: Each request, as it arrived: after how many seconds, for which event, and the answer's code.
        self.sent: list[tuple[float, Delivery, int | None]] = []
        self.slugs: list[str] = []
        self.most_at_once = 0
        self.outbox = SqliteOutbox(folder / "outbox.db")
        self.outbox.hold(START)
        count = USERS * EVENTS_EACH
        made = [
            envelope.make_event(
                envelope.derive_id("site", i), "user_updated", i, i % USERS, i, {"name": "Ada"}, OPTIONS
            )
            for i in range(1, count + 1)
        ]
        self.outbox.accept(Batch(events=made, after=Position(high=count)), START)
        self.outbox.set_state("circuit", stored, START)
        self.dispatch = Dispatch(
            outbox=self.outbox,
            post=self.post,
            settings=Settings(policy=POLICY, types=frozenset({"user_updated"}), concurrency=WORKERS, attempt_s=30.0),
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            jitter=lambda: JITTER,
            make_pool=self.make_pool,
            log=self,
        )

    def make_pool(self, width: int, work: Callable[[UserQueue], None], _name: str) -> Stepped:
        self.pool = Stepped(self, width, work)
        return self.pool

    def post(self, delivery: Delivery, now: float) -> Outcome:
        assert now == self.now
        outcome = self._answer(delivery, now - START)
        self.sent.append((now - START, delivery, outcome.http_code))
        self.now += REQUEST_S
        return outcome

    def info(self, event: str, **_fields: Any) -> None:
        self.slugs.append(event)

    warning = error = info

    def buffered(self) -> nullcontext[None]:
        return nullcontext()

    def run(self, seconds: float) -> None:
        """Do passes and let the workers work, until so much time has passed or nothing is left to do."""
        delay = 0.0
        while delay < math.inf and self.now < START + seconds:
            self.now += delay
            delay = self.dispatch.run_once(self.now)
            if self.pool.backlog():
                self.most_at_once = max(self.most_at_once, self.pool.step())
                delay = 0.0

    def attempts(self) -> dict[int, list[tuple[float, int | None]]]:
        """Return when each event was sent, and the answers, by the event's row."""
        found: defaultdict[int, list[tuple[float, int | None]]] = defaultdict(list)
        for at, delivery, code in self.sent:
            found[delivery.id].append((at, code))
        return found

    def check_all_are_delivered_in_order(self, *, but: int = 0) -> None:
        """Check what holds in every one of these histories, once the backend is well; `but` further events are kept."""
        assert self.outbox.count_undelivered() == but
        taken = [delivery for _, delivery, code in self.sent if code == 200]
        assert len(taken) == len({one.event_id for one in taken}) == USERS * EVENTS_EACH
        for user in range(USERS):
            times = [one.occurred_at for _, one, _ in self.sent if one.user_id == user]
            assert times == sorted(times)
        ((rows, numbers),) = self.outbox._rows("SELECT COUNT(*), SUM(attempt) FROM {p}mb_zoho_event_attempt")
        assert rows == len(self.sent)
        assert numbers == sum(delivery.attempt for _, delivery, _ in self.sent)


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    """Nobody else uses the outbox: so a pass need not be done each second to see what another process made due."""
    monkeypatch.setattr(dispatch, "IDLE_S", math.inf)
    made: list[World] = []

    def make(answer: Callable[[Delivery, float], Outcome], stored: str = "") -> World:
        made.append(World(tmp_path, answer, stored))
        return made[-1]

    yield make
    for world in made:
        world.dispatch.close()
        world.outbox.close()


def waits(attempts: list[tuple[float, int | None]]) -> list[float]:
    """Return how long it took from each attempt's end to the next one's beginning, in seconds."""
    return [after - before - REQUEST_S for (before, _), (after, _) in pairwise(attempts)]


def scheduled(count: int) -> list[float]:
    """Return the first waits of the schedule, in seconds."""
    return [POLICY.delay_s(failures) * (1 + retry.JITTER * JITTER) for failures in range(1, count + 1)]


def test_what_fails_for_two_days_is_tried_by_the_schedule_and_delivered(make_world: Callable[..., World]) -> None:
    """The backend fails for two users alone: with fewer than three events that fail, no circuit opens."""

    def answer(delivery: Delivery, passed_s: float) -> Outcome:
        return Outcome(http_code=503 if delivery.user_id < 2 and passed_s < 2 * DAY else 200)

    world = make_world(answer)
    world.run(3 * DAY)
    world.check_all_are_delivered_in_order()
    assert world.most_at_once == WORKERS
    attempts = world.attempts()
    tried_often = {row: tries for row, tries in attempts.items() if len(tries) > 1}
    assert len(tried_often) == 2, "the first event of each of the two users; the later ones wait for it"
    for tries in tried_often.values():
        assert waits(tries) == pytest.approx(scheduled(len(tries) - 1), abs=PASS_S)
        assert [code for _, code in tries] == [503] * (len(tries) - 1) + [200]
        assert tries[-2][0] < 2 * DAY <= tries[-1][0] < 2 * DAY + POLICY.max_delay_s * (1 + retry.JITTER)
        assert len(tries) == 20
    others = [at for at, delivery, _ in world.sent if delivery.user_id >= 2]
    assert max(others) < USERS * PASS_S, "nobody else waits for them"
    assert "circuit.opened" not in world.slugs


def test_an_outage_of_two_days_is_probed_and_uses_up_nobodys_attempts(make_world: Callable[..., World]) -> None:
    def answer(_: Delivery, passed_s: float) -> Outcome:
        return Outcome(http_code=503, retry_after_s=HOUR) if passed_s < 2 * DAY else Outcome(http_code=200)

    world = make_world(answer)
    world.run(3 * DAY)
    world.check_all_are_delivered_in_order()
    assert [world.slugs.count(slug) for slug in ("circuit.opened", "circuit.closed")] == [1, 1]
    failed = [at for at, _, code in world.sent if code == 503]
    before, probes = failed[: circuit.STREAK], failed[circuit.STREAK :]
    assert max(before) < USERS * PASS_S
    assert [round(at / HOUR) for at in probes] == list(range(1, 48))
    ((most,),) = world.outbox._rows("SELECT MAX(retry_count) FROM {p}mb_zoho_event_log")
    assert most == 1
    assert max(at for at, _, _ in world.sent) < 2 * DAY + HOUR, "what waited is sent as soon as the circuit closes"


def test_what_fails_for_ever_is_a_dead_letter_after_three_days_and_lets_the_later_ones_go(
    make_world: Callable[..., World],
) -> None:
    def answer(delivery: Delivery, _: float) -> Outcome:
        return Outcome(http_code=500 if delivery.id == 1 else 200)

    world = make_world(answer)
    world.run(4 * DAY)
    tries = world.attempts()[1]
    assert len(tries) == POLICY.max_attempts
    assert waits(tries) == pytest.approx(scheduled(POLICY.max_attempts - 1), abs=PASS_S)
    assert 3 * DAY < tries[-1][0] < 3.3 * DAY
    assert world.outbox.count_undelivered() == 1
    assert world.slugs.count("delivery.gave_up") == 1
    later = [at for at, delivery, _ in world.sent if delivery.user_id == 1 and delivery.id != 1]
    assert len(later) == EVENTS_EACH - 1
    assert min(later) > tries[-1][0]


def test_a_path_that_is_missing_for_an_hour_is_probed_and_its_circuit_closes(make_world: Callable[..., World]) -> None:
    def answer(_: Delivery, passed_s: float) -> Outcome:
        return Outcome(http_code=404, retry_after_s=600.0) if passed_s < HOUR else Outcome(http_code=200)

    world = make_world(answer)
    world.run(DAY)
    world.check_all_are_delivered_in_order()
    assert [world.slugs.count(slug) for slug in ("circuit.opened", "circuit.closed")] == [1, 1]
    probes = [at for at, _, code in world.sent if code == 404]
    assert [round(at / 600) for at in probes] == list(range(6))
    assert max(at for at, _, _ in world.sent) < HOUR + 600


def test_what_another_version_stored_is_kept_and_in_nobodys_way(make_world: Callable[..., World]) -> None:
    """An event of a type that this relay does not know, and the open circuit of its path: neither is touched."""
    circuits = json.dumps({"whole": None, "paths": {"a_type_of_another_version": CIRCUIT}})
    world = make_world(lambda _delivery, _passed_s: Outcome(http_code=200), circuits)
    unknown = envelope.make_event("another", "a_type_of_another_version", None, 1, 0, {"name": "Ada"}, OPTIONS)
    world.outbox.accept(Batch(events=[unknown]), START)
    world.run(DAY)
    world.check_all_are_delivered_in_order(but=1)
    assert "another" not in {delivery.event_id for _, delivery, _ in world.sent}
    assert world.now < START + HOUR, "what it is to be probed with never comes: no pass waits for that"
    assert world.outbox.state("circuit") == circuits


def test_a_clock_that_was_set_back_holds_nothing_up(make_world: Callable[..., World]) -> None:
    world = make_world(lambda _, passed_s: Outcome(http_code=200 if passed_s < -HOUR else 503))
    world.dispatch.run_once(world.now)
    world.pool.step()
    world.dispatch.settle(world.now)
    world.now -= DAY
    world.run(0)
    world.check_all_are_delivered_in_order()
    assert "clock.set_back" in world.slugs
    assert world.now < START - DAY + HOUR
