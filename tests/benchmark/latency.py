"""Sections 3, 10 and 12: how long an event is on its way, beside a purge too, and how long relay takes to start."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import stock
from backends import slow
from college_life import sign_ups
from figures import Row, Sample, at_most, judged, plain, quantile
from harness import PATIENCE_S, fresh_moodle
from subject import running, subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench import Bench

#: The default of moodle.poll_interval, in seconds.
POLL_S = 0.1
RATES = (1, 50, 500)
#: What is purged is made of so many copies, and was delivered so many seconds ago; the rate beside it.
COPIES, AGE_S, PURGE_RATE = 50, 100 * 86400.0, 20


def commit_to_arrival(bench: Bench) -> Iterator[Row]:
    """Section 3: from Moodle's commit to the arrival at the backend, at the default poll interval."""
    for rate in RATES:
        took, _ = _latencies(bench, rate)
        figures = _figures(took)
        bench.say(f"{rate} events/s: {figures}")
        yield Row(3, f"commit to arrival at {rate} events/s ({len(took):,} events)", figures)
        if rate == 50:
            p99 = Sample([quantile(took, 0.99)])
            yield judged(
                3, "p99 at 50 events/s: the poll interval + 50 ms", p99, at_most(POLL_S + 0.05), unit=" s", digits=3
            )


def beside_a_purge(bench: Bench) -> Iterator[Row]:
    """Section 12: the same, while many events that were delivered long ago are deleted."""
    count = bench.sized(500_000, 50_000)
    path = bench.folder / "purged.db"
    bench.say(f"making an outbox with {count:,} events to purge ...")
    stock.fill(path, count // COPIES)
    stock.deliver_all(path)
    stock.multiply(path, COPIES)
    stock.age(path, AGE_S)
    took, left = _latencies(bench, PURGE_RATE, path)
    path.unlink()
    gone = count + len(took) - left
    what = f"commit to arrival at {PURGE_RATE} events/s, while {gone:,} of {count:,} events are purged"
    yield Row(12, what, _figures(took))
    yield judged(12, "the worst of them", Sample([max(took)]), at_most(0.3, " s"), unit=" s", digits=2)


def _figures(took: Sequence[float]) -> str:
    named = (("p50", quantile(took, 0.5)), ("p99", quantile(took, 0.99)), ("worst", max(took)))
    return ", ".join(f"{name} {value:.3f} s" for name, value in named)


def _latencies(bench: Bench, rate: int, outbox: Path | None = None) -> tuple[list[float], int]:
    """Return how long each of some seconds' events took, in seconds, and how many events are in the outbox then.

    `outbox`: what relay begins with a copy of.
    """
    with slow(0.0) as backend, fresh_moodle(bench.mariadb) as college:
        relay = subject(bench, backend.url, outbox)
        with running(relay):
            time.sleep(2.0)  # until it has started
            committed = sign_ups(college, rate, bench.seconds(20.0, 4.0))
            ends_at = time.monotonic() + PATIENCE_S
            while len(stamps := backend.stamps().arrivals) < len(committed):
                assert time.monotonic() < ends_at, f"{len(stamps)} of {len(committed)} have arrived"
                time.sleep(0.5)
        ((left,),) = relay.rows("SELECT COUNT(*) FROM {log}")
        relay.outbox.unlink()
    return [at - committed[user] for at, user in stamps], left


def start(bench: Bench) -> Iterator[Row]:
    """Section 10: from the start of the process to its first look at the log."""
    took = []
    for _ in range(bench.runs):
        relay = subject(bench, "http://127.0.0.1:9")
        began_at = time.monotonic()
        with relay.start_alone() as daemon:
            daemon.wait_for("relay.started")
            # It is said when the log has been looked at.
            daemon.wait_for("capture.began")
            took.append(time.monotonic() - began_at)
    yield judged(10, "from exec to the first look at the log", Sample(took), at_most(0.6, " s"), unit=" s")
    yield plain(10, "relay --version", Sample([_version() for _ in range(bench.runs)]), digits=3, unit=" s")


def _version() -> float:
    """Return how long `relay --version` takes, in seconds."""
    began_at = time.monotonic()
    subprocess.run([sys.executable, "-m", "relay", "--version"], check=True, capture_output=True)
    return time.monotonic() - began_at
