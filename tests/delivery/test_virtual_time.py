"""Days of retries in an instant: delivery on a real outbox, by a clock that only the test moves."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from virtual import (
    DAY,
    EVENTS_EACH,
    HOUR,
    JITTER,
    OPTIONS,
    POLICY,
    REQUEST_S,
    START,
    USERS,
    WORKERS,
    World,
)

from relay.events import envelope
from relay.model import Delivery, Outcome
from relay.outbox.values import Batch
from relay.rules import circuit, retry

if TYPE_CHECKING:
    from collections.abc import Callable

#: A result is recorded by the next pass: so much after it came, in seconds, where a worker sends a user's events.
PASS_S = EVENTS_EACH * REQUEST_S
CIRCUIT = {"opened_at": START - DAY, "reason": "the backend answered 404", "probe_at": START - HOUR, "probes": 9}


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
