"""Made-up events, and outboxes full of them."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import time
from typing import TYPE_CHECKING

from relay.capture.held import hold_recorded
from relay.events import envelope
from relay.events.kind import Options
from relay.model import Outcome
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.values import Batch, Settled
from relay.rules.retry import Policy, decide

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench import Bench

    from relay.model import Event

OPTIONS = Options(site="a-site-made-up", moodle_url="https://moodle.college.example", tenant_id="default")
#: Brings the data of an event to about 600 bytes, half of what a tutor writes.
FEEDBACK = "A clear structure and sound sources; the second part would gain from an example of your own. " * 3
#: When the first event happened (unix seconds); each is a second after the one before.
EPOCH = 1_770_000_000
#: Their type.
TYPES = frozenset({"grade_updated"})
#: How many events are accepted or settled in one transaction.
GROUP = 2000
#: What a retry would wait; nothing that is made here fails.
POLICY = Policy(enabled=True, max_attempts=24, first_delay_s=5.0, multiplier=2.0, max_delay_s=21600.0)

#: While an outbox is multiplied, nothing of it is to survive anything.
MAKING = {"locking_mode": "EXCLUSIVE", "journal_mode": "OFF", "synchronous": "OFF", "cache_size": -2_000_000}
#: What is another value in each copy, by table.
MULTIPLIED = {
    "mdl_mb_zoho_event_log": {
        "id": "NULL",
        "event_id": "other(event_id, :copy)",
        "log_id": "log_id + :count * :copy",
        "user_id": "user_id + :count * :copy",
        "occurred_at": "occurred_at + :count * :copy",
    },
    "mdl_mb_zoho_event_attempt": {
        "id": "NULL",
        "event_id": "other(event_id, :copy)",
        "event_row": "event_row + :count * :copy",
    },
}


def events(count: int, start: int = 0) -> Iterator[Event]:
    """Yield graded works, two of each student, always the same ones."""
    for number in range(start, start + count):
        student, at = 100_000 + number // 2, EPOCH + number
        data = {
            "gradeid": number,
            "userid": student,
            "assignmentid": 4000 + number % 2,
            "assignmentname": f"Assignment {number % 2 + 1}: principles of computer science",
            "courseid": 70,
            "coursename": "Computing, level 3, first year",
            "score": 72.5,
            "btec_grade": "Distinction",
            "feedback": FEEDBACK,
            "grader": 2,
            "timecreated": at,
            "timemodified": at,
        }
        event_id = envelope.derive_id(OPTIONS.site, "benchmark", number)
        yield envelope.make_event(event_id, "grade_updated", number + 1, student, at, data, OPTIONS)


def fill(path: Path, count: int, start: int = 0) -> None:
    """Let so many events wait in an outbox, which is made where it is missing."""
    outbox = SqliteOutbox(path)
    # As by a relay of this version: what an older one has left is held, and looked at first.
    hold_recorded(outbox, OPTIONS, time.time())
    wanted = events(count, start)
    while group := tuple(itertools.islice(wanted, GROUP)):
        outbox.accept(Batch(events=group), time.time())
    outbox.close()


def deliver_all(path: Path) -> None:
    """Let all that waits in an outbox have been delivered."""
    outbox = SqliteOutbox(path)
    outcome = Outcome(http_code=200, answer="{}", duration_ms=4)
    while found := outbox.claim(now := time.time(), GROUP, lease_s=60.0, types=TYPES):
        settled = [
            Settled(
                delivery=one,
                outcome=outcome,
                decision=decide(one, outcome, POLICY, now=now, jitter=0.0, is_outage=False),
                started_at=now,
            )
            for one in found
        ]
        outbox.settle(settled, now)
    outbox.close()


def multiply(path: Path, times: int) -> None:
    """Let an outbox of delivered events have so many times as many, all with ids, users and times of their own."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name, value in MAKING.items():
            connection.execute(f"PRAGMA {name} = {value}")
        connection.create_function("other", 2, _other_id, deterministic=True)
        ((count,),) = connection.execute("SELECT MAX(id) FROM mdl_mb_zoho_event_log").fetchall()
        connection.execute("BEGIN")
        for table, changed in MULTIPLIED.items():
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            values = ", ".join(changed.get(name, name) for name in names)
            statement = f"INSERT INTO {table} SELECT {values} FROM {table} WHERE id <= :count"
            for copy in range(1, times):
                connection.execute(statement, {"count": count, "copy": copy})
        synced = "UPDATE mdl_mb_zoho_config SET config_value = ? WHERE config_key = 'count.synced'"
        connection.execute(synced, (count * times,))
        connection.execute("COMMIT")
        connection.execute("PRAGMA locking_mode = NORMAL")
        connection.execute("PRAGMA journal_mode = WAL")


def age(path: Path, seconds: float) -> None:
    """Let all that was delivered have been so many seconds earlier."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE mdl_mb_zoho_event_log SET processed_at = processed_at - ?", (seconds,))


def _other_id(event_id: str, copy: int) -> str:
    return f"{int(event_id[:8], 16) ^ (copy * 0x9E3779B1 & 0xFFFFFFFF):08x}{event_id[8:]}"


def waiting(bench: Bench, count: int) -> Path:
    """Return an outbox in which about so many events wait; it is made once, and shared by the sections."""
    path = bench.folder / f"waiting-{count}.db"
    if not path.exists():
        bench.say(f"making an outbox with {count:,} waiting events ...")
        fill(path, count)
    return path
