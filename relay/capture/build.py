"""Turns log rows into events. Other rows are skipped, ignored, or read again later. It serves `capture.log`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.events import envelope
from relay.events.catalogue import KINDS
from relay.model import Event, LogRow, Skip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.events.kind import Facts, Options
    from relay.moodle.contract import TableReads


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the config says about capture."""

    #: Where to start where there is no position: now, beginning, a time (unix seconds, as a float) or a log id.
    start_from: str | float | int = "now"
    #: The names of the kinds that are not sent.
    disabled: frozenset[str] = frozenset()
    ignore_actors: frozenset[int] = frozenset()
    #: Makes the payload options, given Moodle's siteidentifier.
    options: Callable[[str], Options]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was made of log rows."""

    events: list[Event] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    #: How many rows were passed over, by reason.
    ignored: Counter[str] = field(default_factory=Counter)
    #: The ids of rows that are read again later; until then the position counts them as missing.
    deferred: set[int] = field(default_factory=set)


def build(rows: Sequence[LogRow], tables: TableReads, rules: Rules, options: Options, now: float) -> Built:
    """Return what the rows give at `now` (unix seconds). Raises MoodleError."""
    built = Built()
    wanted = []
    for row in rows:
        reason = _ignored(row, rules)
        if reason:
            built.ignored[reason] += 1
        else:
            wanted.append(row)
    facts = tables.facts(wanted, options)
    for row in wanted:
        if _is_too_early(row, facts, now):
            built.deferred.add(row.id)
            continue
        made = envelope.build(KINDS[row.event_type], row, facts, options)
        if isinstance(made, Event):
            built.events.append(made)
        else:
            built.skips.append(made)
    return built


def _ignored(row: LogRow, rules: Rules) -> str | None:
    """Return why a row is passed over, or None (contract, sections 2 and 6)."""
    if row.origin is None:
        return "restored"
    if row.event_type in rules.disabled:
        return "disabled"
    return "actor" if row.actor_id in rules.ignore_actors else None


def _is_too_early(row: LogRow, facts: Facts, now: float) -> bool:
    kind = KINDS[row.event_type]
    return kind.is_early is not None and now - row.created_at < kind.wait_s and kind.is_early(row, facts)
