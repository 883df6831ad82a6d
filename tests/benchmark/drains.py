"""Sections 1, 2 and 9: how fast what waits goes out, beside other ways to send it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import stock
from backends import nginx, slow
from bench import HERE
from figures import Sample, at_least, at_most, judged, plain
from subject import drain, subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench import Bench
    from figures import Row

#: How many threads the bare loop is tried with.
BARE = (1, 2, 4, 8)
#: How many requests at once, and what share of concurrency / latency is to be reached, by latency in seconds.
SLOW = {(0.05, 8): None, (0.05, 32): 0.95, (0.05, 64): 0.96, (0.05, 256): 0.85, (0.2, 32): None, (0.2, 64): 0.97}


#: So many answers one after the other at the least: whether there is one more or less counts for little then.
ROUNDS = 60


def at_once(bench: Bench) -> Iterator[Row]:
    """Section 1: a backend that answers at once."""
    count = bench.events
    full = stock.waiting(bench, count)
    cpu: list[float] = []
    contestants: dict[str, Callable[[], float]] = {
        "relay": lambda: relay_rate(bench, full, count, cpu=cpu),
        **{f"bare {threads}": _contestant(bench, "bare", threads, count) for threads in BARE},
        # Each event costs them the same: a part of the events gives the same rate.
        "session": _contestant(bench, "session", 8, count // 2),
        "naive": _contestant(bench, "naive", 1, count // 4),
    }
    rates = alternate(bench, contestants)
    threads = max(BARE, key=lambda number: rates[f"bare {number}"].median)
    best = rates[f"bare {threads}"]
    yield plain(1, f"drain of {count:,} waiting events: relay", rates["relay"], unit=" events/s")
    plural = "s" if threads > 1 else ""
    for what, rate in (
        (f"a bare loop of the same sender, no outbox, at its best ({threads} thread{plural})", best),
        ("`requests.Session.post` in 8 threads, no outbox", rates["session"]),
        ("a naive relay: one thread, SQLite, two commits an event", rates["naive"]),
    ):
        yield plain(1, what, rate, unit=" events/s")
    yield judged(1, "relay / the bare loop", rates["relay"].over(best), at_least(0.9))
    yield judged(1, "relay / `requests.Session.post`", rates["relay"].over(rates["session"]), at_least(4.5))
    yield judged(1, "relay / the naive relay", rates["relay"].over(rates["naive"]), at_least(6), digits=1)
    what = "CPU of relay's process for an event"
    yield judged(1, what, Sample(cpu), at_most(0.16, " ms"), digits=3, unit=" ms")


def taking_time(bench: Bench) -> Iterator[Row]:
    """Section 2: a backend that takes its time."""
    seconds = bench.seconds(6.0, 2.0)
    cells = {
        f"{latency_s * 1000:.0f} ms, {concurrency} at once": _slow_cell(
            bench, latency_s, concurrency, max(seconds, ROUNDS * latency_s)
        )
        for latency_s, concurrency in SLOW
    }
    shares = alternate(bench, cells, runs=min(bench.runs, 3), digits=3)
    for (cell, share), bound in zip(shares.items(), SLOW.values(), strict=True):
        targets = () if bound is None else (at_least(bound),)
        what = f"share of concurrency / latency: {cell}"
        yield judged(2, what, share, *targets, digits=3) if targets else plain(2, what, share, digits=3)


def unsynced(bench: Bench) -> Iterator[Row]:
    """Section 9: what it costs that each commit is on disk when it returns."""
    full = stock.waiting(bench, bench.events)
    rates = alternate(
        bench,
        {
            "synchronous=FULL": lambda: relay_rate(bench, full, bench.events),
            "synchronous=NORMAL": lambda: relay_rate(bench, full, bench.events, script=HERE / "unsynced.py"),
        },
    )
    for what, rate in rates.items():
        yield plain(9, f"drain of {bench.events:,} waiting events, {what}", rate, unit=" events/s")
    yield judged(9, "FULL / NORMAL", rates["synchronous=FULL"].over(rates["synchronous=NORMAL"]), at_least(0.9))


def alternate(
    bench: Bench, contestants: dict[str, Callable[[], float]], *, runs: int | None = None, digits: int = 0
) -> dict[str, Sample]:
    """Let the contestants take turns, and return what each of them reached."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(1, (runs or bench.runs) + 1):
        for name, measure in contestants.items():
            found[name].append(measure())
            bench.say(f"round {number}, {name}: {found[name][-1]:,.{digits}f}")
    return {name: Sample(values) for name, values in found.items()}


def relay_rate(
    bench: Bench, full: Path, count: int, *, script: Path | None = None, cpu: list[float] | None = None
) -> float:
    """Return the events a second that relay drains a copy of an outbox with; add its CPU an event to `cpu`, in ms."""
    with nginx(bench) as backend:
        relay = subject(bench, backend.url, full)
        command = relay.command("run")
        if script is not None:
            command = [sys.executable, str(script), *command[3:]]
        took_ms = drain(relay, count, command)
        found = rate(backend.arrivals(), count)
    if cpu is not None:
        cpu.append(took_ms)
    shutil.rmtree(relay.folder)
    return found


def rate(arrivals: Sequence[float], count: int, last_s: float = 0.0) -> float:
    """Return the events a second, from the first arrival to the last one; `last_s`: how long its answer took."""
    assert len(arrivals) >= count, f"{len(arrivals)} of {count} have arrived"
    return count / (arrivals[count - 1] + last_s - arrivals[0])


def _contestant(bench: Bench, kind: str, threads: int, count: int) -> Callable[[], float]:
    def measure() -> float:
        folder = bench.new_folder(kind)
        with nginx(bench) as backend:
            script = str(HERE / "contestant.py")
            subprocess.run(
                [sys.executable, script, kind, backend.url, str(threads), str(count), str(folder)], check=True
            )
            found = rate(backend.arrivals(), count)
        shutil.rmtree(folder)
        return found

    return measure


def _slow_cell(bench: Bench, latency_s: float, concurrency: int, seconds: float) -> Callable[[], float]:
    """Return what measures the share of the most that concurrency and latency allow."""
    count = round(concurrency / latency_s * seconds)

    def measure() -> float:
        with slow(latency_s) as backend:
            relay = subject(bench, backend.url)
            relay.set("backend.concurrency", concurrency)
            stock.fill(relay.outbox, count)
            drain(relay, count)
            stamps = backend.stamps()
        shutil.rmtree(relay.folder)
        arrivals = sorted(at for at, _ in stamps.arrivals)
        # By the latency as it was: a timer of the backend's is late by up to a millisecond.
        return rate(arrivals, count, stamps.latency_s) * stamps.latency_s / concurrency

    return measure
