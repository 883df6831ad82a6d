"""Triggers -> events: log rows of other events, after which a row says something else than what was sent of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.events import envelope
from relay.outbox.values import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from relay.events.kind import EventKind, Facts, Options
    from relay.model import Event, LogRow
    from relay.moodle.contract import TableReads
    from relay.outbox.contract import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What was made of triggers."""

    events: list[Event] = field(default_factory=list)
    #: The log ids of triggers that are read again later: of what they changed, nothing was sent yet.
    deferred: set[int] = field(default_factory=set)


def changed(
    rows: Sequence[LogRow],
    made: Iterable[Event],
    *,
    tables: TableReads,
    ledger: Ledger,
    kinds: Mapping[str, EventKind],
    options: Options,
    may_wait: Callable[[LogRow], bool],
) -> Changed:
    """Return the events of rows that these triggers have changed, given the events `made` in the same pass.

    A row of which nothing was ever sent is waited for, as its own event may be on its way, and sent in the end. Raises
    MoodleError and OutboxError.
    """
    found = Changed()
    #: What was sent of each row, as far as it is known.
    sent = {(event.row_table, event.row_id): digest(event.state) for event in made}
    for name in dict.fromkeys(row.event_type for row in rows):
        kind, mine = kinds[name], [row for row in rows if row.event_type == name]
        touched = tables.touched(kind, mine)
        ids = sorted({one for some in touched.values() for one in some})
        if not ids:
            continue
        table = kind.row_table
        known = {(table, row_id): one.digest for row_id, one in ledger.remembered(table, ids).items()}
        facts = tables.current(kind, ids, options)
        for row in mine:
            for event in _events(kind, row, touched.get(row.id, ()), facts, options):
                key = (event.row_table, event.row_id)
                before = sent.get(key, known.get(key))
                if before is None and may_wait(row):
                    found.deferred.add(row.id)
                elif before != digest(event.state):
                    found.events.append(event)
                    sent[key] = digest(event.state)
    return found


def _events(kind: EventKind, row: LogRow, ids: Sequence[int], facts: Facts, options: Options) -> Iterable[Event]:
    """Yield what the kind says of the rows that a trigger names; of those that are there and whole."""
    rows = facts.of(kind.facts) if kind.facts else {}
    for row_id in ids:
        fact = rows.get(row_id)
        if fact is not None and kind.trigger is not None and kind.trigger.is_whole(fact, facts):
            event = envelope.build_changed(kind, row, fact, facts, options)
            if event is not None:
                yield event
