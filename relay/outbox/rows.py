"""Events, attempts and gaps as rows of the outbox's tables, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from relay.model import Delivery, Gap, Status
from relay.outbox import contract
from relay.outbox.contract import ATTEMPTS, EVENTS, HISTORY, STATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from relay.outbox.contract import Batch, Settled

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
    STATE: ("id", "config_key", "config_value", "is_encrypted", "updated_at"),
}
#: What the state says of an outbox itself, and is not moved: its version, and where it was moved or is being moved to.
VERSION, MOVED_TO, MOVING = "schema_version", "moved_to", "moving"


def dumped(row: dict[str, Any]) -> Mapping[str, Any]:
    """Return a row as it was read, with the event's bytes as bytes."""
    body = row.get("body")
    return {**row, "body": body.encode()} if isinstance(body, str) else row


def encode_gap(gap: Gap) -> str:
    """Return a gap as the value of a state."""
    return json.dumps({"high": gap.high, "opened_at": gap.opened_at, "seen": f"{gap.seen:x}"})


def decode_gap(key: str, value: str) -> Gap:
    """Return the gap of a state."""
    saved = json.loads(value)
    low = int(key.removeprefix("gap."))
    return Gap(low=low, high=saved["high"], opened_at=saved["opened_at"], seen=int(saved["seen"], 16))


def event_rows(batch: Batch, now: float) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch's events."""
    for event in batch.events:
        yield {
            "event_id": event.event_id,
            "event_type": event.event_type,
            "event_data": event.data,
            "status": Status.PENDING,
            "last_error": None,
            "created_at": int(now),
            "updated_at": int(now),
            "processed_at": None,
            "log_id": event.log_id,
            "user_id": event.user_id,
            "occurred_at": event.occurred_at,
            "body": event.body,
            "due_at": now,
        }


def skip_rows(batch: Batch, now: float) -> Iterator[dict[str, Any]]:
    """Yield the rows of what no event could be made of."""
    for skip in batch.skips:
        yield {
            "event_id": skip.event_id,
            "event_type": skip.event_type,
            "event_data": None,
            "status": Status.SKIPPED,
            "last_error": json.dumps({"reason": skip.reason}),
            "created_at": int(now),
            "updated_at": int(now),
            "processed_at": int(now),
            "log_id": skip.log_id,
            "user_id": skip.user_id,
            "occurred_at": skip.occurred_at,
            "body": None,
            "due_at": None,
        }


#: Enums by their values: to look one up here costs a fifth of a call.
STATES = {str(one): one for one in Status}


def deliveries(claimed: str, bodies: str) -> list[Delivery]:
    """Return the row of LEASED as deliveries."""
    rows = zip(json.loads(claimed), bodies.encode().split(b"\x1e"), strict=True)
    return [
        Delivery(
            id=row_id,
            event_id=event_id,
            event_type=event_type,
            log_id=log_id,
            user_id=user_id,
            occurred_at=occurred_at,
            body=body,
            attempt=attempts,
            attempt_id=attempt_id,
            failures=failures,
            status=STATES[status],
        )
        for (
            row_id,
            event_id,
            event_type,
            log_id,
            user_id,
            occurred_at,
            attempts,
            attempt_id,
            failures,
            status,
        ), body in rows
    ]


def attempt_row(one: Settled) -> tuple[Any, ...]:
    """Return what SETTLE_ATTEMPTS takes of a delivery."""
    outcome = one.outcome
    return (
        one.delivery.attempt_id,
        int(one.started_at),
        outcome.duration_ms,
        outcome.http_code,
        contract.outcome_name(one),
        contract.error_text(outcome),
    )


def undelivered_row(one: Settled) -> tuple[Any, ...]:
    """Return what SETTLE_UNDELIVERED takes of a delivery."""
    decision = one.decision
    return (
        one.delivery.id,
        decision.status,
        decision.failures,
        contract.error_json(one.outcome),
        decision.due_at,
        decision.not_before,
    )
