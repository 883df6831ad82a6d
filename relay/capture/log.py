"""One pass of capture: read the log, build events, accept them with the new position."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from relay import times
from relay.errors import UsageError
from relay.events import payload
from relay.events.payload import SYNC_KINDS, EventType
from relay.model import Event, Gap, LogRow, Position, Skip
from relay.outbox.contract import Batch
from relay.rules import cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from relay.model import Log
    from relay.moodle.database import Moodle, Page, Site
    from relay.outbox.contract import Outbox

#: How far below the newest id a first start looks for rows that are about to appear, in ids.
LOOK_BACK = 200_000
#: Rows may have been triggered this much earlier than their neighbours were, in ids.
SLACK = 10_000
#: How often the log store's settings are looked at, in seconds.
STORE_CHECK_S = 60.0
#: How many places of the log are remembered, to find out that the database was restored from a backup.
ANCHORS = 24
#: At most this often a new one is, in seconds of the log.
ANCHOR_EVERY_S = 60
#: A server that crashed may have lost the newest commits that were seen, and give their ids to other rows: so many ids
#: below the position are read once more whenever the connection is new.
READ_AGAIN = 1000
#: Moodle assigns the role just after the enrolment: an enrolment without one is waited for so many seconds.
ROLE_WAIT_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the config says about capture."""

    #: Where to start where there is no cursor: now, beginning, a time (unix seconds, as a float) or a log id.
    start_from: str | float | int = "now"
    disabled: frozenset[EventType] = frozenset()
    ignore_actors: frozenset[int] = frozenset()
    actual_role: bool = False
    #: Makes the payload options, given Moodle's siteidentifier.
    options: Callable[[str], payload.Options]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one pass has found in the log."""

    #: What is new behind the position, if anything is.
    page: Page | None
    #: The ids that turned up within gaps, and those of the rows that are of the four kinds.
    late: frozenset[int]
    late_rows: tuple[LogRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What one pass has done."""

    #: How many events and skips are new in the outbox.
    accepted: int = 0
    #: There is more to read at once.
    is_more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was made of log rows."""

    events: list[Event] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    #: The ids of rows that are better read a little later: to the position they are still missing.
    deferred: set[int] = field(default_factory=set)


class Capture:
    """Reads Moodle's log into the outbox. For one thread."""

    def __init__(self, *, moodle: Moodle, outbox: Outbox, rules: Rules, log: Log) -> None:
        self._moodle = moodle
        self._outbox = outbox
        self._rules = rules
        self._log = log
        self._position: Position | None = None
        self._site: Site | None = None
        self._anchors: list[tuple[int, int]] = []
        self._watch_from = 0
        self._last_pass = 0.0
        self._store_checked_at = 0.0
        self._is_store_off = False
        self._is_empty = False

    def forget(self) -> None:
        """Read the site and the position anew at the next pass: the database was away, and may be another one."""
        self._site = None
        self._position = None
        self._moodle.close()

    def run_once(self, now: float) -> Progress:
        """Read what is new and what turned up late, and accept it.

        Raises MoodleError and OutboxError; nothing is lost then: the position has not moved.
        """
        if self._site is None:
            self._site = self._moodle.site()
        if self._position is None:
            self._position = self._begin(now)
            self._note_switches(self._position, now)
        self._check_store(now)
        top = self._moodle.max_id()
        self._position = self._check_rewound(self._expire(self._position, now), top, now)
        reading = self._read(self._position, top, now)
        self._last_pass = now
        if reading is None:
            return Progress()
        self._position, accepted = self._accept(self._position, reading, now)
        return Progress(accepted=accepted, is_more=reading.page is not None and reading.page.is_more)

    def preview(self, now: float) -> Iterator[Event | Skip]:
        """Yield what the next passes would accept, up to the end of the log, and record nothing."""
        position = self._outbox.position() or self._start(now)[0]
        top = self._moodle.max_id()
        while (page := self._moodle.page(position.high, top)) is not None:
            built = self._build(page.rows, now)
            made: list[Event | Skip] = [*built.events, *built.skips]
            yield from sorted(made, key=lambda one: one.log_id or 0)
            position = Position(high=page.last)

    # -- where to begin

    def _begin(self, now: float) -> Position:
        saved = self._outbox.position()
        if saved is not None:
            self._anchors = [(i, seconds) for i, seconds in json.loads(self._outbox.state("anchors") or "[]")]
            self._watch_from = int(self._outbox.state("watch_from") or 0)
            return self._read_again(self._check_restored(saved, now), now)
        position, started_at = self._start(now)
        self._same_rules_since(position, now)
        state = {"started_at": str(started_at), "watch_from": str(self._watch_from), "start_id": str(position.high)}
        self._outbox.accept(Batch(after=position, state=state), now)
        self._log.info("capture.began", cursor=position.high, start_from=str(self._rules.start_from))
        return position

    def _start(self, now: float) -> tuple[Position, int]:
        """Return the first position, and from which time on (unix seconds) log rows are wanted."""
        top = self._moodle.max_id()
        recent = self._moodle.first_since(int(now - cursor.LIFETIME_S))
        self._watch_from = max(0, top - LOOK_BACK, (recent or top) - SLACK)
        start = self._rules.start_from
        if start == "now":
            # A transaction that is open now has its ids already: they are missing, and turn up when it commits.
            low = min(self._watch_from, top)
            present = self._moodle.ids(low + 1, top, LOOK_BACK + 1)
            return cursor.advance(Position(high=low), top, present, now), int(now)
        if start == "beginning":
            return Position(high=0), 0
        if isinstance(start, float):
            first = self._moodle.first_since(int(start))
            return Position(high=(first - 1) if first else top), int(start)
        if int(start) > top + 1:
            raise UsageError(
                f"The log ends at id {top}: it cannot be read from id {start} on.",
                hint="Mend --from, or moodle.start_from in the config.",
            )
        return Position(high=int(start) - 1), self._moodle.row_time(int(start)) or 0

    def _note_switches(self, position: Position, now: float) -> None:
        """Say which event types the config has switched off or on since the last start, and what that leaves out.

        Rows of a type that is off are counted as ignored, and are not sent when it is switched on again.
        """
        saved: dict[str, float] = json.loads(self._outbox.state("disabled") or "{}")
        off = {str(event_type): saved.get(event_type, now) for event_type in self._rules.disabled}
        if off == saved:
            return
        for event_type in sorted(off.keys() - saved.keys()):
            self._log.warning("events.disabled", event_type=event_type, hint="They are counted as ignored from now on.")
        for event_type in sorted(saved.keys() - off.keys()):
            since, kind = times.iso(saved[event_type]), SYNC_KINDS[EventType(event_type)]
            self._log.warning(
                "events.uncovered",
                event_type=event_type,
                since=since,
                until=times.iso(now),
                hint=f"What happened in between was not sent: relay sync {kind} --since {since}",
            )
        self._keep({"disabled": json.dumps(off)}, position, now)

    # -- what can happen to a log

    def _check_store(self, now: float) -> None:
        if 0 <= now - self._store_checked_at < STORE_CHECK_S:
            return
        self._store_checked_at = now
        is_off = not self._moodle.log_store().is_enabled
        if is_off and not self._is_store_off:
            self._log.error(
                "log_store.disabled",
                hint="Moodle records nothing that relay could send: switch the standard log on under Site "
                "administration > Plugins > Logging > Manage log stores, then run relay sync for the time between.",
            )
        elif self._is_store_off and not is_off:
            self._log.warning("log_store.enabled", hint="What happened while it was off: relay sync.")
        self._is_store_off = is_off

    def _check_rewound(self, position: Position, top: int, now: float) -> Position:
        """Notice that the log ends before the position: emptied, or replaced. Returns where to read on."""
        if top >= position.high:
            self._is_empty = False
            return position
        if top > 0:
            return self._rewind(position, top, now)
        if not self._is_empty:
            self._is_empty = True
            hint = "Rows that were deleted before relay read them: relay sync fills what is missing."
            self._log.warning("log.emptied", cursor=position.high, hint=hint)
        return position

    def _check_restored(self, position: Position, now: float) -> Position:
        """Compare the newest place that is remembered with the log: it may be a restored one that has grown since."""
        top, low = self._moodle.max_id(), self._moodle.min_id()
        if low > position.high + 1:
            hint = "Moodle deleted log rows before relay read them: relay sync fills what is missing."
            self._log.error("log.purged", cursor=position.high, first_id=low, hint=hint)
        elif self._anchors and top >= position.high:
            log_id, seconds = self._anchors[-1]
            if log_id >= low and self._moodle.row_time(log_id) != seconds:
                return self._rewind(position, top, now)
        return position

    def _rewind(self, position: Position, top: int, now: float) -> Position:
        """Go back to the newest place where the log is still the one that was read, to read on from there.

        What was recorded already has the same event id, and changes nothing; what is new is recorded.
        """
        kept = [(log_id, seconds) for log_id, seconds in self._anchors if self._moodle.row_time(log_id) == seconds]
        if kept:
            high = kept[-1][0]
        else:
            first = self._moodle.first_since(int(self._outbox.state("started_at") or 0))
            high = first - 1 if first else top
        after = Position(high=high, gaps=tuple(gap for gap in position.gaps if gap.high <= high))
        self._outbox.accept(Batch(before=position, after=after, state={"anchors": json.dumps(kept)}), now)
        self._anchors = kept
        self._log.error(
            "log.rewound",
            cursor=position.high,
            log_end=top,
            read_again_from=high + 1,
            hint="The log was truncated or restored from a backup. Relay reads on from the last place that is "
            "unchanged; relay sync fills what the log has lost.",
        )
        return after

    def _read_again(self, position: Position, now: float) -> Position:
        """Accept what the newest ids below the position hold now: what was recorded already changes nothing."""
        low = max(self._same_rules_since(position, now), position.high - READ_AGAIN)
        while low < position.high and (page := self._moodle.page(low, position.high)) is not None:
            low = page.last
            built = self._build([row for row in page.rows if not cursor.is_open(position, row.id)], now)
            # What is ignored has been counted; an enrolment that waits for its role was read before.
            batch = Batch(events=built.events, skips=built.skips, before=position, after=position)
            new = frozenset(self._outbox.accept(batch, now))
            self._say(Built(events=built.events, skips=built.skips), new, frozenset(row.id for row in page.rows))
        return position

    def _same_rules_since(self, position: Position, now: float) -> int:
        """Return the id behind which rows were read with today's rules: what others passed over is not sent now."""
        rules = json.dumps([sorted(self._rules.disabled), sorted(self._rules.ignore_actors)])
        if self._outbox.state("rules") != rules:
            self._keep({"rules": rules, "rules_since": str(position.high)}, position, now)
        return int(self._outbox.state("rules_since") or 0)

    def _keep(self, state: Mapping[str, str], position: Position, now: float) -> None:
        """Keep some state together with the position as it is: only who reads the log may."""
        self._outbox.accept(Batch(before=position, after=position, state=state), now)

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
            state=self._remember(page_rows),
        )
        new = frozenset(self._outbox.accept(batch, now))
        self._say(built, new, reading.late)
        return after, len(new)

    def _build(self, rows: Sequence[LogRow], now: float) -> Built:
        """Return what the rows give."""
        if self._site is None:
            self._site = self._moodle.site()
        built = Built()
        wanted = []
        for row in rows:
            reason = self._ignored(row)
            if reason:
                built.ignored[reason] += 1
            else:
                wanted.append(row)
        facts = self._moodle.facts(wanted, with_roles=self._rules.actual_role)
        options = self._rules.options(self._site.identifier)
        for row in wanted:
            if self._is_too_early(row, facts, now):
                built.deferred.add(row.id)
                continue
            made = payload.build(row, facts, options)
            if isinstance(made, Event):
                built.events.append(made)
            else:
                built.skips.append(made)
        return built

    def _ignored(self, row: LogRow) -> str | None:
        """Return why a row is passed over, or None (contract, sections 2 and 6)."""
        if row.origin is None:
            return "restored"
        if row.event_type in self._rules.disabled:
            return "disabled"
        return "actor" if row.actor_id in self._rules.ignore_actors else None

    def _is_too_early(self, row: LogRow, facts: payload.Facts, now: float) -> bool:
        if not self._rules.actual_role or row.event_type is not EventType.ENROLLMENT_CREATED:
            return False
        is_young = now - row.created_at < ROLE_WAIT_S
        found = facts.enrolments.get(row.object_id or 0)
        if not is_young or found is None or found["courseid"] is None:
            return False
        return (int(found["userid"]), int(found["courseid"])) not in facts.roles

    def _remember(self, rows: Sequence[LogRow]) -> dict[str, str]:
        """Keep the newest row as a further place of the log, and thin out the older ones."""
        if not rows:
            return {}
        anchor = (rows[-1].id, rows[-1].created_at)
        if self._anchors and abs(anchor[1] - self._anchors[-1][1]) < ANCHOR_EVERY_S:
            return {}
        self._anchors.append(anchor)
        if len(self._anchors) > ANCHORS:
            half = ANCHORS // 2
            self._anchors = self._anchors[:half:2] + self._anchors[half:]
        return {"anchors": json.dumps(self._anchors)}

    def _say(self, built: Built, new: frozenset[str], late: frozenset[int]) -> None:
        with self._log.together():
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
    return {"event_id": one.event_id, "event_type": str(one.event_type), "log_id": one.log_id}
