"""How the rate is learned that a backend takes: from refusals down, and up again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.rules import pace
from relay.rules.pace import UNLIMITED, Pace

NOW = 1000.0


def refused(
    before: Pace = UNLIMITED,
    now: float = NOW,
    *,
    retry_after_s: float | None = 1.0,
    sent: float = 30.0,
    taken: float = 20.0,
    seconds: float = 1.0,
) -> Pace:
    return pace.refused(before, now, retry_after_s=retry_after_s, sent=sent, taken=taken, seconds=seconds)


def test_without_a_refusal_there_is_no_limit() -> None:
    assert pace.rate(UNLIMITED, NOW) == pace.room(UNLIMITED, NOW) == math.inf
    assert pace.spent(UNLIMITED, 1000, NOW) is UNLIMITED
    assert pace.taken(UNLIMITED) is UNLIMITED
    assert pace.lifted(UNLIMITED, NOW) is UNLIMITED


@pytest.mark.parametrize(
    ("retry_after_s", "rounds", "pause_s"),
    [
        pytest.param(None, 0, 1.0, id="it names no time"),
        pytest.param(0.0, 0, 1.0, id="at once, it says"),
        pytest.param(3.0, 0, 3.0, id="it names a time"),
        pytest.param(3600.0, 0, 15.0, id="an hour: that is for its event"),
        pytest.param(None, 1, 2.0, id="the second in a row"),
        pytest.param(None, 3, 8.0, id="the fourth"),
        pytest.param(None, 4, 15.0, id="the fifth"),
        pytest.param(None, 5000, 15.0, id="one of very many"),
        pytest.param(12.0, 3, 12.0, id="it names a longer time than that"),
    ],
)
def test_a_refusal_is_a_pause(retry_after_s: float | None, rounds: int, pause_s: float) -> None:
    after = refused(refused()._replace(rounds=rounds), retry_after_s=retry_after_s)
    assert (after.resumes_at, after.next_at, after.rounds) == (NOW + pause_s, NOW + pause_s, rounds + 1)
    assert pace.room(after, NOW + pause_s - 0.01) == 0
    assert pace.room(after, NOW + pause_s) == 1


def test_what_is_taken_ends_a_row_of_refusals() -> None:
    assert pace.taken(refused()._replace(rounds=4)).rounds == 0
    after = pace.taken(refused())
    assert pace.taken(after) is after


@pytest.mark.parametrize(
    ("sent", "taken", "seconds", "base", "plateau"),
    [
        pytest.param(30, 20, 1.0, 21, 27, id="most were taken: by no more than a share"),
        pytest.param(21, 20, 1.0, 14.7, 18.9, id="all were, but for one"),
        pytest.param(30, 20, 0.1, math.sqrt(300 * 20), 270, id="in a moment: no more is known than for a second"),
        pytest.param(9, 1, 0.0, 30, 810, id="the second of many that were sent at once"),
        pytest.param(60, 20, 10.0, math.sqrt(6 * 2), 5.4, id="in a longer time"),
        pytest.param(2, 1, 10.0, 1, 1, id="the least"),
    ],
)
def test_the_first_rate_lies_between_what_was_taken_and_what_was_sent(
    sent: float, taken: float, seconds: float, base: float, plateau: float
) -> None:
    after = refused(sent=sent, taken=taken, seconds=seconds)
    assert after.base == pytest.approx(base)
    assert after.plateau == pytest.approx(plateau)
    assert pace.rate(after, after.resumes_at) == pytest.approx(base)


def test_a_rate_that_is_refused_is_lowered() -> None:
    before = Pace(base=20.0, plateau=20.0, resumes_at=NOW, next_at=NOW)
    after = refused(before, taken=20.0, seconds=1.0)
    assert (after.base, after.plateau) == pytest.approx((14.0, 18.0))
    # What was sent says nothing then: there was a limit.
    assert refused(before, sent=9999.0, taken=20.0, seconds=1.0) == after


def test_a_rate_that_was_never_reached_is_not_what_was_refused() -> None:
    risen = Pace(base=20.0, plateau=20.0, resumes_at=NOW - 55, next_at=NOW)
    assert pace.rate(risen, NOW) > 400
    after = refused(risen, taken=10.0, seconds=10.0)
    assert after.plateau == pytest.approx(0.9 * 4)


def test_where_nothing_was_taken_there_is_a_pause_and_nothing_is_learned() -> None:
    after = refused(taken=0.0)
    assert (after.base, after.plateau, after.resumes_at) == (math.inf, math.inf, NOW + 1)
    assert pace.room(after, NOW + 0.5) == 0
    assert pace.room(after, NOW + 1) == math.inf
    slow = refused()
    again = refused(slow, NOW + 1, taken=0.0)
    assert (again.base, again.plateau, again.rounds) == (slow.base, slow.plateau, 2)


def test_the_rate_rises_to_the_plateau_rests_there_and_doubles() -> None:
    slow = Pace(base=10.0, plateau=20.0, resumes_at=NOW, next_at=NOW)
    reached_s = pace.DOUBLED_AFTER_S * 0.5 ** (1 / 3)
    assert pace.rate(slow, NOW - 5) == pace.rate(slow, NOW) == pytest.approx(10)
    assert pace.rate(slow, NOW + reached_s / 2) == pytest.approx(20 * (1 - 0.5 / 8))
    assert pace.rate(slow, NOW + reached_s) == pytest.approx(20)
    assert pace.rate(slow, NOW + reached_s + 2) == pytest.approx(20, rel=0.01)
    assert pace.rate(slow, NOW + reached_s + pace.DOUBLED_AFTER_S) == pytest.approx(40)


def test_after_a_minute_without_a_refusal_there_is_no_limit() -> None:
    slow = refused()
    assert pace.lifted(slow, slow.resumes_at + pace.LIFTED_AFTER_S - 0.1) is slow
    assert pace.lifted(slow, slow.resumes_at + pace.LIFTED_AFTER_S) is UNLIMITED


def test_requests_go_at_the_rate_and_what_was_late_may_catch_up_a_little() -> None:
    slow = Pace(base=20.0, plateau=20.0, resumes_at=NOW, next_at=NOW)
    once = pace.spent(slow, 1, NOW)
    assert once.next_at == pytest.approx(NOW + 0.05)
    assert [pace.room(once, NOW + ms / 1000) for ms in (49, 51, 99, 101, 151)] == [0, 1, 1, 2, 3]
    assert pace.room(once, NOW + 10) == math.floor(0.25 * pace.rate(once, NOW + 10)) == 5
    late = pace.spent(once, 4, NOW + 10)
    assert late.next_at == pytest.approx(NOW + 10 - 0.25 + 4 / pace.rate(once, NOW + 10))
    # At a low rate one may go at a time.
    slowest = Pace(base=1.0, plateau=1.0, resumes_at=NOW, next_at=NOW)
    assert pace.room(slowest, NOW + 5) == 1


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.one_of(st.none(), st.floats(0, 1e5)), st.floats(0, 1e4), st.floats(0, 20)),
        min_size=1,
        max_size=20,
    )
)
def test_whatever_comes_the_pause_ends_and_the_rate_is_one(
    history: list[tuple[float, float | None, float, float]],
) -> None:
    now, found = NOW, UNLIMITED
    for wait_s, retry_after_s, taken, seconds in history:
        now += wait_s
        found = pace.refused(found, now, retry_after_s=retry_after_s, sent=taken + 1, taken=taken, seconds=seconds)
        assert now + pace.PAUSE_LEAST_S <= found.resumes_at <= now + pace.PAUSE_MOST_S
        assert pace.rate(found, now) >= pace.RATE_LEAST
        assert found.plateau >= found.base
        assert pace.room(found, found.resumes_at) >= 1
