"""Section 7: what a large outbox costs."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import stock
from backends import nginx
from drains import alternate, rate
from figures import Sample, at_least, at_most, judged, plain
from subject import CLAIMED_MOST, drain, subject

from relay.outbox.sqlite import SqliteOutbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench import Bench
    from figures import Row

#: How many events a claim is asked for, and how often.
CLAIM = 100
CLAIMS = 200
#: The large outbox is made of so many copies of a smaller one; behind all of them is where other events begin.
COPIES, START = 50, 100_000_000
#: A user with delivered events.
USER = 100_000


def backlog(bench: Bench) -> Iterator[Row]:
    """Section 7: drains and claims with and without delivered and waiting events behind them; the file's size."""
    delivered, waiting, count = (
        bench.sized(10_000_000, 50_000),
        bench.sized(1_000_000, 10_000),
        bench.sized(20_000, 2000),
    )
    # Each round takes its part away, and claims some are left for.
    queue = (count + 2 * CLAIMED_MOST) * bench.runs + 10 * CLAIM
    waiting = max(waiting, queue)
    bench.say(f"making an outbox with {delivered:,} delivered and {waiting:,} waiting events ...")
    large, small = bench.folder / "large.db", bench.folder / "small.db"
    stock.fill(large, delivered // COPIES)
    stock.deliver_all(large)
    stock.multiply(large, COPIES)
    size = large.stat().st_size / delivered
    stock.fill(large, waiting, start=START)
    stock.fill(small, queue, start=START)
    behind = f"{delivered:,} delivered and {waiting:,} waiting ones"
    rates = alternate(bench, {"large": _drained(bench, large, count), "small": _drained(bench, small, count)})
    yield plain(7, f"drain of {count:,} events, {behind} in the outbox", rates["large"], unit=" events/s")
    yield plain(7, f"drain of {count:,} events, {queue:,} waiting ones in it", rates["small"], unit=" events/s")
    yield judged(7, "with / without the others", rates["large"].over(rates["small"]), at_least(0.95))
    yield from _commands(bench, large, delivered)
    # Behind the drains, which go by the ids of attempts: a claim that is taken back uses up some.
    yield from _claims(bench, large, small, behind)
    yield plain(7, "the file's size, for a delivered event with its attempt", Sample([size]), unit=" bytes")
    for path in (large, small):
        path.unlink()


def _drained(bench: Bench, outbox: Path, count: int) -> Callable[[], float]:
    def measure() -> float:
        with nginx(bench) as backend:
            relay = subject(bench, backend.url)
            relay.outbox = outbox
            relay.set("outbox.url", f"sqlite:///{outbox}")
            drain(relay, count)
            found = rate(backend.arrivals(), count)
        shutil.rmtree(relay.folder)
        return found

    return measure


def _commands(bench: Bench, outbox: Path, delivered: int) -> Iterator[Row]:
    """Time what a person asks of a large outbox, as whole commands."""
    relay = subject(bench, "http://127.0.0.1:9")
    relay.set("outbox.url", f"sqlite:///{outbox}")
    for words in (("status",), ("events",), ("explain", f"user:{USER}")):
        took = []
        for _ in range(bench.runs):
            began_at = time.perf_counter()
            subprocess.run(relay.command(*words), stdout=subprocess.DEVNULL, check=False)
            took.append(time.perf_counter() - began_at)
        what = f"`relay {' '.join(words)}` with {delivered:,} delivered events"
        yield judged(7, what, Sample(took), at_most(0.3, " s"), digits=2, unit=" s")


def _claims(bench: Bench, large: Path, small: Path, behind: str) -> Iterator[Row]:
    outboxes = {path: SqliteOutbox(path) for path in (large, small)}
    found: dict[Path, list[float]] = {path: [] for path in outboxes}
    for _ in range(CLAIMS):
        for path, outbox in outboxes.items():
            found[path].append(_claim_ms(outbox))
    for outbox in outboxes.values():
        outbox.close()
    # The first claims read the file.
    took = {path: Sample(values[CLAIMS // 20 :]) for path, values in found.items()}
    yield plain(7, f"a claim of {CLAIM}, {behind} in the outbox", took[large], digits=2, unit=" ms")
    yield plain(7, f"a claim of {CLAIM} in the other one", took[small], digits=2, unit=" ms")
    ratio = Sample([took[large].median / took[small].median])
    yield judged(7, "with / without the others", ratio, at_most(1.2))
    path, waiting = stock.waiting(bench, count := bench.sized(1_000_000, 50_000)), count
    yield plain(7, "the file's size, for a waiting event", Sample([path.stat().st_size / waiting]), unit=" bytes")


def _claim_ms(outbox: SqliteOutbox) -> float:
    """Return how long a claim took, in milliseconds; it is taken back."""
    began_at = time.perf_counter()
    found = outbox.claim(time.time(), CLAIM, lease_s=60.0, types=stock.TYPES)
    took_ms = (time.perf_counter() - began_at) * 1000
    assert len(found) == CLAIM, f"{len(found)} were claimed"
    outbox.release(found)
    return took_ms
