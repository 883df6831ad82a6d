"""Events of the config's own: `events.custom`, a list of sections, each with its mistakes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from relay.config.keys import Group, Key
from relay.config.values import ValueType, text, texts
from relay.events.catalogue import KINDS
from relay.events.custom import FIELDS, custom_kind

if TYPE_CHECKING:
    from relay.config.reader import Section
    from relay.events.kind import EventKind

#: As long as the outbox's column.
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_EVENTNAME = re.compile(r"(?:\\[A-Za-z0-9_]+)+", re.ASCII)
LONGEST_EVENTNAME = 255


def _type(value: str) -> str:
    if value in KINDS:
        raise ValueError("is a type that relay has already: choose another name")
    if not _TYPE.fullmatch(value):
        raise ValueError("must be made of a to z, 0 to 9 and _, begin with a letter, and have 32 characters at most")
    return value


def _eventname(value: str) -> str:
    if not value.startswith("\\"):
        raise ValueError(r"must begin with a backslash, as in '\mod_quiz\event\attempt_submitted'")
    if not _EVENTNAME.fullmatch(value) or len(value) > LONGEST_EVENTNAME:
        raise ValueError(r"is no name of an event: one is as '\mod_quiz\event\attempt_submitted'")
    own = next((kind.name for kind in KINDS.values() if kind.moodle_event == value), None)
    if own is not None:
        raise ValueError(f"is what events.{own} is for: switch that on instead")
    return value


def _field(value: str) -> str:
    if not value or not value.isprintable() or len(value) > LONGEST_EVENTNAME:
        raise ValueError("must be the name of a fact in the column `other` of Moodle's log")
    if value in {field.name for field in FIELDS}:
        raise ValueError("is sent with each of these events, and cannot be a fact of `other` too")
    return value


def _make(_section: Section, values: dict[str, Any]) -> EventKind | None:
    # What is missing or wrong is noted already, and is None.
    if values["type"] is None or values["eventname"] is None:
        return None
    return custom_kind(values["type"], values["eventname"], values["fields"])


_ONE: Group[EventKind | None] = Group(
    keys={
        "type": Key(value=text(_type), is_required=True),
        "eventname": Key(value=text(_eventname), is_required=True),
        "fields": Key(value=texts(_field)),
    },
    make=_make,
)


def _read(section: Section, name: str, _default: str) -> tuple[EventKind, ...]:
    """Return the kinds of a list; each must have a type and an event of its own."""
    found: list[EventKind] = []
    for one in section.sections(name):
        kind = _ONE.fill(one)
        if kind is None:
            continue
        if kind.name in [other.name for other in found]:
            one.wrong("type", "is given twice in this list")
        if kind.moodle_event in [other.moodle_event for other in found]:
            one.wrong("eventname", "is given twice in this list")
        found.append(kind)
    return tuple(found)


CUSTOM = Key(
    value=ValueType(name="list of mappings with `type`, `eventname`, `fields`", read=_read),
    example=r"[{type: quiz_attempted, eventname: '\mod_quiz\event\attempt_submitted', fields: [quizid]}]",
    meaning="other events of Moodle: `type` is what they are sent as, `eventname` what Moodle's log calls them, "
    "`fields` the facts of the log's column `other` that are sent",
)
