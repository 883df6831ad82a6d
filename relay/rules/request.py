"""What relay asks of a backend: the paths, and the headers of one attempt (contract, section 3). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.rules import signing

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Events go here, each to the path of its type below it.
EVENTS = "/v1/events/moodle/"
#: Whether the backend is well, and knows the token.
HEALTH = "/v1/health"
#: What it knows of a student.
PROFILE = "/v1/students/profile"


def caller(token: str, tenant_id: str, version: str) -> dict[str, str | bytes]:
    """Return the headers that say who asks: those of every request."""
    return {
        "Accept-Encoding": "identity",
        "User-Agent": f"moodle-relay/{version}",
        "X-Moodle-Token": token.encode(),
        "X-Tenant-ID": tenant_id.encode(),
    }


def attempt(keys: Sequence[signing.Key], event_id: str, timestamp: int, body: bytes) -> dict[str, str | bytes]:
    """Return the headers of one attempt to deliver an event, signed by each key; `timestamp` is in unix seconds."""
    headers: dict[str, str | bytes] = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "X-Event-ID": event_id,
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
    }
    if keys:
        headers["webhook-signature"] = signing.signatures(keys, event_id, timestamp, body)
    return headers
