"""One OpenAPI 3.1 document of what a backend offers to relay: every path, each answer's meaning, the headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay import __version__
from relay.events.catalogue import KINDS
from relay.receivers import schema
from relay.rules import request
from relay.rules.retry import MEANINGS, VERDICTS, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.events.kind import EventKind

Document = dict[str, Any]

#: What stands in front of the paths.
ABOUT = """\
What a backend offers to moodle-relay. Verify webhook-signature over the bytes of the body as they came, refuse a
webhook-timestamp that is more than 5 minutes off, drop what you have by event_id, and answer 2xx once it is stored.
"""
SIGNATURE = (
    "Signatures of `webhook-id.webhook-timestamp.body`, separated by spaces; one that fits is enough: `v1,` and "
    "HMAC-SHA256, `v1a,` and Ed25519, both in base64. Absent where relay has no signing key."
)
#: The headers of a delivery besides the token: name, meaning, and an example.
HEADERS = (
    ("X-Tenant-ID", "The event's tenant_id. It is not signed: go by the body's.", "default"),
    ("X-Event-ID", "The event's event_id. It is not signed: go by the body's.", "0b9e2d5c-6f0c-4a55-9d0e-6a7b1c2d3e4f"),
    ("webhook-id", "The event's event_id; signed.", "0b9e2d5c-6f0c-4a55-9d0e-6a7b1c2d3e4f"),
    ("webhook-timestamp", "When this attempt began, in unix seconds; signed.", "1770000000"),
    (
        "webhook-signature",
        SIGNATURE,
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ),
    ("X-Relay-Test", "`1` for a made-up event of `relay send-test` and `relay test-backend`; else absent.", "1"),
)
#: Those of HEADERS that are not in every delivery.
SOMETIMES = ("webhook-signature", "X-Relay-Test")


def document(kinds: Mapping[str, EventKind] = KINDS) -> Document:
    """Return the document, with the schemas of the kinds by name."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Backend of moodle-relay", "version": __version__, "description": ABOUT},
        "servers": [{"url": "https://backend.example.edu", "description": "backend.url of relay's config"}],
        "security": [{"token": []}],
        "paths": {
            **{f"{request.EVENTS}{kind.name}": {"post": _delivery(kind)} for kind in kinds.values()},
            request.HEALTH: {"get": _health("get"), "head": _health("head")},
            request.PROFILE: {"get": _profile()},
        },
        "components": {
            "schemas": {kind.name: schema.envelope(kind) for kind in kinds.values()},
            "parameters": {name: _header(name, *rest) for name, *rest in HEADERS},
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Moodle-Token", "description": "backend.token"}
            },
        },
    }


def _header(name: str, description: str, example: str) -> Document:
    return {
        "name": name,
        "in": "header",
        "required": name not in SOMETIMES,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


def _delivery(kind: EventKind) -> Document:
    return {
        "operationId": kind.name,
        "summary": f"Take a {kind.name}: {kind.meaning}",
        "description": f"{_when(kind)}; a backend without this path answers 404, which holds back this type alone.",
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name, *_ in HEADERS],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.name}"}}},
        },
        "responses": _answers(),
    }


def _when(kind: EventKind) -> str:
    """Return where the events of a kind are sent."""
    if kind.name not in KINDS:
        return "Sent as events.custom of relay's config names it"
    when = "unless {} is false" if kind.is_default else "where {} is true"
    return f"Sent {when.format(f'events.{kind.name}.enabled')}"


def _answers() -> Document:
    """Return what each answer to an event means, from the table that relay itself goes by."""
    taken = {
        "type": "object",
        "description": "Any JSON, or none; `status` is looked at.",
        "properties": {"status": {"type": "string", "description": "`duplicate` where the event was there already."}},
        "example": {"status": "duplicate"},
    }
    return {
        "2XX": {"description": MEANINGS[Verdict.TAKEN], "content": {"application/json": {"schema": taken}}},
        **{str(code): {"description": MEANINGS[verdict]} for code, verdict in sorted(VERDICTS.items())},
        "default": {
            "description": f"{MEANINGS[Verdict.NOT_NOW]}: 408, 425, 429, 5xx and all others.",
            "headers": {
                "Retry-After": {
                    "description": "The earliest time, in seconds or as a date; a day at most.",
                    "schema": {"type": "string"},
                }
            },
        },
    }


def _health(method: str) -> Document:
    return {
        "operationId": f"{method}_health",
        "summary": "Say that you are well, and whether the token is right",
        "description": "`relay check` asks. Answer 401 to a wrong token, or nobody learns of one before events flow.",
        "responses": {
            "200": {"description": "The backend is well, and the token is right."},
            "401": {"description": "The token is wrong."},
        },
    }


def _profile() -> Document:
    user = {
        "name": "moodle_user_id",
        "in": "query",
        "required": True,
        "description": "Moodle's user.id",
        "schema": {"type": "integer"},
    }
    return {
        "operationId": "profile",
        "summary": "Say what is known of a student (`relay profile`)",
        "description": "Asked by a person, never by itself. It is personal data: answer 401 to a wrong token.",
        "parameters": [user],
        "responses": {
            "200": {
                "description": "What is known; any JSON.",
                "content": {"application/json": {"schema": {}}},
            },
            "401": {"description": "The token is wrong."},
            "404": {"description": "Nobody is known by this id."},
        },
    }
