"""The decision for one outcome, and the circuit: the contract's section 3 as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import Delivery, Outcome, Status
from relay.rules import retry
from relay.rules.retry import Breaker, Policy, Verdict

POLICY = Policy()
codes = st.one_of(st.none(), st.sampled_from([200, 204, 302, 400, 401, 403, 404, 408, 413, 425, 429, 500, 503]))


def delivery(number: int = 1, *, failures: int = 0, event_type: str = "grade_updated") -> Delivery:
    return Delivery(
        id=number,
        event_id=f"event-{number}",
        event_type=event_type,
        log_id=number,
        user_id=number,
        occurred_at=0,
        body=b"{}",
        attempt=failures + 1,
        attempt_id=number,
        failures=failures,
    )


def decide(outcome: Outcome, policy: Policy = POLICY, failures: int = 0, *, jitter: float = 0.0, outage: bool = False):  # type: ignore[no-untyped-def] # as retry.decide  # noqa: ANN201
    return retry.decide(delivery(failures=failures), outcome, policy, now=1000.0, jitter=jitter, is_outage=outage)


@pytest.mark.parametrize(
    ("code", "status", "failures"),
    [
        (200, Status.SUCCESS, 0),
        (202, Status.SUCCESS, 0),
        (299, Status.SUCCESS, 0),
        (400, Status.GAVE_UP, 0),
        (413, Status.GAVE_UP, 0),
        (415, Status.GAVE_UP, 0),
        (422, Status.GAVE_UP, 0),
        (401, Status.FAILED, 0),
        (403, Status.FAILED, 0),
        (404, Status.FAILED, 0),
        (405, Status.FAILED, 0),
        (410, Status.FAILED, 0),
        (408, Status.FAILED, 1),
        (425, Status.FAILED, 1),
        (429, Status.FAILED, 1),
        (500, Status.FAILED, 1),
        (503, Status.FAILED, 1),
        (301, Status.FAILED, 1),
        (418, Status.FAILED, 1),
        (None, Status.FAILED, 1),
    ],
)
def test_the_table_of_answers(code: int | None, status: Status, failures: int) -> None:
    decision = decide(Outcome(http_code=code))
    assert (decision.status, decision.failures) == (status, failures)
    assert (decision.due_at is None) == (status is not Status.FAILED)


def test_the_waits_double_up_to_six_hours() -> None:
    waits = [decide(Outcome(http_code=500), failures=n).due_at - 1000 for n in range(23)]
    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-1] == 6 * 3600
    assert 2.5 * 86400 < sum(waits) < 3.5 * 86400  # "about three days"
    assert decide(Outcome(http_code=500), failures=23).status is Status.GAVE_UP


@given(st.integers(0, 22), st.floats(0, 1, exclude_max=True))
def test_jitter_only_adds_and_at_most_a_tenth(failures: int, jitter: float) -> None:
    plain = decide(Outcome(http_code=500), failures=failures).due_at - 1000
    assert plain <= decide(Outcome(http_code=500), failures=failures, jitter=jitter).due_at - 1000 <= plain * 1.1


@given(codes, st.integers(0, 30), st.integers(1, 30))
def test_no_outcome_goes_past_the_limit_of_attempts(code: int | None, failures: int, most: int) -> None:
    decision = decide(Outcome(http_code=code), Policy(max_attempts=most), failures)
    if decision.status is Status.FAILED and decision.verdict is Verdict.NOT_NOW:
        assert decision.failures < most


@given(codes, st.integers(0, 22))
def test_an_outage_uses_up_no_attempt(code: int | None, failures: int) -> None:
    decision = decide(Outcome(http_code=code), failures=failures, outage=True)
    assert decision.failures == failures


def test_one_attempt_an_event_without_retry() -> None:
    policy = Policy(enabled=False)
    assert decide(Outcome(http_code=500), policy).status is Status.GAVE_UP
    assert decide(Outcome(http_code=401), policy).status is Status.FAILED


def test_retry_after_is_a_floor() -> None:
    decision = decide(Outcome(http_code=429, retry_after_s=60.0))
    assert (decision.due_at, decision.not_before) == (1060.0, 1060.0)
    assert decide(Outcome(http_code=429, retry_after_s=1.0)).due_at == 1005.0


def test_a_huge_multiplier_ends_at_the_longest_delay() -> None:
    assert Policy(multiplier=100.0).delay_s(999) == 6 * 3600


def observe(breaker: Breaker, number: int, code: int | None, policy: Policy = POLICY, **fields: object) -> Breaker:
    return retry.observe(breaker, delivery(number), Outcome(http_code=code, error="refused", **fields), policy, 1000.0)  # type: ignore[arg-type] # fields of Outcome


def test_many_failures_in_a_row_open_the_circuit_and_one_success_closes_it() -> None:
    breaker = Breaker()
    for number in range(retry.STREAK - 1):
        breaker = observe(breaker, number, 500)
    assert breaker.whole is None
    breaker = observe(breaker, 99, None)
    assert breaker.whole is not None
    assert breaker.whole.reason == "refused"
    assert observe(breaker, 1, 200) == Breaker()


def test_one_bad_event_alone_opens_no_circuit() -> None:
    breaker = Breaker()
    for _ in range(30):
        breaker = observe(breaker, 7, 500)
    assert breaker.whole is None


def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker = Breaker()
    for number in range(3 * retry.STREAK):
        breaker = observe(breaker, number, 200 if number % 5 == 0 else 500)
    assert breaker.whole is None


@pytest.mark.parametrize("code", [401, 403])
def test_a_backend_that_does_not_know_us_opens_the_circuit_at_once(code: int) -> None:
    assert observe(Breaker(), 1, code).whole is not None


@pytest.mark.parametrize("code", [404, 405, 410])
def test_a_missing_path_opens_the_circuit_of_that_path_only(code: int) -> None:
    breaker = observe(Breaker(), 1, code)
    assert breaker.covers("grade_updated")
    assert not breaker.covers("user_created")
    assert observe(breaker, 1, 200) == Breaker()


def test_a_path_that_fails_in_another_way_stays_shut() -> None:
    breaker = observe(observe(Breaker(), 1, 404), 1, 500)
    assert breaker.covers("grade_updated")


@given(st.integers(1, 40))
def test_probes_are_never_more_than_a_quarter_minute_apart(failures: int) -> None:
    breaker = observe(Breaker(), 1, 401)
    for _ in range(failures):
        breaker = observe(breaker, 1, 401)
    assert breaker.whole is not None
    assert 0 < breaker.whole.probe_at - 1000.0 <= retry.PROBE_MAX_S


def test_a_probe_waits_as_long_as_the_backend_asks_for() -> None:
    breaker = observe(Breaker(), 1, 401, retry_after_s=3600.0)
    assert breaker.whole is not None
    assert breaker.whole.probe_at == 4600.0


def test_without_retry_failures_open_no_circuit() -> None:
    breaker = Breaker()
    for number in range(50):
        breaker = observe(breaker, number, 500, Policy(enabled=False))
    assert breaker.whole is None


@given(st.lists(st.tuples(st.integers(1, 9), codes), max_size=40))
def test_open_circuits_survive_a_restart(history: list[tuple[int, int | None]]) -> None:
    breaker = Breaker()
    for number, code in history:
        breaker = observe(breaker, number, code)
    again = retry.decode(retry.encode(breaker))
    assert (again.whole, again.paths) == (breaker.whole, breaker.paths)


@pytest.mark.parametrize("code", [200, 422])
def test_an_answer_while_nothing_is_open_changes_nothing(code: int) -> None:
    breaker = Breaker()
    assert retry.observe(breaker, delivery(), Outcome(http_code=code), POLICY, 1000.0) is breaker


def test_an_answer_ends_a_streak() -> None:
    failed = retry.observe(Breaker(), delivery(), Outcome(http_code=500), POLICY, 1000.0)
    assert failed.streak == 1
    assert retry.observe(failed, delivery(), Outcome(http_code=200), POLICY, 1000.0) == Breaker()
