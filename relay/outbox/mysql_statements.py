"""The named statements of the outbox in MariaDB or MySQL; {p} is the checked table prefix."""

from __future__ import annotations

from relay.outbox.rows import CLAIMED
from relay.outbox.tables import ATTEMPTS, CHUNKS, EVENTS, LEASES, MOVED, STATE, USERS

SET_STATE = f"""
INSERT INTO {{p}}{STATE} (config_key, config_value, updated_at) VALUES (:key, :value, :now)
ON DUPLICATE KEY UPDATE config_value = :value, updated_at = :now
"""
COUNT_STATE = f"""
INSERT INTO {{p}}{STATE} (config_key, config_value, updated_at) VALUES (:key, :value, :now)
ON DUPLICATE KEY UPDATE config_value = CAST(config_value AS SIGNED) + :value, updated_at = :now
"""
# Behind a step of the migrations. Several relays may be here at once, and a newer one among them: it never goes back.
SET_VERSION = f"""
INSERT INTO {{p}}{STATE} (config_key, config_value, updated_at) VALUES (:key, :value, 0)
ON DUPLICATE KEY UPDATE config_value = GREATEST(CAST(config_value AS SIGNED), CAST(:value AS SIGNED))
"""
REMEMBER = "ON DUPLICATE KEY UPDATE digest = VALUES(digest), event_id = VALUES(event_id), log_id = VALUES(log_id)"
SET_CHUNK = "ON DUPLICATE KEY UPDATE " + ", ".join(f"{name} = VALUES({name})" for name in MOVED[CHUNKS][2:])
KEEP = "ON DUPLICATE KEY UPDATE event_id = VALUES(event_id)"

# The events that are due, in the order they became so, save those of users of whom an event is under way: few are, and
# without its hint the server may go through all events to find them.
CANDIDATES = f"""
SELECT c.id, c.user_id FROM {{p}}{EVENTS} AS c
WHERE {{due}} AND c.leased_by IS NULL AND c.event_type {{types}} AND NOT EXISTS (
    SELECT 1 FROM {{p}}{EVENTS} AS other FORCE INDEX (leased)
    WHERE other.user_id = c.user_id AND other.due_at IS NOT NULL AND other.leased_by IS NOT NULL
)
ORDER BY c.due_at, c.id LIMIT ?
"""
LOCK_USERS = f"SELECT user_id FROM {{p}}{USERS} WHERE user_id {{users}} ORDER BY user_id FOR UPDATE SKIP LOCKED"
TURN_USERS = f"UPDATE {{p}}{USERS} SET turn = turn + 1 WHERE user_id {{users}}"
# Of those whose user's row is locked by us now: the events that no earlier undelivered event of their user precedes,
# unless it is claimed along. A type that may not be sent is neither claimed nor in anybody's way.
CLAIMABLE = f"""
SELECT c.id FROM {{p}}{EVENTS} AS c
WHERE c.id {{ids}} AND {{due}} AND c.leased_by IS NULL AND NOT EXISTS (
    SELECT 1 FROM {{p}}{EVENTS} AS other
    WHERE other.user_id = c.user_id AND other.due_at IS NOT NULL AND (
        other.leased_by IS NOT NULL
        OR (other.occurred_at, other.id) < (c.occurred_at, c.id) AND other.event_type {{types}} {{claimed_along}}
    )
)
ORDER BY {{order}}
"""
OF_TYPES = f"SELECT id FROM {{p}}{EVENTS} WHERE id {{ids}} AND event_type {{types}}"
# It may have become held since it was looked for.
UNLEASED = f"SELECT id FROM {{p}}{EVENTS} WHERE leased_by IS NULL AND status <> 'held' AND id {{ids}} FOR UPDATE"
LEASE = f"UPDATE {{p}}{EVENTS} SET attempts = attempts + 1, leased_by = ? WHERE leased_by IS NULL AND id {{ids}}"
LEASED = f"""
SELECT {CLAIMED}, body FROM {{p}}{EVENTS}
WHERE leased_by = ? AND id {{ids}} ORDER BY occurred_at, id
"""
#: How many bytes each of these events has.
SIZES = f"SELECT id, COALESCE(LENGTH(body), 0) FROM {{p}}{EVENTS} WHERE id {{ids}}"
ATTEMPT_IDS = f"SELECT event_id, MAX(id) FROM {{p}}{ATTEMPTS} WHERE event_id {{ids}} GROUP BY event_id"

# The columns of a JSON_TABLE have the character set of the schema where none is named.
SETTLE_ATTEMPTS = f"""
UPDATE {{p}}{ATTEMPTS} AS a
JOIN JSON_TABLE(?, '$[*]' COLUMNS (
    id BIGINT PATH '$[0]', started_at BIGINT PATH '$[1]', duration_ms BIGINT PATH '$[2]', http_code INT PATH '$[3]',
    outcome VARCHAR(20) CHARACTER SET utf8mb4 PATH '$[4]', error TEXT CHARACTER SET utf8mb4 PATH '$[5]'
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
    id BIGINT PATH '$[0]', status VARCHAR(20) CHARACTER SET utf8mb4 PATH '$[1]', failures INT PATH '$[2]',
    last_error MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$[3]', due_at DOUBLE PATH '$[4]', not_before DOUBLE PATH '$[5]'
)) AS new ON new.id = e.id
SET e.status = new.status, e.retry_count = new.failures, e.last_error = new.last_error, e.updated_at = ?,
    e.processed_at = CASE WHEN new.due_at IS NULL THEN ? END, e.due_at = new.due_at, e.not_before = new.not_before,
    e.leased_by = NULL
WHERE e.leased_by = ?
"""
RELEASE_ATTEMPTS = f"DELETE FROM {{p}}{ATTEMPTS} WHERE id {{ids}}"
RELEASE_EVENTS = f"""
UPDATE {{p}}{EVENTS} SET attempts = attempts - 1, leased_by = NULL WHERE leased_by = ? AND id {{ids}}
"""

# Later events of the user are due no sooner than the one they wait for: else each claim would look at them in vain.
HOLD_USER = f"""
UPDATE {{p}}{EVENTS} SET due_at = :due_at
WHERE user_id = :user_id AND due_at < :due_at AND id <> :id AND (occurred_at, id) > (:occurred_at, :id)
"""

# Leases: each statement names the state that it expects, so that a relay with an old view changes no row. A lease is
# over where it ended before now; also where it ends later than any lease can: then the clock was set back since.
_OVER = "(expires_at < ? OR expires_at > ?)"
JOIN = f"INSERT INTO {{p}}{LEASES} (name, holder, expires_at) VALUES (?, ?, ?)"
TOUCH_ALONE = f"""
INSERT INTO {{p}}{LEASES} (name, holder, expires_at) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE beat = beat + 1
"""
HOLD_ALONE = f"UPDATE {{p}}{LEASES} SET holder = ?, expires_at = ?, beat = beat + 1 WHERE name = ?"
RENEW_ALONE = f"UPDATE {{p}}{LEASES} SET expires_at = ?, beat = beat + 1 WHERE name = ? AND holder = ?"
RENEW = f"UPDATE {{p}}{LEASES} SET expires_at = ?, beat = beat + 1 WHERE name = ?"
BEAT = f"UPDATE {{p}}{LEASES} SET beat = beat + 1 WHERE name = ?"
BEAT_LEAD = f"UPDATE {{p}}{LEASES} SET beat = beat + 1 WHERE name = ? AND holder = ? AND fence = ?"
RENEW_LEAD = f"UPDATE {{p}}{LEASES} SET expires_at = ?, beat = beat + 1 WHERE name = ? AND holder = ? AND fence = ?"
TAKE_LEAD = f"""
UPDATE {{p}}{LEASES} SET holder = ?, fence = fence + 1, expires_at = ? WHERE name = ? AND fence = ? AND {_OVER}
"""
EXPIRE = f"DELETE FROM {{p}}{LEASES} WHERE name = ? AND {_OVER}"
#: Who has an event, and until when; a relay that has taken another name since has left none.
TAKEN = f"""
SELECT COALESCE(l.holder, ''), COALESCE(l.expires_at, 0)
FROM {{p}}{EVENTS} e LEFT JOIN {{p}}{LEASES} l ON l.name = e.leased_by
WHERE e.event_id = ? AND e.leased_by IS NOT NULL
"""
FREE = f"UPDATE {{p}}{EVENTS} SET leased_by = NULL WHERE leased_by = ?"
