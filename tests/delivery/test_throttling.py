"""A backend that takes so many requests a second: relay slows down to that, and speeds up again."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING

import pytest
from receiver import Receiver, Reply, Request
from virtual import DAY, HOUR, START, World

from relay.delivery.pacer import OWN_AFTER, ROUNDS_503
from relay.model import Delivery, Outcome
from relay.rules import circuit, pace
from relay.rules.retry import FREE_REFUSALS

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Relay

    from relay.demo.moodle import College

#: What is to be delivered at the limit takes so long, in seconds.
EVENTS, LIMIT = 300, 20
IDEAL_S = EVENTS / LIMIT
TAKEN = Outcome(http_code=200)
BUSY = Outcome(http_code=429, retry_after_s=1.0)


class Windows:
    """Takes so many requests in each second of the clock, and refuses the others."""

    def __init__(self, limit: float, refusal: Outcome) -> None:
        self.limit = limit
        self.refusal = refusal
        self._counts: Counter[int] = Counter()

    def __call__(self, _: Delivery, passed_s: float) -> Outcome:
        second = int(passed_s)
        self._counts[second] += 1
        return TAKEN if self._counts[second] <= self.limit else self.refusal


def refusals(world: World) -> int:
    return sum(code != 200 for _, _, code in world.sent)


def most_counted(world: World) -> int:
    """Return how many attempts of an event were used up, at the most."""
    ((most,),) = world.outbox._rows("SELECT MAX(retry_count) FROM {p}mb_zoho_event_log")
    return int(most)


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(BUSY, id="429, Retry-After"),
        pytest.param(Outcome(http_code=429, retry_after_s=0.0), id="429, Retry-After: 0"),
        pytest.param(Outcome(http_code=429), id="429 alone"),
        pytest.param(Outcome(http_code=503, retry_after_s=1.0), id="503, Retry-After"),
    ],
)
@pytest.mark.parametrize("workers", [8, pytest.param(64, marks=pytest.mark.full)])
def test_a_limited_rate_is_nearly_reached_with_few_refusals(
    refusal: Outcome, workers: int, make_world: Callable[..., World]
) -> None:
    world = make_world(Windows(LIMIT, refusal), users=EVENTS, events_each=1, workers=workers)
    world.run(HOUR)
    world.check_all_are_delivered_in_order()
    assert world.now - START < 1.6 * IDEAL_S
    assert refusals(world) < 40 + 2 * workers
    assert most_counted(world) == 0
    assert "circuit.opened" not in world.slugs


def test_the_order_of_each_user_is_kept_at_a_limited_rate(make_world: Callable[..., World]) -> None:
    world = make_world(Windows(LIMIT, BUSY), users=6, events_each=30, workers=8)
    world.run(HOUR)
    world.check_all_are_delivered_in_order()
    assert world.now - START < 2 * 180 / LIMIT


def test_relay_speeds_up_again_when_the_backend_takes_more(make_world: Callable[..., World]) -> None:
    limited_s, windows = 10, Windows(5, BUSY)

    def answer(delivery: Delivery, passed_s: float) -> Outcome:
        return windows(delivery, passed_s) if passed_s < limited_s else TAKEN

    world = make_world(answer, users=2200, events_each=1, workers=8)
    world.run(HOUR)
    world.check_all_are_delivered_in_order()
    # At the rate that was learned it would take seven minutes.
    assert world.now - START < limited_s + pace.LIFTED_AFTER_S + 30
    assert [world.slugs.count(slug) for slug in ("delivery.throttled", "delivery.unthrottled")] == [1, 1]


def test_who_refuses_everything_opens_the_circuit_and_uses_nothing_up(make_world: Callable[..., World]) -> None:
    def answer(_: Delivery, passed_s: float) -> Outcome:
        return BUSY if passed_s < 2 * HOUR else TAKEN

    world = make_world(answer, users=60, events_each=2, workers=8)
    world.run(DAY)
    world.check_all_are_delivered_in_order()
    assert [world.slugs.count(slug) for slug in ("circuit.opened", "circuit.closed")] == [1, 1]
    # It opens after some refusals, each of them after a longer pause, and not by those that were refused together.
    opened_after = [at for at, _, code in world.sent if code == 429][: circuit.STREAK + 8]
    assert 10 < opened_after[-1] < 300
    assert most_counted(world) == 0
    assert world.now < START + 2 * HOUR + pace.LIFTED_AFTER_S + 120


def test_one_event_that_is_always_refused_holds_up_its_own_user_alone_and_ends(
    make_world: Callable[..., World],
) -> None:
    def answer(delivery: Delivery, _: float) -> Outcome:
        return Outcome(http_code=429, retry_after_s=5.0) if delivery.id == 1 else TAKEN

    world = make_world(answer, users=300, events_each=2, workers=3)
    world.run(4 * DAY)
    tries = world.attempts()[1]
    assert len(tries) == FREE_REFUSALS + 24
    assert world.slugs.count("delivery.gave_up") == 1
    assert world.outbox.count_undelivered() == 1
    assert next(at for at, delivery, _ in world.sent if delivery.user_id == 1 and delivery.id != 1) > tries[-1][0]
    others = [at for at, delivery, _ in world.sent if delivery.user_id != 1]
    # Some pauses at first; then it is about the event.
    assert max(others) < (OWN_AFTER + 1) * 10 + 600 * 0.05 / 3 + 60


def test_a_long_retry_after_of_one_event_is_no_long_pause_of_the_others(make_world: Callable[..., World]) -> None:
    def answer(delivery: Delivery, passed_s: float) -> Outcome:
        return Outcome(http_code=429, retry_after_s=DAY) if delivery.id == 5 and passed_s < HOUR else TAKEN

    world = make_world(answer, users=20, events_each=1)
    world.run(2 * DAY)
    world.check_all_are_delivered_in_order()
    (refused, taken) = world.attempts()[5]
    assert taken[0] - refused[0] >= DAY
    assert max(at for at, delivery, _ in world.sent if delivery.id != 5) < pace.PAUSE_MOST_S + 60


def test_an_outage_that_names_a_time_opens_the_circuit_though_events_were_taken(
    make_world: Callable[..., World],
) -> None:
    def answer(_: Delivery, passed_s: float) -> Outcome:
        return Outcome(http_code=503, retry_after_s=600.0) if 1 < passed_s < HOUR else TAKEN

    world = make_world(answer, users=200, events_each=1, workers=8)
    world.run(DAY)
    world.check_all_are_delivered_in_order()
    assert [world.slugs.count(slug) for slug in ("circuit.opened", "circuit.closed")] == [1, 1]
    failed = sorted(at for at, _, code in world.sent if code == 503)
    assert len([at for at in failed if at < 500]) <= 8 + ROUNDS_503
    assert max(at for at in failed if at < 500) < 60
    assert most_counted(world) <= 1


def test_an_outage_without_a_time_opens_the_circuit_at_once(make_world: Callable[..., World]) -> None:
    def answer(_: Delivery, passed_s: float) -> Outcome:
        return Outcome(http_code=503) if 1 < passed_s < HOUR else TAKEN

    world = make_world(answer, users=200, events_each=1, workers=8)
    world.run(DAY)
    world.check_all_are_delivered_in_order()
    failed = sorted(at for at, _, code in world.sent if code == 503)
    assert failed[circuit.STREAK - 1] < 2
    assert failed[circuit.STREAK + 8] > 5
    assert "delivery.throttled" not in world.slugs


def test_a_replay_keeps_to_the_rate_too(make_world: Callable[..., World]) -> None:
    windows = Windows(LIMIT, BUSY)
    world = make_world(windows, users=EVENTS, events_each=1, workers=8)
    windows.limit = 10_000
    world.run(HOUR)
    windows.limit = LIMIT
    world.sent.clear()
    began_at = world.now
    world.dispatch.replay(range(1, EVENTS + 1), world.now)
    while world.dispatch.under_way:
        if not world.pool.step():
            world.now += 0.05
        world.dispatch.settle(world.now)
    assert world.dispatch.replayed == EVENTS
    assert len({delivery.id for _, delivery, _ in world.sent}) == len(world.sent) == EVENTS
    assert refusals(world) < 60
    assert world.now - began_at < 1.6 * IDEAL_S


class Limiter:
    """Takes so many requests in any second, and refuses the others."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._taken: deque[float] = deque()
        self.refusals = 0

    def __call__(self, _: Request) -> Reply:
        now = time.monotonic()
        with self._lock:
            while self._taken and self._taken[0] <= now - 1:
                self._taken.popleft()
            if len(self._taken) < self._limit:
                self._taken.append(now)
                return Reply()
            self.refusals += 1
            return Reply(code=429, headers={"Retry-After": "1"})


def test_a_real_receiver_with_a_limit_gets_all_in_little_more_than_the_least_time(
    relay: Relay, college: College, backend: Receiver
) -> None:
    events = EVENTS // 3
    for number in range(events):
        college.sign_up("Ada", f"Number{number}", 1_770_000_000 + number)
    relay.config["retry"] = {}
    backend.answer = limiter = Limiter(LIMIT)
    began_at = time.monotonic()
    relay.once()
    took_s = time.monotonic() - began_at
    assert relay.statuses() == {"success": events}
    assert relay.rows("SELECT MAX(retry_count) FROM {log}") == [(0,)]
    assert limiter.refusals < 60
    assert took_s < events / LIMIT + 10
