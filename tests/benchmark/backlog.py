"""Section 7: what a large outbox costs."""

from __future__ import annotations

import shutil
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


def backlog(bench: Bench) -> Iterator[Row]:
    """Section 7: the same drain with and without delivered events behind it; claims; the file's size."""
    delivered, count = bench.sized(1_000_000, 50_000), bench.sized(20_000, 2000)
    # Each round takes its part away.
    queue = (count + 2 * CLAIMED_MOST) * bench.runs
    bench.say(f"making an outbox with {delivered:,} delivered and {queue:,} waiting events ...")
    large, small = bench.folder / "large.db", bench.folder / "small.db"
    stock.fill(large, delivered)
    stock.deliver_all(large)
    size = large.stat().st_size / delivered
    stock.fill(large, queue, start=delivered)
    stock.fill(small, queue, start=delivered)
    rates = alternate(bench, {"large": _drained(bench, large, count), "small": _drained(bench, small, count)})
    of = f"drain of {count:,} of {queue:,} waiting events"
    yield plain(7, f"{of}, {delivered:,} delivered ones behind them", rates["large"], unit=" events/s")
    yield plain(7, f"{of}, nothing behind them", rates["small"], unit=" events/s")
    yield judged(7, "with / without the delivered ones", rates["large"].over(rates["small"]), at_least(0.9))
    yield from _claims(bench)
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


def _claims(bench: Bench) -> Iterator[Row]:
    many, few = bench.sized(1_000_000, 50_000), 1000
    paths = {count: stock.waiting(bench, count) for count in (many, few)}
    outboxes = {count: SqliteOutbox(path) for count, path in paths.items()}
    found: dict[int, list[float]] = {count: [] for count in outboxes}
    for _ in range(CLAIMS):
        for count, outbox in outboxes.items():
            found[count].append(_claim_ms(outbox))
    for outbox in outboxes.values():
        outbox.close()
    # The first claims read the file.
    took = {count: Sample(values[CLAIMS // 20 :]) for count, values in found.items()}
    for count, sample in took.items():
        yield plain(7, f"a claim of {CLAIM} where {count:,} wait", sample, digits=2, unit=" ms")
    ratio = Sample([took[many].median / took[few].median])
    yield judged(7, f"a claim where {many:,} wait / where {few:,} do", ratio, at_most(1.5))
    yield plain(7, "the file's size, for a waiting event", Sample([paths[many].stat().st_size / many]), unit=" bytes")


def _claim_ms(outbox: SqliteOutbox) -> float:
    """Return how long a claim took, in milliseconds; it is taken back."""
    began_at = time.perf_counter()
    found = outbox.claim(time.time(), CLAIM, lease_s=60.0, types=stock.TYPES)
    took_ms = (time.perf_counter() - began_at) * 1000
    assert len(found) == CLAIM, f"{len(found)} were claimed"
    outbox.release(found)
    return took_ms
