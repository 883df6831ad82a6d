"""How long each page takes with a million events: `python tests/benchmark/pages.py`. It needs no Moodle."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from subprocess import DEVNULL, Popen

from stock import FEEDBACK

from relay import config
from relay.demo.mariadb import free_port
from relay.outbox.sqlite import SqliteOutbox
from relay.service import parts
from relay.web import login

EVENTS, WEEK_S = 1_000_000, 7 * 86400
#: Of a million, some 300 were given up, a hundred are held, and a hundred wait.
FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO mdl_mb_zoho_event_log (event_id, event_type, event_data, status, created_at, updated_at, processed_at,
  log_id, user_id, occurred_at, envelope, attempts, due_at, last_error)
SELECT printf('%08x-0000-4000-8000-%012x', i, i), 'grade_updated',
  json_object('gradeid', i, 'userid', i / 20, 'courseid', 70, 'score', 72.5, 'feedback', :text),
  CASE WHEN i % 3333 = 0 THEN 'failed_all_retries' WHEN i % 9999 = 1 THEN 'held' WHEN i % 9999 = 2 THEN 'failed'
       ELSE 'success' END,
  :at + i * :week / :count, :at + i * :week / :count, :at + i * :week / :count + 2, i, i / 20,
  :at + i * :week / :count, '{"event_id": "..."', 1, CASE WHEN i % 9999 = 2 THEN 4e9 END,
  CASE WHEN i % 3333 = 0 THEN '{"http_code": 422, "error": "the backend answered 422"}' END
FROM n
"""
ATTEMPTS = """
INSERT INTO mdl_mb_zoho_event_attempt (event_id, attempt, started_at, duration_ms, http_code, outcome)
SELECT event_id, 1, processed_at, 20, 200, CASE WHEN status = 'success' THEN 'success' ELSE 'failed' END
FROM mdl_mb_zoho_event_log ORDER BY id
"""
PATHS = (
    "/",
    "/status.json",
    "/events",
    "/events?q=failed",
    "/events?q=status%3Dheld",
    "/events?q=status%3Dskipped",
    "/events?q=type%3Duser_created",
    "/events?q=user%3D25000",
    "/events?q=since%3D2020-01-01",
    "/events?text=nobody-has-this",
    "/events?q=status%3Dsuccess&text=nobody-has-this",
    "/events?before=500000&text=nobody-has-this",
    "/story?what=user%3A25000",
    "/sync",
    "/manage",
)
ROUNDS = 15


def fill(path: Path) -> None:
    """Make an outbox of a million events, that were delivered within the last week."""
    SqliteOutbox(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        values = {"count": EVENTS, "week": WEEK_S, "at": int(time.time()) - WEEK_S, "text": FEEDBACK}
        connection.execute(FILL, values)
        connection.execute(ATTEMPTS)


def ask(port: int, path: str, cookie: str) -> tuple[float, str]:
    """Return how long a page took, in seconds, and the page."""
    with contextlib.closing(HTTPConnection("localhost", port)) as connection:
        began = time.perf_counter()
        connection.request("GET", path, headers={"Cookie": cookie})
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status in (200, 202, 503), (path, answer.status, text[-500:])
        return time.perf_counter() - began, text


def main(folder: Path) -> None:
    """Print a line for each page: the median and the longest, in milliseconds."""
    port = free_port()
    outbox, file = folder / "outbox.db", folder / "config.yaml"
    if not outbox.exists():
        fill(outbox)
    made = {
        "moodle": {"url": "https://m.example", "database": {"host": "127.0.0.1", "port": 1, "name": "m", "user": "m"}},
        "backend": {"url": "http://127.0.0.1:9", "token": "made-up"},
        "outbox": {"url": f"sqlite:///{outbox}"},
        "web": {"listen": f"127.0.0.1:{port}"},
    }
    file.write_text(json.dumps(made))
    link = login.link(config.load(file), None, None).partition(f":{port}")[2]
    with Popen([sys.executable, "-m", "relay", "--config", str(file), "web"], stdout=DEVNULL) as process:
        while True:
            with (
                contextlib.suppress(ConnectionRefusedError),
                contextlib.closing(HTTPConnection("localhost", port)) as one,
            ):
                one.request("GET", link)
                cookie = (one.getresponse().getheader("Set-Cookie") or "").partition(";")[0]
                break
            parts.REAL.sleep(0.05)
        for path in PATHS:
            first = ask(port, path, cookie)
            took = sorted(ask(port, path, cookie)[0] * 1000 for _ in range(ROUNDS))
            said = f"first {first[0] * 1000:6.1f} ms, median {statistics.median(took):6.1f}, most {took[-1]:6.1f}"
            print(f"{path:<50} {said}")
        status = Path(f"/proc/{process.pid}/status").read_text()
        print(next(line for line in status.splitlines() if line.startswith("VmRSS")))
        process.terminate()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made_here:
            main(Path(made_here))
