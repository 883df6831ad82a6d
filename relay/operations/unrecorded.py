"""Why a log row has no event in the outbox, and the command that sends what it is about now."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay import times
from relay.events import catalogue
from relay.moodle.contract import Filters
from relay.operations.story import START
from relay.rules import cursor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.events.kind import EventKind
    from relay.model import LogRow, Position
    from relay.moodle.contract import TableReads
    from relay.outbox.contract import Reports


#: Why the config leaves rows out, as the outbox counts them.
LEFT_OUT = {"disabled": "whose type was switched off", "actor": "by events.ignore_actors"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the config says that decides about an event."""

    is_paused: bool
    #: Somebody has asked for a pause (`relay web pause`).
    is_told_to_pause: bool = False
    #: All kinds by name, the config's own among them.
    kinds: Mapping[str, EventKind]
    disabled: frozenset[str]
    ignore_actors: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a log row has no event in the outbox."""

    sentence: str
    #: Relay is to read it yet.
    waits: bool = False
    #: Relay does not read it again: `relay sync` sends what it is about, if that is there.
    is_left_out: bool = False


def why(row: LogRow, outbox: Reports, rules: Rules) -> Why:
    """Say why a log row that is there has no event. Raises OutboxError."""
    position = outbox.position()
    if position is None:
        return Why(sentence=f"Relay has never run on this outbox, so log row {row.id} was not read.", waits=True)
    if row.origin is None:
        return Why(
            sentence=f"Log row {row.id} was ignored: it is history that a course restore copied in (its origin is "
            "NULL), and Moodle fired no event for it."
        )
    return _unread(row, position, outbox) or _ignored(row, rules) or _passed_over(row, outbox)


def _unread(row: LogRow, position: Position, outbox: Reports) -> Why | None:
    """Say that relay is to read it yet, if so."""
    if row.id > position.high:
        said = f"Log row {row.id} has not been seen yet: relay has read up to {position.high}."
        return Why(sentence=said, waits=True)
    waits_since = json.loads(outbox.state("deferred") or "{}").get(str(row.id))
    if waits_since is not None:
        return Why(
            sentence=f"Log row {row.id} was read at {times.show(waits_since)}, and what it points to was not there "
            "yet: relay, while it runs, looks at it again until it is a minute old.",
            waits=True,
        )
    # Before the start: a first start waits for those rows below it that were not there yet.
    if cursor.is_open(position, row.id):
        return Why(sentence=f"Log row {row.id} appeared late, and relay is to read it yet.", waits=True)
    return None


def _ignored(row: LogRow, rules: Rules) -> Why | None:
    """Say that today's config leaves it out, if so."""
    if row.is_trigger:
        return Why(sentence=f"Log row {row.id} was read: what was sent did not change by it.")
    if row.event_type in rules.disabled:
        return Why(
            sentence=f"Log row {row.id} was ignored: events.{row.event_type}.enabled is false in the config. Once that "
            "is true, relay sync sends what is there.",
            is_left_out=True,
        )
    if row.actor_id in rules.ignore_actors:
        return Why(
            sentence=f"Log row {row.id} was ignored: user {row.actor_id} did it, who is one of events.ignore_actors.",
            is_left_out=True,
        )
    return None


def _passed_over(row: LogRow, outbox: Reports) -> Why:
    """Say why a row that was seen, and that today's config does not leave out, has no event."""
    start_id = int(outbox.state("start_id") or 0)
    last_id, before = json.loads(outbox.state("history") or "[0, 0]")
    if row.id <= start_id:
        said = f"was there before relay's first start: relay began behind log row {start_id}."
    elif row.id <= last_id and row.created_at < before:
        said = f"is older than what relay was to send: it began with {times.show(before)}."
    else:
        return _without_event(row, outbox)
    return Why(sentence=f"Log row {row.id} {said}", is_left_out=True)


def _without_event(row: LogRow, outbox: Reports) -> Why:
    """Say what the outbox remembers of a row that was read and has no event now."""
    was_purged = outbox.was_purged(row.id)
    if was_purged:
        return Why(
            sentence=f"Log row {row.id} was read, and its event was delivered; it was purged since (outbox.retention)."
        )
    kept = "it is too old for the outbox to remember whether one was purged"
    if was_purged is False:
        kept = "none is among those that it remembers as delivered and purged"
    ignored = outbox.numbers("count.ignored")
    counted = [f"{ignored[name]} {why}" for name, why in LEFT_OUT.items() if ignored.get(name)]
    left_out = f"so far, the config has left out {' and '.join(counted)}" if counted else "the config has left none out"
    said = f"was read, and the outbox has no event of it: {kept}, and {left_out}."
    return Why(sentence=f"Log row {row.id} {said}", is_left_out=True)


def command(row: LogRow, reason: Why, moodle: TableReads) -> str:
    """Return the command that moves a log row on; '' where none does. Raises MoodleError."""
    if reason.waits:
        return START
    if not reason.is_left_out:
        return ""
    return sync_command(row.event_type, row.object_id or 0, moodle)


def sync_command(event_type: str, row_id: int, moodle: TableReads) -> str:
    """Return the `relay sync` that finds the row an event is about; '' where none does. Raises MoodleError."""
    name = catalogue.sync_name(event_type)
    kind = catalogue.SYNCED.get(name)
    if kind is None or kind.facts is None:
        return ""
    row = moodle.current(kind, [row_id]).of(kind.facts).get(row_id)
    if row is None:
        return ""
    user = row_id if kind.id_field == "userid" else int(row["userid"])
    is_found = moodle.current_ids(kind, row_id - 1, 1, Filters(user=user)) == [row_id]
    return f"relay sync {name} --user {user}" if is_found else ""
