"""An outbox as version 1 of its tables had it, for both kinds of database: never changed, as those outboxes are.

It holds an event in each state. `SENT` are the bytes that are still to be sent, by event id.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    #: Runs a statement with values, marked by `?`.
    Execute = Callable[[str, tuple[Any, ...]], object]

HERE = Path(__file__).parent
SQLITE = (HERE / "version1-sqlite.sql").read_text()
MYSQL = (HERE / "version1-mysql.sql").read_text()
AT = 1_770_000_000
#: The name under which a relay that is dead had an event under way.
DEAD = "relay:0123456789abcdef"


def event_id(number: int) -> str:
    return f"00000000-0000-4000-a000-{number:012d}"


def data(number: int) -> str:
    fields = {"userid": number, "firstname": 'Zoë "😀" \\ O\'Neill\u2028', "deleted": False}
    return json.dumps(fields, ensure_ascii=False)


def head(number: int) -> str:
    return f'{{"event_id": "{event_id(number)}", "event_type": "user_created", "source": "moodle", "data": '


#: number, user, status, retry_count, last_error, attempts, due_at, not_before, whether it is under way
EVENTS = [
    (1, 1, "success", 0, None, 1, None, 0, False),
    (2, 2, "pending", 0, None, 0, AT + 2, 0, False),
    (3, 3, "failed", 2, '{"http_code": 503, "error": "the backend answered 503"}', 2, AT + 3.5, 0, False),
    (4, 4, "failed_all_retries", 24, '{"http_code": 422, "answer": "no \\u0000"}', 24, None, 0, False),
    (5, 5, "pending", 0, None, 1, AT + 5, 0, True),
    (6, 6, "skipped", 0, '{"reason": "the row is gone"}', 0, None, 0, False),
    # Behind the one of the same user that is retried.
    (7, 3, "pending", 0, None, 0, AT + 7, 0, False),
]
#: event, attempt, duration_ms, http_code, outcome
ATTEMPTS = [
    (1, 1, 12, 200, "success"),
    (3, 1, 30, 503, "failed"),
    (3, 2, 31, None, "failed"),
    (4, 24, 9, 422, "refused"),
    (5, 1, None, None, "unknown"),
]
STATE = {
    "schema_version": "1",
    "cursor": "7",
    "gap.4": json.dumps({"high": 4, "opened_at": AT, "seen": "0"}),
    "count.seen": "8",
    "count.captured": "6",
    "count.ignored.restored": "1",
}
SENT = {event_id(n): f"{head(n)}{data(n)}}}".encode() for n in (2, 3, 5, 7)}


def fill(execute: Execute, *, is_file: bool) -> None:
    """Insert what a relay of version 1 had recorded, with the statements' columns of that time."""
    for number, user, status, failures, error, attempts, due_at, not_before, is_leased in EVENTS:
        is_skip = status == "skipped"
        columns: dict[str, Any] = {
            "id": number,
            "event_id": event_id(number),
            "event_type": "user_created",
            "event_data": None if is_skip else data(number),
            "status": status,
            "retry_count": failures,
            "last_error": error,
            "created_at": AT,
            "updated_at": AT,
            "processed_at": AT + 60 if due_at is None else None,
            "log_id": number,
            "user_id": user,
            "occurred_at": AT + number,
            "attempts": attempts,
            "due_at": due_at,
            "not_before": not_before,
        }
        if is_file:
            columns["envelope"] = None if is_skip else head(number)
            columns |= {"leased_by": "run", "leased_until": AT + 1e9} if is_leased else {}
        else:
            columns["body"] = None if is_skip else f"{head(number)}{data(number)}}}".encode()
            columns["leased_by"] = DEAD if is_leased else None
        insert(execute, "event_log", columns)
    for event, attempt, duration_ms, http_code, outcome in ATTEMPTS:
        row = {"event_id": event_id(event), "attempt": attempt, "started_at": AT + 9, "duration_ms": duration_ms}
        insert(execute, "event_attempt", {**row, "http_code": http_code, "outcome": outcome})
    insert(
        execute, "sync_history", {"sync_type": "users", "sync_action": "all", "status": "completed", "started_at": AT}
    )
    for key, value in STATE.items():
        insert(execute, "config", {"config_key": key, "config_value": value, "updated_at": AT})
    if not is_file:
        for user in {row[1] for row in EVENTS}:
            insert(execute, "lane", {"user_id": user})
        insert(execute, "lease", {"name": DEAD, "holder": "a-host pid 7", "expires_at": AT})
        insert(execute, "lease", {"name": "capture", "holder": DEAD, "fence": 3, "expires_at": AT})


def insert(execute: Execute, table: str, columns: dict[str, Any]) -> None:
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    execute(f"INSERT INTO mdl_mb_zoho_{table} ({names}) VALUES ({marks})", tuple(columns.values()))
