"""One chunk of a table: what Moodle has of its rows now, what was seen and sent of them before, and what differs.

It serves `capture.reconcile`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.capture.current import Found
from relay.model import Event, Hold
from relay.moodle.contract import BYTES_AT_ONCE, Stretch
from relay.outbox.values import Chunk
from relay.rules import differences, prints
from relay.rules.differences import Difference, Seen, Suspects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.capture.current import Table
    from relay.moodle.contract import RowDigest
    from relay.rules.prints import Print


@dataclass(slots=True, kw_only=True)
class Look:
    """What has come of a look at a chunk."""

    chunk: Chunk
    #: It says something else than before, and is to be kept.
    is_new: bool = True
    #: How many rows were compared.
    rows: int = 0
    events: list[Event] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    #: How many rows differ, and have not done so for long enough.
    waiting: int = 0
    #: There is more to be sent of it, at once.
    is_more: bool = False


def look(table: Table, low: int, high: int, before: Chunk | None, now: float, *, is_learning: bool) -> Look:
    """Compare the rows behind `low` and up to `high` with what was kept of them; record nothing.

    `before` begins at `low`; it may end earlier. `is_learning`: what was never seen is not compared. Raises
    MoodleError and OutboxError; nothing has happened then.
    """
    read_to = table.read_to()
    with table.look():
        moment = table.read_moment()
        # Where a clock was set back, no time passes twice.
        since = moment if before is None else before.seen_at
        stretch = Stretch(low=low, high=high, since=since, until=max(since, moment))
        chunk = Chunk(
            table=table.name,
            low=low,
            high=high,
            recipe=table.recipe(),
            digest="",
            prints=b"",
            seen_at=stretch.until,
            log_end=read_to,
        )
        return _Looking(table, chunk, before, stretch, now).look(is_learning=is_learning)


class _Looking:
    """One look at one chunk."""

    def __init__(self, table: Table, chunk: Chunk, before: Chunk | None, stretch: Stretch, now: float) -> None:
        self._table = table
        self._way = table.way
        self._chunk = chunk
        self._before = before
        self._stretch = stretch
        self._now = now
        self._old = prints.decode(before.prints) if before else {}
        self._suspects = differences.decode(before.suspects if before else "")
        self._kept: dict[int, Print] = {}
        self._waiting: dict[int, differences.Suspect] = {}
        #: Of the rows that differ, those that have done so for long enough; and those of them that are told of now,
        #: with the size of their data together.
        self._confirmed: list[Found] = []
        self._told: list[Found] = []
        self._size = 0
        self._new_suspects = False
        self._log_top: int | None = None

    def look(self, *, is_learning: bool) -> Look:
        """Return what has come of it."""
        before = self._before
        if before is None:
            # There is nothing that its sum could be compared with: each row is read.
            return self._read(set(), "", is_learning=is_learning)
        there, total, is_due = self._table.total(self._stretch)
        newer = self._table.captured_since(before, self._chunk.high)
        same = (before.high, before.recipe) == (self._chunk.high, self._chunk.recipe)
        if same and before.digest == total and not (is_due or newer or before.suspects):
            # What passes later is what has not passed yet.
            is_new = bool(self._way.kind.current_rows.passing) or before.log_end != self._chunk.log_end
            chunk = before._replace(seen_at=self._chunk.seen_at, log_end=self._chunk.log_end)
            return Look(chunk=chunk, is_new=is_new, rows=there)
        return self._read(newer, total, is_learning=is_learning)

    def _read(self, newer: set[int], total: str, *, is_learning: bool) -> Look:
        """Return what has come of reading the rows that may say something else than before."""
        digests = self._table.digests(self._stretch)
        read = self._to_read(digests, newer, total)
        learning = {row_id for row_id in read if is_learning and row_id not in self._old} | self._unknown(read, digests)
        for row_id, seen in self._table.seen(read, digests, newer):
            self._judge(row_id, seen, is_learning=row_id in learning)
        unread = digests.keys() - set(read)
        self._kept |= {row_id: self._old[row_id] for row_id in unread}
        self._judge_gone([row_id for row_id in self._old if row_id not in digests])
        return self._end(digests)

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
            self._kept[row_id] = differences.kept(before, seen)
            return
        told = self._way.kind if difference is Difference.MISSING else self._way.changed
        if self._note(row_id, difference, seen, told.name):
            self._kept[row_id] = seen.told
        elif before is not None:
            self._kept[row_id] = before

    def _judge_gone(self, ids: Sequence[int]) -> None:
        told = self._table.is_told_gone(ids) if ids else set()
        for row_id in ids:
            name = "" if self._way.gone is None else self._way.gone.name
            if row_id not in told and not self._note(row_id, Difference.GONE, None, name):
                self._kept[row_id] = self._old[row_id]

    def _note(self, row_id: int, difference: Difference, seen: Seen | None, event_type: str) -> bool:
        """Note a row that differs; say whether it is told of now."""
        before = self._suspects.rows.get(row_id)
        suspect = differences.suspected(seen, before, self._now)
        is_ripe = self._now - suspect.since >= self._way.grace_s and self._is_log_read(is_new=suspect != before)
        found = Found(row_id=row_id, difference=difference, event_type=event_type)
        if is_ripe:
            self._confirmed.append(found)
        if is_ripe and self._way.is_fixing and self._has_room(0 if seen is None else seen.size):
            self._told.append(found)
            return True
        self._waiting[row_id] = suspect
        self._new_suspects = self._new_suspects or suspect != before
        return False

    def _has_room(self, size: int) -> bool:
        """Say whether one more row is told of in this look, with data of so many bytes, and add them; one always is."""
        if self._told and (len(self._told) >= self._table.most or self._size + size > BYTES_AT_ONCE):
            return False
        self._size += size
        return True

    def _is_log_read(self, *, is_new: bool) -> bool:
        """Say whether capture has read the log up to where it ended when a difference was found: the log wins."""
        if is_new:
            return self._chunk.log_end >= self._top()
        return self._chunk.log_end >= self._suspects.log_end

    def _top(self) -> int:
        if self._log_top is None:
            self._log_top = self._table.log_end()
        return self._log_top

    def _end(self, digests: Mapping[int, RowDigest]) -> Look:
        told = self._told if self._way.is_fixing else self._confirmed
        made = list(self._table.events(told)) if self._way.is_fixing else []
        log_end = self._top() if self._new_suspects else self._suspects.log_end
        suspects = Suspects(rows=self._waiting, log_end=log_end)
        look_at = min((one.since for one in self._waiting.values()), default=None)
        # With a difference that is not told of yet, the stretch is not what is kept of it.
        digest = "" if self._waiting else self._table.added(digests)
        chunk = self._chunk._replace(
            digest=digest,
            prints=prints.encode(self._kept),
            suspects=suspects.encode(),
            look_at=None if look_at is None else look_at + self._way.grace_s,
        )
        waiting = len(self._waiting) - (0 if self._way.is_fixing else len(self._confirmed))
        return Look(
            chunk=chunk,
            rows=len(digests),
            events=[one for one in made if isinstance(one, Event)],
            holds=[one for one in made if isinstance(one, Hold)],
            found=list(told),
            waiting=waiting,
            is_more=self._way.is_fixing and len(self._confirmed) > len(told),
        )
