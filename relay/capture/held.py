"""Looks at what is held, and lets out what Moodle shows by now. It serves `capture.log`.

Most releases leave a log row about the grade. Others leave none: an anonymously marked assignment that is revealed, an
item or a grade that is shown, a time that passes. So all that is held is looked at now and then, too; and so is what
waits for its first attempt, as an item or a grade may be hidden without a log row.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.events import envelope
from relay.events.catalogue import KINDS
from relay.events.held import ENROLLED, Held, holds
from relay.model import Event, Hold, LogRow, Skip
from relay.outbox.values import HeldEvent, Judged

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from relay.capture.rules import Rules
    from relay.events.kind import EventKind, Facts, Options
    from relay.model import Log
    from relay.moodle.contract import Moodle, TableReads
    from relay.outbox.contract import Ledger
    from relay.outbox.unsent import Unsent

#: How often all that is held is looked at, in seconds: within 60 s (contract, section 2) it is seen and sent.
LOOK_EVERY_S = 30.0
#: How many held events are looked at in one pass: one query.
AT_ONCE = 500
#: Of what waits for its first attempt, what is due first is looked at: more than is sent before the next look.
MOST = 50_000
#: After how long without any enrolment in the course a student's held event is given up, in seconds.
ABSENT_S = 86400
#: The outbox's state that names the kinds whose events were held when the outbox was last used.
STATE_KEY = "holds"


def hold_recorded(outbox: Ledger, options: Options, now: float) -> None:
    """Hold what is undelivered of kinds that are held from now on, until it is looked at.

    An older relay, or another config, has recorded it without asking. Call it before anything is sent.
    """
    saved = (outbox.state(STATE_KEY) or "").split()
    held = sorted(name for name, kind in KINDS.items() if holds(kind, options))
    for kind in [KINDS[name] for name in held if name not in saved]:
        outbox.hold_undelivered(kind.name, kind.row_table, kind.id_field, now)
    if held != saved:
        outbox.set_state(STATE_KEY, " ".join(held), now)


class Waiting:
    """What waits for its first attempt, by AT_ONCE of a kind that may be held: of each what is due first.

    None that was recorded, and so judged, less than `age_s` seconds before `now`, in unix seconds.
    """

    def __init__(
        self, outbox: Ledger, kinds: Collection[EventKind], now: float, options: Options, *, age_s: float
    ) -> None:
        self._outbox = outbox
        self._before = now - age_s
        self._kinds = [kind for kind in kinds if holds(kind, options)]
        self._page: Sequence[Unsent] = ()
        #: How many of the first kind have been given, and the last of them.
        self._given = 0
        self._last: Unsent | None = None

    def page(self, now: float) -> tuple[EventKind, Sequence[Unsent]] | None:
        """Return the next page, the same one until `turn`; None where there is no more. Raises OutboxError."""
        while self._kinds and not self._page:
            kind = self._kinds[0]
            of_kind = (kind.name, kind.id_field, now)
            self._page = self._outbox.unsent(*of_kind, before=self._before, limit=AT_ONCE, after=self._last)
            if not self._page:
                self.turn()
        return (self._kinds[0], self._page) if self._page else None

    def turn(self) -> None:
        """Be done with a page."""
        self._given += len(self._page)
        if len(self._page) < AT_ONCE or self._given >= MOST:
            self._kinds, self._given, self._last = self._kinds[1:], 0, None
        else:
            self._last = self._page[-1]
        self._page = ()


def hold_hidden(
    outbox: Ledger, moodle: TableReads, page: tuple[EventKind, Sequence[Unsent]], now: float, options: Options, log: Log
) -> None:
    """Hold what Moodle keeps back by now of a page of what was not sent. Raises MoodleError and OutboxError."""
    kind, found = page
    hidden: dict[int, Held | None] = {}
    for ids in moodle.portions(kind, sorted({one.row_id for one in found})):
        facts = moodle.current(kind, ids, options)
        hidden |= {row_id: envelope.kept_now(kind, row_id, facts, options) for row_id in ids}
    now_held = {one: hidden[one.row_id] for one in found}
    # Moodle showed it when it was recorded. It deletes the gradebook's rows of a student who has left since: that hides
    # nothing, and the grade is still wanted.
    kept = {one: held for one, held in now_held.items() if held is not None and not held.is_absent}
    if not kept:
        return
    only = {one.row_id: one.user_id for one in kept}
    done = set(outbox.hold_undelivered(kind.name, kind.row_table, kind.id_field, now, only=only))
    with log.buffered():
        for one, held in kept.items():
            if one.event_id in done:
                log.info("event.held", **_names(one), reason=held.reason)


def hold_all_hidden(
    outbox: Ledger, moodle: TableReads, kinds: Collection[EventKind], now: float, options: Options, log: Log
) -> None:
    """Hold what `hold_hidden` finds of all pages. Call it before anything is sent that lay in the outbox."""
    waiting = Waiting(outbox, kinds, now, options, age_s=0.0)
    while (page := waiting.page(now)) is not None:
        hold_hidden(outbox, moodle, page, now, options, log)
        waiting.turn()


class Looked(NamedTuple):
    """What one look has done."""

    #: How many events are due now.
    released: int = 0
    #: There is more to look at, at once.
    is_more: bool = False


class Releasing:
    """What is held, and when it is looked at. For one thread."""

    def __init__(self, *, moodle: Moodle, outbox: Ledger, rules: Rules, log: Log) -> None:
        self._moodle = moodle
        self._outbox = outbox
        self._rules = rules
        self._log = log
        #: What this round of looks still has to look at of what waits for its first attempt; None between two rounds.
        self._waiting: Waiting | None = None
        #: Up to which row of the outbox it has come, of what is held.
        self._after = 0
        #: When the next round begins, in unix seconds, and the one after it, as far as this round has seen.
        self._round_at = 0.0
        self._soonest = float("inf")

    def due_in(self, now: float) -> float:
        """Return after how many seconds the next look is wanted."""
        if self._waiting is not None:
            return 0.0
        wait = self._round_at - now
        # The clock may have been set back.
        return max(0.0, wait) if wait <= LOOK_EVERY_S else 0.0

    def note(self, holds: Sequence[Hold], now: float) -> None:
        """Be told what is held from now on: some of it may end by itself before the next round.

        What was recorded of the same row, and never sent, is held too. What was sent is not called back; it is said.
        """
        for name in sorted({hold.event_type for hold in holds}):
            kind, mine = KINDS[name], [hold for hold in holds if hold.event_type == name]
            before = self._outbox.remembered(kind.row_table, sorted({hold.row_id for hold in mine}))
            only = {hold.row_id: hold.user_id for hold in mine if hold.row_id in before}
            of_kind = (name, kind.row_table, kind.id_field)
            unsent = self._outbox.hold_undelivered(*of_kind, now, only=only) if only else ()
            for hold in mine:
                one = before.get(hold.row_id)
                if one is not None and one.event_id not in unsent:
                    self._log.warning("grade.hidden_again", **_names(hold), sent=one.event_id)
            if unsent:
                self._wake_at(now)
        for hold in holds:
            if hold.until is not None:
                self._wake_at(max(now, hold.until))

    def look(self, now: float, options: Options) -> Looked:
        """Look at the next of what is held, if it is time. Raises MoodleError and OutboxError."""
        if self.due_in(now) > 0:
            return Looked()
        if self._waiting is None:
            self._soonest = now + LOOK_EVERY_S
            self._waiting = Waiting(self._outbox, self._moodle.kinds, now, options, age_s=LOOK_EVERY_S)
        page = self._waiting.page(now)
        if page is not None:
            hold_hidden(self._outbox, self._moodle, page, now, options, self._log)
            self._waiting.turn()
            return Looked(is_more=True)
        held = self._outbox.held(self._after, AT_ONCE)
        released = self._judge(held, now, options)
        is_more = len(held) == AT_ONCE
        self._after = held[-1].id if is_more else 0
        if not is_more:
            self._waiting, self._round_at = None, self._soonest
        return Looked(released=released, is_more=is_more)

    def look_at(self, events: Sequence[Event], now: float, options: Options) -> int:
        """Look at what is held of the rows of these events, which Moodle shows; return how many are due now."""
        shown = [event for event in events if self._rules.kinds[event.event_type].may_be_held]
        return self._judge(self._held_about(shown), now, options)

    def _held_about(self, shown: Sequence[Event | HeldEvent]) -> list[HeldEvent]:
        """Return all that is held of the rows that these are about, of their types."""
        rows: defaultdict[str, set[int]] = defaultdict(set)
        for one in shown:
            rows[one.row_table].add(one.row_id)
        types = {one.event_type for one in shown}
        found = [one for table, ids in rows.items() for one in self._outbox.held_of(table, sorted(ids))]
        return [one for one in found if one.event_type in types]

    # -- what has become of them

    def _judge(self, held: Sequence[HeldEvent], now: float, options: Options) -> int:
        """Release, skip or keep these, in their order and as many together as may be read; return how many are due now.

        What is released together is due together: so an earlier event of a user is not overtaken, whatever its type.
        """
        kinds = {kind.name: kind for kind in self._moodle.kinds if kind.name not in self._rules.disabled}
        looked_at = {one.id: one for one in held if one.event_type in kinds}.values()
        portion: dict[tuple[str, int], int] = {}
        for kind in kinds.values():
            ids = list(dict.fromkeys(one.row_id for one in looked_at if one.event_type == kind.name))
            for number, some in enumerate(self._moodle.portions(kind, ids)):
                portion |= {(kind.name, row_id): number for row_id in some}
        due, together, numbers = 0, list[HeldEvent](), dict[str, int]()
        for one in looked_at:
            number = portion[one.event_type, one.row_id]
            if numbers.setdefault(one.event_type, number) != number:
                due += self._judge_some(together, now, options)
                together, numbers = [], {one.event_type: number}
            together.append(one)
        return due + (self._judge_some(together, now, options) if together else 0)

    def _judge_some(self, held: Sequence[HeldEvent], now: float, options: Options) -> int:
        with self._moodle.snapshot():
            facts = self._moodle.facts([_log_row(one) for one in held], options)
            made = {one: _made(one, facts, options) for one in held}
            absent = self._absent([one for one, it in made.items() if isinstance(it, Hold)], facts)
        for one in self._held_about([one for one, it in made.items() if isinstance(it, Event)]):
            made.setdefault(one, _made(one, facts, options))
        for it in made.values():
            if isinstance(it, Hold) and it.until is not None:
                self._wake_at(now + it.until - facts.now)
        return self._accept(_judged(made, absent, now), now)

    def _absent(self, held: Sequence[HeldEvent], facts: Facts) -> set[HeldEvent]:
        """Return those whose student has no enrolment in the course."""
        rows = {one: facts.of(table)[one.row_id] for one in held if (table := KINDS[one.event_type].facts) is not None}
        pairs = {one: ENROLLED.pair(row) for one, row in rows.items()}
        enrolled = self._moodle.pairs(ENROLLED, rows.values()) if rows else {}
        return {one for one, pair in pairs.items() if pair is not None and pair not in enrolled}

    def _wake_at(self, at: float) -> None:
        self._soonest, self._round_at = min(self._soonest, at), min(self._round_at, at)

    def _accept(self, judged: Judged, now: float) -> int:
        """Record what was found, and say it; return how many are due now."""
        if not (judged.released or judged.sent or judged.skipped or judged.kept):
            return 0
        done = self._outbox.judge(judged, now)
        due = [*(one for one, _ in done.released), *done.sent]
        with self._log.buffered():
            for one in due:
                self._log.info("event.released", **_names(one))
            for one, reason in done.skipped:
                self._log.warning("event.skipped", **_names(one), reason=reason)
        return len(due)


def _log_row(one: HeldEvent) -> LogRow:
    """Return what was held as the log row that it was; what only the log knows is left out."""
    return LogRow(
        id=one.log_id or 0,
        event_type=one.event_type,
        object_id=one.row_id,
        actor_id=0,
        related_user_id=one.user_id,
        course_id=None,
        created_at=one.occurred_at,
        origin="",
    )


def _made(one: HeldEvent, facts: Facts, options: Options) -> Event | Hold | Skip:
    """Return what Moodle's tables give of it now; an event has the id that it had."""
    made = envelope.build(KINDS[one.event_type], _log_row(one), facts, options, event_id=one.event_id)
    return made._replace(log_id=one.log_id)


def _judged(made: Mapping[HeldEvent, Event | Hold | Skip], absent: Collection[HeldEvent], now: float) -> Judged:
    """Return what is to become of held events, given what Moodle's tables give of them now."""
    #: The newest of each row: it says all that the older ones would.
    newest: dict[tuple[str, str, int], HeldEvent] = {}
    for one in sorted(made, key=lambda one: (one.occurred_at, one.log_id or 0)):
        if isinstance(made[one], Event) and not one.is_built:
            newest[one.event_type, one.row_table, one.row_id] = one
    released: list[tuple[HeldEvent, Event]] = []
    sent: list[HeldEvent] = []
    skipped: list[tuple[HeldEvent, str]] = []
    kept: list[HeldEvent] = []
    for one, it in made.items():
        if isinstance(it, Hold):
            since = int(min(now, one.absent_since or now)) if one in absent else None
            after = one._replace(reason=it.reason, absent_since=since)
            if since is not None and now - since >= ABSENT_S:
                skipped.append((one, "its student has had no enrolment in the course for a day"))
            elif one.is_built or after != one:
                kept.append(after)
        elif one.is_built:
            # Also where the row is gone: it was recorded, and nothing keeps it back.
            sent.append(one)
        elif isinstance(it, Skip):
            skipped.append((one, it.reason))
        elif newest[one.event_type, one.row_table, one.row_id] is one:
            released.append((one, it))
        else:
            skipped.append((one, "a later one was released"))
    return Judged(released=released, sent=sent, skipped=skipped, kept=kept)


def _names(one: HeldEvent | Hold | Unsent) -> dict[str, Any]:
    return {"event_id": one.event_id, "event_type": one.event_type, "log_id": one.log_id}
