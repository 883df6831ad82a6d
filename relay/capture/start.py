"""Where a first run begins to read the log, and what a change of the config's rules leaves out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from relay import times
from relay.errors import UsageError
from relay.events import catalogue
from relay.model import Position
from relay.outbox.values import Batch
from relay.rules import cursor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.capture.rules import Rules
    from relay.model import Log, LogRow
    from relay.moodle.contract import LogReads
    from relay.outbox.contract import Ledger

#: How far below the newest id a first start looks for rows that are about to appear, in ids.
LOOK_BACK = 200_000
#: Ids are not in the order of time: so many ids below the first row of the last day are watched as well.
SLACK = 10_000


class History(NamedTuple):
    """What of the log is too old to be sent: ids are not in the order of times, so both are needed."""

    #: Rows up to this id ...
    last_id: int
    #: ... that were triggered before this time, in unix seconds.
    before: int

    def holds(self, row: LogRow) -> bool:
        """Say whether a row is too old."""
        return row.id <= self.last_id and row.created_at < self.before

    def state(self) -> dict[str, str]:
        """Return the state that `load_history` reads."""
        return {"history": json.dumps([self.last_id, self.before])}


def load_history(outbox: Ledger) -> History | None:
    """Return what is too old by where relay began; None where nothing is. Raises OutboxError."""
    saved = json.loads(outbox.state("history") or "null")
    return None if saved is None else History(last_id=saved[0], before=saved[1])


class Start(NamedTuple):
    """Where to begin."""

    position: Position
    #: From which time on log rows are wanted, in unix seconds.
    started_at: int
    #: Nothing turns up any more among ids below this one.
    watch_from: int
    history: History | None = None

    def state(self) -> dict[str, str]:
        """Return what is kept in the outbox of it."""
        kept = {
            "started_at": str(self.started_at),
            "watch_from": str(self.watch_from),
            "start_id": str(self.position.high),
        }
        return kept if self.history is None else kept | self.history.state()


def find_start(moodle: LogReads, start_from: str | float, now: float) -> Start:
    """Return where to begin at `now`: `now`, `beginning`, a time (a float, unix seconds), or a log id (an int).

    Raises UsageError for an id beyond the log's end, and MoodleError.
    """
    top = moodle.max_id()
    recent = moodle.first_since(int(now - cursor.LIFETIME_S))
    watch_from = max(0, top - LOOK_BACK, (recent or top) - SLACK)
    position, started_at = _position(moodle, start_from, top, watch_from, now)
    # The first id of that time may be a row that is stamped wrongly, years of history before the others.
    history = History(last_id=top, before=started_at) if isinstance(start_from, float) else None
    return Start(position=position, started_at=started_at, watch_from=watch_from, history=history)


def _position(moodle: LogReads, start_from: str | float, top: int, watch_from: int, now: float) -> tuple[Position, int]:
    if start_from == "now":
        # A transaction that is open now has its ids already: they are missing, and turn up when it commits.
        low = min(watch_from, top)
        present = moodle.ids(low + 1, top, LOOK_BACK + 1)
        return cursor.advance(Position(high=low), top, present, now), int(now)
    if start_from == "beginning":
        return Position(high=0), 0
    if isinstance(start_from, float):
        first = moodle.first_since(int(start_from))
        return Position(high=(first - 1) if first else top), int(start_from)
    if int(start_from) > top + 1:
        raise UsageError(
            f"The log ends at id {top}: it cannot be read from id {start_from} on.",
            hint="Mend --from, or moodle.start_from in the config.",
        )
    return Position(high=int(start_from) - 1), moodle.row_time(int(start_from)) or 0


class Switches:
    """Remembers which kinds and actors the config left out while the log was read: their rows are not sent later."""

    def __init__(self, outbox: Ledger, rules: Rules, log: Log) -> None:
        self._outbox = outbox
        self._rules = rules
        self._log = log
        #: The kinds that are sent only where the config switches them on, and are.
        self._extra = sorted(
            name for name, kind in rules.kinds.items() if not kind.is_default and name not in rules.disabled
        )

    def note(self, position: Position, now: float, *, is_first: bool) -> None:
        """Say which kinds the config has switched off or on since the last start, and what that leaves out.

        Rows of a kind that is off are not sent when it is switched on again. `is_first`: there was no start before.
        """
        saved: dict[str, float] = json.loads(self._outbox.state("disabled") or "{}")
        saved_extra: list[str] = json.loads(self._outbox.state("enabled") or "[]")
        started_at = float(self._outbox.state("started_at") or now)
        off: dict[str, float] = {}
        # A type of the config's own that is no longer there is off, too.
        gone = {name for name in (*saved, *saved_extra) if name not in self._rules.kinds}
        for name in sorted(self._rules.disabled | gone):
            was_on = name in saved_extra or (name not in gone and self._rules.kinds[name].is_default)
            off[name] = saved.get(name, now if was_on else started_at)
            if was_on and name not in saved:
                self._log.warning("events.disabled", event_type=name, hint="They are not sent from now on.")
        back = saved.keys() - off.keys()
        new = set() if is_first else set(self._extra) - set(saved_extra) - back
        for name in sorted(back | new):
            self._say_uncovered(name, saved.get(name, started_at), now)
        if off != saved or self._extra != saved_extra:
            self._keep({"disabled": json.dumps(off), "enabled": json.dumps(self._extra)}, position, now)

    def _say_uncovered(self, name: str, off_since: float, now: float) -> None:
        since, rows = times.iso(off_since), catalogue.sync_name(name)
        remedy = f"relay sync {rows} --since {since}" if rows else "there is nothing left to send it from"
        self._log.warning(
            "events.uncovered",
            event_type=name,
            since=since,
            until=times.iso(now),
            hint=f"What happened in between was not sent: {remedy}",
        )

    def same_since(self, position: Position, now: float) -> int:
        """Return the id above which all rows were read with today's rules; store these where they have changed."""
        known: list[list[str] | list[int]] = [
            sorted(name for name in self._rules.disabled if self._rules.kinds[name].is_default),
            sorted(self._rules.ignore_actors),
        ]
        rules = json.dumps([*known, *([self._extra] if self._extra else [])])
        if self._outbox.state("rules") != rules:
            self._keep({"rules": rules, "rules_since": str(position.high)}, position, now)
        return int(self._outbox.state("rules_since") or 0)

    def _keep(self, state: Mapping[str, str], position: Position, now: float) -> None:
        """Keep some state together with the position as it is: only who reads the log may."""
        self._outbox.accept(Batch(before=position, after=position, state=state), now)
