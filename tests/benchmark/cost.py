"""Section 8: what relay costs Moodle's database."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backends import slow
from college_life import MATTERS, fill_log, sign_ups
from figures import Row, Sample, at_most, judged, plain
from harness import PATIENCE_S, fresh_moodle
from subject import running, subject

from relay.events.catalogue import KINDS
from relay.moodle.rights import columns
from relay.operations.grants import statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench import Bench
    from harness import Relay

    from relay.demo.moodle import College

USER, PASSWORD = "relay", "made-up"
RATE = 50
#: What reads, or frames reads.
HARMLESS = ("SELECT", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", "COMMIT", "SET ")
#: The statements of relay's own user.
STATEMENTS = f"""
SELECT sql_text, rows_examined, TIME_TO_SEC(query_time), TIME_TO_SEC(lock_time) FROM mysql.slow_log
WHERE user_host LIKE '{USER}[%'
"""
LOCKS = f"""
SELECT t.trx_rows_locked FROM information_schema.innodb_trx t
JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id WHERE p.user = '{USER}'
"""
#: How often it is looked for locks, in seconds: the server shows the same for 0.1 s after it was last asked.
LOOK_S = 0.12


@dataclass(slots=True)
class Asked:
    """What a relay asked the server within a while."""

    #: Text, rows examined, and the time taken and that waited for locks, in seconds.
    statements: Sequence[tuple[str, int, float, float]] = ()
    #: How many rows were locked whenever a transaction of relay's was found open.
    rows_locked: list[int] = field(default_factory=list)

    def harmful(self) -> int:
        """Count what is no reading."""
        texts = (" ".join(text.split()).upper() for text, *_ in self.statements)
        return sum(not text.startswith(HARMLESS) or "FOR UPDATE" in text for text in texts)

    def examined(self) -> int:
        """Return how many rows the server looked at."""
        return sum(rows for _, rows, *_ in self.statements)

    def longest_ms(self) -> float:
        """Return how long the longest statement took, in milliseconds."""
        return max(seconds for *_, seconds, _ in self.statements) * 1000


def cost(bench: Bench) -> Iterator[Row]:
    """Section 8: statements and rows an event, the longest statement, and locks; live, and catching up."""
    with fresh_moodle(bench.mariadb) as college, slow(0.0) as backend:
        relay = _as_granted(bench, college, backend.url)
        with _watching(bench) as live, running(relay):
            time.sleep(2.0)
            count = len(sign_ups(college, RATE, bench.seconds(20.0, 4.0)))
            ends_at = time.monotonic() + PATIENCE_S
            while len(backend.stamps().arrivals) < count and time.monotonic() < ends_at:
                time.sleep(0.2)
    yield from _rows(live, f"at {RATE} events/s", count, count)
    rows = bench.sized(200_000, 50_000)
    behind = _behind(bench, rows, MATTERS)
    when = f"catching up with {rows:,} log rows"
    yield from _rows(behind, when, rows // MATTERS, rows)
    if behind.rows_locked:  # live, a transaction is open for a millisecond now and then: too short to be seen
        note = f", in {len(behind.rows_locked):,} looks at an open transaction"
        yield judged(8, f"{when}: rows locked", Sample([max(behind.rows_locked)]), at_most(0), digits=0, note=note)
    longest = Sample([_behind(bench, rows, rows).longest_ms()])
    yield plain(8, f"{when}, of which one matters: the longest statement", longest, 1, " ms")


def _behind(bench: Bench, rows: int, matters: int) -> Asked:
    """Let relay read a log of which one row in `matters` matters, sending nothing."""
    with fresh_moodle(bench.mariadb) as college:
        fill_log(college, rows, matters)
        relay = _as_granted(bench, college, "http://127.0.0.1:9")
        relay.set("enabled", False)
        with _watching(bench) as asked:
            relay.once("--from", "beginning", expect=1)
    return asked


def _rows(asked: Asked, when: str, events: int, log_rows: int) -> Iterator[Row]:
    yield plain(8, f"{when}: statements an event", Sample([len(asked.statements) / events]), 2)
    yield plain(8, f"{when}: rows examined, for a row of the log", Sample([asked.examined() / log_rows]), 2)
    yield plain(8, f"{when}: the longest statement", Sample([asked.longest_ms()]), 1, " ms")
    yield judged(8, f"{when}: statements that do more than read", Sample([asked.harmful()]), at_most(0), digits=0)


def _as_granted(bench: Bench, college: College, url: str) -> Relay:
    """Return a relay with a database user who may do what `relay grants` gives."""
    college.run(f"DROP USER IF EXISTS '{USER}'@'localhost'")
    for statement in statements(
        columns(tuple(KINDS.values())),
        {},
        schema="moodle",
        prefix="mdl_",
        user=USER,
        host="localhost",
        password=PASSWORD,
    ):
        college.run(statement.replace("%", "%%"))
    relay = subject(bench, url)
    relay.set("moodle.database.user", USER)
    relay.set("moodle.database.password", PASSWORD)
    return relay


@contextlib.contextmanager
def _watching(bench: Bench) -> Iterator[Asked]:
    """Record what relay's user asks the server within; new connections only."""
    asked, is_over = Asked(), threading.Event()
    watcher = threading.Thread(target=_watch_locks, args=(bench, asked, is_over))
    with bench.mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE mysql.slow_log")
        for setting in ("log_output = 'TABLE'", "log_slow_filter = ''", "long_query_time = 0", "slow_query_log = 1"):
            cursor.execute(f"SET GLOBAL {setting}")
        watcher.start()
        try:
            yield asked
        finally:
            is_over.set()
            watcher.join()
            cursor.execute("SET GLOBAL slow_query_log = 0")
            cursor.execute("SET GLOBAL long_query_time = 10")
        cursor.execute(STATEMENTS)
        asked.statements = [
            (_text(text), int(rows), float(s), float(lock)) for text, rows, s, lock in cursor.fetchall()
        ]


def _watch_locks(bench: Bench, asked: Asked, is_over: threading.Event) -> None:
    with bench.mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION long_query_time = 10")
        while not is_over.wait(LOOK_S):
            cursor.execute(LOCKS)
            asked.rows_locked.extend(int(rows) for (rows,) in cursor.fetchall())


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
