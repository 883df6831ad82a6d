"""How many workers are of use, and how much is claimed ahead for them. Pure; it serves `workers`.

Python's interpreter runs one thread at a time (it holds the GIL). So further workers are of use only while a request
waits for the backend. Where the backend answers before another request could be sent, a second one is of use, as it
works while the first one waits; more of them cost more than they bring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: How long the interpreter works for one delivery, roughly, in seconds.
WORK_S = 0.0002
#: A request that takes so long, in seconds, waits for the backend and not for the other threads.
SLOW_S = 0.01
#: Where so many requests are under way, or were answered since the last pass, the threads' hand-overs count: they share
#: a core.
MANY = 8
#: As many deliveries are claimed ahead as so many passes like the last one would send, ...
AHEAD_PASSES = 8
#: ... but no more than this many: what is claimed is in memory.
MOST_AHEAD = 1024


def width(fastest_s: float, under_way: int, slow: int, concurrency: int) -> int:
    """Return how many workers are of use, `concurrency` at most.

    `fastest_s` is how long the fastest request of late took, in seconds: it did not wait for other threads, so it shows
    how long the backend takes. `under_way` requests have no answer yet; `slow` of these are slow. Each slow one is made
    up for by two further workers, as the next requests may be slow too. Where all are slow, nothing else is known, and
    there may be as many workers as allowed.
    """
    if slow and slow == under_way:
        return concurrency
    return min(concurrency, 2 + int(fastest_s / WORK_S) + 2 * slow)


def count_slow(began: Iterable[float], now: float, workers: int) -> int:
    """Return how many requests are slow, of those that began at these times, while so many workers share the GIL.

    All times are those of one monotonic clock, in seconds.
    """
    slow_before = now - SLOW_S - WORK_S * workers
    return sum(began_at < slow_before for began_at in began)


def fastest_at_first(concurrency: int) -> float:
    """Return what stands for the fastest request, in seconds, before there was one: all workers are of use."""
    return concurrency * WORK_S


def least_ahead(concurrency: int) -> int:
    """Return how many deliveries may be claimed at once at the least: enough that no worker waits for the next pass."""
    return 4 * concurrency + 32


def ahead(before: int, sent: int, concurrency: int) -> int:
    """Return how many deliveries may be claimed at once, after a pass that found so many sent.

    It shrinks slowly, from what it was before: a pass that came early says little of the rate.
    """
    wanted = min(AHEAD_PASSES * sent, MOST_AHEAD)
    return max(least_ahead(concurrency), wanted, before * 3 // 4)
