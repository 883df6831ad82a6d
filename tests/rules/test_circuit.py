"""The circuit breaker: when it opens, when a probe goes, when it closes (the contract's section 3)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import Delivery, Outcome
from relay.rules import circuit
from relay.rules.circuit import Breaker, Circuit
from relay.rules.retry import Policy

POLICY = Policy()
codes = st.one_of(st.none(), st.sampled_from([200, 204, 302, 400, 401, 403, 404, 408, 413, 425, 429, 500, 503]))


def delivery(number: int = 1, *, event_type: str = "grade_updated") -> Delivery:
    return Delivery(
        id=number,
        event_id=f"event-{number}",
        event_type=event_type,
        log_id=number,
        user_id=number,
        occurred_at=0,
        body=b"{}",
        attempt=1,
        attempt_id=number,
        failures=0,
    )


def observe(
    breaker: Breaker,
    number: int,
    code: int | None,
    policy: Policy = POLICY,
    *,
    retry_after_s: float | None = None,
) -> Breaker:
    outcome = Outcome(http_code=code, error="refused", retry_after_s=retry_after_s)
    return circuit.observe(breaker, delivery(number), outcome, policy, 1000.0)


def test_many_failures_in_a_row_open_the_circuit_and_one_success_closes_it() -> None:
    breaker = Breaker()
    for number in range(circuit.STREAK - 1):
        breaker = observe(breaker, number, 500)
    assert breaker.backend is None
    breaker = observe(breaker, 99, None)
    assert breaker.backend is not None
    assert breaker.backend.reason == "refused"
    assert observe(breaker, 1, 200) == Breaker()


def test_one_bad_event_alone_opens_no_circuit() -> None:
    breaker = Breaker()
    for _ in range(30):
        breaker = observe(breaker, 7, 500)
    assert breaker.backend is None


def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker = Breaker()
    for number in range(3 * circuit.STREAK):
        breaker = observe(breaker, number, 200 if number % 5 == 0 else 500)
    assert breaker.backend is None


@pytest.mark.parametrize("code", [401, 403])
def test_a_backend_that_does_not_know_us_opens_the_circuit_at_once(code: int) -> None:
    assert observe(Breaker(), 1, code).backend is not None


@pytest.mark.parametrize("code", [404, 405, 410])
def test_a_missing_path_opens_the_circuit_of_that_path_only(code: int) -> None:
    breaker = observe(Breaker(), 1, code)
    assert breaker.covers("grade_updated")
    assert not breaker.covers("user_created")
    assert observe(breaker, 1, 200) == Breaker()


def test_a_path_that_fails_in_another_way_stays_shut() -> None:
    breaker = observe(observe(Breaker(), 1, 404), 1, 500)
    assert breaker.covers("grade_updated")
    assert breaker.paths["grade_updated"].reason == "the backend answered 500"


def test_each_probe_of_a_missing_path_that_fails_counts_and_puts_off_the_next() -> None:
    breaker = observe(Breaker(), 1, 404)
    assert breaker.paths["grade_updated"].reason == "the backend answered 404"
    again = circuit.observe(breaker, delivery(), Outcome(http_code=410), POLICY, 2000.0)
    assert again.paths == {
        "grade_updated": Circuit(opened_at=1000.0, reason="the backend answered 410", probe_at=2010.0, probes=1)
    }


def test_a_probe_waits_no_longer_than_the_schedule_says() -> None:
    breaker = observe(Breaker(), 1, 401, Policy(first_delay_s=0.5))
    assert breaker.backend is not None
    assert breaker.backend.probe_at == 1000.5


def test_of_a_streak_no_more_events_are_kept_than_open_the_circuit() -> None:
    breaker = Breaker()
    for number in range(circuit.STREAK_EVENTS + 2):
        breaker = observe(breaker, number, 500)
    assert len(breaker.streak_events) == circuit.STREAK_EVENTS


@pytest.mark.parametrize("text", [None, "", "{}", '{"whole": null}', '{"whole": null, "paths": {}}'])
def test_where_nothing_is_stored_no_circuit_is_open(text: str | None) -> None:
    assert circuit.load(text) == Breaker()


@given(st.integers(1, 40))
def test_probes_are_never_more_than_a_quarter_minute_apart(failures: int) -> None:
    breaker = observe(Breaker(), 1, 401)
    for _ in range(failures):
        breaker = observe(breaker, 1, 401)
    assert breaker.backend is not None
    assert 0 < breaker.backend.probe_at - 1000.0 <= circuit.PROBE_MAX_S


def test_a_probe_waits_as_long_as_the_backend_asks_for() -> None:
    breaker = observe(Breaker(), 1, 401, retry_after_s=3600.0)
    assert breaker.backend is not None
    assert breaker.backend.probe_at == 4600.0


def test_without_retry_failures_open_no_circuit() -> None:
    breaker = Breaker()
    for number in range(50):
        breaker = observe(breaker, number, 500, Policy(enabled=False))
    assert breaker.backend is None


@given(st.lists(st.tuples(st.integers(1, 9), codes), max_size=40))
def test_open_circuits_survive_a_restart(history: list[tuple[int, int | None]]) -> None:
    breaker = Breaker()
    for number, code in history:
        breaker = observe(breaker, number, code)
    again = circuit.load(circuit.stored(breaker))
    assert (again.backend, again.paths) == (breaker.backend, breaker.paths)


@pytest.mark.parametrize("code", [200, 422])
def test_an_answer_while_nothing_is_open_changes_nothing(code: int) -> None:
    breaker = Breaker()
    assert circuit.observe(breaker, delivery(), Outcome(http_code=code), POLICY, 1000.0) is breaker


def test_an_answer_ends_a_streak() -> None:
    failed = circuit.observe(Breaker(), delivery(), Outcome(http_code=500), POLICY, 1000.0)
    assert failed.streak == 1
    assert circuit.observe(failed, delivery(), Outcome(http_code=200), POLICY, 1000.0) == Breaker()


def another(text: str) -> str:
    """Return an equal text that is another object, as texts that come from the outbox are."""
    return "".join(list(text))


def test_a_path_opens_and_closes_by_what_its_name_says() -> None:
    missing = circuit.observe(Breaker(), delivery(event_type=another("a_type")), Outcome(http_code=404), POLICY, 1000.0)
    put_off = circuit.put_off(missing, another("a_type"), 2000.0)
    assert put_off.paths["a_type"].probe_at == 2000.0
    taken = delivery(event_type=another("a_type"))
    assert circuit.observe(put_off, taken, Outcome(http_code=200), POLICY, 1000.0) == Breaker()


def test_what_an_older_relay_stored_is_read_and_what_is_stored_it_reads() -> None:
    stored = {
        "whole": {"opened_at": 1.0, "reason": "refused", "probe_at": 2.0, "probes": 3},
        "paths": {"a_type_of_another_version": {"opened_at": 4.0, "reason": "404", "probe_at": 5.0, "probes": 6}},
    }
    breaker = circuit.load(json.dumps(stored))
    assert breaker.backend == Circuit(opened_at=1.0, reason="refused", probe_at=2.0, probes=3)
    assert breaker.covers("a_type_of_another_version")
    assert circuit.encode(breaker) == stored


def opened(probe_at: float, probes: int = 0) -> Circuit:
    return Circuit(opened_at=1.0, reason="refused", probe_at=probe_at, probes=probes)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        # What this relay has not changed is as the other one has it, ...
        (None, None, opened(5.0), opened(5.0)),
        (opened(5.0), opened(5.0), None, None),
        (opened(5.0), opened(5.0), opened(9.0, 1), opened(9.0, 1)),
        # ... and what it has changed is its own: an open circuit, a closed one, a failed probe.
        (None, opened(5.0), None, opened(5.0)),
        (None, opened(5.0), opened(9.0), opened(5.0)),
        (opened(5.0), None, opened(9.0, 1), None),
        (opened(5.0), opened(7.0, 1), None, opened(7.0, 1)),
    ],
)
def test_of_two_relays_circuits_each_change_counts(
    base: Circuit | None, ours: Circuit | None, theirs: Circuit | None, merged: Circuit | None
) -> None:
    def path(one: Circuit | None) -> dict[str, Circuit]:
        return {} if one is None else {"grade_updated": one}

    found = circuit.merge(Breaker(backend=base), Breaker(backend=ours, streak=3), Breaker(backend=theirs, streak=9))
    assert found == Breaker(backend=merged, streak=3)
    found = circuit.merge(Breaker(paths=path(base)), Breaker(paths=path(ours)), Breaker(paths=path(theirs)))
    assert found == Breaker(paths=path(merged))


def test_a_merge_keeps_what_each_has_found_of_other_paths() -> None:
    ours, theirs = Breaker(paths={"a": opened(5.0)}), Breaker(backend=opened(6.0), paths={"b": opened(7.0)})
    merged = circuit.merge(Breaker(), ours, theirs)
    assert merged == Breaker(backend=opened(6.0), paths={"a": opened(5.0), "b": opened(7.0)})


def test_of_the_open_circuits_only_the_probed_one_is_put_off() -> None:
    breaker = Breaker(backend=opened(5.0), paths={"a": opened(6.0), "b": opened(7.0)})
    assert circuit.put_off(breaker, "a", 99.0) == Breaker(
        backend=opened(5.0), paths={"a": opened(99.0), "b": opened(7.0)}
    )
    assert circuit.put_off(breaker, None, 99.0) == Breaker(
        backend=opened(99.0), paths={"a": opened(6.0), "b": opened(7.0)}
    )


def test_each_failed_probe_waits_longer_and_the_circuit_is_open_since_it_opened() -> None:
    breaker, now, found = Breaker(), 1000.0, []
    for code in (401, 401, 500, None, 403):
        breaker = circuit.observe(breaker, delivery(), Outcome(http_code=code, error="dns"), POLICY, now)
        assert breaker.backend is not None
        found.append((breaker.backend.probes, breaker.backend.probe_at - now, breaker.backend.reason))
        assert breaker.backend.opened_at == 1000.0
        now += 100.0
    answered = "the backend answered"
    assert found == [
        (0, 5.0, f"{answered} 401"),
        (1, 10.0, f"{answered} 401"),
        (2, 15.0, f"{answered} 500"),
        (3, 15.0, "dns"),
        (4, 15.0, f"{answered} 403"),
    ]


def test_a_path_opens_and_closes_alone() -> None:
    grades, users = delivery(), delivery(event_type="user_updated")
    breaker = Breaker()
    for one in (grades, users):
        breaker = circuit.observe(breaker, one, Outcome(http_code=404), POLICY, 1000.0)
    first = {name: path.probes for name, path in breaker.paths.items()}
    assert first == {"grade_updated": 0, "user_updated": 0}
    # A probe of one path that fails, in whatever way, counts for that path.
    breaker = circuit.observe(breaker, grades, Outcome(http_code=500), POLICY, 2000.0)
    assert {name: path.probes for name, path in breaker.paths.items()} == {"grade_updated": 1, "user_updated": 0}
    assert breaker.backend is None
    breaker = circuit.observe(breaker, users, Outcome(http_code=200), POLICY, 3000.0)
    assert list(breaker.paths) == ["grade_updated"]
    assert [breaker.covers(name) for name in ("grade_updated", "user_updated")] == [True, False]


def test_a_backend_that_knows_no_caller_keeps_its_paths_open_and_a_missing_path_shows_that_it_is_there() -> None:
    missing = observe(Breaker(), 1, 404)
    unknown = observe(missing, 1, 401)
    assert unknown.backend is not None
    assert unknown.paths == missing.paths
    again = circuit.observe(unknown, delivery(event_type="user_updated"), Outcome(http_code=404), POLICY, 1000.0)
    assert again.backend is None
    assert set(again.paths) == {"grade_updated", "user_updated"}


def test_failures_of_two_events_never_open_the_circuit_and_one_of_a_third_does() -> None:
    breaker = Breaker()
    for number in range(50):
        breaker = observe(breaker, number % 2, 500)
    assert (breaker.backend, breaker.streak, len(breaker.streak_events)) == (None, 50, 2)
    assert observe(breaker, 3, 500).backend is not None


def test_a_failure_may_count_for_several() -> None:
    breaker = Breaker()
    for number, weight in ((1, 4), (2, 5)):
        breaker = circuit.observe(breaker, delivery(number), Outcome(http_code=500), POLICY, 1000.0, weight)
    assert (breaker.backend, breaker.streak) == (None, 9)
    assert observe(breaker, 3, 500).backend is not None


def test_all_probes_are_due_at_once_when_the_clock_was_set_back() -> None:
    breaker = observe(observe(Breaker(), 1, 404), 1, 401)
    again = circuit.probe_now(breaker, 10.0)
    assert again.backend is not None
    assert [again.backend.probe_at, again.paths["grade_updated"].probe_at] == [10.0, 10.0]
