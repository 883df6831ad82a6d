"""The MariaDB and MySQL outbox's tables and named statements; {p} is the checked table prefix."""

from __future__ import annotations

from relay.outbox.contract import ATTEMPTS, EVENTS, HISTORY, STATE

#: Who takes part, until when, and who reads the log: a row for each relay, and one named `capture`.
LEASES = "mb_zoho_lease"
#: A row for each user. Who claims a user's events changes it: so two relays cannot claim of one user at a time, on one
#: server by its lock, and on two nodes of a cluster because only one of the two transactions can be certified.
LANES = "mb_zoho_lane"

_TABLE = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"
# `body` is what is sent, byte for byte, and `event_data` is for those who look: a JSON column would reorder its keys.
# due_at is NULL in an event that has ended. leased_by is the relay that has it under way, NULL where none has.
SCHEMA = (
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
    KEY leased (leased_by)) {_TABLE}""",
    f"""CREATE TABLE IF NOT EXISTS {{p}}{ATTEMPTS} (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id VARCHAR(64) NOT NULL,
    attempt INT NOT NULL,
    started_at BIGINT NOT NULL,
    duration_ms BIGINT,
    http_code INT,
    outcome VARCHAR(20) NOT NULL DEFAULT 'unknown',
    error TEXT,
    KEY event (event_id, attempt)) {_TABLE}""",
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
    triggered_by BIGINT) {_TABLE}""",
    f"""CREATE TABLE IF NOT EXISTS {{p}}{LANES} (
    user_id BIGINT NOT NULL PRIMARY KEY,
    turn BIGINT NOT NULL DEFAULT 0) {_TABLE}""",
    f"""CREATE TABLE IF NOT EXISTS {{p}}{LEASES} (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    holder VARCHAR(255) NOT NULL,
    fence BIGINT NOT NULL DEFAULT 0,
    expires_at DOUBLE NOT NULL,
    beat BIGINT NOT NULL DEFAULT 0) {_TABLE}""",
    # The last one: an outbox that has it, with its version in it, is whole.
    f"""CREATE TABLE IF NOT EXISTS {{p}}{STATE} (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    config_key VARCHAR(190) NOT NULL,
    config_value LONGTEXT,
    is_encrypted TINYINT DEFAULT 0,
    updated_at BIGINT NOT NULL,
    UNIQUE KEY config_key (config_key)) {_TABLE}""",
)

SET_STATE = f"""
INSERT INTO {{p}}{STATE} (config_key, config_value, updated_at) VALUES (:key, :value, :now)
ON DUPLICATE KEY UPDATE config_value = :value, updated_at = :now
"""
COUNT_STATE = f"""
INSERT INTO {{p}}{STATE} (config_key, config_value, updated_at) VALUES (:key, :value, :now)
ON DUPLICATE KEY UPDATE config_value = CAST(config_value AS SIGNED) + :value, updated_at = :now
"""

# The events that are due, in the order they became so, save those of users of whom an event is under way.
CANDIDATES = f"""
SELECT c.id, c.user_id FROM {{p}}{EVENTS} AS c
WHERE {{due}} AND c.leased_by IS NULL {{types}} AND NOT EXISTS (
    SELECT 1 FROM {{p}}{EVENTS} AS other
    WHERE other.user_id = c.user_id AND other.due_at IS NOT NULL AND other.leased_by IS NOT NULL
)
ORDER BY c.due_at, c.id LIMIT ?
"""
LOCK_LANES = f"SELECT user_id FROM {{p}}{LANES} WHERE user_id {{users}} ORDER BY user_id FOR UPDATE SKIP LOCKED"
TURN_LANES = f"UPDATE {{p}}{LANES} SET turn = turn + 1 WHERE user_id {{users}}"
# Of those whose lane is ours now: the events that no earlier undelivered event of their user precedes, unless it is
# claimed along. A blocked type is neither claimed nor in anybody's way.
CLAIMABLE = f"""
SELECT c.id FROM {{p}}{EVENTS} AS c
WHERE c.id {{ids}} AND {{due}} AND c.leased_by IS NULL AND NOT EXISTS (
    SELECT 1 FROM {{p}}{EVENTS} AS other
    WHERE other.user_id = c.user_id AND other.due_at IS NOT NULL AND (
        other.leased_by IS NOT NULL
        OR (other.occurred_at, other.id) < (c.occurred_at, c.id) {{others}} {{claimed_along}}
    )
)
ORDER BY {{order}}
"""
LEASE = f"UPDATE {{p}}{EVENTS} SET attempts = attempts + 1, leased_by = ? WHERE leased_by IS NULL AND id {{ids}}"
LEASED = f"""
SELECT id, event_id, event_type, log_id, user_id, occurred_at, body, attempts, retry_count, status
FROM {{p}}{EVENTS} WHERE leased_by = ? AND id {{ids}} ORDER BY occurred_at, id
"""
ATTEMPT_IDS = f"SELECT event_id, MAX(id) FROM {{p}}{ATTEMPTS} WHERE event_id {{ids}} GROUP BY event_id"

SETTLE_ATTEMPTS = f"""
UPDATE {{p}}{ATTEMPTS} AS a
JOIN JSON_TABLE(?, '$[*]' COLUMNS (
    id BIGINT PATH '$[0]', started_at BIGINT PATH '$[1]', duration_ms BIGINT PATH '$[2]', http_code INT PATH '$[3]',
    outcome VARCHAR(20) PATH '$[4]', error TEXT PATH '$[5]'
)) AS new ON new.id = a.id
SET a.started_at = new.started_at, a.duration_ms = new.duration_ms, a.http_code = new.http_code,
    a.outcome = new.outcome, a.error = new.error
"""
SETTLE_DELIVERED = f"""
UPDATE {{p}}{EVENTS} SET status = ?, last_error = NULL, updated_at = ?, processed_at = ?, due_at = NULL, not_before = 0,
       leased_by = NULL
WHERE leased_by = ? AND id {{ids}}
"""
#: Takes rows of `rows.undelivered_row`.
SETTLE_UNDELIVERED = f"""
UPDATE {{p}}{EVENTS} AS e
JOIN JSON_TABLE(?, '$[*]' COLUMNS (
    id BIGINT PATH '$[0]', status VARCHAR(20) PATH '$[1]', failures INT PATH '$[2]', last_error TEXT PATH '$[3]',
    due_at DOUBLE PATH '$[4]', not_before DOUBLE PATH '$[5]'
)) AS new ON new.id = e.id
SET e.status = new.status, e.retry_count = new.failures, e.last_error = new.last_error, e.updated_at = ?,
    e.processed_at = CASE WHEN new.due_at IS NULL THEN ? END, e.due_at = new.due_at, e.not_before = new.not_before,
    e.leased_by = NULL
WHERE e.leased_by = ?
"""
# Later events of the user are due no sooner than the one they wait for: else each claim would look at them in vain.
HOLD_USER = f"""
UPDATE {{p}}{EVENTS} SET due_at = :due_at
WHERE user_id = :user_id AND due_at < :due_at AND id <> :id AND (occurred_at, id) > (:occurred_at, :id)
"""

# Leases: every one of them says whose it must be, and how it was. One is over before a time, or where it ends after a
# second one: no lease lasts so long, so the clock was set back since, and who is alive renews it.
_OVER = "(expires_at < ? OR expires_at > ?)"
JOIN = f"INSERT INTO {{p}}{LEASES} (name, holder, expires_at) VALUES (?, ?, ?)"
RENEW = f"UPDATE {{p}}{LEASES} SET expires_at = ?, beat = beat + 1 WHERE name = ?"
BEAT = f"UPDATE {{p}}{LEASES} SET beat = beat + 1 WHERE name = ?"
BEAT_LEAD = f"UPDATE {{p}}{LEASES} SET beat = beat + 1 WHERE name = ? AND holder = ? AND fence = ?"
RENEW_LEAD = f"UPDATE {{p}}{LEASES} SET expires_at = ?, beat = beat + 1 WHERE name = ? AND holder = ? AND fence = ?"
TAKE_LEAD = f"""
UPDATE {{p}}{LEASES} SET holder = ?, fence = fence + 1, expires_at = ? WHERE name = ? AND fence = ? AND {_OVER}
"""
REAP = f"DELETE FROM {{p}}{LEASES} WHERE name = ? AND {_OVER}"
FREE = f"UPDATE {{p}}{EVENTS} SET leased_by = NULL WHERE leased_by = ?"
