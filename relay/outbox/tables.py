"""The outbox's tables: their names, for both kinds of database, and what a move takes along of each."""

from __future__ import annotations

#: The tables of the contract (section 4); the prefix comes before each.
EVENTS, ATTEMPTS, HISTORY, STATE = (
    "mb_zoho_event_log",
    "mb_zoho_event_attempt",
    "mb_zoho_sync_history",
    "mb_zoho_config",
)
#: The newest event of each of Moodle's rows, and a digest of what it said; a purge leaves it as it is.
MEMORY = "mb_zoho_row"
#: The ids of events that were purged, by their log row: the log may be read again, and they are not new then.
PURGED = "mb_zoho_purged"
#: How far below the position purged events are remembered, in ids of the log. Capture reads the newest thousand at each
#: new connection, and from further below where the log was restored from a backup.
PURGED_IDS = 1_000_000
#: What is held, by the event's row: which row of Moodle decides, and since when its student is in the course no more.
HELD = "mb_zoho_held"
#: The given-up events that a person has dealt with, each with the reason that was given.
ACKNOWLEDGED = "mb_zoho_acknowledged"
#: What reconcile has seen of Moodle's tables, by chunks of rows; and which events it has made, and when.
CHUNKS = "mb_zoho_chunk"
FOUND = "mb_zoho_found"
#: In a file only: how many events of each type there are in each state. Triggers keep it, whoever changes the events.
COUNTS = "mb_zoho_event_count"
#: In a schema only: who takes part, until when, and who reads the log. A row for each relay, and one named `capture`.
LEASES = "mb_zoho_lease"
#: In a schema only: a row for each user. A claim of a user's events locks the row and changes its column `turn`, so two
#: relays never claim events of one user at once: on one server the lock prevents it; on two nodes of a cluster only one
#: of the two transactions is certified. Table and column keep the names that version 1 gave them.
USERS = "mb_zoho_lane"

#: What `relay move-outbox` takes along of each table. `body` stands for how a dialect keeps the bytes that are sent.
MOVED: dict[str, tuple[str, ...]] = {
    EVENTS: (
        *("id", "event_id", "event_type", "event_data", "status", "retry_count", "last_error", "created_at"),
        *("updated_at", "processed_at", "log_id", "user_id", "occurred_at", "body", "attempts", "due_at", "not_before"),
    ),
    ATTEMPTS: ("id", "event_id", "attempt", "started_at", "duration_ms", "http_code", "outcome", "error"),
    HISTORY: (
        *("id", "sync_type", "sync_action", "status", "records_processed", "records_failed", "started_at"),
        *("completed_at", "error_message", "triggered_by"),
    ),
    MEMORY: ("row_table", "row_id", "digest", "event_id", "log_id"),
    PURGED: ("log_id", "event_id"),
    HELD: ("id", "row_table", "row_id", "absent_since"),
    ACKNOWLEDGED: ("id", "event_id", "acknowledged_at", "reason"),
    CHUNKS: (
        *("row_table", "low_id", "high_id", "recipe", "digest", "prints", "seen_at"),
        *("suspects", "look_at", "log_end"),
    ),
    FOUND: ("id", "event_id", "difference", "found_at"),
    STATE: ("id", "config_key", "config_value", "is_encrypted", "updated_at"),
}
#: What the state says of an outbox itself, and is not moved: its version, and where it was moved or is being moved to.
VERSION, MOVED_TO, MOVING = OWN_STATE = "schema_version", "moved_to", "moving"
#: What its key begins with where it says who has leased events of an outbox in a file.
LEASE_KEY = "lease."


def is_own_state(key: str) -> bool:
    """Say whether a state is the outbox's own, and not moved."""
    return key in OWN_STATE or key.startswith(LEASE_KEY)
