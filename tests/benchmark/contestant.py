"""What relay's drain is measured beside: `python contestant.py KIND URL THREADS EVENTS FOLDER` sends events, and ends.

KIND is `bare` (a loop of relay's own sender, no outbox), `session` (requests as people write it, no outbox) or `naive`
(one thread, an SQLite outbox, three queries and two commits an event).
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import requests
import stock
from harness import SYMMETRIC_KEY, TOKEN

from relay import __version__
from relay.delivery.sender import Sender
from relay.delivery.transport import Transport
from relay.rules import request, signing

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.model import Event

KEYS = [signing.parse_key(SYMMETRIC_KEY)]


def bare(url: str, threads: int, count: int) -> None:
    """Send by relay's own sender."""
    sender = Sender(
        transport=Transport(url=url, timeout_s=30.0, connections=threads, monotonic=time.monotonic),
        token=TOKEN,
        tenant_id="default",
        signing_keys=[SYMMETRIC_KEY],
        version=__version__,
    )
    waiting = deque(stock.events(count))

    def work() -> None:
        while event := _next(waiting):
            outcome = sender.post(event.event_type, event.event_id, event.body, time.time())
            assert outcome.http_code == 200, outcome

    _in_threads(threads, work)


def session(url: str, threads: int, count: int) -> None:
    """Send by a `requests.Session` a thread."""
    waiting = deque(stock.events(count))

    def work() -> None:
        with requests.Session() as own:
            while event := _next(waiting):
                post(own, url, event.event_type, event.event_id, event.body)

    _in_threads(threads, work)


def naive(url: str, count: int, folder: Path) -> None:
    """Send from an outbox, one event after the other."""
    connection = sqlite3.connect(folder / "naive.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        "CREATE TABLE event (id INTEGER PRIMARY KEY, event_id TEXT UNIQUE, event_type TEXT, body BLOB, status TEXT, "
        "attempts INTEGER)"
    )
    connection.execute("CREATE INDEX event_status ON event (status, id)")
    connection.executemany(
        "INSERT INTO event (event_id, event_type, body, status, attempts) VALUES (?, ?, ?, 'pending', 0)",
        ((event.event_id, event.event_type, event.body) for event in stock.events(count)),
    )
    connection.commit()
    with requests.Session() as own:
        while row := connection.execute(
            "SELECT id, event_id, event_type, body FROM event WHERE status = 'pending' ORDER BY id LIMIT 1"
        ).fetchone():
            connection.execute("UPDATE event SET status = 'sending', attempts = attempts + 1 WHERE id = ?", row[:1])
            connection.commit()
            post(own, url, str(row[2]), row[1], row[3])
            connection.execute("UPDATE event SET status = 'success' WHERE id = ?", row[:1])
            connection.commit()


def post(own: requests.Session, url: str, event_type: str, event_id: str, body: bytes) -> None:
    """Send an event as people write it, with the headers that relay sends. Raises requests.RequestException."""
    now = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "X-Moodle-Token": TOKEN,
        "X-Tenant-ID": "default",
        "X-Event-ID": event_id,
        "webhook-id": event_id,
        "webhook-timestamp": str(now),
        "webhook-signature": signing.signatures(KEYS, event_id, now, body),
    }
    own.post(f"{url}{request.EVENTS}{event_type}", data=body, headers=headers, timeout=30).raise_for_status()


def _next(waiting: deque[Event]) -> Event | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _in_threads(count: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    kind, url, threads, count, folder = sys.argv[1:]
    if kind == "bare":
        bare(url, int(threads), int(count))
    elif kind == "session":
        session(url, int(threads), int(count))
    else:
        naive(url, int(count), Path(folder))


if __name__ == "__main__":
    main()
