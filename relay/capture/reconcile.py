"""Reconcile: Moodle's tables are compared with what was seen and sent of them, and what differs is sent.

A pass goes through the chunks of one table. Rows that differ are looked at again when they have done so for long
enough: their log rows may come late. All that it knows is in the outbox, so that it goes on after a kill.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from relay.capture import compare
from relay.capture.current import Table, Way
from relay.capture.log import say_skipped
from relay.errors import MoodleTooSlow, OutboxOvertaken
from relay.events import catalogue
from relay.outbox.values import Batch, Chunk, Sync
from relay.rules import differences, prints

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from relay.capture.compare import Look
    from relay.capture.current import Found, ReconcileLedger
    from relay.events.kind import EventKind, Options
    from relay.model import Log
    from relay.moodle.contract import Moodle

#: How many rows a new chunk has at least, at first, and at most.
LEAST, FIRST, MOST = 50, 1000, 4000
#: A statement that takes longer, in seconds, makes chunks smaller; one that takes less than a part of that, larger.
LONG_S = 0.2
#: No statement may take longer, in seconds: Moodle's database ends it then (contract, section 8).
STATEMENT_S = 0.5
#: How long a row differs before it counts, in seconds (contract, section 8).
GRACE_S = 900.0
#: The tables that are compared, by the names that the config and the command line give them.
TABLES = tuple(catalogue.SYNCED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a pass has come: kept in the outbox with each step."""

    #: The line in the history.
    history: int
    #: The first pass of the table: it learns.
    is_first: bool
    #: The id up to which chunks have been compared.
    after: int = 0
    #: How many rows have been compared, how many differ, and how many events were made of them.
    rows: int = 0
    differed: int = 0
    sent: int = 0
    #: How many rows wait for the end of the grace; and how many did when they were to be looked at again.
    waiting: int = 0
    differing: int = 0
    #: Where these are looked at again: not before this time (unix seconds), nor before the log has been read so far.
    look_at: float | None = None
    log_end: int = 0
    is_done: bool = False

    @property
    def is_looking(self) -> bool:
        """All chunks were compared: those with rows that differ are looked at again."""
        return self.look_at is not None


def way_of(name: str, disabled: Collection[str], *, is_fixing: bool, grace_s: float) -> Way | None:
    """Return how a table of TABLES is compared, given the kinds that the config does not send; None where none is."""
    kind: EventKind = catalogue.SYNCED[name]
    on = [one for one in catalogue.KINDS.values() if one.name not in disabled]
    if kind not in on:
        return None
    gone = catalogue.teller_of_gone(kind, on)
    return Way(kind=kind, changed=catalogue.teller_of_change(kind, on), gone=gone, is_fixing=is_fixing, grace_s=grace_s)


class Reconciling:
    """The passes of one table, in steps. For one thread."""

    def __init__(
        self,
        name: str,
        *,
        moodle: Moodle,
        outbox: ReconcileLedger,
        way: Way,
        options: Options,
        log: Log,
        monotonic: Callable[[], float],
        asked: bool = False,
    ) -> None:
        """Take what is compared and how; `asked`: a person asks for this pass, beside those of the daemon."""
        self.name = name
        self._moodle = moodle
        self._outbox = outbox
        self._way = way
        self._log = log
        self._key = f"reconcile.{name}{'.asked' if asked else ''}"
        self._table = Table(moodle=moodle, outbox=outbox, way=way, options=options, monotonic=monotonic)
        self._size = FIRST

    # -- a pass

    def resumed(self) -> Progress | None:
        """Return the progress of a pass that has not ended, None where there is none. Raises OutboxError."""
        saved: dict[str, Any] = json.loads(self._outbox.state(self._key) or "{}")
        return Progress(**saved) if saved else None

    def begin_again(self, now: float, triggered_by: int | None = None) -> Progress:
        """Begin a pass: on the line of one that has not ended, from the first chunk on. Raises OutboxError."""
        broken = self.resumed()
        if broken is None:
            return self.begin(now, triggered_by)
        return Progress(history=broken.history, is_first=broken.is_first)

    def begin(self, now: float, triggered_by: int | None = None) -> Progress:
        """Begin a pass, with a line in the history. Raises OutboxError."""
        learned = self._outbox.state(f"reconcile.{self.name}.learned")
        history = self._outbox.begin_sync("reconcile", self.name, triggered_by, now)
        progress = Progress(history=history, is_first=learned is None)
        self._outbox.set_state(self._key, json.dumps(asdict(progress)), now)
        return progress

    def ready_at(self, progress: Progress, now: float) -> float:
        """Return when the next step can be taken, in unix seconds; infinity where it waits for the log to be read."""
        if progress.look_at is None:
            return now
        position = self._outbox.position()
        if progress.look_at <= now and position is not None and position.high < progress.log_end:
            return float("inf")
        # A clock that was set back makes nobody wait for longer than the grace.
        return min(progress.look_at, now + self._way.grace_s)

    def step(self, progress: Progress, now: float) -> tuple[Progress, Sequence[Found]]:
        """Compare the next chunk; return the new progress, and the rows that were found to differ.

        Raises MoodleError and OutboxError; the same step may be taken again then.
        """
        taken = self._next_look(progress) if progress.is_looking else self._next_chunk(progress)
        if taken is None:
            return self._turn(progress, now), ()
        low, high, before = taken
        try:
            look = compare.look(self._table, low, high, before, now, is_learning=self._is_learning(progress))
        except MoodleTooSlow:
            return self._smaller(progress, before, now), ()
        self._adapt()
        try:
            return self._keep(progress, look, before, now), look.found
        except OutboxOvertaken:
            return progress, ()

    def fail(self, progress: Progress, error: str, now: float) -> None:
        """Record in the history that the pass broke off; the next one goes on with it."""
        self._note(progress, "failed", error, now)

    def _is_learning(self, progress: Progress) -> bool:
        return progress.is_first and not (self._way.is_fixing and self._key.endswith("asked"))

    # -- which rows come next

    def _next_chunk(self, progress: Progress) -> tuple[int, int, Chunk | None] | None:
        """Return the ids behind which, and up to which, rows come next, with their chunk; None behind the last."""
        low = progress.after
        before = self._outbox.chunk(self._table.name, low)
        if before is not None and before.low > low:
            return low, before.low, None
        if before is None:
            high = self._moodle.end_of_rows(self._way.kind, low, self._size)
            return None if high is None else (low, high, None)
        high = before.high
        free = self._size - len(prints.decode(before.prints))
        if free > 0 and self._outbox.chunk(self._table.name, before.high) is None:
            # The last chunk takes what has come behind it.
            high = self._moodle.end_of_rows(self._way.kind, before.high, free) or high
        return low, high, before

    def _next_look(self, progress: Progress) -> tuple[int, int, Chunk] | None:
        chunk = self._outbox.chunk_to_look_at(self._table.name, progress.after, progress.look_at or 0.0)
        return None if chunk is None else (chunk.low, chunk.high, chunk)

    def _turn(self, progress: Progress, now: float) -> Progress:
        """Return the progress behind the last chunk: at the first one that is looked at again, or at the end."""
        last = self._outbox.last_look(self._table.name) if progress.waiting and not progress.is_looking else None
        if last is None:
            return self._finish(progress, now)
        turned = replace(
            progress, after=0, look_at=last, log_end=self._moodle.max_id(), waiting=0, differing=progress.waiting
        )
        self._outbox.set_state(self._key, json.dumps(asdict(turned)), now)
        return turned

    # -- how large a chunk is

    def _adapt(self) -> None:
        if self._table.longest_s > LONG_S:
            self._size = max(LEAST, self._size // 2)
        elif self._table.longest_s < LONG_S / 4:
            self._size = min(MOST, self._size * 2)

    def _smaller(self, progress: Progress, before: Chunk | None, now: float) -> Progress:
        """Make chunks smaller, as Moodle's database was too slow; raise MoodleTooSlow where they are the smallest."""
        rows = self._size if before is None else max(len(prints.decode(before.prints)), self._size)
        if rows <= LEAST:
            raise MoodleTooSlow(
                "Moodle's database is too slow: it does not read 50 rows within half a second.",
                hint="Relay goes on when it has less to do.",
            )
        self._size = max(LEAST, rows // 2)
        halves = () if before is None else self._halves(before)
        if before is not None and halves:
            self._outbox.accept(Batch(chunks=halves, replaced=(before,)), now)
        return progress

    def _halves(self, chunk: Chunk) -> Sequence[Chunk]:
        """Return a chunk in two parts, of about the same number of rows; () where it is too small."""
        middle = self._moodle.end_of_rows(self._way.kind, chunk.low, self._size)
        if middle is None or middle >= chunk.high:
            return ()
        kept, suspects = prints.decode(chunk.prints), differences.decode(chunk.suspects)
        parts = []
        for low, high in ((chunk.low, middle), (middle, chunk.high)):
            mine = {row_id: one for row_id, one in kept.items() if low < row_id <= high}
            rows = {row_id: one for row_id, one in suspects.rows.items() if low < row_id <= high}
            encoded = prints.encode(mine)
            part = chunk._replace(low=low, high=high, digest="", prints=encoded)
            parts.append(
                part._replace(suspects=suspects._replace(rows=rows).encode(), look_at=chunk.look_at if rows else None)
            )
        return parts

    # -- what is kept

    def _keep(self, progress: Progress, look: Look, before: Chunk | None, now: float) -> Progress:
        """Record what a look has found, with the progress behind it, in one transaction; return that."""
        is_over = not look.is_more
        made = replace(
            progress,
            after=_behind(progress, look.chunk) if is_over else progress.after,
            rows=progress.rows + (look.rows if is_over and not progress.is_looking else 0),
            differed=progress.differed + len(look.found),
            sent=progress.sent + len(look.events),
            waiting=progress.waiting + (look.waiting if is_over else 0),
        )
        kinds = {one.row_id: str(one.difference) for one in look.found}
        batch = Batch(
            events=look.events,
            holds=look.holds,
            chunks=(look.chunk,) if look.is_new else (),
            replaced=(before,) if look.is_new and before is not None else (),
            found={
                **{event.event_id: kinds[event.row_id] for event in look.events},
                **{hold.event_id: kinds[hold.row_id] for hold in look.holds},
            },
            state={self._key: json.dumps(asdict(made))},
        )
        accepted = self._outbox.accept(batch, now)
        unfit = (*accepted.unfit, *accepted.still_unfit)
        if unfit:
            made = self._keep_unfit(made, look, before, {one.event_id for one in unfit}, now)
        say_skipped(self._log, unfit)
        if look.found:
            counts = Counter(str(one.difference) for one in look.found)
            held = {"held": len(look.holds)} if look.holds else {}
            self._log.info("reconcile.found", table=self.name, **counts, events=len(look.events), **held)
        self._note(made, "running", None, now)
        return made

    def _keep_unfit(
        self, progress: Progress, look: Look, before: Chunk | None, unfit: Collection[str], now: float
    ) -> Progress:
        """Let the rows whose events the outbox cannot keep differ as they did, for the next pass to find.

        Where none of the look's can be kept, the next look at the chunk is the next pass's, too.
        """
        kept, old = prints.decode(look.chunk.prints), prints.decode(before.prints) if before else {}
        for event in look.events:
            if event.event_id in unfit:
                kept.pop(event.row_id, None)
                kept |= {event.row_id: old[event.row_id]} if event.row_id in old else {}
        after = progress.after if len(unfit) < len(look.events) else _behind(progress, look.chunk)
        made = replace(progress, after=after, sent=progress.sent - len(unfit))
        chunk = look.chunk._replace(digest="", prints=prints.encode(kept))
        state = {self._key: json.dumps(asdict(made))}
        self._outbox.accept(Batch(chunks=(chunk,), replaced=(look.chunk,), state=state), now)
        return made

    def _finish(self, progress: Progress, now: float) -> Progress:
        done = replace(progress, is_done=True)
        counts = {"rows": done.rows, "differed": done.differed, "sent": done.sent}
        self._outbox.set_state(f"reconcile.{self.name}.learned", "1", now)
        self._outbox.set_state(f"reconcile.{self.name}.last", json.dumps({"at": now, **counts}), now)
        self._note(done, "completed", None, now)
        self._outbox.set_state(self._key, "{}", now)
        self._log.info("reconcile.finished", table=self.name, **counts, learned=self._is_learning(progress))
        return done

    def _note(self, progress: Progress, status: str, error: str | None, now: float) -> None:
        """Bring the line in the history up to date."""
        self._outbox.note_sync(
            Sync(id=progress.history, processed=progress.rows, failed=0, status=status, error=error), now
        )


def _behind(progress: Progress, chunk: Chunk) -> int:
    """Return behind which id the next chunk is looked for; a look again begins behind the beginning of one."""
    return chunk.low + 1 if progress.is_looking else chunk.high
