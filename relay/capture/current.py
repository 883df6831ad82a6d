"""One table of Moodle as reconcile reads it: digests, rows as they are now, and the events that tell of them.

It serves `capture.compare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from relay.events import catalogue, envelope
from relay.events.held import Held, released
from relay.model import Hold
from relay.moodle.contract import DIGESTS
from relay.outbox.chunks import Chunks
from relay.outbox.contract import Ledger
from relay.outbox.values import digest
from relay.rules import prints
from relay.rules.differences import Difference, Seen
from relay.rules.prints import DATA_BYTES, NOTHING, Print

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from relay.events.kind import EventKind, Facts, Options
    from relay.events.rows import Row
    from relay.model import Event
    from relay.moodle.contract import Moodle, RowDigest, Stretch
    from relay.outbox.values import Chunk, Remembered

#: So many rows are read at once, and so many events recorded with one look at a chunk; fewer where the kind says so.
ROWS_AT_ONCE = 500


class ReconcileLedger(Chunks, Ledger, Protocol):
    """What was seen of Moodle's tables, and what is sent of it: both are written with `accept`."""


class Way(NamedTuple):
    """How a table is compared."""

    kind: EventKind
    #: What tells of rows that have changed, and of those that are gone; None where the config sends no such event.
    changed: EventKind
    gone: EventKind | None
    #: What differs is sent; else it is found only, and found again.
    is_fixing: bool
    #: How long a row must differ, in seconds.
    grace_s: float


class Found(NamedTuple):
    """A row that differs."""

    row_id: int
    difference: Difference
    #: What tells of it; '' where the config sends no such event.
    event_type: str


class Table:
    """Reads one table, and what was recorded of its rows. For one thread. Raises MoodleError and OutboxError."""

    def __init__(
        self, *, moodle: Moodle, outbox: ReconcileLedger, way: Way, options: Options, monotonic: Callable[[], float]
    ) -> None:
        self._moodle = moodle
        self._outbox = outbox
        self.way = way
        self._kind = way.kind
        self._options = options
        self._monotonic = monotonic
        #: So many rows are read, and so many events made, at once.
        self.most = min(ROWS_AT_ONCE, way.kind.most_in_page or ROWS_AT_ONCE)
        #: The time of Moodle's database at the last look, in unix seconds.
        self.moment = 0
        #: How long the last look's longest statement took, in seconds.
        self.longest_s = 0.0

    @property
    def name(self) -> str:
        """The table's own name."""
        return self._kind.row_table

    def look(self) -> AbstractContextManager[None]:
        """Let all reads within see Moodle at one moment."""
        self.longest_s = 0.0
        return self._moodle.snapshot()

    def read_moment(self) -> int:
        """Return the time of Moodle's database, in unix seconds."""
        self.moment = self._moodle.moment()
        return self.moment

    def read_to(self) -> int:
        """Return up to which id the log has been read."""
        position = self._outbox.position()
        return 0 if position is None else position.high

    def recipe(self) -> str:
        """Return what the digests are made of: of the rows as they stand, and of what is sent of them."""
        kind = self._kind
        sent = [kind.name, [one.name for one in kind.fields], str(self._options.btec)]
        sent += [f"{option.name}={kind.chosen(self._options, option.name)}" for option in kind.options]
        raw = digest(self._moodle.recipe(kind, self._options)).hex()
        return f"{raw[:12]}.{digest(str(sent)).hex()[:12]}"

    def total(self, stretch: Stretch) -> tuple[int, str, bool]:
        """Return how many rows there are in a stretch, their digest, and whether a time of one has passed."""
        began_at = self._monotonic()
        found = self._moodle.sum(self._kind, stretch, self._options)
        self.longest_s = max(self.longest_s, self._monotonic() - began_at)
        return found.rows, str(found.digest), found.due > 0

    def digests(self, stretch: Stretch) -> dict[int, RowDigest]:
        """Return the digests of the rows of a stretch, by id."""
        began_at = self._monotonic()
        found = {one.id: one for one in self._moodle.digests(self._kind, stretch, self._options)}
        self.longest_s = max(self.longest_s, self._monotonic() - began_at)
        return found

    def added(self, digests: Mapping[int, RowDigest]) -> str:
        """Return the digest of a stretch, as `total` does, given those of all its rows."""
        return str(sum(one.digest for one in digests.values()) % DIGESTS)

    def log_end(self) -> int:
        """Return where the log ends now."""
        return self._moodle.max_id()

    def captured_since(self, before: Chunk, high: int) -> set[int]:
        """Return the rows of which something was captured since a chunk was seen."""
        return set(self._outbox.captured_since(before.table, before.low, high, before.log_end))

    def remembered(self, ids: Sequence[int]) -> Mapping[int, Remembered]:
        """Return the newest events of rows."""
        return self._outbox.remembered(self.name, ids)

    def seen(self, ids: Sequence[int], digests: Mapping[int, RowDigest], newer: set[int]) -> Iterator[tuple[int, Seen]]:
        """Yield the rows as they are now; one that is gone meanwhile is left out."""
        for start in range(0, len(ids), self.most):
            for some in self._moodle.portions(self._kind, ids[start : start + self.most]):
                yield from self._seen(some, digests, newer)

    def _seen(
        self, ids: Sequence[int], digests: Mapping[int, RowDigest], newer: set[int]
    ) -> Iterator[tuple[int, Seen]]:
        kind, current = self._kind, self._kind.current_rows
        facts, known = self._moodle.current(kind, ids, self._options), self.remembered(ids)
        rows, waiting = facts.of(kind.current_table), self._waiting(ids)
        for row_id in ids:
            row, before = rows.get(row_id), known.get(row_id)
            if row is None:
                continue
            data, is_held = self._data(row, facts)
            made = None if data is None else digest(data)
            one = Print(prints.raw(digests[row_id].digest), made[:DATA_BYTES] if made else NOTHING, current.beside(row))
            yield (
                row_id,
                Seen(
                    now=one,
                    is_carried=before is not None and before.digest == made,
                    is_known=before is not None,
                    is_newer=row_id in newer,
                    is_due=digests[row_id].is_due and bool(current.passing),
                    is_held=is_held,
                    is_waiting=row_id in waiting,
                    is_news=current.is_news(row),
                    size=len(data or ""),
                ),
            )

    def _data(self, row: Row, facts: Facts) -> tuple[str | None, bool]:
        """Return the data of a row, to compare, and whether it is held: then nothing of it may be kept."""
        kind = self._kind
        try:
            return envelope.current_data(kind, row, facts, self._options), False
        except Held:
            return envelope.current_data(kind, row, facts, released(kind, self._options)), True

    def _waiting(self, ids: Sequence[int]) -> set[int]:
        """Return those of the rows of which something is held already."""
        held = self._outbox.held_of(self.name, ids) if self._kind.may_be_held else ()
        return {one.row_id for one in held}

    def events(self, found: Sequence[Found]) -> Iterator[Event | Hold]:
        """Yield what tells of rows, each with an id that follows from the row's newest event."""
        told = {Difference.MISSING: self._kind, Difference.CHANGED: self.way.changed, Difference.GONE: self.way.gone}
        known = self.remembered([one.row_id for one in found])
        for difference, kind in told.items():
            ids = [one.row_id for one in found if one.difference is difference]
            if kind is None or not ids:
                continue
            if difference is Difference.GONE:
                yield from self._gone(kind, ids, known)
                continue
            for made in self._current(kind, ids, known):
                before = known.get(made.row_id)
                if before is None or isinstance(made, Hold):
                    yield made
                else:
                    yield envelope.renamed(made, before.event_id, self._options)

    def _current(self, kind: EventKind, ids: Sequence[int], known: Mapping[int, Remembered]) -> Iterator[Event | Hold]:
        facts = self._moodle.current(kind, ids, self._options)
        rows = facts.of(kind.current_table)
        for row_id in ids:
            if row_id not in rows:
                continue
            try:
                event = envelope.build_current(kind, rows[row_id], facts, self._options)
            except Held as held:
                after = known[row_id].event_id if row_id in known else ""
                yield envelope.hold_current(kind, rows[row_id], held, after, self._options)
            else:
                if event is not None:
                    yield event

    def _gone(self, kind: EventKind, ids: Sequence[int], known: Mapping[int, Remembered]) -> Iterator[Event]:
        rows = self._moodle.current(self._kind, ids).of(self._kind.current_table)
        told = self._outbox.told([known[row_id].event_id for row_id in ids if row_id in known])
        for row_id in ids:
            after = known[row_id].event_id if row_id in known else ""
            event = envelope.build_gone(
                kind, row_id, rows.get(row_id), told.get(after), after, self.moment, self._options
            )
            if event is not None:
                yield event

    def is_told_gone(self, ids: Sequence[int]) -> set[int]:
        """Return those of the rows whose newest event says that they are gone."""
        known = self.remembered(ids)
        types = self._outbox.types_of([one.event_id for one in known.values()])
        return {
            row_id for row_id, one in known.items() if one.event_id in types and catalogue.is_end(types[one.event_id])
        }
