"""JSON Schema (2020-12) of the envelopes, made from the kinds of event."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from relay.events.catalogue import KINDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from relay.events.kind import EventKind, Field

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: JSON Schema's names of the types that fields have; what nullable fields may hold besides.
TYPES = {"int": "integer", "str": "string", "bool": "boolean", "float": "number"}
#: The type of a field that may hold whatever JSON has.
ANY = "any"
OR_NULL = " or null"
#: A UUID laid out as version 4 (RFC 9562), in small letters.
EVENT_ID = "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
#: A time in UTC, to the second.
TIMESTAMP = "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"


def envelope(kind: EventKind) -> Schema:
    """Return the schema of the events of a kind: whole, and of nothing else."""
    head: Schema = {
        "event_id": _text(
            "Drop what you have by it. Laid out as a UUID version 4, derived from the site and the log row.",
            # The lengths, as `$` lets a line end behind it in some dialects.
            {"pattern": EVENT_ID, "minLength": 36, "maxLength": 36},
        ),
        "event_type": {"const": kind.name, "description": "What happened; the path ends with it."},
        "timestamp": _text(
            "When it happened, UTC.", {"format": "date-time", "pattern": TIMESTAMP, "minLength": 20, "maxLength": 20}
        ),
        "source": {"const": "moodle", "description": "Where it happened."},
        "moodle_url": _text("The site's own address ($CFG->wwwroot).", {"format": "uri", "pattern": "^https?://."}),
        "tenant_id": _text("Whose event it is: that of X-Tenant-ID.", {"minLength": 1}),
        "data": {
            "description": "What it is about.",
            **_closed(
                {field.name: _field(field) for field in kind.fields},
                optional=[field.name for field in kind.fields if field.only_with],
            ),
        },
    }
    return {
        "$schema": DIALECT,
        "$id": f"urn:moodle-relay:{kind.name}:{kind.version}",
        "title": kind.name,
        "description": f"Sent when {kind.meaning}.",
        **_closed(head),
    }


def any_envelope(kinds: Iterable[EventKind] = KINDS.values()) -> Schema:
    """Return the schema of the events of any of the kinds."""
    return {
        "$schema": DIALECT,
        "$id": "urn:moodle-relay:event",
        "title": "event",
        "description": "What relay sends: an event of one of these types.",
        "oneOf": [envelope(kind) for kind in kinds],
    }


def fingerprint(kind: EventKind) -> str:
    """Return what changes with the schema of a kind, descriptions aside."""
    plain = json.dumps(_undescribed(envelope(kind)), sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def _closed(properties: Schema, optional: Collection[str] = ()) -> Schema:
    """Return the schema of an object that has these properties and no other: all of them but the optional ones."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _text(description: str, more: Schema) -> Schema:
    return {"type": "string", "description": description, **more}


def _field(field: Field) -> Schema:
    option = f"; only with `{': '.join(field.only_with)}`" if field.only_with else ""
    said = {"description": f"{field.meaning}{option}"}
    if field.type == ANY:
        return said
    name = TYPES[field.type.removesuffix(OR_NULL)]
    return {"type": [name, "null"] if field.type.endswith(OR_NULL) else name, **said}


def _undescribed(value: Any) -> Any:
    if isinstance(value, dict):
        # A property of that name is a mapping, a description a text.
        return {
            name: _undescribed(one) for name, one in value.items() if name != "description" or isinstance(one, dict)
        }
    return [_undescribed(one) for one in value] if isinstance(value, list) else value
