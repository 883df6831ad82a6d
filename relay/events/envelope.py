"""Log row or current row + facts -> Event, or the reason why there is none (contract, section 2)."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from relay.events.held import Held
from relay.events.rows import NoEvent, NotThere, integer
from relay.model import Event, Hold, LogRow, Skip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.events.kind import EventKind, Facts, Options
    from relay.events.rows import Row
    from relay.model import Told

#: Made once: json.dumps makes an encoder at each call.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
#: What a builder raises where nothing can be made of what a table holds.
UNUSABLE = (ValueError, TypeError, ArithmeticError, KeyError, AttributeError)


def build(kind: EventKind, row: LogRow, facts: Facts, options: Options, *, event_id: str = "") -> Event | Hold | Skip:
    """Return the event of a log row, or a Hold or Skip with the reason; never raises on what a table may hold.

    `event_id`: the id that it had when it was held; else it is derived from the log row.
    """
    event_id = event_id or derive_id(options.site, "log", row.id, kind.moodle_event, row.object_id, row.created_at)
    about: dict[str, Any] = {
        "event_type": kind.name,
        "log_id": row.id,
        "user_id": kind.subject(row),
        "occurred_at": row.created_at,
    }
    row_of = (kind.row_table, row.object_id)
    try:
        data = kind.build(row, facts, options)
        return make_event(event_id, data=data, options=options, row_of=row_of, compared=kind.compared, **about)
    except Held as held:
        kept: dict[str, Any] = {
            "reason": held.reason,
            "until": held.until,
            "row_table": row_of[0],
            "row_id": row.object_id or 0,
        }
        return Hold(event_id=event_id, **about, **kept)
    except NoEvent as reason:
        return Skip(event_id=event_id, reason=str(reason), may_come=isinstance(reason, NotThere), **about)
    except UNUSABLE as error:
        # Only the error's kind: its text could hold what stands in the row.
        why = f"the row cannot be turned into a payload ({type(error).__name__})"
        return Skip(event_id=event_id, reason=why, **about)


def build_current(kind: EventKind, row: Row, facts: Facts, options: Options) -> Event | None:
    """Return the event of a current row, or None where none can be made of it.

    The id is derived from the data: as long as the row is unchanged, it is the same. Raises Held, and LookupError for a
    kind whose rows are not sent without a log row.
    """
    return _of_row(kind, row, facts, options, None)


def current_data(kind: EventKind, row: Row, facts: Facts, options: Options) -> str | None:
    """Return the `data` of the event of a current row, as `build_current` makes it, or None where none can be made.

    Raises Held.
    """
    try:
        return _encode(kind.current_rows.build(row, facts, options))
    except (NoEvent, *UNUSABLE):
        return None


def hold_current(kind: EventKind, row: Row, held: Held, after: str, options: Options) -> Hold:
    """Return the Hold of a current row that no log row tells of; `after`: the id of the row's newest event, or ''.

    The id is derived from the row, and nothing of what is held.
    """
    current, row_id = kind.current_rows, integer(row["id"])
    return Hold(
        event_id=derive_id(options.site, "held", kind.name, row_id, integer(row[current.time]), after),
        event_type=kind.name,
        log_id=None,
        user_id=integer(row[current.user]),
        occurred_at=integer(row[current.time]),
        reason=held.reason,
        until=held.until,
        row_table=kind.row_table,
        row_id=row_id,
    )


def build_gone(
    kind: EventKind, row_id: int, row: Row | None, last: Told | None, after: str, at: int, options: Options
) -> Event | None:
    """Return the event that a row is gone, or None where none can be made.

    `row`: it is still there, and marked as deleted. `last`: what was last sent of it, in the event `after`. `at`: when
    that was found, in unix seconds. Raises LookupError for a kind that does not say so.
    """
    if kind.gone is None:
        raise LookupError(f"{kind.name} does not tell that a row is gone")
    try:
        data = kind.gone(row_id, row, {} if last is None else json.loads(last.data or "{}"), at)
        event_id = derive_id(options.site, "gone", kind.name, row_id, after)
        row_of = (kind.row_table, row_id)
        return make_event(event_id, kind.name, None, data["userid"] or 0, at, data, options, row_of=row_of)
    except (NoEvent, *UNUSABLE):
        return None


def build_changed(kind: EventKind, trigger: LogRow, row: Row, facts: Facts, options: Options) -> Event | None:
    """Return the event of a current row that a trigger's log row has changed, or None; raises as `build_current`.

    The id is derived from the log row.
    """
    return _of_row(kind, row, facts, options, trigger)


def _of_row(kind: EventKind, row: Row, facts: Facts, options: Options, trigger: LogRow | None) -> Event | None:
    current = kind.current
    if current is None:
        raise LookupError(f"{kind.name} has no current rows")
    try:
        data = current.build(row, facts, options)
        row_id, user_id = integer(row["id"]), integer(row[current.user])
        if trigger is None:
            log_id, at = None, integer(row[current.time])
            event_id = derive_id(options.site, "sync", kind.name, row_id, json.dumps(data))
        else:
            log_id, at = trigger.id, trigger.created_at
            event_id = derive_id(options.site, "trigger", log_id, kind.name, row_id, at)
        row_of = (kind.row_table, row_id)
        return make_event(
            event_id, kind.name, log_id, user_id, at, data, options, row_of=row_of, compared=kind.compared
        )
    except (NoEvent, *UNUSABLE):
        return None


def kept_now(kind: EventKind, row_id: int, facts: Facts, options: Options, *, gone: Held | None = None) -> Held | None:
    """Return why Moodle keeps from the student what an event about a row would say; None where nothing is kept.

    `gone`: what to return where the row is not there.
    """
    row = LogRow(
        id=0,
        event_type=kind.name,
        object_id=row_id,
        actor_id=0,
        related_user_id=None,
        course_id=None,
        created_at=0,
        origin="",
    )
    try:
        kind.build(row, facts, options)
    except Held as held:
        # Without what was going on when it was raised: that would keep the rows in memory.
        return held.with_traceback(None)
    except NotThere:
        return gone
    except (NoEvent, *UNUSABLE):
        pass
    return None


def renamed(event: Event, after: str, options: Options) -> Event:
    """Return the event of a current row with an id that is derived from its data and from the event that it follows."""
    event_id = derive_id(options.site, "sync", event.event_type, event.row_id, event.data, after)
    row_of, data = (event.row_table, event.row_id), json.loads(event.data)
    made = make_event(event_id, event.event_type, None, event.user_id, event.occurred_at, data, options, row_of=row_of)
    return made._replace(compared=event.compared)


def derive_id(site: str, *parts: object) -> str:
    """Return the id of an event: derived from the site and the parts, laid out as a UUID version 4 (RFC 9562)."""
    import uuid  # noqa: PLC0415 -- a start has no event yet, and does not wait for what it brings

    digest = hashlib.sha256(json.dumps([site, *parts]).encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def make_event(
    event_id: str,
    event_type: str,
    log_id: int | None,
    user_id: int,
    occurred_at: int,
    data: Mapping[str, Any],
    options: Options,
    *,
    row_of: tuple[str, int | None] = ("", 0),
    compared: Sequence[str] = (),
) -> Event:
    """Return the event with its envelope; `data` comes last in it. `row_of`: the table and id of the row it is about.

    `compared`: the fields that say whether the row has changed, where not all do. Raises NoEvent where the
    time, in unix seconds, lies outside of the calendar.
    """
    head = {
        "event_id": event_id,
        "event_type": event_type,
        "timestamp": _timestamp(occurred_at),
        "source": "moodle",
        "moodle_url": options.moodle_url,
        "tenant_id": options.tenant_id,
    }
    text = _encode(data)
    envelope = f'{_encode(head)[:-1]}, "data": {text}}}'
    return Event(
        event_id=event_id,
        event_type=event_type,
        log_id=log_id,
        user_id=user_id,
        occurred_at=occurred_at,
        data=text,
        body=envelope.encode(),
        row_table=row_of[0],
        row_id=row_of[1] or 0,
        compared=_encode({name: data[name] for name in compared}) if compared else "",
    )


def _timestamp(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    except (OverflowError, OSError, ValueError):
        raise NoEvent("its time lies outside of the calendar") from None


#: Where a text holds the same, its quotes are escaped: so this is the key of the data.
_KEY = b'"courseid":'
_COURSE = re.compile(rb"(?:(?<=[{,])|(?<=[{,] ))" + _KEY + rb" ?(\d+)")


def course_of(body: bytes) -> int | None:
    """Return the id of the course that an envelope is about; None where it is about none."""
    # A search for bytes is faster.
    at = body.find(_KEY)
    found = _COURSE.search(body, at) if at >= 0 else None
    return int(found[1]) if found else None


def about(user_id: int, body: bytes | None) -> dict[str, int]:
    """Return whom and which course an event is about, as a log line names them: by their ids, where it is about any."""
    course = None if body is None else course_of(body)
    return {**({"user_id": user_id} if user_id else {}), **({} if course is None else {"course_id": course})}
