"""Section 4: how fast relay passes over a long log, of which little matters."""

from __future__ import annotations

import shutil
import time
from datetime import datetime
from typing import TYPE_CHECKING

from college_life import MATTERS, fill_log
from drains import alternate
from figures import at_least, judged, plain
from harness import fresh_moodle
from subject import subject

from relay.events.catalogue import KINDS
from relay.moodle.log import LOG_COLUMNS, SPAN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench import Bench
    from figures import Row

ALL_ROWS = f"SELECT {', '.join(LOG_COLUMNS)} FROM mdl_logstore_standard_log WHERE id BETWEEN %s AND %s"
NAMES = tuple(kind.moodle_event for kind in KINDS.values() if kind.is_default)
FILTERED = f"{ALL_ROWS} AND eventname IN %s"


def passing(bench: Bench) -> Iterator[Row]:
    """Section 4: a whole log from its beginning, sending nothing, beside a raw client that only reads it."""
    rows = bench.sized(1_000_000, 50_000)
    with fresh_moodle(bench.mariadb) as college:
        bench.say(f"filling a log with {rows:,} rows ...")
        fill_log(college, rows)
        rates = alternate(
            bench,
            {
                "relay": lambda: _relay(bench, rows),
                "raw client, all rows": lambda: _raw(bench, rows, ALL_ROWS),
                "raw client, the filter": lambda: _raw(bench, rows, FILTERED, NAMES),
            },
            runs=min(bench.runs, 3),
        )
    what = f"a log of {rows:,} rows, {100 // MATTERS} % of which matter"
    yield plain(4, f"{what}: relay captures them", rates["relay"], unit=" rows/s")
    yield plain(4, "a raw client that reads all rows, and keeps nothing", rates["raw client, all rows"], unit=" rows/s")
    yield plain(4, "a raw client that reads what matters", rates["raw client, the filter"], unit=" rows/s")
    yield judged(
        4, "relay / the client that reads all", rates["relay"].over(rates["raw client, all rows"]), at_least(0.8)
    )
    yield plain(
        4, "relay / the client that reads what matters", rates["relay"].over(rates["raw client, the filter"]), 2
    )


def _relay(bench: Bench, rows: int) -> float:
    """Return the log rows a second, from the first look at the log to the end of the process."""
    relay = subject(bench, "http://127.0.0.1:9")
    relay.set("enabled", False)
    done = relay.once("--from", "beginning", expect=1)
    ended_at = time.time()
    began = next(line for line in done.log if line["event"] == "capture.began")
    assert done.log[-1]["log_id"] == rows, done.log[-1]
    began_at = datetime.fromisoformat(began["timestamp"]).timestamp()
    shutil.rmtree(relay.folder)
    return rows / (ended_at - began_at)


def _raw(bench: Bench, rows: int, statement: str, *values: tuple[str, ...]) -> float:
    """Return the log rows a second of a client that reads stretches as long as relay's."""
    began_at, found = time.perf_counter(), 0
    with bench.mariadb.connect("moodle") as connection, connection.cursor() as cursor:
        for low in range(1, rows + 1, SPAN):
            cursor.execute(statement, (low, low + SPAN - 1, *values))
            found += len(cursor.fetchall())
    assert found == (rows // MATTERS if values else rows)
    return rows / (time.perf_counter() - began_at)
