"""The cursor: no id that turns up is missed, and ids that never do cost next to nothing."""

from __future__ import annotations

import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model import Gap, Position
from relay.rules import cursor

#: Histories: each pass sees some of the ids up to a high one.
passes = st.lists(st.sets(st.integers(1, 400), max_size=60), min_size=1, max_size=12)


def missing(position: Position) -> set[int]:
    """Return each id that the position still waits for."""
    return {i for gap in position.gaps for i in range(gap.low, gap.high + 1) if not gap.seen >> (i - gap.low) & 1}


@given(passes, st.lists(st.integers(0, 200), min_size=12, max_size=12))
def test_every_id_is_seen_once_or_still_waited_for(visible: list[set[int]], steps: list[int]) -> None:
    position, seen, there, now = Position(high=0), [], set(), 1000.0
    for ids, step in zip(visible, steps, strict=False):
        there |= ids
        now += step
        late = [i for gap in position.gaps for i in cursor.turned_up(gap, sorted(there))]
        seen += late
        position = cursor.fill(position, late)
        high = max(there, default=0)
        if high > position.high:
            fresh = sorted(i for i in there if i > position.high)
            seen += fresh
            position = cursor.advance(position, high, fresh, now)
        assert sorted(seen) == sorted(there)
        assert missing(position) == set(range(1, position.high + 1)) - there
        assert cursor.open_ids(position) == len(missing(position))


@given(passes)
def test_gaps_are_in_order_and_never_overlap(visible: list[set[int]]) -> None:
    position = Position(high=0)
    for number, ids in enumerate(visible):
        base = number * 400
        position = cursor.advance(position, base + 400, sorted(base + i for i in ids), float(number))
    for before, after in zip(position.gaps, position.gaps[1:], strict=False):
        assert before.low <= before.high < after.low


def test_a_million_missing_ids_are_one_gap() -> None:
    position = cursor.advance(Position(high=10), 1_000_011, [1_000_011], 0.0)
    assert position.gaps == (Gap(low=11, high=1_000_010, opened_at=0.0),)


def test_a_late_id_amid_a_million_leaves_the_others_open() -> None:
    position = cursor.advance(Position(high=0), 1_000_001, [1_000_001], 0.0)
    position = cursor.fill(position, [500_000, 500_001])
    assert cursor.open_ids(position) == 999_998
    assert cursor.fill(position, [1]).gaps[0].low == 2


def test_every_third_id_fills_windows_not_memory() -> None:
    position = Position(high=0)
    for start in range(0, 300_000, 3000):
        position = cursor.advance(position, start + 3000, range(start + 3, start + 3001, 3), start / 1e6)
    assert len(position.gaps) <= 300_000 // cursor.WINDOW + 2
    assert cursor.open_ids(position) == 200_000
    assert all(cursor.count_seen(gap) == (gap.high - gap.low + 1) // 3 for gap in position.gaps)


def test_history_opens_no_gaps_below_the_watched_ids() -> None:
    position = cursor.advance(Position(high=0), 100, [5, 95, 100], 0.0, watch_from=50)
    assert position.gaps[0].low == 50
    assert cursor.advance(Position(high=0), 40, [5, 40], 0.0, watch_from=50).gaps == ()


def test_old_gaps_are_closed_and_too_many_given_up() -> None:
    gaps = tuple(Gap(low=i * 1000, high=i * 1000 + 1, opened_at=float(i)) for i in range(1, cursor.MAX_GAPS + 3))
    position = Position(high=10**7, gaps=gaps)
    kept, old, given_up = cursor.expire(position, 100.0)
    assert (len(kept.gaps), old, given_up) == (cursor.MAX_GAPS, (), gaps[:2])
    kept, old, given_up = cursor.expire(position, cursor.LIFETIME_S + 10.5)
    assert old == gaps[:10]
    assert kept.gaps == gaps[10:]
    assert cursor.expire(Position(high=1), 1.0) == (Position(high=1), (), ())


@given(st.floats(1, cursor.LIFETIME_S), st.integers(1, 10**9), st.floats(1e9, 2e9))
def test_an_old_gap_is_looked_into_again_within_a_twentieth_of_its_age(age: float, low: int, opened_at: float) -> None:
    position = Position(high=low, gaps=(Gap(low=low, high=low, opened_at=opened_at),))
    wait = max(1.0, min(age / 20, max(30.0, age / 120)) * 1.1)
    assert cursor.due(position, opened_at + age, opened_at + age + wait)


@given(st.integers(1, 10**9), st.integers(10**9, 2 * 10**9))
@settings(max_examples=5)
def test_an_old_gap_is_looked_into_ever_more_rarely(low: int, opened_at: int) -> None:
    position = Position(high=low, gaps=(Gap(low=low, high=low, opened_at=opened_at),))
    looks = [at for at in range(24 * 3600) if cursor.due(position, opened_at + at, opened_at + at + 1)]
    assert 400 < len(looks) < 1200
    assert max(after - before for before, after in pairwise(looks)) <= 24 * 3600 / 120


def test_a_clock_that_was_set_back_looks_into_all() -> None:
    position = Position(high=9, gaps=(Gap(low=9, high=9, opened_at=0.0),))
    assert cursor.due(position, 5000.0, 1400.0) == position.gaps


def test_an_id_that_is_missing_at_the_very_end_is_waited_for() -> None:
    position = cursor.advance(Position(high=10), 13, [11, 12], 0.0)
    assert [(gap.low, gap.high) for gap in position.gaps] == [(13, 13)]


@pytest.mark.parametrize(
    ("apart", "later_s", "shared"),
    [
        (cursor.NEARBY, 0.0, True),
        (cursor.NEARBY + 1, 0.0, False),
        (2, cursor.NEARBY_S, True),
        (2, cursor.NEARBY_S + 1, False),
    ],
)
def test_missing_ids_share_a_gap_where_they_are_near_in_ids_and_in_time(
    apart: int, later_s: float, *, shared: bool
) -> None:
    """A gap is as old as its first id: one that was found much later must not expire with it."""
    first = cursor.advance(Position(high=0), 2, [2], 1000.0)
    second = cursor.advance(first, 1 + apart + 1, [*range(3, 1 + apart), 1 + apart + 1], 1000.0 + later_s)
    assert cursor.is_open(second, 1)
    assert cursor.is_open(second, 1 + apart)
    assert len(second.gaps) == (1 if shared else 2)


@pytest.mark.parametrize(
    ("age_s", "most_apart_s"), [(0, 1), (19, 1), (60, 4), (600, 32), (3600, 32), (4 * 3600, 128), (20 * 3600, 1024)]
)
def test_a_gap_is_looked_into_often_enough_for_its_age(age_s: int, most_apart_s: int) -> None:
    """Every twentieth of its age or sooner, up to every 30 s; beyond an hour every 120th of its age."""
    position = Position(high=99, gaps=(Gap(low=7, high=7, opened_at=0.0),))
    looks = [at for at in range(age_s + 1, age_s + 4096) if cursor.due(position, at - 1.0, float(at))]
    waits = [later - earlier for earlier, later in pairwise([age_s, *looks])]
    early = [wait for wait, at in zip(waits, looks, strict=True) if at < age_s + 2 * most_apart_s]
    assert early
    assert max(early) <= most_apart_s


@pytest.mark.parametrize(("age_s", "least_apart_s"), [(100, 4), (3600, 16), (20 * 3600, 512)])
def test_an_old_gap_costs_little(age_s: int, least_apart_s: int) -> None:
    position = Position(high=99, gaps=(Gap(low=7, high=7, opened_at=0.0),))
    looks = [at for at in range(age_s + 1, age_s + 2048) if cursor.due(position, at - 1.0, float(at))]
    assert len(looks) <= 2048 / least_apart_s + 1


def test_a_gap_is_looked_into_after_the_clock_was_set_back() -> None:
    position = Position(high=99, gaps=(Gap(low=7, high=7, opened_at=0.0),))
    assert cursor.due(position, 5001.0, 5000.0)


def test_what_was_seen_of_a_gap_tells_a_row_that_came_from_one_that_went() -> None:
    two, other = (Gap(low=10, high=13, seen=seen, opened_at=0.0) for seen in (0b0101, 0b1010))
    assert cursor.fingerprint(two)[0] == cursor.fingerprint(other)[0] == 2
    assert cursor.fingerprint(two) != cursor.fingerprint(other)
    assert cursor.fingerprint(two) == (2, zlib.crc32(b"10") + zlib.crc32(b"12"))


# -- to the id and the second: what a change of one would show


def test_the_first_id_that_is_watched_is_waited_for() -> None:
    present = [i for i in range(1, 101) if i != 50]
    assert cursor.advance(Position(high=0), 100, present, 7.0, watch_from=50).gaps == (
        Gap(low=50, high=50, opened_at=7.0),
    )
    assert cursor.advance(Position(high=0), 100, present, 7.0, watch_from=51).gaps == ()


@pytest.mark.parametrize(("last", "gaps"), [(cursor.WINDOW, 1), (cursor.WINDOW + 1, 2)])
def test_missing_ids_share_a_gap_that_is_no_wider_than_its_bits(last: int, gaps: int) -> None:
    assert len(cursor.advance(Position(high=0), last + 1, [2, last + 1], 0.0).gaps) == gaps


@pytest.mark.parametrize(
    ("seen", "ids", "expected"),
    [
        ({1}, [5], [(10_000, 10_010, {1, 5})]),
        (set(), [0, 10], [(10_000, 10_010, {0, 10})]),
        ({0, 1, 2, 3, 4}, [5, 6, 7, 8, 9], [(10_000, 10_010, set(range(10)))]),
        ({0, 1, 2, 3, 4}, [5, 6, 7, 8, 9, 10], []),
    ],
)
def test_a_gap_keeps_what_was_seen_of_it_and_is_closed_by_its_last_id(
    seen: set[int], ids: list[int], expected: list[tuple[int, int, set[int]]]
) -> None:
    gap = Gap(low=10_000, high=10_010, seen=bits(seen), opened_at=5.0)
    filled = cursor.fill(Position(high=20_000, gaps=(gap,)), [10_000 + one for one in ids])
    assert filled == Position(
        high=20_000,
        gaps=tuple(Gap(low=low, high=high, seen=bits(those), opened_at=5.0) for low, high, those in expected),
    )


def bits(offsets: set[int]) -> int:
    return sum(1 << one for one in offsets)


@pytest.mark.parametrize(
    ("high", "pieces"),
    [(cursor.WINDOW, [(1, cursor.WINDOW, 0b10)]), (cursor.WINDOW + 1, [(1, 1, 0), (3, cursor.WINDOW + 1, 0)])],
)
def test_a_gap_that_is_wider_than_its_bits_is_cut_where_an_id_turns_up(
    high: int, pieces: list[tuple[int, int, int]]
) -> None:
    position = cursor.fill(Position(high=high, gaps=(Gap(low=1, high=high, opened_at=5.0),)), [2])
    assert position.gaps == tuple(Gap(low=low, high=end, seen=seen, opened_at=5.0) for low, end, seen in pieces)


def test_an_id_is_open_within_its_gap_until_it_is_seen() -> None:
    position = Position(high=99, gaps=(Gap(low=10, high=12, seen=0b100, opened_at=0.0),))
    assert [cursor.is_open(position, one) for one in range(9, 15)] == [False, True, True, False, False, False]


def test_a_gap_is_kept_to_the_end_of_its_life_and_the_position_stays() -> None:
    position = Position(high=99, gaps=(Gap(low=1, high=1, opened_at=0.0), Gap(low=5, high=5, opened_at=1.0)))
    assert cursor.expire(position, cursor.LIFETIME_S) == (position, (), ())
    kept = Position(high=99, gaps=position.gaps[1:])
    assert cursor.expire(position, cursor.LIFETIME_S + 1.0) == (kept, position.gaps[:1], ())


@pytest.mark.parametrize(
    ("previous", "now", "is_due"),
    [
        # Younger than 20 s: at every pass; older: at each beat, and at no pass twice.
        (19.1, 19.5, True),
        (20.0, 20.0, False),
        (20.1, 20.5, False),
        (20.5, 21.0, True),
        # From 40 s on every second second, from 3,840 s on every 32nd.
        (40.0, 41.0, False),
        (41.0, 42.0, True),
        (3839.0, 3840.0, True),
        (3840.0, 3856.0, False),
        (3840.0, 3872.0, True),
    ],
)
def test_a_gaps_beat(previous: float, now: float, *, is_due: bool) -> None:
    position = Position(high=9999, gaps=(Gap(low=997, high=997, opened_at=0.0),))
    assert bool(cursor.due(position, previous, now)) is is_due
