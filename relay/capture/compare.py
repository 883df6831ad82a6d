"""One chunk of a table: what Moodle has of its rows now, what was seen and sent of them before, and what differs.

It serves `capture.reconcile`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from relay.events import catalogue, envelope
from relay.moodle.contract import Stretch
from relay.outbox.values import Chunk, digest
from relay.rules import differences, prints
from relay.rules.differences import Difference, Seen, Suspects
from relay.rules.prints import DATA_BYTES, NOTHING, Print

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from relay.events.kind import EventKind, Options
    from relay.model import Event
    from relay.moodle.contract import Moodle, RowDigest
    from relay.outbox.contract import Chunks
    from relay.outbox.values import Remembered

#: So many rows are read at once, and so many events recorded with one look at a chunk; fewer where the kind says so.
ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a table is compared."""

    kind: EventKind
    #: What tells of rows that have changed, and of those that are gone; None where the config sends no such event.
    changed: EventKind
    gone: EventKind | None
    #: What differs is sent; else it is found only, and found again.
    is_fixing: bool
    #: How long a row must differ, in seconds.
    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A row that differs."""

    row_id: int
    difference: Difference
    #: What tells of it; '' where the config sends no such event.
    event_type: str


@dataclass(slots=True, kw_only=True)
class Look:
    """What has come of a look at a chunk."""

    chunk: Chunk
    #: It says something else than before, and is to be kept.
    is_new: bool = True
    #: How many rows were compared.
    rows: int = 0
    events: list[Event] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    #: How many rows differ, and have not done so for long enough.
    waiting: int = 0
    #: There is more to be sent of it, at once.
    is_more: bool = False


class Comparison:
    """Compares the chunks of one table. For one thread."""

    def __init__(
        self, *, moodle: Moodle, outbox: Chunks, way: Way, options: Options, monotonic: Callable[[], float]
    ) -> None:
        self._moodle = moodle
        self._outbox = outbox
        self._way = way
        self._kind = way.kind
        self._options = options
        self._monotonic = monotonic
        #: So many rows are read, and so many events made, at once.
        self.most = min(ROWS_AT_ONCE, way.kind.most_in_page or ROWS_AT_ONCE)
        #: The time of Moodle's database at the last look, in unix seconds.
        self._moment = 0
        #: How long the last look's longest statement took, in seconds.
        self.longest_s = 0.0

    def look(self, low: int, high: int, before: Chunk | None, now: float, *, is_learning: bool) -> Look:
        """Compare the rows behind `low` and up to `high` with what was kept of them; record nothing.

        `before` begins at `low`; it may end earlier. `is_learning`: what was never seen is not compared. Raises
        MoodleError and OutboxError; nothing has happened then.
        """
        position = self._outbox.position()
        read_to = 0 if position is None else position.high
        with self._moodle.snapshot():
            moment = self._moment = self._moodle.moment()
            # Where a clock was set back, no time passes twice.
            since = moment if before is None else before.seen_at
            stretch = Stretch(low=low, high=high, since=since, until=max(since, moment))
            chunk = Chunk(
                table=self._kind.facts.table,
                low=low,
                high=high,
                recipe=self._recipe(),
                digest="",
                prints=b"",
                seen_at=stretch.until,
                log_end=read_to,
            )
            return _Looking(self, chunk, before, stretch, now).look(is_learning=is_learning)

    def _recipe(self) -> str:
        """Return what the digests are made of: of the rows as they stand, and of what is sent of them."""
        kind = self._kind
        sent = [kind.name, [one.name for one in kind.fields], str(self._options.btec)]
        sent += [f"{option.name}={kind.chosen(self._options, option.name)}" for option in kind.options]
        raw = digest(self._moodle.recipe(kind, self._options)).hex()
        return f"{raw[:12]}.{digest(str(sent)).hex()[:12]}"

    # -- what a look asks

    @property
    def way(self) -> Way:
        """How the table is compared."""
        return self._way

    def total(self, stretch: Stretch) -> tuple[int, str, bool]:
        """Return how many rows there are in a stretch, their digest, and whether a time of one has passed."""
        began_at = self._monotonic()
        found = self._moodle.sum(self._kind, stretch, self._options)
        self.longest_s = self._monotonic() - began_at
        return found.rows, str(found.digest), found.due > 0

    def digests(self, stretch: Stretch) -> dict[int, RowDigest]:
        """Return the digests of the rows of a stretch, by id."""
        began_at = self._monotonic()
        found = {one.id: one for one in self._moodle.digests(self._kind, stretch, self._options)}
        self.longest_s = max(self.longest_s, self._monotonic() - began_at)
        return found

    def log_end(self) -> int:
        """Return where the log ends now."""
        return self._moodle.max_id()

    def captured_since(self, before: Chunk, high: int) -> set[int]:
        """Return the rows of which something was captured since a chunk was seen."""
        return set(self._outbox.captured_since(before.table, before.low, high, before.log_end))

    def remembered(self, ids: Sequence[int]) -> Mapping[int, Remembered]:
        """Return the newest events of rows."""
        return self._outbox.remembered(self._kind.facts.table, ids)

    def seen(self, ids: Sequence[int], digests: Mapping[int, RowDigest], newer: set[int]) -> Iterator[tuple[int, Seen]]:
        """Yield the rows as they are now; one that is gone meanwhile is left out."""
        kind, current = self._kind, self._kind.current_rows
        for start in range(0, len(ids), self.most):
            some = ids[start : start + self.most]
            facts, known = self._moodle.current(kind, some, self._options), self.remembered(some)
            for row_id in some:
                row, before = facts.of(kind.facts).get(row_id), known.get(row_id)
                if row is None:
                    continue
                data = envelope.current_data(kind, row, facts, self._options)
                made = None if data is None else digest(data)
                one = Print(
                    prints.raw(digests[row_id].digest), made[:DATA_BYTES] if made else NOTHING, current.beside(row)
                )
                yield (
                    row_id,
                    Seen(
                        now=one,
                        is_carried=before is not None and before.digest == made,
                        is_known=before is not None,
                        is_newer=row_id in newer,
                        is_due=digests[row_id].is_due,
                        is_news=current.is_news(row),
                    ),
                )

    def events(self, found: Sequence[Found]) -> Iterator[Event]:
        """Yield the events that tell of rows, each with an id that follows from the row's newest event."""
        told = {Difference.MISSING: self._kind, Difference.CHANGED: self._way.changed, Difference.GONE: self._way.gone}
        known = self.remembered([one.row_id for one in found])
        for difference, kind in told.items():
            ids = [one.row_id for one in found if one.difference is difference]
            if kind is None or not ids:
                continue
            made = self._gone(kind, ids, known) if difference is Difference.GONE else self._current(kind, ids)
            for event in made:
                before = known.get(event.row_id)
                yield event if before is None else envelope.renamed(event, before.event_id, self._options)

    def _current(self, kind: EventKind, ids: Sequence[int]) -> Iterator[Event]:
        facts = self._moodle.current(kind, ids, self._options)
        rows = facts.of(kind.facts)
        for row_id in ids:
            event = envelope.build_current(kind, rows[row_id], facts, self._options) if row_id in rows else None
            if event is not None:
                yield event

    def _gone(self, kind: EventKind, ids: Sequence[int], known: Mapping[int, Remembered]) -> Iterator[Event]:
        rows = self._moodle.current(kind, ids).of(kind.facts)
        told = self._outbox.told([one.event_id for one in known.values()])
        for row_id in ids:
            last = told.get(known[row_id].event_id) if row_id in known else None
            event = envelope.build_gone(kind, row_id, rows.get(row_id), last, self._moment, self._options)
            if event is not None:
                yield event

    def is_told_gone(self, ids: Sequence[int]) -> set[int]:
        """Return those of the rows whose newest event says that they are gone."""
        known = self.remembered(ids)
        told = self._outbox.told([one.event_id for one in known.values()])
        return {
            row_id
            for row_id, one in known.items()
            if one.event_id in told and catalogue.is_end(told[one.event_id].event_type)
        }


class _Looking:
    """One look at one chunk."""

    def __init__(
        self, comparison: Comparison, chunk: Chunk, before: Chunk | None, stretch: Stretch, now: float
    ) -> None:
        self._comparison = comparison
        self._way = comparison.way
        self._chunk = chunk
        self._before = before
        self._stretch = stretch
        self._now = now
        self._old = prints.decode(before.prints) if before else {}
        self._suspects = differences.decode(before.suspects if before else "")
        self._kept: dict[int, Print] = {}
        self._waiting: dict[int, differences.Suspect] = {}
        self._confirmed: list[Found] = []
        self._new_suspects = False

    def look(self, *, is_learning: bool) -> Look:
        """Return what has come of it."""
        before = self._before
        there, total, is_due = self._comparison.total(self._stretch)
        newer = set() if before is None else self._comparison.captured_since(before, self._chunk.high)
        same = before is not None and (before.high, before.recipe) == (self._chunk.high, self._chunk.recipe)
        if before is not None and same and before.digest == total and not (is_due or newer or before.suspects):
            # What passes later is what has not passed yet.
            is_new = bool(self._way.kind.current_rows.passing) or before.log_end != self._chunk.log_end
            chunk = replace(before, seen_at=self._chunk.seen_at, log_end=self._chunk.log_end)
            return Look(chunk=chunk, is_new=is_new, rows=there)
        digests = self._comparison.digests(self._stretch)
        read = self._to_read(digests, newer, total)
        learning = {row_id for row_id in read if is_learning and row_id not in self._old} | self._unknown(read, digests)
        for row_id, seen in self._comparison.seen(read, digests, newer):
            self._judge(row_id, seen, is_learning=row_id in learning)
        unread = digests.keys() - set(read)
        self._kept |= {row_id: self._old[row_id] for row_id in unread}
        self._judge_gone([row_id for row_id in self._old if row_id not in digests])
        return self._end(there, total)

    def _parts(self) -> tuple[bool, bool]:
        """Say whether digests of rows, and of what is sent of them, can be compared with those of before."""
        if self._before is None:
            return True, True
        before, now = self._before.recipe.split("."), self._chunk.recipe.split(".")
        return before[0] == now[0], before[1:] == now[1:]

    def _to_read(self, digests: Mapping[int, RowDigest], newer: set[int], total: str) -> list[int]:
        """Return the ids of the rows that may say something else than before."""
        if self._parts() != (True, True):
            return list(digests)
        old, suspects = self._old, self._suspects.rows
        read = [
            row_id
            for row_id, one in digests.items()
            if one.is_due
            or row_id in newer
            or row_id in suspects
            or row_id not in old
            or old[row_id].raw != prints.raw(one.digest)
        ]
        is_same = self._before is not None and self._before.digest == total
        # Of a row's digest, little is kept: where it tells nothing apart, all are read.
        return read if read or is_same or old.keys() - digests.keys() else list(digests)

    def _unknown(self, read: Sequence[int], digests: Mapping[int, RowDigest]) -> set[int]:
        """Return the rows of which it cannot be told whether they differ, as other things are sent of them now."""
        rows_same, sent_same = self._parts()
        if sent_same:
            return set()
        if not rows_same:
            return {row_id for row_id in read if row_id in self._old}
        return {
            row_id
            for row_id in read
            if row_id in self._old and self._old[row_id].raw == prints.raw(digests[row_id].digest)
        }

    def _judge(self, row_id: int, seen: Seen, *, is_learning: bool) -> None:
        before, suspect = self._old.get(row_id), self._suspects.rows.get(row_id)
        difference = None if is_learning else differences.difference(before, seen, suspect)
        if difference is None:
            self._kept[row_id] = differences.kept(before, seen.now)
            return
        told = self._way.kind if difference is Difference.MISSING else self._way.changed
        if self._note(row_id, difference, seen, told.name):
            self._kept[row_id] = seen.now
        elif before is not None:
            self._kept[row_id] = before

    def _judge_gone(self, ids: Sequence[int]) -> None:
        told = self._comparison.is_told_gone(ids) if ids else set()
        for row_id in ids:
            name = "" if self._way.gone is None else self._way.gone.name
            if row_id not in told and not self._note(row_id, Difference.GONE, None, name):
                self._kept[row_id] = self._old[row_id]

    def _note(self, row_id: int, difference: Difference, seen: Seen | None, event_type: str) -> bool:
        """Note a row that differs; say whether it is told of now."""
        before = self._suspects.rows.get(row_id)
        suspect = differences.suspected(seen, before, self._now)
        is_ripe = self._now - suspect.since >= self._way.grace_s and self._is_log_read(is_new=suspect != before)
        if is_ripe:
            self._confirmed.append(Found(row_id=row_id, difference=difference, event_type=event_type))
        if is_ripe and self._way.is_fixing and len(self._confirmed) <= self._comparison.most:
            return True
        self._waiting[row_id] = suspect
        self._new_suspects = self._new_suspects or suspect != before
        return False

    def _is_log_read(self, *, is_new: bool) -> bool:
        """Say whether capture has read the log up to where it ended when a difference was found: the log wins."""
        if is_new:
            return self._chunk.log_end >= self._top()
        return self._chunk.log_end >= self._suspects.log_end

    def _top(self) -> int:
        if self._log_top is None:
            self._log_top = self._comparison.log_end()
        return self._log_top

    _log_top: int | None = None

    def _end(self, there: int, total: str) -> Look:
        told = self._confirmed[: self._comparison.most] if self._way.is_fixing else self._confirmed
        events = list(self._comparison.events(told)) if self._way.is_fixing else []
        log_end = self._top() if self._new_suspects else self._suspects.log_end
        suspects = Suspects(rows=self._waiting, log_end=log_end)
        look_at = min((one.since for one in self._waiting.values()), default=None)
        chunk = replace(
            self._chunk,
            # With a difference that is not told of yet, the stretch is not what is kept of it.
            digest=total if not self._waiting else "",
            prints=prints.encode(self._kept),
            suspects=suspects.encode(),
            look_at=None if look_at is None else look_at + self._way.grace_s,
        )
        waiting = len(self._waiting) - (0 if self._way.is_fixing else len(self._confirmed))
        return Look(
            chunk=chunk,
            rows=there,
            events=events,
            found=list(told),
            waiting=waiting,
            is_more=self._way.is_fixing and len(self._confirmed) > self._comparison.most,
        )
