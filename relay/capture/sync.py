"""Current rows of Moodle as events: fills the outbox with what the log does not say, or says no more."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.capture.log import say_skipped
from relay.events import envelope
from relay.events.catalogue import SYNCED
from relay.events.held import Held
from relay.moodle.contract import Filters
from relay.outbox.values import Batch, Sync, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.events.kind import Options
    from relay.model import Event, Log
    from relay.moodle.contract import Moodle
    from relay.outbox.contract import Ledger

#: Rows in one transaction.
ROWS_IN_STEP = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows are to be sent."""

    #: What they are called: a key of `events.catalogue.SYNCED`.
    kind: str
    user: int | None = None
    course: int | None = None
    #: Rows changed at or after this time only, in unix seconds.
    since: int | None = None

    def filters(self) -> Filters:
        """Return what the rows must fulfil."""
        return Filters(user=self.user, course=self.course, since=self.since)

    def action(self) -> str:
        """Return the filters as text, for the history; `all` where there is none."""
        filters = {"user": self.user, "course": self.course, "since": self.since}
        return ",".join(f"{name}={value}" for name, value in filters.items() if value is not None) or "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a sync has come: kept in the outbox, so that it is known of a killed one."""

    #: The line in the history; 0 where nothing is recorded.
    history: int
    action: str
    #: The id up to which rows have been read.
    after: int = 0
    #: Rows of which an event was made.
    processed: int = 0
    #: How many of these events are new. It is not kept: a sync that goes on after a kill counts from 0.
    recorded: int = 0
    #: Rows of which no event could be made, or none that the outbox can keep.
    failed: int = 0
    #: Rows that are not sent, as Moodle keeps from the student what they say.
    held: int = 0


class Syncing:
    """One sync, in steps. For one thread; a daemon may run beside it."""

    def __init__(
        self, *, moodle: Moodle, outbox: Ledger, wanted: Wanted, options: Callable[[str], Options], log: Log
    ) -> None:
        self._moodle = moodle
        self._outbox = outbox
        self._wanted = wanted
        self._kind = SYNCED[wanted.kind]
        self._options = options(moodle.site().identifier)
        self._log = log
        self._key = f"sync.{wanted.kind}"

    def begin(self, triggered_by: int | None, now: float) -> Progress:
        """Return a progress at the first row, with its line in the history.

        A sync of the same rows that was killed is begun anew on its line: what it has sent already is known row by row,
        and what has changed meanwhile is seen. One of other rows is said to be aborted.
        """
        saved: dict[str, Any] = json.loads(self._outbox.state(self._key) or "{}")
        action = self._wanted.action()
        if saved.get("action") == action:
            return Progress(history=saved["history"], action=action)
        if saved:
            known = {name: saved[name] for name in ("history", "action", "processed", "failed")}
            self._note(Progress(**known), "aborted", "It was killed, and a sync of other rows came after it.", now)
        history = self._outbox.begin_sync(self._wanted.kind, action, triggered_by, now)
        # Before the first row: one that is killed now is found by the next one, too.
        begun = {"history": history, "action": action, "processed": 0, "failed": 0}
        self._outbox.set_state(self._key, json.dumps(begun), now)
        return Progress(history=history, action=action)

    def step(self, progress: Progress, now: float) -> Progress | None:
        """Record the next rows as events; return the new progress, or None where there are no more."""
        ids, events, held = self._read(progress.after)
        if not ids:
            self._note(progress, "completed", None, now)
            self._outbox.set_state(self._key, "{}", now)
            return None
        new = self._accept(progress, ids, events, held, now)
        self._note(new, "running", None, now)
        return new

    def fail(self, progress: Progress, error: str, now: float) -> None:
        """Record in the history that the sync broke off; the next one of the same rows begins anew on its line."""
        self._note(progress, "failed", error, now)

    def note_undelivered(self, progress: Progress, count: int, now: float) -> None:
        """Record in the history that all rows were read, and that so many events of the outbox are not delivered."""
        self._note(progress, "partial", f"All rows are recorded; {count} events of the outbox are not delivered.", now)

    def preview(self) -> Iterator[Event | Held]:
        """Yield the events, and why a row is held where it is; record nothing."""
        after = 0
        while True:
            ids, events, held = self._read(after)
            if not ids:
                return
            yield from events
            yield from held
            after = ids[-1]

    def _read(self, after: int) -> tuple[list[int], list[Event], list[Held]]:
        found = self._moodle.current_ids(self._kind, after, ROWS_IN_STEP, self._wanted.filters())
        ids = list(next(self._moodle.portions(self._kind, found), ()))
        if not ids:
            return [], [], []
        facts = self._moodle.current(self._kind, ids, self._options)
        rows = facts.of(self._kind.facts) if self._kind.facts else {}
        events: list[Event] = []
        held: list[Held] = []
        for row in [rows[i] for i in ids if i in rows]:
            try:
                event = envelope.build_current(self._kind, row, facts, self._options)
            except Held as kept_back:
                held.append(kept_back)
            else:
                events += [] if event is None else [event]
        return ids, events, held

    def _accept(
        self, progress: Progress, ids: list[int], events: list[Event], held: list[Held], now: float
    ) -> Progress:
        """Record events and progress in one transaction."""
        counted: dict[str, Any] = {
            "history": progress.history,
            "action": progress.action,
            "after": ids[-1],
            "processed": progress.processed + len(events),
            "failed": progress.failed + len(ids) - len(events) - len(held),
            "held": progress.held + len(held),
        }
        batch = Batch(events=self._changed(events), state={self._key: json.dumps(counted)})
        accepted = self._outbox.accept(batch, now)
        unfit = [*accepted.unfit, *accepted.still_unfit]
        say_skipped(self._log, unfit)
        # Until the next step is recorded, a sync that is killed here counts what the outbox cannot keep as read.
        counted["processed"] -= len(unfit)
        counted["failed"] += len(unfit)
        return Progress(**counted, recorded=progress.recorded + len(accepted))

    def _changed(self, events: list[Event]) -> list[Event]:
        """Return the events of rows that have changed since they were last sent by a sync, or never were.

        An id is derived from the data and from the event that was the row's newest: a row that has changed back is sent
        again, with another id than the first time.
        """
        before = self._outbox.remembered(self._kind.row_table, [event.row_id for event in events])
        changed = []
        for event in events:
            known = before.get(event.row_id)
            if known is None:
                changed.append(event)
            elif known.log_id is not None or known.digest != digest(event.state):
                changed.append(envelope.renamed(event, known.event_id, self._options))
        return changed

    def _note(self, progress: Progress, status: str, error: str | None, now: float) -> None:
        """Bring the line in the history up to date."""
        line = Sync(
            id=progress.history, processed=progress.processed, failed=progress.failed, status=status, error=error
        )
        self._outbox.note_sync(line, now)
