"""One pass of capture: read what is new in the log, build events, accept them with the new position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.capture.build import Built, Rules, build
from relay.capture.continuity import Continuity
from relay.capture.start import Switches, find_start
from relay.model import Event, Gap, LogRow, Position, Skip
from relay.outbox.values import Batch
from relay.rules import cursor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.events.kind import Options
    from relay.model import Log
    from relay.moodle.contract import Moodle, Page
    from relay.outbox.contract import Ledger

#: A server that crashed may have lost the newest commits that were seen, and give their ids to other rows: so many ids
#: below the position are read once more whenever the connection is new.
READ_AGAIN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one pass has found in the log."""

    #: What is new behind the position, if anything is.
    page: Page | None
    #: The ids that turned up within gaps, and those of the rows that are of a kind that is read.
    late: frozenset[int]
    late_rows: tuple[LogRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What one pass has done."""

    #: How many events and skips are new in the outbox.
    accepted: int = 0
    #: There is more to read at once.
    is_more: bool = False


class Capture:
    """Reads Moodle's log into the outbox. For one thread."""

    def __init__(self, *, moodle: Moodle, outbox: Ledger, rules: Rules, log: Log) -> None:
        self._moodle = moodle
        self._outbox = outbox
        self._rules = rules
        self._log = log
        self._position: Position | None = None
        self._options: Options | None = None
        self._continuity = Continuity(moodle=moodle, outbox=outbox, log=log)
        self._switches = Switches(outbox, rules, log)
        self._watch_from = 0
        self._last_pass = 0.0

    def forget(self) -> None:
        """Read the site and the position anew at the next pass: the database was away, and may be another one."""
        self._options = None
        self._position = None
        self._moodle.close()

    def run_once(self, now: float) -> Progress:
        """Read what is new and what turned up late, and accept it.

        Raises MoodleError and OutboxError; nothing is lost then: the position has not moved.
        """
        if self._options is None:
            self._options = self._rules.options(self._moodle.site().identifier)
        if self._position is None:
            self._position = self._begin(now)
        self._continuity.check_store(now)
        top = self._moodle.max_id()
        self._position = self._continuity.check_end(self._expire(self._position, now), top, now)
        reading = self._read(self._position, top, now)
        self._last_pass = now
        if reading is None:
            return Progress()
        self._position, accepted = self._accept(self._position, reading, now)
        return Progress(accepted=accepted, is_more=reading.page is not None and reading.page.is_more)

    def preview(self, now: float) -> Iterator[Event | Skip]:
        """Yield what the next passes would accept, up to the end of the log, and record nothing.

        Raises UsageError, MoodleError and OutboxError.
        """
        position = self._outbox.position() or find_start(self._moodle, self._rules.start_from, now).position
        top = self._moodle.max_id()
        while (page := self._moodle.page(position.high, top)) is not None:
            built = self._build(page.rows, now)
            made: list[Event | Skip] = [*built.events, *built.skips]
            yield from sorted(made, key=lambda one: one.log_id or 0)
            position = Position(high=page.last)

    # -- where to begin

    def _begin(self, now: float) -> Position:
        """Return the position: the one that is kept, or where a first start begins."""
        saved = self._outbox.position()
        position = self._first(now) if saved is None else self._resume(saved, now)
        self._switches.note(position, now, is_first=saved is None)
        return position

    def _first(self, now: float) -> Position:
        start = find_start(self._moodle, self._rules.start_from, now)
        position, self._watch_from = start.position, start.watch_from
        self._switches.same_since(position, now)
        state = {
            "started_at": str(start.started_at),
            "watch_from": str(start.watch_from),
            "start_id": str(position.high),
        }
        self._outbox.accept(Batch(after=position, state=state), now)
        self._log.info("capture.began", cursor=position.high, start_from=str(self._rules.start_from))
        return position

    def _resume(self, saved: Position, now: float) -> Position:
        self._continuity.load()
        self._watch_from = int(self._outbox.state("watch_from") or 0)
        return self._read_again(self._continuity.check_restored(saved, now), now)

    def _read_again(self, position: Position, now: float) -> Position:
        """Accept what the newest ids below the position hold now: what was recorded already changes nothing."""
        low = max(self._switches.same_since(position, now), position.high - READ_AGAIN)
        while low < position.high and (page := self._moodle.page(low, position.high)) is not None:
            low = page.last
            built = self._build([row for row in page.rows if not cursor.is_open(position, row.id)], now)
            # What is ignored has been counted; a row that is better read later was read before.
            batch = Batch(events=built.events, skips=built.skips, before=position, after=position)
            new = frozenset(self._outbox.accept(batch, now))
            self._say(Built(events=built.events, skips=built.skips), new, frozenset(row.id for row in page.rows))
        return position

    # -- reading

    def _read(self, position: Position, top: int, now: float) -> Reading | None:
        """Return what is new, or None where nothing is."""
        due = cursor.due(position, self._last_pass, now)
        if top <= position.high and not due:
            return None
        with self._moodle.snapshot():
            late = self._late(due)
            page = self._moodle.page(position.high, top) if top > position.high else None
            late_rows = self._moodle.rows(sorted(late)) if late else ()
        return Reading(page=page, late=late, late_rows=late_rows) if page or late else None

    def _late(self, gaps: Sequence[Gap]) -> frozenset[int]:
        """Return the ids that have turned up in these gaps."""
        found: set[int] = set()
        for gap, count in zip(gaps, self._moodle.count_each(gaps), strict=True):
            if count != cursor.count_seen(gap):
                found.update(cursor.turned_up(gap, self._moodle.ids(gap.low, gap.high, cursor.WINDOW)))
        return frozenset(found)

    def _expire(self, position: Position, now: float) -> Position:
        """Close the gaps that are too old or too many, and say so."""
        after, old, given_up = cursor.expire(position, now)
        if old or given_up:
            self._outbox.accept(Batch(before=position, after=after), now)
            self._say_expired(old, given_up)
        return after

    def _say_expired(self, old: Sequence[Gap], given_up: Sequence[Gap]) -> None:
        if old:
            self._log.info("gap.expired", gaps=len(old), first_id=old[0].low, last_id=old[-1].high)
        if given_up:
            self._log.error(
                "gap.given_up",
                gaps=len(given_up),
                first_id=given_up[0].low,
                hint="Too many stretches of log ids are missing; rows that still turn up there are not seen. Relay "
                "sync finds what they were about.",
            )

    # -- accepting

    def _build(self, rows: Sequence[LogRow], now: float) -> Built:
        if self._options is None:
            self._options = self._rules.options(self._moodle.site().identifier)
        return build(rows, self._moodle, self._rules, self._options, now)

    def _accept(self, position: Position, reading: Reading, now: float) -> tuple[Position, int]:
        """Record what was read together with the position behind it; return that, and how much was new."""
        page_rows = reading.page.rows if reading.page else ()
        built = self._build(reading.late_rows + page_rows, now)
        after = cursor.fill(position, sorted(reading.late - built.deferred))
        if reading.page is not None:
            present = (i for i in reading.page.present() if i not in built.deferred)
            after = cursor.advance(after, reading.page.last, present, now, watch_from=self._watch_from)
        batch = Batch(
            events=built.events,
            skips=built.skips,
            ignored=built.ignored,
            before=position,
            after=after,
            state=self._continuity.remember(page_rows),
        )
        new = frozenset(self._outbox.accept(batch, now))
        self._say(built, new, reading.late)
        return after, len(new)

    def _say(self, built: Built, new: frozenset[str], late: frozenset[int]) -> None:
        with self._log.buffered():
            for event in built.events:
                if event.event_id in new:
                    fields = {"late": True} if event.log_id in late else {}
                    self._log.info("event.captured", **_names(event), **fields)
            for skip in built.skips:
                if skip.event_id in new:
                    self._log.warning("event.skipped", **_names(skip), reason=skip.reason)
            if built.ignored:
                self._log.info("events.ignored", **built.ignored)


def _names(one: Event | Skip) -> dict[str, Any]:
    return {"event_id": one.event_id, "event_type": one.event_type, "log_id": one.log_id}
