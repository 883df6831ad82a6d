"""The SQLite outbox's tables and named statements; {p} is the checked table prefix."""

from __future__ import annotations

from relay.outbox.contract import ATTEMPTS, EVENTS, HISTORY, STATE

# due_at is NULL in an event that has ended: so both indexes hold only what waits, and a claim costs the same with a
# million delivered events behind it. `envelope` || event_data || '}' are the bytes that are sent.
SCHEMA = f"""
CREATE TABLE {{p}}{EVENTS} (
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
    leased_until REAL
);
CREATE INDEX {{p}}{EVENTS}_due ON {{p}}{EVENTS} (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX {{p}}{EVENTS}_queue ON {{p}}{EVENTS} (user_id, occurred_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX {{p}}{EVENTS}_ended ON {{p}}{EVENTS} (status, event_type);
CREATE INDEX {{p}}{EVENTS}_log ON {{p}}{EVENTS} (log_id);
CREATE INDEX {{p}}{EVENTS}_user ON {{p}}{EVENTS} (user_id, occurred_at, id);
CREATE TABLE {{p}}{ATTEMPTS} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    duration_ms INTEGER,
    http_code INTEGER,
    outcome TEXT NOT NULL DEFAULT 'unknown',
    error TEXT
);
CREATE INDEX {{p}}{ATTEMPTS}_event ON {{p}}{ATTEMPTS} (event_id, attempt);
CREATE TABLE {{p}}{HISTORY} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sync_type TEXT NOT NULL DEFAULT '',
    sync_action TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT '',
    records_processed INTEGER DEFAULT 0,
    records_failed INTEGER DEFAULT 0,
    started_at INTEGER NOT NULL,
    completed_at INTEGER,
    error_message TEXT,
    triggered_by INTEGER
);
CREATE TABLE {{p}}{STATE} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    config_key TEXT NOT NULL UNIQUE,
    config_value TEXT,
    is_encrypted INTEGER DEFAULT 0,
    updated_at INTEGER NOT NULL
);
"""

INSERT_EVENT = f"""
INSERT INTO {{p}}{EVENTS} (event_id, event_type, event_data, status, last_error, created_at, updated_at, processed_at,
                           log_id, user_id, occurred_at, envelope, due_at)
VALUES (:event_id, :event_type, :event_data, :status, :last_error, :created_at, :updated_at, :processed_at,
        :log_id, :user_id, :occurred_at, :envelope, :due_at)
ON CONFLICT (event_id) DO NOTHING
"""

# The events that are due, in the order they became so, and of those the ones that no earlier undelivered event of
# their user precedes, unless it is claimed along. A blocked type is neither claimed nor in anybody's way. And never
# two of a user at a time: one that is under way may be a later one, where the earlier one turned up late.
#
# This and the next ones give and take all rows as one JSON value: sqlite3 lets go of the interpreter at each step of a
# statement, and gets it back only when a sender lets go of it, so a step a row makes a hundred rows a hundred waits.
CLAIM = f"""
WITH candidate AS MATERIALIZED (
    SELECT id, user_id, occurred_at, due_at FROM {{p}}{EVENTS}
    WHERE due_at IS NOT NULL AND {{due}} AND (leased_until IS NULL OR leased_until <= :now)
      AND event_type NOT IN (SELECT value FROM json_each(:blocked)) AND (:only IS NULL OR event_type = :only)
    ORDER BY due_at, id LIMIT :limit
)
SELECT json_group_array(id) FROM (
SELECT c.id FROM candidate AS c
WHERE NOT EXISTS (
    SELECT 1 FROM {{p}}{EVENTS} AS other
    WHERE other.user_id = c.user_id AND other.due_at IS NOT NULL AND (
        other.leased_until > :now
        OR (other.occurred_at, other.id) < (c.occurred_at, c.id)
        AND other.event_type NOT IN (SELECT value FROM json_each(:blocked)) {{claimed_along}}
    )
)
ORDER BY {{order}} LIMIT :take)
"""

#: Of these rows, those that nobody has leased.
FREE = f"""
SELECT json_group_array(id) FROM {{p}}{EVENTS}
WHERE id IN (SELECT value FROM json_each(:ids)) AND (leased_until IS NULL OR leased_until <= :now)
"""

#: How many characters the data of these rows has, together.
SIZE = f"""
SELECT COALESCE(SUM(length(event_data)), 0) FROM {{p}}{EVENTS} WHERE id IN (SELECT value FROM json_each(:ids))
"""

LEASE = f"""
UPDATE {{p}}{EVENTS} SET attempts = attempts + 1, leased_by = :owner, leased_until = :until
WHERE id IN (SELECT value FROM json_each(:ids))
"""

ATTEMPT_ROWS = f"""
INSERT INTO {{p}}{ATTEMPTS} (event_id, attempt, started_at)
SELECT event_id, attempts, :now FROM {{p}}{EVENTS} WHERE id IN (SELECT value FROM json_each(:ids))
"""

# The bodies by themselves, with a character between them that JSON never holds as it is: quoted once more and read
# again as JSON they would cost the interpreter more than all else here.
LEASED = f"""
SELECT json_group_array(
           json_array(
               id, event_id, event_type, log_id, user_id, occurred_at, attempts, attempt_id, retry_count, status
           )
       ),
       group_concat(envelope || event_data || '}}', char(30))
FROM (
    SELECT e.*, a.id AS attempt_id FROM {{p}}{EVENTS} AS e
    JOIN {{p}}{ATTEMPTS} AS a ON a.event_id = e.event_id AND a.attempt = e.attempts
    WHERE e.id IN (SELECT value FROM json_each(:ids)) ORDER BY e.occurred_at, e.id
)
"""

#: Takes rows of `rows.attempt_row`.
SETTLE_ATTEMPTS = f"""
UPDATE {{p}}{ATTEMPTS} SET started_at = one.started_at, duration_ms = one.duration_ms, http_code = one.http_code,
       outcome = one.outcome, error = one.error
FROM (
    SELECT value ->> 0 AS attempt_id, value ->> 1 AS started_at, value ->> 2 AS duration_ms, value ->> 3 AS http_code,
           value ->> 4 AS outcome, value ->> 5 AS error
    FROM json_each(:attempts)
) AS one
WHERE id = one.attempt_id
"""

# Most events end here, and each column that is read from JSON costs as much as a third of this.
SETTLE_DELIVERED = f"""
UPDATE {{p}}{EVENTS} SET status = :status, last_error = NULL, updated_at = :now, processed_at = :now, due_at = NULL,
       not_before = 0, leased_by = NULL, leased_until = NULL
WHERE id IN (SELECT value FROM json_each(:ids))
"""

#: Takes rows of `rows.undelivered_row`.
SETTLE_UNDELIVERED = f"""
UPDATE {{p}}{EVENTS} SET status = one.status, retry_count = one.failures, last_error = one.last_error,
       updated_at = :now, processed_at = CASE WHEN one.due_at IS NULL THEN :now END, due_at = one.due_at,
       not_before = one.not_before, leased_by = NULL, leased_until = NULL
FROM (
    SELECT value ->> 0 AS row_id, value ->> 1 AS status, value ->> 2 AS failures, value ->> 3 AS last_error,
           value ->> 4 AS due_at, value ->> 5 AS not_before
    FROM json_each(:events)
) AS one
WHERE id = one.row_id
"""

RELEASE_ATTEMPTS = f"""
DELETE FROM {{p}}{ATTEMPTS} WHERE id IN (SELECT value FROM json_each(:ids))
"""

RELEASE_EVENTS = f"""
UPDATE {{p}}{EVENTS} SET attempts = attempts - 1, leased_by = NULL, leased_until = NULL
WHERE id IN (SELECT value FROM json_each(:ids))
"""

# Later events of the user are due no sooner than the one they wait for: else each claim would look at them in vain.
HOLD_USER = f"""
UPDATE {{p}}{EVENTS} SET due_at = :due_at
WHERE user_id = :user_id AND due_at IS NOT NULL AND due_at < :due_at AND id <> :id
  AND (occurred_at, id) > (SELECT occurred_at, id FROM {{p}}{EVENTS} WHERE id = :id)
"""

COUNT_STATE = f"""
INSERT INTO {{p}}{STATE} (config_key, config_value, updated_at) VALUES (:key, :value, :now)
ON CONFLICT (config_key) DO UPDATE
SET config_value = CAST(config_value AS INTEGER) + excluded.config_value, updated_at = excluded.updated_at
"""

SET_STATE = f"""
INSERT INTO {{p}}{STATE} (config_key, config_value, updated_at) VALUES (:key, :value, :now)
ON CONFLICT (config_key) DO UPDATE SET config_value = excluded.config_value, updated_at = excluded.updated_at
"""

#: Readers and the one writer do not wait for each other; kept in the file.
WAL = "PRAGMA journal_mode = WAL"
