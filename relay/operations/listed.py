"""A recorded event as a line of a list: as JSON types, and what is said of its last error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay import times

if TYPE_CHECKING:
    from relay.outbox.values import Listed


def as_json(event: Listed) -> dict[str, Any]:
    """Return an event as JSON types: times in UTC, and nothing of its data but whose it is and in which course."""
    return {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "log_id": event.log_id,
        "user_id": event.user_id,
        "course_id": event.course_id,
        "timestamp": times.iso(event.occurred_at),
        "recorded": times.iso(event.created_at),
        "status": str(event.status),
        "attempts": event.attempts,
        "last_error": dict(event.last_error) or None,
    }


def error_of(event: Listed) -> str:
    """Return what its last error says, or why nothing is sent; '' where there is nothing to say."""
    return str(event.last_error.get("error") or event.last_error.get("reason") or "")
