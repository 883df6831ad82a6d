"""Made-up events, for those who try a receiver: whole, and of nobody. Made from the kinds of event."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from relay.errors import UsageError
from relay.events.envelope import make_event
from relay.events.kind import Options

if TYPE_CHECKING:
    from relay.events.kind import EventKind, Field

#: The ids of made-up rows: no Moodle has come so far.
MADE_UP_ID = 2_000_000_001
#: What some fields hold, by their names; the others by their type, ids and times among them by their names.
EXAMPLES: dict[str, Any] = {
    "username": "made.up",
    "firstname": "Made",
    "lastname": "Up",
    "email": "made.up@student.invalid",
    "idnumber": "M-0001",
    "phone1": "+44 20 7946 0000",
    "city": "Anytown",
    "country": "GB",
    "coursename": "Made-up Computing, level 3",
    "courseshortname": "MADEUP-3",
    "roleid": 5,
    "assignmentname": "Made-up essay",
    "score": 72.5,
    "btec_grade": "Distinction",
    "feedback": "Well argued &amp; clear.",
}
VALUES: dict[str, Any] = {"str": "made up", "bool": False, "float": 50.0, "int": 0, "any": "made up"}


def data(kind: EventKind, at: int) -> dict[str, Any]:
    """Return the data of a made-up event that happened at a time, in unix seconds."""
    return {field.name: _value(field, at) for field in kind.fields if not field.only_with}


def _value(field: Field, at: int) -> Any:
    kind = field.type.split(" ", maxsplit=1)[0]
    if field.name in EXAMPLES:
        return EXAMPLES[field.name]
    if kind == "int" and field.name.startswith("time"):
        return at
    if kind == "int" and field.name.endswith("id"):
        return MADE_UP_ID
    return VALUES[kind]


def document(kind: EventKind, event_id: str, at: int, *, moodle_url: str, tenant_id: str) -> dict[str, Any]:
    """Return the envelope of a made-up event that happened at a time, in unix seconds."""
    options = Options(site="", moodle_url=moodle_url, tenant_id=tenant_id)
    event = make_event(event_id, kind.name, None, MADE_UP_ID, at, data(kind, at), options)
    found: dict[str, Any] = json.loads(event.body)
    return found


def encode(envelope: Any) -> bytes:
    """Return the bytes of an envelope, written as relay writes them."""
    return json.dumps(envelope, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")


def change(envelope: dict[str, Any], assignment: str) -> None:
    """Set a value of an envelope, as in `data.score=61`: JSON, else text.

    Raises UsageError, with the nearest name, for a path that the envelope does not have.
    """
    path, equals, text = assignment.partition("=")
    known = [*(name for name in envelope if name != "data"), *(f"data.{name}" for name in envelope["data"])]
    if not equals:
        raise UsageError(f"--set {assignment}: there is no value.", hint="Write PATH=VALUE, such as tenant_id=default.")
    if path not in known:
        near = difflib.get_close_matches(path, known, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]}?" if near else f"One of {', '.join(known)}."
        raise UsageError(f"--set {path}: this event has no such field.", hint=hint)
    place, name = (envelope["data"], path.removeprefix("data.")) if path.startswith("data.") else (envelope, path)
    place[name] = _parsed(text)


def _parsed(text: str) -> Any:
    def refuse(_constant: str) -> None:
        raise ValueError("NaN and Infinity are no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text
