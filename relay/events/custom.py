"""Any other event of Moodle, as the config describes it: what stands in its log row, and listed facts of `other`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.events import other, text
from relay.events.kind import EventKind, Field

if TYPE_CHECKING:
    from relay.events.kind import Facts, Options
    from relay.model import LogRow

#: What each of them sends, before the facts that the config lists.
FIELDS = (
    Field("logid", "int", "logstore_standard_log.id"),
    Field("eventname", "str", "Moodle's name of the event"),
    Field("objecttable", "str or null", "the table that objectid is an id of"),
    Field("objectid", "int or null", "what it is about"),
    Field("userid", "int", "user.id of whom it was done to, else of who did it"),
    Field("actor", "int", "user.id of who did it; 0 or less for nobody"),
    Field("courseid", "int", "course.id; 0 outside of courses"),
    Field("timecreated", "int", "when it happened, in unix seconds"),
)


@dataclass(frozen=True, slots=True)
class _Data:
    """Makes the `data` of a log row."""

    eventname: str
    listed: tuple[str, ...]

    def __call__(self, row: LogRow, _facts: Facts, _options: Options) -> dict[str, Any]:
        said = other.parse(row.other)
        return {
            "logid": row.id,
            "eventname": self.eventname,
            "objecttable": None if row.object_table is None else text.param_text(row.object_table),
            "objectid": row.object_id,
            "userid": row.related_user_id or row.actor_id,
            "actor": row.actor_id,
            "courseid": row.course_id or 0,
            "timecreated": row.created_at,
            **{name: _cleaned(said.get(name)) for name in self.listed},
        }


def _cleaned(value: Any) -> Any:
    """Return a value of `other` with its texts cleaned; numbers that JSON does not have are null."""
    if isinstance(value, str):
        return text.param_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {text.param_text(str(name)): _cleaned(one) for name, one in value.items()}
    return [_cleaned(one) for one in value] if isinstance(value, list) else value


def _about(row: LogRow) -> int:
    """Return whom a log row is about; where that is nobody, its course keeps the order."""
    return max(0, row.related_user_id or row.actor_id) or -max(0, row.course_id or 0)


def custom_kind(name: str, eventname: str, listed: tuple[str, ...]) -> EventKind:
    """Return the kind that sends log rows of this `eventname`, with these facts of `other`."""
    return EventKind(
        name=name,
        moodle_event=eventname,
        meaning=f"Moodle logged {eventname}",
        subject=_about,
        build=_Data(eventname, listed),
        fields=(*FIELDS, *(Field(one, "any", "as Moodle's log has it") for one in listed)),
        is_default=False,
        log_columns=("objecttable", *(("other",) if listed else ())),
        id_field="logid",
        listed=listed,
    )
