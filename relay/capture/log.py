"""One pass of capture: read what is new in the log, build events, accept them with the new position."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.capture.build import Built, build
from relay.capture.continuity import Continuity
from relay.capture.deferred import Deferred
from relay.capture.held import Releasing
from relay.capture.start import History, Switches, find_start, load_history
from relay.events import envelope
from relay.model import Event, Gap, Hold, LogRow, Position, Skip
from relay.outbox.values import Batch
from relay.rules import cursor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.capture.rules import Rules
    from relay.events.kind import Options
    from relay.model import Log
    from relay.moodle.contract import Moodle, Page
    from relay.outbox.contract import Ledger
    from relay.outbox.values import Accepted

#: A server that crashed may have lost the newest commits that were seen, and give their ids to other rows: so many ids
#: below the position are read once more whenever the connection is new.
READ_AGAIN = 1000


class Reading(NamedTuple):
    """What one pass has found in the log."""

    #: What is new behind the position, if anything is.
    page: Page | None
    #: The ids that turned up within gaps.
    late: frozenset[int]
    #: The ids of rows that were read before, and are read again.
    again: frozenset[int]
    #: What the rows that turned up, the ones that are read again, and those of the page give.
    built: Built


class Progress(NamedTuple):
    """What one pass has done."""

    #: How many events and skips are new in the outbox.
    accepted: int = 0
    #: There is more to read at once.
    is_more: bool = False


#: Most passes end so.
NOTHING = Progress()


class Seen(NamedTuple):
    """What the last pass has seen of the log."""

    #: Its newest id; None before the first pass.
    end: int | None = None
    #: Where there is more to read: when the newest row that was read was triggered, in unix seconds.
    unread_since: int | None = None
    #: Moodle does not write it.
    is_store_off: bool = False


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
        self._history: History | None = None
        self._deferred = Deferred(outbox)
        self._releasing = Releasing(moodle=moodle, outbox=outbox, rules=rules, log=log)
        #: What was there, at the last look, of gaps of which something that was seen is gone.
        self._looked_into: dict[Gap, tuple[int, int]] = {}
        self._last_pass = 0.0
        self.seen = Seen()

    @property
    def waiting(self) -> int:
        """How many log rows are read again in the next passes, as what they point to is not there yet."""
        return len(self._deferred)

    def forget(self) -> None:
        """Read the site and the position anew at the next pass: the database was away, and may be another one."""
        self._options = None
        self._position = None
        self._moodle.close()

    def run_once(self, now: float) -> Progress:
        """Read what is new and what turned up late, accept it, and look at what is held.

        Raises MoodleError and OutboxError; nothing is lost then: the position has not moved.
        """
        progress = self._read_once(now)
        if self._releasing.due_in(now) > 0:
            return progress
        looked = self._releasing.look(now, self._payload_options())
        return Progress(accepted=progress.accepted + looked.released, is_more=progress.is_more or looked.is_more)

    def next_look_in(self, now: float) -> float:
        """Return after how many seconds what is held is looked at next."""
        return self._releasing.due_in(now)

    def _read_once(self, now: float) -> Progress:
        self._payload_options()
        if self._position is None:
            self._position = self._begin(now)
        self._continuity.check_store(now)
        top = self._moodle.max_id()
        before = self._expire(self._position, now)
        self._position = self._continuity.check_end(before, top, now)
        if self._position is not before:
            self._history = load_history(self._outbox)
        reading = self._read(self._position, top, now)
        self._last_pass = now
        rows = reading.page.rows if reading and reading.page and reading.page.is_more else ()
        self.seen = Seen(
            end=top, unread_since=rows[-1].created_at if rows else None, is_store_off=self._continuity.is_store_off
        )
        if reading is None:
            return NOTHING
        self._position, accepted = self._accept(self._position, reading, now)
        return Progress(accepted=accepted, is_more=reading.page is not None and reading.page.is_more)

    def preview(self, now: float) -> Iterator[Event | Hold | Skip]:
        """Yield what the next passes would accept, up to the end of the log, and record nothing.

        Raises UsageError, MoodleError and OutboxError.
        """
        position, self._history = self._outbox.position(), load_history(self._outbox)
        if position is None:
            start = find_start(self._moodle, self._rules.start_from, now)
            position, self._history = start.position, start.history
        top = self._moodle.max_id()
        while (page := self._moodle.page(position.high, top)) is not None:
            built = self._build(page.rows)
            made: list[Event | Hold | Skip] = [*built.events, *built.holds, *built.skips]
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
        position, self._watch_from, self._history = start.position, start.watch_from, start.history
        self._switches.same_since(position, now)
        self._outbox.accept(Batch(after=position, state=start.state()), now)
        self._log.info("capture.began", cursor=position.high, start_from=str(self._rules.start_from))
        return position

    def _resume(self, saved: Position, now: float) -> Position:
        self._continuity.load()
        self._deferred.load()
        self._watch_from = int(self._outbox.state("watch_from") or 0)
        position = self._continuity.check_restored(saved, now)
        self._history = load_history(self._outbox)
        return self._read_again(position, now)

    def _read_again(self, position: Position, now: float) -> Position:
        """Accept what the newest ids below the position hold now: what was recorded already changes nothing."""
        low = max(self._switches.same_since(position, now), position.high - READ_AGAIN)
        while low < position.high and (page := self._moodle.page(low, position.high)) is not None:
            low = page.last
            rows = [row for row in page.rows if self._is_read_again(position, row)]
            built = self._build(rows, now)
            after = self._deferred.after((), built.deferred, now)
            # What is ignored has been counted.
            batch = Batch(
                events=built.events,
                skips=built.skips,
                holds=built.holds,
                before=position,
                after=position,
                state=self._deferred.state(after),
            )
            accepted = self._outbox.accept(batch, now)
            self._deferred.move_to(after)
            known = Built(events=built.events, skips=built.skips, holds=built.holds)
            self._accepted(known, accepted, frozenset(row.id for row in page.rows), now)
        return position

    def _is_read_again(self, position: Position, row: LogRow) -> bool:
        """Say whether a row below the position is none that another pass looks for, and none that others changed."""
        return not (cursor.is_open(position, row.id) or row.id in self._deferred or row.is_trigger)

    # -- reading

    def _read(self, position: Position, top: int, now: float) -> Reading | None:
        """Return what is new, or None where nothing is."""
        due = cursor.due(position, self._last_pass, now)
        if top <= position.high and not due and not self._deferred.is_due(now):
            return None
        # Rows and what they point to are read at one moment.
        with self._moodle.snapshot():
            late = self._late(position, due)
            page = self._moodle.page(position.high, top) if top > position.high else None
            if not (page or late or self._deferred.is_due(now)):
                return None
            again = frozenset(self._deferred.ids)
            rows = self._moodle.rows(sorted(late | again)) if late or again else ()
            built = self._build((*rows, *(page.rows if page else ())), now)
        return Reading(page=page, late=late, again=again, built=built)

    def _late(self, position: Position, gaps: Sequence[Gap]) -> frozenset[int]:
        """Return the ids that have turned up in these gaps."""
        found: set[int] = set()
        for gap, there in zip(gaps, self._moodle.fingerprints(gaps), strict=True):
            if there in (cursor.fingerprint(gap), self._looked_into.get(gap)):
                continue
            new = cursor.turned_up(gap, self._moodle.ids(gap.low, gap.high, cursor.WINDOW))
            found.update(new)
            if not new:
                # Only something that was seen is gone: the same at every look from now on.
                self._looked_into[gap] = there
        if self._looked_into:
            self._looked_into = {gap: self._looked_into[gap] for gap in position.gaps if gap in self._looked_into}
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

    def _payload_options(self) -> Options:
        """Return the options of payloads; Moodle is asked who it is at each new connection. Raises MoodleError."""
        if self._options is None:
            self._options = self._rules.options(self._moodle.site().identifier)
        return self._options

    def _build(self, rows: Sequence[LogRow], now: float | None = None) -> Built:
        """Return what the rows give; without a time, none of them is read again later."""
        may_wait = partial(self._deferred.may_wait, now=now) if now is not None else _judged_now
        return build(
            rows,
            tables=self._moodle,
            ledger=self._outbox,
            rules=self._rules,
            options=self._payload_options(),
            history=self._history,
            may_wait=may_wait,
        )

    def _accept(self, position: Position, reading: Reading, now: float) -> tuple[Position, int]:
        """Record what was read together with the position behind it; return that, and how much was new."""
        built, page = reading.built, reading.page
        after = cursor.fill(position, sorted(reading.late))
        if page is not None:
            after = cursor.advance(after, page.last, page.present(), now, watch_from=self._watch_from)
        deferred = self._deferred.after(reading.again, built.deferred, now)
        batch = Batch(
            events=built.events,
            skips=built.skips,
            holds=built.holds,
            ignored=built.ignored,
            noted=built.noted,
            before=position,
            after=after,
            state={**self._continuity.remember(page.rows if page else ()), **self._deferred.state(deferred)},
        )
        accepted = self._outbox.accept(batch, now)
        self._deferred.move_to(deferred)
        self._deferred.looked(now)
        released = self._accepted(built, accepted, reading.late, now)
        return after, len(accepted) + len(accepted.unfit) + released

    def _accepted(self, built: Built, accepted: Accepted, late: frozenset[int], now: float) -> int:
        """Say what is new of this, and release what was held of the same rows; return how many that are."""
        self._say(built, accepted, late)
        self._releasing.note([hold for hold in built.holds if hold.event_id in accepted], now)
        return self._releasing.look_at(built.events, now, self._payload_options())

    def _say(self, built: Built, accepted: Accepted, late: frozenset[int]) -> None:
        new = frozenset(accepted)
        with self._log.buffered():
            for event in built.events:
                if event.event_id in new:
                    fields = {"late": True} if event.log_id in late else {}
                    self._log.info("event.captured", **_names(event), **fields)
            say_skipped(self._log, [skip for skip in built.skips if skip.event_id in new])
            say_skipped(self._log, accepted.unfit)
            for hold in built.holds:
                if hold.event_id in new:
                    self._log.info("event.held", **_names(hold), reason=hold.reason)
            if built.ignored:
                self._log.info("events.ignored", **built.ignored)


def say_skipped(log: Log, skips: Sequence[Skip]) -> None:
    """Say of what no event was made, or none that the outbox can keep."""
    for skip in skips:
        log.warning("event.skipped", **_names(skip), reason=skip.reason)


def _judged_now(_row: LogRow) -> bool:
    return False


def _names(one: Event | Hold | Skip) -> dict[str, Any]:
    return {
        "event_id": one.event_id,
        "event_type": one.event_type,
        "log_id": one.log_id,
        **envelope.about(one.user_id, one.body if isinstance(one, Event) else None),
    }
