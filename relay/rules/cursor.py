"""How far the log is read, and which lower ids may still turn up. Pure: the log is read elsewhere.

InnoDB hands out an id when a row is written, and shows the row when its transaction commits: a row with a lower id can
become visible after one with a higher id. So an id that is missing below the position stays open as part of a `Gap`,
until it turns up or the gap is older than `LIFETIME_S`. Ids that never appear (a rolled back transaction, a cluster
with auto_increment_increment > 1) cost one sum over the gap's range, ever more rarely, and no memory an id:
neighbouring missing ids share one gap, which holds a bit for each id of its range.
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING

from relay.model import Gap, Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: The widest gap, in ids, that has a bit for each id. A wider one is missing as a whole.
WINDOW = 8192
#: How long a missing id is waited for, in seconds. No transaction of a web site lives that long.
LIFETIME_S = 24 * 3600.0
#: How many gaps are kept open; beyond that the oldest is given up, loudly.
MAX_GAPS = 2000
#: Missing ids closer than this, in ids, and found within `NEARBY_S` seconds of each other, share a gap.
NEARBY = 64
NEARBY_S = 60.0


def advance(position: Position, high: int, present: Iterable[int], now: float, *, watch_from: int = 0) -> Position:
    """Return the position at `high`, given all ids that are `present` above the old one, in ascending order.

    Ids between the old and the new high that are not present become gaps opened at `now`, save for those below
    `watch_from`: history that is too old for anything to turn up in it.
    """
    gaps = list(position.gaps)
    for low, last in _missing(position.high, high, present):
        if last >= watch_from:
            _open(gaps, Gap(low=max(low, watch_from), high=last, opened_at=now))
    return Position(high=high, gaps=tuple(gaps))


def _missing(after: int, high: int, present: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the stretches, as first and last id, of the ids above `after` and up to `high` that are not present."""
    expected = after + 1
    for seen in present:
        if seen > expected:
            yield expected, seen - 1
        expected = seen + 1
    if expected <= high:
        yield expected, high


def _open(gaps: list[Gap], gap: Gap) -> None:
    """Add a gap behind the last one, or make one of the two where they are near in ids and in time."""
    last = gaps[-1] if gaps else None
    if (
        last is not None
        and gap.high - last.low < WINDOW
        and gap.low - last.high <= NEARBY
        and gap.opened_at - last.opened_at <= NEARBY_S
    ):
        between = (1 << (gap.low - last.high - 1)) - 1
        seen = last.seen | between << (last.high - last.low + 1)
        gaps[-1] = Gap(low=last.low, high=gap.high, seen=seen, opened_at=last.opened_at)
    else:
        gaps.append(gap)


def due(position: Position, previous: float, now: float) -> tuple[Gap, ...]:
    """Return the gaps to look into in the pass at `now`, given when the pass before was, in unix seconds.

    A young gap is looked into at every pass, an older one ever more rarely: every twentieth of its age or sooner, up to
    every 30 s, and beyond an hour every 120th of its age. Each gap has its own beat, so that not all fall on one pass.
    """
    return tuple(gap for gap in position.gaps if _is_due(gap, previous, now))


def _is_due(gap: Gap, previous: float, now: float) -> bool:
    age = now - gap.opened_at
    if age < 20 or now < previous:  # 20 s: a poll a second is a twentieth of it; or the clock was set back
        return True
    # A power of two: an interval that grew with each pass would have no beat.
    interval = 2.0 ** int(math.log2(min(age / 20, max(30.0, age / 120))))
    offset = gap.low % 997
    return (now + offset) // interval > (previous + offset) // interval


def count_seen(gap: Gap) -> int:
    """Return how many ids of the gap's range have been seen."""
    return gap.seen.bit_count()


@lru_cache(MAX_GAPS)
def fingerprint(gap: Gap) -> tuple[int, int]:
    """Return how many ids of the gap's range have been seen, and the sum of the CRC-32 of each, as decimal text.

    As long as the log says the same of what is there, nothing has turned up. A count alone would not tell an id that
    turned up while another one of the range was deleted.
    """
    seen = [gap.low + offset for offset in range(gap.seen.bit_length()) if gap.seen >> offset & 1]
    return len(seen), sum(zlib.crc32(str(one).encode()) for one in seen)


def turned_up(gap: Gap, present: Iterable[int]) -> tuple[int, ...]:
    """Return the ids within the gap that are present now and have not been seen before."""
    return tuple(i for i in present if gap.low <= i <= gap.high and not gap.seen >> (i - gap.low) & 1)


def fill(position: Position, turned_up_ids: Sequence[int]) -> Position:
    """Return the position with these ids seen; a gap of which all is seen is closed."""
    if not turned_up_ids:
        return position
    pending = set(turned_up_ids)
    gaps: list[Gap] = []
    for gap in position.gaps:
        mine = sorted(i for i in pending if gap.low <= i <= gap.high)
        gaps.extend(_fill_one(gap, mine) if mine else (gap,))
    return Position(high=position.high, gaps=tuple(gaps))


def _fill_one(gap: Gap, ids: list[int]) -> Iterator[Gap]:
    """Yield what is left open of one gap."""
    if gap.high - gap.low < WINDOW:
        seen = gap.seen
        for i in ids:
            seen |= 1 << (i - gap.low)
        if seen.bit_count() < gap.high - gap.low + 1:
            yield Gap(low=gap.low, high=gap.high, seen=seen, opened_at=gap.opened_at)
        return
    low = gap.low
    pieces: list[Gap] = []
    for first, last in _missing(low - 1, gap.high, ids):
        _open(pieces, Gap(low=first, high=last, opened_at=gap.opened_at))
    yield from pieces


def is_open(position: Position, log_id: int) -> bool:
    """Say whether an id is still waited for."""
    return any(gap.low <= log_id <= gap.high and not gap.seen >> (log_id - gap.low) & 1 for gap in position.gaps)


def expire(position: Position, now: float) -> tuple[Position, tuple[Gap, ...], tuple[Gap, ...]]:
    """Return the position without the gaps that are too old, those gaps, and those given up because there are too many.

    Too old is ordinary: those ids never appeared. Too many is a fault, which the caller must log as an error.
    """
    if not position.gaps:
        return position, (), ()
    old = tuple(gap for gap in position.gaps if now - gap.opened_at > LIFETIME_S)
    kept = [gap for gap in position.gaps if now - gap.opened_at <= LIFETIME_S]
    by_age = sorted(kept, key=lambda gap: (gap.opened_at, gap.low))
    given_up = tuple(by_age[: max(0, len(kept) - MAX_GAPS)])
    if not old and not given_up:
        return position, (), ()
    dropped = set(given_up)
    return Position(high=position.high, gaps=tuple(g for g in kept if g not in dropped)), old, given_up


def open_ids(position: Position) -> int:
    """Return how many ids are still waited for."""
    return sum(gap.high - gap.low + 1 - count_seen(gap) for gap in position.gaps)
