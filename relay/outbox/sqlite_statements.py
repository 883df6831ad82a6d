"""The SQLite outbox's named statements; {p} is the checked table prefix.

Many rows go in, and come out, as one JSON value. sqlite3 releases the GIL at each step of a statement, and then waits
until a sender thread releases it. With one step for each row, a hundred rows would wait a hundred times.

They must do with sqlite_database.OLDEST: so no `->>` and no RETURNING; MATERIALIZED only where it is known.
"""

from __future__ import annotations

from relay.outbox.rows import CLAIMED
from relay.outbox.tables import ATTEMPTS, CHUNKS, COUNTS, EVENTS, MOVED, STATE

#: An event is free where it is not leased, or its lease has ended, be it that the process that has it is gone.
FREE_AT = "(leased_until IS NULL OR leased_until <= ? OR leased_by IN (SELECT value FROM json_each(?)))"
_FREE = "(leased_until IS NULL OR leased_until <= :now OR leased_by IN (SELECT value FROM json_each(:gone)))"
#: Who has leased an event, and until when.
TAKEN = f"SELECT leased_by, leased_until FROM {{p}}{EVENTS} WHERE event_id = ? AND leased_by IS NOT NULL"
#: Under a key of tables.LEASE_KEY the state says of each who has leased events until when the last lease lasts.
OWNERS = f"SELECT config_key FROM {{p}}{STATE} WHERE config_key > 'lease.' AND config_key < 'lease/'"

#: How many events there are of each type in each state, and how many are in these two.
BY_STATE = f"SELECT event_type, status, events FROM {{p}}{COUNTS} WHERE events > 0"
COUNT_IN = f"SELECT COALESCE(SUM(events), 0) FROM {{p}}{COUNTS} WHERE status IN (?, ?)"
#: By their own time: SQLite would go through all rows, as they are in the order that is wanted.
BY_TIME = f"INDEXED BY {{p}}{EVENTS}_occurred"

# The events that are due, in the order they became so, and of those the ones that no earlier undelivered event of
# their user precedes, unless it is claimed along. A type that may not be sent is neither claimed nor in anybody's way.
# And never two of a user at a time: one that is under way may be a later one, where the earlier one turned up late.
# The index is named because SQLite would take the one that has all events of a user, the delivered ones too: with 20 of
# those for each user, a claim took twice as long.
CLAIM = f"""
WITH candidate AS {{once}} (
    SELECT id, user_id, occurred_at, due_at FROM {{p}}{EVENTS}
    WHERE due_at IS NOT NULL AND {{due}} AND {_FREE}
      AND event_type IN (SELECT value FROM json_each(:chosen))
    ORDER BY due_at, id LIMIT :limit
)
SELECT json_group_array(id) FROM (
SELECT c.id FROM candidate AS c
WHERE NOT EXISTS (
    SELECT 1 FROM {{p}}{EVENTS} AS other INDEXED BY {{p}}{EVENTS}_queue
    WHERE other.user_id = c.user_id AND other.due_at IS NOT NULL AND (
        other.leased_until > :now AND other.leased_by NOT IN (SELECT value FROM json_each(:gone))
        OR (other.occurred_at, other.id) < (c.occurred_at, c.id)
        AND other.event_type IN (SELECT value FROM json_each(:types)) {{claimed_along}}
    )
)
ORDER BY {{order}} LIMIT :take)
"""

# A claim that found none asks whether more events are due than it has looked at.
MORE_DUE = f"""
SELECT 1 FROM {{p}}{EVENTS} WHERE due_at IS NOT NULL AND {{due}} ORDER BY due_at, id LIMIT 1 OFFSET :looked_at
"""

#: Of these rows, those of the types that may be sent, and that nobody has leased; they may be held by now.
FREE = f"""
SELECT json_group_array(id) FROM {{p}}{EVENTS}
WHERE id IN (SELECT value FROM json_each(:ids)) AND {_FREE} AND status <> 'held'
  AND event_type IN (SELECT value FROM json_each(:types))
"""

#: How many bytes the data of these rows has, together, ...
SIZE = f"""
SELECT COALESCE(SUM(length(CAST(event_data AS BLOB))), 0) FROM {{p}}{EVENTS}
WHERE id IN (SELECT value FROM json_each(:ids))
"""

#: ... and that of each.
SIZES = f"""
SELECT id, COALESCE(length(CAST(event_data AS BLOB)), 0) FROM {{p}}{EVENTS}
WHERE id IN (SELECT value FROM json_each(:ids))
"""

LEASE = f"""
UPDATE {{p}}{EVENTS} SET attempts = attempts + 1, leased_by = :owner, leased_until = :until
WHERE id IN (SELECT value FROM json_each(:ids))
"""

ATTEMPT_ROWS = f"""
INSERT INTO {{p}}{ATTEMPTS} (event_id, event_row, attempt, started_at)
SELECT event_id, id, attempts, :now FROM {{p}}{EVENTS} WHERE id IN (SELECT value FROM json_each(:ids))
"""

# The bodies come as plain text, with a separator (0x1e) between them that JSON always escapes. As JSON strings they
# would be quoted here and parsed again in Python, which costs more than all the rest.
LEASED = f"""
SELECT json_group_array(json_array({CLAIMED}, attempt_id)),
       group_concat(envelope || event_data || '}}', char(30))
FROM (
    SELECT e.*, a.id AS attempt_id FROM {{p}}{EVENTS} AS e
    JOIN {{p}}{ATTEMPTS} AS a ON a.event_row = e.id AND a.attempt = e.attempts
    WHERE e.id IN (SELECT value FROM json_each(:ids))
)
"""

#: Takes rows of `rows.attempt_row`.
SETTLE_ATTEMPTS = f"""
UPDATE {{p}}{ATTEMPTS} SET started_at = one.started_at, duration_ms = one.duration_ms, http_code = one.http_code,
       outcome = one.outcome, error = one.error
FROM (
    SELECT json_extract(value, '$[0]') AS attempt_id, json_extract(value, '$[1]') AS started_at,
           json_extract(value, '$[2]') AS duration_ms, json_extract(value, '$[3]') AS http_code,
           json_extract(value, '$[4]') AS outcome, json_extract(value, '$[5]') AS error
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
    SELECT json_extract(value, '$[0]') AS row_id, json_extract(value, '$[1]') AS status,
           json_extract(value, '$[2]') AS failures, json_extract(value, '$[3]') AS last_error,
           json_extract(value, '$[4]') AS due_at, json_extract(value, '$[5]') AS not_before
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

# Of relays before this one, which held the outbox. Only what waits is looked at, and not a million delivered events.
FREE_RUNS = f"""
UPDATE {{p}}{EVENTS} SET leased_by = NULL, leased_until = NULL
WHERE due_at IS NOT NULL AND leased_by IS NOT NULL AND (leased_by = 'run' OR leased_by LIKE 'run-%')
"""
FREE_OWN = f"""
UPDATE {{p}}{EVENTS} SET leased_by = NULL, leased_until = NULL
WHERE id IN (SELECT value FROM json_each(:ids)) AND leased_by LIKE :owner
"""
FORGET_OWNER = f"DELETE FROM {{p}}{STATE} WHERE config_key LIKE :owner"
# Until then it must be known that who has them is gone.
FORGET_OWNERS = f"""
DELETE FROM {{p}}{STATE}
WHERE config_key > 'lease.' AND config_key < 'lease/' AND CAST(config_value AS REAL) <= :now
"""

# What is under way has a lease by the clock, too.
SET_BACK_LEASES = f"""
UPDATE {{p}}{EVENTS} SET leased_until = leased_until - :by WHERE due_at IS NOT NULL AND leased_until IS NOT NULL
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

REMEMBER = """ON CONFLICT (row_table, row_id) DO UPDATE
SET digest = excluded.digest, event_id = excluded.event_id, log_id = excluded.log_id"""
SET_CHUNK = "ON CONFLICT (row_table, low_id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in MOVED[CHUNKS][2:]
)
KEEP = "ON CONFLICT DO NOTHING"
