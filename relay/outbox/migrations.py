"""The outbox's tables, as numbered steps from nothing to the version of this relay, for both kinds of database.

A new outbox takes all steps and an older one those that it lacks, whenever it is opened: both end with the same tables.
The module is long, as it has every step that there ever was. A step is never changed once a relay with it is out; a
change is a new step, and keeps to three rules:

- It only adds (a table, an index, a column with a default): a relay of the version before may be running beside it.
  In a file, which one relay has at a time, an index may go.
- In a schema each statement can be repeated (IF NOT EXISTS): MariaDB and MySQL commit a change of a table by itself, a
  relay may be killed between two of them, and several may begin at once. The version is written behind each step.
- In a file all steps and the version are one transaction, and a copy of the file is made before.

Weighed for version 2, and left: a delivery's state (status, attempts, due, lease) in a table of its own. Measured on
SQLite with 20,000 waiting and 200,000 delivered events, by CPU: a claim of 100 took 3.6 ms instead of 4.6 (medians),
settling them 1.6 instead of 1.9, and the file grew by 4.5 % (47 bytes an event). That is about 13 microseconds of the
400 that a delivery costs. But it would not only add: a relay of version 1 beside it would find nothing due. A second
destination can have such a table of its own, as a step that only adds, on the day that there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from relay.outbox.tables import (
    ACKNOWLEDGED,
    ATTEMPTS,
    CHUNKS,
    COUNTS,
    EVENTS,
    FOUND,
    HELD,
    HISTORY,
    LEASES,
    MEMORY,
    PURGED,
    STATE,
    USERS,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Step(NamedTuple):
    """What brings the tables from the version before to this one; {p} is the checked table prefix."""

    version: int
    sqlite: Sequence[str]
    mysql: Sequence[str]


_IN_SCHEMA = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"

_FIRST = Step(
    version=1,
    # due_at is NULL in an event that has ended: so both indexes hold only what waits, and a claim costs the same with a
    # million delivered events behind it. `envelope` || event_data || '}' are the bytes that are sent.
    sqlite=(
        f"""CREATE TABLE {{p}}{EVENTS} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    event_type TEXT NOT NULL,
    event_data TEXT,
    status TEXT NOT NULL DEFAULT 'pending',
    retry_count INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    processed_at INTEGER,
    log_id INTEGER,
    user_id INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    envelope TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL,
    not_before REAL NOT NULL DEFAULT 0,
    leased_by TEXT,
    leased_until REAL)""",
        f"CREATE INDEX {{p}}{EVENTS}_due ON {{p}}{EVENTS} (due_at, id) WHERE due_at IS NOT NULL",
        f"CREATE INDEX {{p}}{EVENTS}_queue ON {{p}}{EVENTS} (user_id, occurred_at, id) WHERE due_at IS NOT NULL",
        f"CREATE INDEX {{p}}{EVENTS}_ended ON {{p}}{EVENTS} (status, event_type)",
        f"CREATE INDEX {{p}}{EVENTS}_log ON {{p}}{EVENTS} (log_id)",
        f"CREATE INDEX {{p}}{EVENTS}_user ON {{p}}{EVENTS} (user_id, occurred_at, id)",
        f"""CREATE TABLE {{p}}{ATTEMPTS} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    duration_ms INTEGER,
    http_code INTEGER,
    outcome TEXT NOT NULL DEFAULT 'unknown',
    error TEXT)""",
        f"CREATE INDEX {{p}}{ATTEMPTS}_event ON {{p}}{ATTEMPTS} (event_id, attempt)",
        f"""CREATE TABLE {{p}}{HISTORY} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sync_type TEXT NOT NULL DEFAULT '',
    sync_action TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT '',
    records_processed INTEGER DEFAULT 0,
    records_failed INTEGER DEFAULT 0,
    started_at INTEGER NOT NULL,
    completed_at INTEGER,
    error_message TEXT,
    triggered_by INTEGER)""",
        f"""CREATE TABLE {{p}}{STATE} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    config_key TEXT NOT NULL UNIQUE,
    config_value TEXT,
    is_encrypted INTEGER DEFAULT 0,
    updated_at INTEGER NOT NULL)""",
    ),
    # `body` is what is sent, byte for byte, and `event_data` is for those who look: a JSON column would reorder its
    # keys. due_at is NULL where an event has ended; leased_by is the relay that has it under way, or NULL.
    mysql=(
        f"""CREATE TABLE IF NOT EXISTS {{p}}{EVENTS} (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id VARCHAR(64) NOT NULL,
    event_type VARCHAR(32) NOT NULL,
    event_data LONGTEXT,
    status VARCHAR(20) NOT NULL DEFAULT 'pending',
    retry_count INT NOT NULL DEFAULT 0,
    last_error MEDIUMTEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    processed_at BIGINT,
    log_id BIGINT,
    user_id BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    body LONGBLOB,
    attempts INT NOT NULL DEFAULT 0,
    due_at DOUBLE,
    not_before DOUBLE NOT NULL DEFAULT 0,
    leased_by VARCHAR(64),
    UNIQUE KEY event_id (event_id),
    KEY due (due_at, id),
    KEY queue (user_id, due_at),
    KEY ended (status, event_type),
    KEY log (log_id),
    KEY user (user_id, occurred_at, id),
    KEY leased (leased_by)) {_IN_SCHEMA}""",
        f"""CREATE TABLE IF NOT EXISTS {{p}}{ATTEMPTS} (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id VARCHAR(64) NOT NULL,
    attempt INT NOT NULL,
    started_at BIGINT NOT NULL,
    duration_ms BIGINT,
    http_code INT,
    outcome VARCHAR(20) NOT NULL DEFAULT 'unknown',
    error TEXT,
    KEY event (event_id, attempt)) {_IN_SCHEMA}""",
        f"""CREATE TABLE IF NOT EXISTS {{p}}{HISTORY} (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    sync_type VARCHAR(50) NOT NULL DEFAULT '',
    sync_action VARCHAR(255) NOT NULL DEFAULT '',
    status VARCHAR(20) NOT NULL DEFAULT '',
    records_processed BIGINT DEFAULT 0,
    records_failed BIGINT DEFAULT 0,
    started_at BIGINT NOT NULL,
    completed_at BIGINT,
    error_message TEXT,
    triggered_by BIGINT) {_IN_SCHEMA}""",
        f"""CREATE TABLE IF NOT EXISTS {{p}}{USERS} (
    user_id BIGINT NOT NULL PRIMARY KEY,
    turn BIGINT NOT NULL DEFAULT 0) {_IN_SCHEMA}""",
        f"""CREATE TABLE IF NOT EXISTS {{p}}{LEASES} (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    holder VARCHAR(255) NOT NULL,
    fence BIGINT NOT NULL DEFAULT 0,
    expires_at DOUBLE NOT NULL,
    beat BIGINT NOT NULL DEFAULT 0) {_IN_SCHEMA}""",
        # The last one: an outbox that has it, with its version in it, is whole.
        f"""CREATE TABLE IF NOT EXISTS {{p}}{STATE} (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    config_key VARCHAR(190) NOT NULL,
    config_value LONGTEXT,
    is_encrypted TINYINT DEFAULT 0,
    updated_at BIGINT NOT NULL,
    UNIQUE KEY config_key (config_key)) {_IN_SCHEMA}""",
    ),
)

_MEMORY = Step(
    version=2,
    # log_id is NULL where sync made the event. A row takes some 85 bytes in a file, 105 in a schema. With a number for
    # the table and 16 bytes for the event id it would take half of that in a file, but nobody could read it, or join it
    # with the events. Without a rowid, the key is not in an index once more.
    sqlite=(
        f"""CREATE TABLE {{p}}{MEMORY} (
    row_table TEXT NOT NULL,
    row_id INTEGER NOT NULL,
    digest BLOB NOT NULL,
    event_id TEXT NOT NULL,
    log_id INTEGER,
    PRIMARY KEY (row_table, row_id)) WITHOUT ROWID""",
    ),
    mysql=(
        f"""CREATE TABLE IF NOT EXISTS {{p}}{MEMORY} (
    row_table VARCHAR(64) NOT NULL,
    row_id BIGINT NOT NULL,
    digest VARBINARY(12) NOT NULL,
    event_id VARCHAR(64) NOT NULL,
    log_id BIGINT,
    PRIMARY KEY (row_table, row_id)) {_IN_SCHEMA}""",
    ),
)

_PURGED = Step(
    version=3,
    sqlite=(
        f"""CREATE TABLE {{p}}{PURGED} (
    log_id INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (log_id, event_id)) WITHOUT ROWID""",
    ),
    mysql=(
        f"""CREATE TABLE IF NOT EXISTS {{p}}{PURGED} (
    log_id BIGINT NOT NULL,
    event_id VARCHAR(64) NOT NULL,
    PRIMARY KEY (log_id, event_id)) {_IN_SCHEMA}""",
    ),
)

_HOLDING = Step(
    version=4,
    sqlite=(
        f"""CREATE TABLE {{p}}{HELD} (
    id INTEGER PRIMARY KEY,
    row_table TEXT NOT NULL,
    row_id INTEGER NOT NULL,
    absent_since INTEGER)""",
        f"CREATE INDEX {{p}}{HELD}_about ON {{p}}{HELD} (row_table, row_id)",
    ),
    mysql=(
        f"""CREATE TABLE IF NOT EXISTS {{p}}{HELD} (
    id BIGINT NOT NULL PRIMARY KEY,
    row_table VARCHAR(64) NOT NULL,
    row_id BIGINT NOT NULL,
    absent_since BIGINT,
    KEY about (row_table, row_id)) {_IN_SCHEMA}""",
    ),
)

_ACKNOWLEDGEMENT = Step(
    version=5,
    sqlite=(
        f"""CREATE TABLE {{p}}{ACKNOWLEDGED} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    acknowledged_at INTEGER NOT NULL,
    reason TEXT NOT NULL DEFAULT '')""",
    ),
    mysql=(
        f"""CREATE TABLE IF NOT EXISTS {{p}}{ACKNOWLEDGED} (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id VARCHAR(64) NOT NULL,
    acknowledged_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    UNIQUE KEY event_id (event_id)) {_IN_SCHEMA}""",
    ),
)

_RECONCILE = Step(
    version=6,
    # A chunk is a stretch of the ids of one of Moodle's tables: behind low_id, up to high_id. `prints` has some eleven
    # bytes for each row; `suspects` (JSON) the rows that differ, until they have done so for long enough.
    sqlite=(
        f"""CREATE TABLE {{p}}{CHUNKS} (
    row_table TEXT NOT NULL,
    low_id INTEGER NOT NULL,
    high_id INTEGER NOT NULL,
    recipe TEXT NOT NULL,
    digest TEXT NOT NULL,
    prints BLOB NOT NULL,
    seen_at INTEGER NOT NULL,
    suspects TEXT NOT NULL DEFAULT '',
    look_at REAL,
    log_end INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (row_table, low_id))""",
        f"CREATE INDEX {{p}}{CHUNKS}_look ON {{p}}{CHUNKS} (row_table, look_at) WHERE look_at IS NOT NULL",
        f"""CREATE TABLE {{p}}{FOUND} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    difference TEXT NOT NULL,
    found_at INTEGER NOT NULL)""",
    ),
    mysql=(
        f"""CREATE TABLE IF NOT EXISTS {{p}}{CHUNKS} (
    row_table VARCHAR(64) NOT NULL,
    low_id BIGINT NOT NULL,
    high_id BIGINT NOT NULL,
    recipe VARCHAR(64) NOT NULL,
    digest VARCHAR(24) NOT NULL,
    prints MEDIUMBLOB NOT NULL,
    seen_at BIGINT NOT NULL,
    suspects LONGTEXT NOT NULL,
    look_at DOUBLE,
    log_end BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (row_table, low_id),
    KEY look (row_table, look_at)) {_IN_SCHEMA}""",
        f"""CREATE TABLE IF NOT EXISTS {{p}}{FOUND} (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id VARCHAR(64) NOT NULL,
    difference VARCHAR(16) NOT NULL,
    found_at BIGINT NOT NULL,
    UNIQUE KEY event_id (event_id)) {_IN_SCHEMA}""",
    ),
)

# Nothing is counted that is there already, and nothing is looked for in all of it. Triggers count whatever is written,
# also by a relay of the version before and by hand. In a schema there are none: a server with a binary log lets only an
# administrator make them, and several relays would wait for each other at the row of a count. So it is counted there.
# Measured on SQLite with 11 million events (14 GB): 126 s, the copy included.
_COUNTED, _OCCURRED = (f"{{p}}{COUNTS}", f"{{p}}{EVENTS}_occurred")
_ADD = (
    f"INSERT INTO {_COUNTED} (event_type, status, events) VALUES (NEW.event_type, NEW.status, 1) "
    "ON CONFLICT (event_type, status) DO UPDATE SET events = events + 1;"
)
_TAKE = f"UPDATE {_COUNTED} SET events = events - 1 WHERE event_type = OLD.event_type AND status = OLD.status;"
_COUNTING = Step(
    version=7,
    sqlite=(
        f"""CREATE TABLE {_COUNTED} (
    event_type TEXT NOT NULL,
    status TEXT NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (event_type, status)) WITHOUT ROWID""",
        f"INSERT INTO {_COUNTED} SELECT event_type, status, COUNT(*) FROM {{p}}{EVENTS} GROUP BY status, event_type",
        f"CREATE TRIGGER {_COUNTED}_added AFTER INSERT ON {{p}}{EVENTS} BEGIN {_ADD} END",
        f"CREATE TRIGGER {_COUNTED}_deleted AFTER DELETE ON {{p}}{EVENTS} BEGIN {_TAKE} END",
        f"""CREATE TRIGGER {_COUNTED}_changed AFTER UPDATE OF status, event_type ON {{p}}{EVENTS}
WHEN NEW.status <> OLD.status OR NEW.event_type <> OLD.event_type BEGIN {_TAKE} {_ADD} END""",
        f"CREATE INDEX {_OCCURRED} ON {{p}}{EVENTS} (occurred_at)",
    ),
    mysql=(),
)

# An event's id is a hash. In an index of such ids each new attempt has a random place, so that a transaction of a
# hundred writes a hundred pages of it, of which none is in memory where there are millions. The rows of events that are
# due together are side by side. Measured on SQLite with two million events: a claim of 100 took 2.3 ms instead of 4.0.
# In a schema this was not measured, and nothing changes.
_LOCAL = Step(
    version=8,
    sqlite=(
        f"ALTER TABLE {{p}}{ATTEMPTS} ADD COLUMN event_row INTEGER",
        f"""UPDATE {{p}}{ATTEMPTS} SET event_row =
(SELECT e.id FROM {{p}}{EVENTS} AS e WHERE e.event_id = {{p}}{ATTEMPTS}.event_id)""",
        f"DROP INDEX {{p}}{ATTEMPTS}_event",
        f"CREATE INDEX {{p}}{ATTEMPTS}_row ON {{p}}{ATTEMPTS} (event_row, attempt)",
        # A move names the event by its id alone, and so does a person.
        f"""CREATE TRIGGER {{p}}{ATTEMPTS}_added AFTER INSERT ON {{p}}{ATTEMPTS} WHEN NEW.event_row IS NULL BEGIN
UPDATE {{p}}{ATTEMPTS} SET event_row = (SELECT id FROM {{p}}{EVENTS} WHERE event_id = NEW.event_id)
WHERE id = NEW.id; END""",
    ),
    mysql=(),
)

STEPS = (_FIRST, _MEMORY, _PURGED, _HOLDING, _ACKNOWLEDGEMENT, _RECONCILE, _COUNTING, _LOCAL)
#: Which version of the tables this relay makes and reads; kept in the state `schema_version`.
NEWEST = STEPS[-1].version


def steps_after(version: int) -> Sequence[Step]:
    """Return the steps that an outbox of this version lacks; 0: all of them."""
    return [step for step in STEPS if step.version > version]
