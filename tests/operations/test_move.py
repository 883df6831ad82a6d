"""relay move-outbox: nothing is lost on the way from a file to a schema and back, killed or not."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from harness import SHORT_LEASES, Finished, Relay
from receiver import Receiver, Reply

if TYPE_CHECKING:
    from relay.demo.moodle import College

AT = 1_770_000_000
TABLES = {
    "mdl_mb_zoho_event_log": "id, event_id, event_type, event_data, status, retry_count, last_error, created_at, "
    "updated_at, processed_at, log_id, user_id, occurred_at, attempts, due_at, not_before",
    "mdl_mb_zoho_event_attempt": "id, event_id, attempt, started_at, duration_ms, http_code, outcome, error",
    "mdl_mb_zoho_row": "row_id, row_table, digest, event_id, log_id",
    "mdl_mb_zoho_sync_history": "sync_type, sync_action, status, records_processed, started_at, triggered_by",
}


@pytest.fixture
def target(other: Relay) -> Relay:
    """The same relay, with its outbox in a schema."""
    return other


def contents(relay: Relay) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for table, columns in TABLES.items():
        found[table] = [tuple(row) for row in relay.rows(f"SELECT {columns} FROM {table} ORDER BY 1, 2")]
    own = ("schema_version", "moved_to", "moving")
    rows = relay.rows("SELECT config_key, config_value FROM mdl_mb_zoho_config")
    return {**found, "state": {key: value for key, value in rows if key not in own}}


def move(relay: Relay, target: Relay, expect: int = 0) -> Finished:
    return relay.run("move-outbox", str(target.write()), expect=expect)


def lived(relay: Relay, college: College, backend: Receiver) -> None:
    """Let there be events in every state, with text that is hard to keep."""
    course = college.course("Computing", "C1")
    engine = college.assignment(course, "Engine")
    users = [college.sign_up("Zoë 😀", f"Number{i}", AT + i) for i in range(4)]
    college.grade(users[0], engine, 70, AT + 20, comment='<p>"well" \\ done\u2028</p>')
    college.log("user_created", 4711, user=1, at=AT)
    backend.answer = lambda request: Reply(code=500 if "grade" in request.path else 200, body=b"caf\xc3\xa9 \x00")
    relay.set("retry", {"first_delay": "1h", "max_delay": "1h"})
    relay.once("--timeout", "1s", expect=1)
    relay.run("sync", "users", "--as", "7", expect=None)
    remember(relay)


def remember(relay: Relay) -> None:
    """Let there be a memory of rows of several tables, larger than what is moved at once."""
    rows = [
        (table, number, bytes([number % 256]) * 12, f"id-{number}", number if number % 3 else None)
        for table in "abc"
        for number in range(1, 450)
    ]
    with contextlib.closing(sqlite3.connect(relay.outbox)) as connection, connection:
        statement = "REPLACE INTO mdl_mb_zoho_row (row_table, row_id, digest, event_id, log_id) VALUES (?, ?, ?, ?, ?)"
        connection.executemany(statement, rows)


def test_there_and_back_nothing_changes_and_what_waits_is_delivered(
    relay: Relay, target: Relay, college: College, backend: Receiver
) -> None:
    lived(relay, college, backend)
    before = contents(relay)
    assert {row[4] for row in before["mdl_mb_zoho_event_log"]} >= {"success", "failed", "skipped"}
    said = move(relay, target)
    assert "rows moved from sqlite:///" in said.stdout
    assert contents(target) == before
    assert target.status()["conservation"] == {**target.status()["conservation"], "holds": True}
    move(target, relay)
    assert contents(relay) == before
    lost = "SELECT COUNT(*) FROM {attempt} a LEFT JOIN {log} e ON e.id = a.event_row WHERE e.event_id IS NOT a.event_id"
    assert relay.rows(lost) == [(0,)]
    move(relay, target)
    sent = {post.event_id: post.body for post in backend.posts}
    backend.answer = lambda _: Reply()
    target.run("run", "--replay", "status=failed")
    (last,) = backend.posts[-1:]
    assert sent[last.event_id] == last.body
    college.sign_up("Grace", "Hopper", AT + 60)
    target.once()
    assert len(backend.posts) == len(sent) + 2


def test_the_old_outbox_is_used_no_more(relay: Relay, target: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    move(relay, target)
    refused = relay.once(expect=3)
    assert "was moved to mysql://" in refused.stderr
    assert "was moved to mysql://" in move(relay, target, expect=2).stderr


def test_an_outbox_that_is_not_empty_is_not_written_over(relay: Relay, target: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    target.once()
    before = contents(target)
    assert "holds events already" in move(relay, target, expect=2).stderr
    assert contents(target) == before
    assert "both configs name the same" in move(relay, relay, expect=2).stderr


def test_an_outbox_that_a_relay_runs_on_is_not_moved(relay: Relay, target: Relay, college: College) -> None:
    assert college.connection.open
    with relay.start() as daemon:
        daemon.wait_for("relay.started")
        assert "Another relay runs" in move(relay, target, expect=3).stderr
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("step", "count"),
    [
        ("relay.outbox.mysql:MysqlOutbox.load:before", 1),
        ("relay.outbox.mysql:MysqlOutbox.load:after", 2),
        ("relay.operations.move:Move._compare:before", 1),
        ("relay.outbox.sqlite:SqliteOutbox.set_state:after", 1),
    ],
)
def test_killed_on_the_way_the_move_begins_anew(
    step: str, count: int, relay: Relay, target: Relay, college: College, backend: Receiver
) -> None:
    relay.constants = target.constants = SHORT_LEASES
    lived(relay, college, backend)
    before = contents(relay)
    relay.crash(step, count, "move-outbox", str(target.write()))
    assert contents(relay) == before
    assert "half of an outbox" in target.once(expect=3).stderr
    move(relay, target)
    assert contents(target) == before
    assert json.loads(target.run("status", "--json").stdout)["conservation"]["holds"]
