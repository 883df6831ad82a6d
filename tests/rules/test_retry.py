"""The decision for one outcome: the contract's section 3 as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import Delivery, Outcome, Status
from relay.rules import retry
from relay.rules.retry import Policy, Verdict

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
        (199, Status.FAILED, 1),
        (300, Status.FAILED, 1),
        (301, Status.FAILED, 1),
        (418, Status.FAILED, 1),
        (None, Status.FAILED, 1),
    ],
)
def test_the_table_of_answers(code: int | None, status: Status, failures: int) -> None:
    decision = decide(Outcome(http_code=code))
    assert (decision.status, decision.failures) == (status, failures)
    assert (decision.due_at is None) == (status is not Status.FAILED)


@pytest.mark.parametrize(
    ("code", "verdict", "holds_user"),
    [
        (200, Verdict.TAKEN, False),
        (422, Verdict.REFUSED, False),
        (401, Verdict.UNKNOWN_CALLER, True),
        (404, Verdict.NO_SUCH_PATH, False),
        (503, Verdict.NOT_NOW, True),
        (None, Verdict.NOT_NOW, True),
    ],
)
def test_what_an_answer_means_and_whether_the_users_later_events_wait(
    code: int | None, verdict: Verdict, *, holds_user: bool
) -> None:
    outcome = Outcome(http_code=code)
    assert decide(outcome).verdict is verdict
    assert retry.holds_user(outcome) is holds_user


def test_an_event_that_is_given_up_says_of_its_last_answer_what_it_means() -> None:
    assert decide(Outcome(http_code=500), failures=23).verdict is Verdict.NOT_NOW


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


@pytest.mark.parametrize(
    ("code", "retry_after_s", "not_before"),
    [(503, None, 0.0), (503, 0.0, 1000.0), (429, 60.0, 1060.0), (None, None, 0.0), (401, None, 0.0)],
)
def test_only_what_the_backend_asked_for_outlasts_a_circuit(
    code: int | None, retry_after_s: float | None, not_before: float
) -> None:
    decision = decide(Outcome(http_code=code, error="refused", retry_after_s=retry_after_s))
    assert decision.not_before == not_before
    assert decision.due_at == max(1005.0, not_before)
    assert decide(Outcome(http_code=200)).not_before == decide(Outcome(http_code=422)).not_before == 0.0


def test_in_an_outage_what_the_backend_asked_for_is_a_floor_too() -> None:
    decision = decide(Outcome(http_code=503, retry_after_s=2.0), outage=True)
    assert (decision.failures, decision.due_at, decision.not_before) == (0, 1005.0, 1002.0)


@pytest.mark.parametrize(
    ("attempt", "failures", "used_up", "due_at"),
    [
        # The backend's own time where it is free, ...
        (1, 0, 0, 1002.0),
        (10, 0, 0, 1002.0),
        (13, 3, 3, 1002.0),
        # ... and the wait of a failure where it is not.
        (11, 0, 1, 1005.0),
        (14, 3, 4, 1040.0),
    ],
)
def test_ten_refusals_for_the_rate_alone_are_free(attempt: int, failures: int, used_up: int, due_at: float) -> None:
    refused = delivery(failures=failures)._replace(attempt=attempt)
    outcome = Outcome(http_code=429, retry_after_s=2.0)
    decision = retry.decide(refused, outcome, POLICY, now=1000.0, jitter=0.0, is_outage=False, is_throttled=True)
    assert (decision.failures, decision.due_at) == (used_up, due_at)


def test_without_retry_neither_an_outage_nor_a_refusal_for_the_rate_is_free() -> None:
    once = Policy(enabled=False)
    for is_outage, is_throttled in ((True, False), (False, True)):
        decision = retry.decide(
            delivery(),
            Outcome(http_code=429, retry_after_s=2.0),
            once,
            now=1000.0,
            jitter=0.0,
            is_outage=is_outage,
            is_throttled=is_throttled,
        )
        assert (decision.status, decision.failures, decision.due_at) == (Status.GAVE_UP, 1, None)


def test_a_refusal_for_the_rate_that_names_no_time_waits_as_a_failure_does() -> None:
    outcome = Outcome(http_code=429)
    decision = retry.decide(delivery(), outcome, POLICY, now=1000.0, jitter=1.0, is_outage=False, is_throttled=True)
    assert (decision.failures, decision.due_at) == (0, 1005.5)


def test_a_huge_multiplier_ends_at_the_longest_delay() -> None:
    assert Policy(multiplier=100.0).delay_s(999) == 6 * 3600
