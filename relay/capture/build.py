"""Turns log rows into events. Other rows are skipped, ignored, or read again later. It serves `capture.log`."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from relay.capture.changes import changed
from relay.events import envelope
from relay.model import Event, Hold, LogRow, Skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from relay.capture.rules import Rules
    from relay.capture.start import History
    from relay.events.kind import EventKind, Facts, Options
    from relay.moodle.contract import TableReads
    from relay.outbox.contract import Ledger


#: The reasons for which the config passes a row over: what it tells is known, and not wanted.
NOTED = ("actor", "disabled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was made of log rows."""

    events: list[Event] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    #: How many rows were passed over, by reason.
    ignored: Counter[str] = field(default_factory=Counter)
    #: What the config passes over, as it would have been sent: reconcile is not to find it. No event of it is recorded.
    noted: list[Event] = field(default_factory=list)
    #: The ids of rows that are read again a little later: what they point to is not there yet.
    deferred: set[int] = field(default_factory=set)


def build(
    rows: Sequence[LogRow],
    *,
    tables: TableReads,
    ledger: Ledger,
    rules: Rules,
    options: Options,
    history: History | None = None,
    may_wait: Callable[[LogRow], bool] = lambda _row: False,
) -> Built:
    """Return what the rows give; `may_wait` says of a row that it may be read again later.

    Raises MoodleError and OutboxError.
    """
    built = Built()
    wanted, triggers, unwanted = _sorted(rows, rules, history, built)
    own = [row for row in unwanted if not row.is_trigger]
    facts = tables.facts([*wanted, *own], options)
    facts = facts._replace(held=_held(wanted, ledger, rules.kinds))
    _build_own(built, wanted, facts, rules.kinds, options, may_wait)
    built.noted.extend(_noted(own, facts, rules.kinds, options))
    read = partial(changed, tables=tables, ledger=ledger, kinds=rules.kinds, options=options)
    found = read(triggers, built.events, may_wait=may_wait)
    built.events.extend(found.events)
    built.deferred.update(found.deferred)
    # What an ignored account has changed is known where it came from.
    passed = [row for row in unwanted if row.is_trigger]
    built.noted.extend(read(passed, [*built.events, *built.noted], may_wait=lambda _row: False).events)
    return built


def _sorted(
    rows: Sequence[LogRow], rules: Rules, history: History | None, built: Built
) -> tuple[list[LogRow], list[LogRow], list[LogRow]]:
    """Return the rows that give events of their own, the triggers, and what is known and not wanted; count the rest."""
    wanted: list[LogRow] = []
    triggers: list[LogRow] = []
    unwanted: list[LogRow] = []
    for row in rows:
        reason = "earlier" if history is not None and history.holds(row) else _ignored(row, rules)
        if reason is None:
            (triggers if row.is_trigger else wanted).append(row)
            continue
        if not row.is_trigger:
            # A trigger has no event of its own, and counts for nothing.
            built.ignored[reason] += 1
        unwanted += [row] if reason in NOTED else []
    return wanted, triggers, unwanted


def _held(rows: Sequence[LogRow], ledger: Ledger, kinds: Mapping[str, EventKind]) -> dict[str, set[int]]:
    """Return of which rows the outbox holds something, by table, where builders ask for it."""
    asked: defaultdict[str, set[int]] = defaultdict(set)
    for row in rows:
        if kinds[row.event_type].held_of and row.object_id is not None:
            asked[kinds[row.event_type].held_of].add(row.object_id)
    return {table: {one.row_id for one in ledger.held_of(table, sorted(ids))} for table, ids in asked.items()}


def _noted(rows: Sequence[LogRow], facts: Facts, kinds: Mapping[str, EventKind], options: Options) -> Iterator[Event]:
    """Yield the events that rows would give if the config did not pass them over."""
    for row in rows:
        made = envelope.build(kinds[row.event_type], row, facts, options)
        if isinstance(made, Event):
            yield made


def _build_own(
    built: Built,
    rows: Sequence[LogRow],
    facts: Facts,
    kinds: Mapping[str, EventKind],
    options: Options,
    may_wait: Callable[[LogRow], bool],
) -> None:
    """Add what the rows give that are events of their own."""
    for row in rows:
        kind = kinds[row.event_type]
        made = envelope.build(kind, row, facts, options)
        is_early = isinstance(made, Skip) and made.may_come
        if (is_early or (kind.is_early is not None and kind.is_early(row, facts))) and may_wait(row):
            built.deferred.add(row.id)
        elif isinstance(made, Event):
            built.events.append(made)
        elif isinstance(made, Hold):
            built.holds.append(made)
        else:
            built.skips.append(made)


def _ignored(row: LogRow, rules: Rules) -> str | None:
    """Return why a row is passed over, or None (contract, sections 2 and 6)."""
    if row.origin is None:
        return "restored"
    if row.event_type in rules.disabled:
        return "disabled"
    return "actor" if row.actor_id in rules.ignore_actors else None
