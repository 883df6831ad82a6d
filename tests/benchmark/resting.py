"""Sections 5 and 6: what relay costs while nothing happens, and how much memory it takes."""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import stock
from backends import nginx
from figures import Row, Sample, at_most, judged, plain
from harness import PATIENCE_S, fresh_moodle
from subject import has_undelivered, running, subject

from relay.service.relay import QUIET_AFTER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench import Bench
    from harness import Relay

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
#: How long a relay is left alone before it is looked at, in seconds.
SETTLE_S = 4.0


def idle(bench: Bench) -> Iterator[Row]:
    """Section 5: the share of a core, and the queries, at the default poll interval with nothing to do."""
    # The system counts in ticks of 10 ms.
    seconds = bench.seconds(120.0, 5.0)
    with running(subject(bench, "http://127.0.0.1:9")) as process:
        time.sleep(QUIET_AFTER_S + SETTLE_S)
        cpu, questions, began_at = _cpu_s(process.pid), _questions(bench), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began_at
        share = (_cpu_s(process.pid) - cpu) / took * 100
        # Asking for the count is a question itself.
        asked = _questions(bench) - questions - 1
    yield judged(5, f"idle, over {seconds:.0f} s: share of one core", Sample([share]), at_most(0.3, " %"), unit=" %")
    yield plain(5, "idle: statements to Moodle's database a minute", Sample([asked / took * 60]))


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process so far, in seconds (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def _questions(bench: Bench) -> int:
    with bench.mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Questions'")
        ((_, count),) = cursor.fetchall()
        return int(count)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process and its children take, in MiB."""

    rss: float
    #: The same, with what is shared with other processes divided among them.
    pss: float

    def __str__(self) -> str:
        return f"{self.rss:.1f} MiB (Pss {self.pss:.1f})"


def memory(bench: Bench) -> Iterator[Row]:
    """Section 6: memory at rest, with many events waiting, while they go out, and after a day's events."""
    many = bench.sized(1_000_000, 50_000)
    waiting = stock.waiting(bench, many)
    at_rest = _paused(bench, None)
    yield judged(
        6,
        "memory at rest",
        Sample([at_rest.rss]),
        at_most(45, " MiB"),
        digits=1,
        unit=" MiB",
        note=f", Pss {at_rest.pss:.1f}",
    )
    paused = _paused(bench, waiting)
    yield Row(6, f"with {many:,} events waiting, paused", str(paused))
    draining = _draining(bench, waiting)
    yield Row(6, f"with {many:,} events waiting, draining: the most", str(draining))
    above = Sample([max(paused.rss, draining.rss) - at_rest.rss])
    yield judged(6, "the more of these two, above rest", above, at_most(5, " MiB"), digits=1, unit=" MiB")
    yield Row(6, f"after a day's {bench.events:,} events", str(_after_a_day(bench)))
    grades = bench.sized(300, 30)
    large = Sample([_large_grades(bench, grades).rss])
    what = f"while {grades} grades with a megabyte of feedback each go out: the most"
    yield judged(6, what, large, at_most(120, " MiB"), digits=1, unit=" MiB")


def _paused(bench: Bench, outbox: Path | None) -> Memory:
    relay = subject(bench, "http://127.0.0.1:9")
    if outbox is not None:
        relay.set("outbox.url", f"sqlite:///{outbox}")
        relay.set("enabled", False)
    with running(relay) as process:
        time.sleep(SETTLE_S)
        return _memory(process.pid)


def _draining(bench: Bench, outbox: Path) -> Memory:
    """Return the most that was seen in some seconds."""
    with nginx(bench) as backend:
        relay = subject(bench, backend.url)
        relay.set("outbox.url", f"sqlite:///{outbox}")
        found, ends_at = [], time.monotonic() + bench.seconds(15.0, SETTLE_S)
        with running(relay) as process:
            while time.monotonic() < ends_at:
                time.sleep(0.5)
                found.append(_memory(process.pid))
    return max(found, key=lambda one: one.rss)


def _after_a_day(bench: Bench) -> Memory:
    with nginx(bench) as backend:
        relay = subject(bench, backend.url, stock.waiting(bench, bench.events))
        with running(relay) as process:
            while has_undelivered(relay):
                time.sleep(0.2)
            time.sleep(SETTLE_S)
            return _memory(process.pid)


def _large_grades(bench: Bench, count: int) -> Memory:
    """Return the most that was seen: relay finds all of them at one look."""
    with nginx(bench) as backend, fresh_moodle(bench.mariadb) as college:
        work = college.assignment(college.course("Computing", "C1"), "Engine")
        students = [college.sign_up("Ada", f"Number{number}", stock.EPOCH) for number in range(count)]
        relay, found = subject(bench, backend.url), []
        with running(relay) as process:
            time.sleep(SETTLE_S)
            process.send_signal(signal.SIGSTOP)
            wanted = _delivered(relay) + count
            for student in students:
                college.grade(student, work, 70, stock.EPOCH + 1, "A clear structure. " * (2**20 // 19))
            process.send_signal(signal.SIGCONT)
            ends_at = time.monotonic() + PATIENCE_S
            while _delivered(relay) < wanted:
                assert time.monotonic() < ends_at, f"{_delivered(relay)} of {wanted} are delivered"
                found.append(_memory(process.pid))
                time.sleep(0.05)
    return max(found, key=lambda one: one.rss)


def _delivered(relay: Relay) -> int:
    ((count,),) = relay.rows("SELECT COUNT(*) FROM {log} WHERE status = 'success'")
    return int(count)


def _memory(pid: int) -> Memory:
    rss = pss = 0
    for one in (pid, *_children(pid)):
        text = Path(f"/proc/{one}/smaps_rollup").read_text()
        rss += sum(map(int, re.findall(r"^Rss: +(\d+) kB", text, re.MULTILINE)))
        pss += sum(map(int, re.findall(r"^Pss: +(\d+) kB", text, re.MULTILINE)))
    return Memory(rss / 1024, pss / 1024)


def _children(pid: int) -> Iterator[int]:
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            yield child
            yield from _children(child)
