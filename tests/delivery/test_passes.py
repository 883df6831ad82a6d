"""One pass at a time, to the event and the second: what is claimed, what is sent, and when the next pass is wanted."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from virtual import OPTIONS, START, World

from relay.delivery import dispatch
from relay.delivery.dispatch import BYTES_AT_ONCE, BYTES_MOST, GROUP_S, LOOKED_AT_LEAST, PROBE_LIMIT
from relay.delivery.replays import REPLAY_BATCH
from relay.delivery.width import MOST_AHEAD, SLOW_S, WORK_S, ahead, count_slow, fastest_at_first
from relay.delivery.workers import Purpose
from relay.errors import OutboxError
from relay.events import envelope
from relay.model import Outcome
from relay.outbox.values import Batch
from relay.rules import circuit
from relay.rules.histogram import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from relay.model import Delivery

    Make = Callable[..., World]

TAKEN = Outcome(http_code=200)
DAY = 86400.0
BOTH = frozenset({"user_updated", "grade_updated"})


@pytest.fixture
def make(make_world: Make) -> Iterator[Make]:
    """Worlds in which something may be under way at the end."""
    made: list[World] = []

    def one(*what: Any, **size: int) -> World:
        made.append(make_world(*what, **size))
        return made[-1]

    yield one
    for world in made:
        world.pool._items.clear()


def taken(_delivery: Delivery, _passed_s: float) -> Outcome:
    return TAKEN


def opened(probe_at: float) -> dict[str, Any]:
    return {"opened_at": START - 100, "reason": "the backend answered 503", "probe_at": probe_at, "probes": 3}


def stored(*, backend: float | None = None, **paths: float) -> str:
    """Return open circuits as they are stored, given when each is probed, after the start."""
    found = {name: opened(START + at) for name, at in paths.items()}
    return json.dumps({"whole": None if backend is None else opened(START + backend), "paths": found})


def with_grade(world: World, number: int = 500) -> None:
    """Let another user have an event of another type that may be sent."""
    made = envelope.make_event("a-grade", "grade_updated", None, number, 0, {"score": 1.0}, OPTIONS)
    world.outbox.accept(Batch(events=[made]), START)
    world.dispatch._settings = world.dispatch._settings._replace(types=BOTH)


def queued(world: World) -> list[tuple[str, list[int]]]:
    """Return what waits for a worker: why, and which rows."""
    return [(str(one.purpose), [each.id for each in one.deliveries]) for one in world.pool._items]


def noted(world: World, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return what the outbox will be asked to claim: when, how many, which types, bytes, only, whether for a probe."""
    asked: list[tuple[Any, ...]] = []
    claim = world.outbox.claim

    def noting(now: float, limit: int, **how: Any) -> Any:
        asked.append((now, limit, *(how[name] for name in ("types", "most_bytes", "only", "probe"))))
        return claim(now, limit, **how)

    monkeypatch.setattr(world.outbox, "claim", noting)
    return asked


# -- a stop, a pause


def test_after_a_stop_nothing_is_sent_and_all_is_given_back(make: Make) -> None:
    world = make(taken, users=3, events_each=2)
    assert world.dispatch.run_once(START) == GROUP_S
    assert (world.dispatch.under_way, world.pool.backlog()) == (6, 3)
    world.dispatch.stop()
    assert world.dispatch.run_once(START) == GROUP_S, "something is under way"
    world.pool.step()
    assert world.dispatch.run_once(START + 1) == dispatch.IDLE_S
    assert (world.sent, world.dispatch.under_way, world.pool.backlog()) == ([], 0, 0)
    assert world.outbox.count_undelivered() == 6
    assert len(world.outbox.claim(START + 1, 9, lease_s=1.0, types=frozenset({"user_updated"}))) == 6, (
        "no lease is left"
    )


def test_a_pause_claims_nothing(make: Make) -> None:
    world = make(taken)
    world.dispatch._settings = world.dispatch._settings._replace(is_paused=True)
    assert world.dispatch.run_once(START) == dispatch.IDLE_S
    assert (world.dispatch.under_way, world.pool.backlog()) == (0, 0)


# -- what is claimed


def test_a_claim_holds_for_as_long_as_all_that_may_be_claimed_can_take(make: Make) -> None:
    world = make(taken, users=2, events_each=1)
    world.dispatch.run_once(START)
    until = START + 30.0 * world.dispatch._workers.ahead + 60.0
    types = frozenset({"user_updated"})
    assert not world.outbox.claim(until - 0.5, 9, lease_s=1.0, types=types)
    assert len(world.outbox.claim(until + 0.5, 9, lease_s=1.0, types=types)) == 2


def test_no_more_is_claimed_than_the_workers_take_ahead_and_only_once_half_of_it_is_free(make: Make) -> None:
    world = make(taken, users=100, events_each=1, workers=1)
    world.dispatch.run_once(START)
    assert world.dispatch._workers.ahead == world.dispatch.under_way == 36
    for left in range(35, 17, -1):
        world.pool.step()
        world.dispatch.run_once(START)
        assert world.dispatch.under_way == (left if left > 18 else 36)
    assert world.pool.backlog() == 36


@pytest.mark.parametrize(
    ("under_way", "workers", "claimed"),
    [
        pytest.param(19, 0, 18, id="the smaller half is free"),
        pytest.param(20, 0, 0, id="less than that"),
        pytest.param(20, 1, 17, id="less than that, and a worker has nothing to take"),
        pytest.param(37, 1, 0, id="nothing is free, and a worker has nothing to take"),
    ],
)
def test_less_than_half_is_claimed_only_for_a_worker_that_has_nothing_to_take(
    under_way: int, workers: int, claimed: int, make: Make
) -> None:
    world = make(taken, users=50, events_each=1)
    world.dispatch._workers.ahead, world.dispatch._under_way = 37, under_way
    world.pool.width = workers
    world.dispatch.run_once(START)
    assert world.pool.backlog() == claimed


def test_what_another_process_has_left_is_claimed_when_its_lease_has_ended(make: Make) -> None:
    world = make(taken, users=1, events_each=1)
    assert world.outbox.claim(START, 1, lease_s=3.0, types=frozenset({"user_updated"}))
    world.dispatch.run_once(START + 2.0)
    assert queued(world) == []
    world.dispatch.run_once(START + 4.0)
    assert queued(world) == [("normal", [1])]


def test_the_pacer_is_told_how_many_are_claimed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(taken, users=2, events_each=2)
    spent: list[int] = []
    monkeypatch.setattr(world.dispatch._pacer, "spend", spent.append)
    world.run(5.0)
    world.dispatch.replay([1, 2, 3], world.now)
    assert spent == [4, 3]


def test_a_pace_is_said(make: Make) -> None:
    world = make(lambda _delivery, at: Outcome(http_code=429, retry_after_s=1.0) if at < 1 else TAKEN)
    world.run(60.0)
    world.check_all_are_delivered_in_order()
    assert "delivery.throttled" in world.slugs


@pytest.mark.parametrize(
    ("under_way", "size", "asked"),
    [
        (0, 1, [(36, BYTES_AT_ONCE)]),
        (0, 500_000, [(16, BYTES_AT_ONCE)]),
        (0, 10**9, [(LOOKED_AT_LEAST, BYTES_AT_ONCE)]),
        (BYTES_MOST - 1000, 100, [(20, 1000)]),
        (BYTES_MOST - 1, 1, [(LOOKED_AT_LEAST, 1)]),
        (BYTES_MOST, 1, []),
    ],
)
def test_no_more_bytes_are_claimed_than_memory_holds(
    under_way: int, size: int, asked: list[tuple[int, int]], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many bytes are under way, and an event had so many on the average."""
    world = make(taken, users=40, events_each=1, workers=1)
    claims = noted(world, monkeypatch)
    world.dispatch._bytes, world.dispatch._size = under_way, size
    world.dispatch.run_once(START)
    assert claims == [(START, limit, frozenset({"user_updated"}), most, None, False) for limit, most in asked]


def test_how_large_an_event_is_on_the_average_and_how_much_is_under_way_is_known(make: Make) -> None:
    world = make(taken, users=3, events_each=1)
    one = envelope.make_event(envelope.derive_id("site", 1), "user_updated", 1, 1, 1, {"name": "Ada"}, OPTIONS)
    world.dispatch.run_once(START)
    assert (world.dispatch._bytes, world.dispatch._size) == (3 * len(one.body), len(one.body))
    world.pool.step()
    world.dispatch.settle(START)
    assert (world.dispatch._bytes, world.dispatch.under_way, world.dispatch._size) == (0, 0, len(one.body))


def test_bytes_that_are_under_way_add_up(make: Make) -> None:
    world = make(taken, users=3, events_each=1)
    world.dispatch.run_once(START)
    before = world.dispatch._bytes
    with_grade(world)
    world.dispatch.run_once(START)
    (grade,) = world.pool._items[-1].deliveries
    assert (world.dispatch._bytes, world.dispatch._size) == (before + len(grade.body), len(grade.body))


def test_the_average_is_in_whole_bytes(make: Make) -> None:
    world = make(taken, users=1, events_each=1)
    data = {"score": 1}
    made = [
        envelope.make_event(f"{i}" * 36, "user_updated", None, 9, 0, {**data, "x": "y" * i}, OPTIONS) for i in (1, 3)
    ]
    world.outbox.accept(Batch(events=made), START)
    world.dispatch.run_once(START)
    sizes = [len(one.body) for item in world.pool._items for one in item.deliveries]
    assert len(sizes) == 3
    assert sum(sizes) % 3
    assert world.dispatch._size == sum(sizes) // 3


@pytest.mark.parametrize(
    ("before", "sent", "concurrency", "expected"),
    [
        # As much as eight such passes send, ...
        (36, 10, 1, 80),
        (36, 1000, 1, MOST_AHEAD),
        # ... it shrinks by a quarter at the most, ...
        (1024, 10, 1, 768),
        (101, 0, 1, 75),
        # ... and no worker has to wait.
        (36, 0, 1, 36),
        (0, 1, 64, 288),
    ],
)
def test_how_much_is_claimed_ahead(before: int, sent: int, concurrency: int, expected: int) -> None:
    assert ahead(before, sent, concurrency) == expected


def test_a_request_is_slow_that_waits_for_the_backend_and_not_for_other_threads() -> None:
    began = [100.0 - SLOW_S - WORK_S * 4 + one for one in (-1.0, -0.0001, 0.0, 0.0001, 1.0)]
    assert count_slow(began, 100.0, 4) == 2
    assert fastest_at_first(8) == 8 * WORK_S


# -- probes


def test_the_backend_is_probed_by_an_event_whose_path_is_open_to_all(make: Make) -> None:
    world = make(taken, stored(backend=-1.0, user_updated=-1.0))
    with_grade(world)
    assert world.dispatch.run_once(START) == GROUP_S
    assert queued(world) == [("probe", [world.events + 1])]


def test_where_each_path_has_an_open_circuit_any_event_probes_the_backend(make: Make) -> None:
    world = make(taken, stored(backend=-1.0, user_updated=-1.0))
    world.dispatch.run_once(START)
    assert queued(world) == [("probe", [1])]


def test_a_path_is_probed_by_its_own_events_while_the_others_flow(make: Make) -> None:
    world = make(taken, stored(grade_updated=-1.0), users=2, events_each=1)
    with_grade(world)
    world.dispatch.run_once(START)
    assert queued(world) == [("probe", [3]), ("normal", [1]), ("normal", [2])]
    assert world.dispatch.under_way == 3


@pytest.mark.parametrize("circuits", [{"backend": 5.0}, {"user_updated": 5.0}])
def test_no_probe_goes_before_its_time(circuits: dict[str, float], make: Make) -> None:
    world = make(taken, stored(**circuits))
    assert world.dispatch.run_once(START + 4.5) == 0.5, "the next pass is wanted for the probe"
    assert queued(world) == []
    world.dispatch.run_once(START + 5.0)
    assert queued(world) == [("probe", [1])]


def test_the_backend_is_not_probed_while_anything_is_under_way(make: Make) -> None:
    world = make(taken, stored(backend=-1.0))
    world.dispatch._under_way = 1
    assert world.dispatch.run_once(START) == GROUP_S
    assert queued(world) == []


@pytest.mark.parametrize(
    ("circuits", "asked"),
    [
        ({"backend": -1.0}, [None]),
        ({"backend": 0.0}, [None]),
        ({"user_updated": -1.0}, ["user_updated"]),
        ({"user_updated": 0.0}, ["user_updated"]),
    ],
)
def test_a_probe_is_put_off_for_the_other_relays_for_as_long_as_an_attempt_lasts(
    circuits: dict[str, float], asked: list[str | None], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What relays that share the outbox make of it: tests/faults/test_three_relays.py."""
    found: list[tuple[str | None, float, float]] = []
    monkeypatch.setattr(dispatch, "IDLE_S", 2.0)

    def is_first(event_type: str | None, now: float, until: float) -> bool:
        found.append((event_type, now, until))
        return False

    world = make(taken, stored(**circuits))
    monkeypatch.setattr(world.dispatch._circuits, "is_first_to_probe", is_first)
    assert world.dispatch.run_once(START) == 2.0, "nothing was claimed: what is due is looked for again"
    assert (queued(world), world.dispatch.under_way) == ([], 0)
    assert found == [(event_type, START, START + 30.0 + 2.0) for event_type in asked]


@pytest.mark.parametrize(("circuits", "only"), [({"backend": -1.0}, None), ({"user_updated": -1.0}, "user_updated")])
def test_a_probe_is_chosen_of_so_many_events(
    circuits: dict[str, float], only: str | None, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(taken, stored(**circuits))
    claims = noted(world, monkeypatch)
    world.dispatch.run_once(START)
    assert claims == [(START, PROBE_LIMIT, frozenset({"user_updated"}), BYTES_MOST, only, True)]


# -- when the next pass is wanted


def test_the_next_pass_is_wanted_when_an_event_is_due(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(lambda _delivery, _passed_s: Outcome(http_code=503), users=1, events_each=2)
    monkeypatch.setattr(dispatch, "IDLE_S", 60.0)
    world.dispatch.run_once(START)
    world.pool.step()
    # Of the second, which waits for the first, nothing was sent.
    assert world.dispatch.run_once(START) == pytest.approx(5.0 * 1.05)
    assert world.dispatch.run_once(START + 5.0) == pytest.approx(0.25)
    monkeypatch.setattr(dispatch, "IDLE_S", 0.1)
    assert world.dispatch.run_once(START + 5.0) == 0.1, "no later than what another process may have made due"


def test_the_next_pass_is_wanted_when_the_backend_takes_more(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(taken, users=1, events_each=1)
    monkeypatch.setattr(dispatch, "IDLE_S", 60.0)
    monkeypatch.setattr(world.dispatch._pacer, "room", lambda: 0)
    monkeypatch.setattr(world.dispatch._pacer, "wait_s", lambda: 0.5)
    assert world.dispatch.run_once(START) == 0.5
    assert (queued(world), world.dispatch.pace_wait_s) == ([], 0.5)
    # What another process has claimed is due when its lease has ended.
    assert world.outbox.claim(START, 1, lease_s=3.0, types=frozenset({"user_updated"}))
    assert [world.dispatch.run_once(START + after) for after in (2.0, 4.0)] == [60.0, 0.5]


def test_a_pass_with_nothing_to_do_is_wanted_now_and_then(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(taken, users=0, events_each=0)
    monkeypatch.setattr(dispatch, "IDLE_S", 7.0)
    assert world.dispatch.run_once(START) == 7.0
    assert world.dispatch.settle(START) == GROUP_S


def test_a_clock_that_was_set_back_lets_a_probe_go_at_once(make: Make) -> None:
    world = make(taken, stored(backend=3600.0))
    world.dispatch.run_once(START)
    assert queued(world) == []
    world.dispatch.run_once(START - 100)
    assert queued(world) == [("probe", [1])]
    assert world.slugs == ["clock.set_back"]


# -- settling


def test_circuits_are_recorded_with_the_attempts_that_open_and_close_them(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call is a transaction: none where nothing is to be recorded."""
    world = make(lambda _, at: Outcome(http_code=401) if at < 1 else TAKEN, users=2, events_each=1, workers=1)
    recorded: list[tuple[int, dict[str, str] | None]] = []
    settle = world.outbox.settle

    def noting(settled: Sequence[Any], now: float, state: dict[str, str] | None = None) -> None:
        recorded.append((len(settled), state))
        settle(settled, now, state)

    monkeypatch.setattr(world.outbox, "settle", noting)
    world.dispatch.run_once(START)
    world.pool.step()
    world.dispatch.settle(START)
    world.pool.step()
    world.dispatch.settle(START)
    backend = world.dispatch.breaker.backend
    assert backend is not None
    assert recorded == [(1, {circuit.STATE: circuit.stored(world.dispatch.breaker)})]
    for _ in range(3):
        world.now = backend.probe_at
        world.dispatch.run_once(world.now)
        world.pool.step()
    world.dispatch.settle(world.now)
    assert recorded[1:] == [(1, {circuit.STATE: circuit.stored(circuit.Breaker())}), (1, None)]


def test_what_could_not_be_recorded_is_recorded_by_the_next_pass(make: Make) -> None:
    world = make(taken, users=1, events_each=1)
    world.dispatch.run_once(START)
    world.pool.step()
    world.outbox._rows("PRAGMA query_only = ON")
    with pytest.raises(OutboxError):
        world.dispatch.settle(START)
    world.outbox._rows("PRAGMA query_only = OFF")
    world.dispatch.settle(START)
    assert (world.outbox.count_undelivered(), world.dispatch.under_way) == (0, 0)


def test_what_waits_is_due_when_the_circuit_closes(make: Make) -> None:
    world = make(taken, stored(backend=-1.0), users=2, events_each=1)
    world.outbox._do(lambda run: run("UPDATE {p}mb_zoho_event_log SET due_at = due_at + 3600 WHERE id = 2", {}))
    world.dispatch.run_once(START)
    world.pool.step()
    world.dispatch.run_once(START + 1)
    assert queued(world) == [("normal", [2])]


def test_a_path_is_probed_again_once_its_own_probe_has_come_back(make: Make) -> None:
    world = make(lambda *_: Outcome(http_code=404), stored(user_updated=-1.0, grade_updated=-1.0), workers=1)
    with_grade(world)
    world.dispatch.run_once(START)
    first, second = world.pool._items
    world.pool.step()
    world.now += DAY
    world.dispatch.run_once(world.now)
    waiting = list(world.pool._items)
    assert [one.deliveries[0].event_type for one in waiting] == [
        second.deliveries[0].event_type,
        first.deliveries[0].event_type,
    ]


# -- a replay


def test_a_replay_sends_again_what_was_delivered_as_much_as_memory_holds_at_once(make: Make) -> None:
    world = make(lambda delivery, at: Outcome(http_code=500) if delivery.id == 7 and at >= 50 else TAKEN)
    world.run(10.0)
    assert world.outbox.count_undelivered() == 0
    sent = len(world.sent)
    world.now = START + 100
    world.dispatch.replay(range(1, 61), world.now)
    # Before one was seen, each is taken to be a megabyte.
    assert (world.dispatch.under_way, world.dispatch._under_way) == (60, 16)
    assert {purpose for purpose, _ in queued(world)} == {str(Purpose.REPLAY)}
    rounds = []
    while world.dispatch.under_way:
        while world.pool.backlog():
            world.pool.step()
        world.dispatch.settle(world.now)
        rounds.append((world.dispatch.replayed, world.dispatch._under_way))
    assert rounds == [(16, 44), (60, 0)]
    assert world.dispatch.redelivered == 59
    again = [delivery.id for _, delivery, _ in world.sent[sent:]]
    assert sorted(again) == list(range(1, 61))
    assert sorted(again[:16]) == list(range(1, 17))


@pytest.mark.parametrize(("size", "at_once"), [(BYTES_MOST + 1, 1), (BYTES_MOST // 3, 3), (1, 60)])
def test_a_replay_claims_what_fits_into_memory_and_one_event_at_least(size: int, at_once: int, make: Make) -> None:
    world = make(taken)
    world.run(10.0)
    world.dispatch._replays.size = size
    world.dispatch.replay(range(1, 61), world.now)
    assert (world.dispatch._under_way, world.dispatch.under_way) == (at_once, 60)


@pytest.mark.parametrize(("room", "at_once"), [(math.inf, REPLAY_BATCH), (5.0, 5), (0.0, 0)])
def test_a_replay_keeps_to_the_pace_and_to_so_many_at_once(
    room: float, at_once: int, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(taken, users=50, events_each=5)
    world.dispatch._replays.size = 1
    monkeypatch.setattr(world.dispatch._pacer, "room", lambda: room)
    world.dispatch.replay(range(1, 251), START)
    assert (world.dispatch._under_way, world.dispatch.under_way) == (at_once, 250)


def test_a_replay_is_sent_by_the_pace_that_it_was_claimed_by(make: Make) -> None:
    world = make(taken, users=1, events_each=1)
    world.dispatch._pacer.epoch = 5
    world.dispatch.replay([1], START)
    world.pool.step()
    assert len(world.sent) == 1


def test_a_replay_that_is_stopped_says_how_many_were_sent(make: Make) -> None:
    world = make(taken, users=4, events_each=10, workers=1)
    world.run(20.0)
    world.dispatch.replay(range(1, 41), world.now)
    world.pool.step()
    world.dispatch.stop()
    while world.pool.backlog():
        world.pool.step()
    world.dispatch.settle(world.now)
    assert (world.dispatch.replayed, world.dispatch.under_way) == (4, 0)


def test_what_is_settled_is_counted(make: Make) -> None:
    world = make(taken, users=2, events_each=3)
    world.run(5.0)
    assert world.dispatch.tally.take()[f"{BEGINNING}.attempts.success"] == 6
    assert world.dispatch.tally.taken_at == world.now
    assert world.slugs == ["delivery.succeeded"] * 6
