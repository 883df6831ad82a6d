"""What is read from Moodle, written down in SQL: the Ledger of both dialects."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from relay.errors import OutboxFenced, OutboxOvertaken, OutboxRefused
from relay.model import Skip, Status, Told
from relay.outbox import rows
from relay.outbox.chunks import Chunks
from relay.outbox.contract import Ledger
from relay.outbox.sql import BATCH, IDS, OF_STATUS
from relay.outbox.sql_held import UNFIT, SqlHeld
from relay.outbox.tables import CHUNKS, EVENTS, FOUND, HISTORY, MEMORY, MOVED, PURGED, STATE
from relay.outbox.values import Accepted, Remembered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from relay.model import Event, Position
    from relay.outbox.sql import Run
    from relay.outbox.values import Batch, Chunk, Sync


class SqlLedger(SqlHeld, Chunks, Ledger):
    """Events, skips, counts and the position; the memory of Moodle's rows and its chunks; the sync history."""

    def accept(self, batch: Batch, now: float) -> Accepted:
        unfit = {row["event_id"]: reason for row in rows.event_rows(batch.events, now) if (reason := self._unfit(row))}
        try:
            new = self._accept(_with_skips(batch, unfit), now)
        except OutboxRefused:
            # Rows may be too large together only: something on the way to the server takes less than it does.
            with self._one_by_one():
                unfit |= self._refused([one for one in batch.events if one.event_id not in unfit], now)
                new = self._accept(_with_skips(batch, unfit), now)
        skips = _with_skips(batch, unfit).skips[len(batch.skips) :]
        again = [skip.event_id for skip in skips if skip.event_id not in set(new)]
        still = self._do(lambda run: self._unfit_before(run, again)) if again else set()
        return Accepted(
            new=[event_id for event_id in new if event_id not in unfit],
            unfit=[skip for skip in skips if skip.event_id in set(new)],
            still_unfit=[skip for skip in skips if skip.event_id in still],
        )

    def _accept(self, batch: Batch, now: float) -> Sequence[str]:
        events, skips = list(rows.event_rows(batch.events, now)), list(rows.skip_rows(batch.skips, now))
        holds = list(rows.hold_rows(batch.holds, now))

        def work(run: Run) -> Sequence[str]:
            self._check_taking_part(run, is_reading=batch.after is not None)
            if batch.after is not None:
                self._check_position(run, batch.before, batch.after)
            new_events = self._insert_new(run, events)
            new_skips = self._insert_new(run, skips)
            new_holds = self._insert_new(run, holds)
            self._note_held(run, batch.holds, new_holds)
            self._insert(run, MEMORY, rows.memory_rows(batch.events, new_events), self.REMEMBER)
            noted = [event.event_id for event in batch.noted]
            self._insert(run, MEMORY, rows.memory_rows(batch.noted, noted), self.REMEMBER)
            self._take_out(run, batch.replaced)
            self._insert(run, CHUNKS, rows.chunk_rows(batch.chunks), self.SET_CHUNK)
            found = {
                event_id: batch.found[event_id] for event_id in (*new_events, *new_holds) if event_id in batch.found
            }
            self._insert(run, FOUND, rows.found_rows(found, now))
            self._count(run, batch, len(new_events) + len(new_holds), len(new_skips), now)
            if batch.after is not None:
                self._save_position(run, batch.before, batch.after, now)
            for key, value in batch.state.items():
                run(self.SET_STATE, {"key": key, "value": value, "now": int(now)})
            return [*new_events, *new_skips, *new_holds]

        return self._do(work)

    def _take_out(self, run: Run, chunks: Sequence[Chunk]) -> None:
        """Delete chunks that others are to replace; raise OutboxOvertaken where one is not as it was read."""
        statement = (
            f"DELETE FROM {{p}}{CHUNKS} WHERE row_table = ? AND low_id = ? AND high_id = ? AND digest = ? "
            "AND seen_at = ? AND suspects = ?"
        )
        for one in chunks:
            values = (one.table, one.low, one.high, one.digest, one.seen_at, one.suspects)
            if run(statement, values).rowcount != 1:
                raise OutboxOvertaken(
                    f"Another process has compared the same rows of {one.table} meanwhile.",
                    hint="Nothing is lost by it: they are compared again.",
                )

    # -- what cannot be kept

    @contextlib.contextmanager
    def _one_by_one(self) -> Iterator[None]:
        """Give each row that is inserted within a statement of its own."""
        self._rows_at_once = 1
        try:
            yield
        finally:
            self._rows_at_once = BATCH

    def _unfit(self, row: Mapping[str, Any]) -> str | None:
        reason = self._too_large(row)
        return None if reason is None else f"{UNFIT}{reason}"

    def _refused(self, events: Sequence[Event], now: float) -> dict[str, str]:
        """Return which of the events the outbox refuses, and why: they are tried in halves, and nothing is written."""
        reason = self._tried(events, now)
        if reason is None:
            return {}
        if len(events) == 1:
            return {events[0].event_id: f"{UNFIT}{reason}"}
        half = len(events) // 2
        return self._refused(events[:half], now) | self._refused(events[half:], now)

    def _tried(self, events: Sequence[Event], now: float) -> str | None:
        """Insert events, and take it back; return why they are refused, or None."""

        def work(run: Run) -> None:
            new = self._insert_new(run, list(rows.event_rows(events, now)))
            self._insert(run, MEMORY, rows.memory_rows(events, new), self.REMEMBER)
            raise _TakenBack

        try:
            self._do(work)
        except OutboxRefused as refused:
            return str(refused)
        except _TakenBack:
            pass
        return None

    def _unfit_before(self, run: Run, event_ids: Sequence[str]) -> set[str]:
        """Return which of these events are recorded as skipped, as the outbox could not keep them."""
        found: set[str] = set()
        for start in range(0, len(event_ids), IDS):
            term, ids = self._among(event_ids[start : start + IDS])
            statement = f"SELECT event_id, last_error FROM {{p}}{EVENTS} WHERE event_id {term} AND {OF_STATUS}"
            skipped = run(statement, (*ids, Status.SKIPPED)).fetchall()
            found |= {event_id for event_id, error in skipped if json.loads(error)["reason"].startswith(UNFIT)}
        return found

    # -- what is written

    def _check_position(self, run: Run, before: Position | None, after: Position) -> None:
        """Raise OutboxFenced where the log was not read from the position that is kept: rows would count twice.

        Of the gaps, those that the batch closes or fills are compared.
        """
        closed = set(before.gaps).difference(after.gaps) if before else set()
        keys = ["cursor", *(f"gap.{gap.low}" for gap in closed)]
        kept: dict[str, str] = {}
        for start in range(0, len(keys), IDS):
            term, values = self._among(keys[start : start + IDS])
            kept |= run(f"SELECT config_key, config_value FROM {{p}}{STATE} WHERE config_key {term}", values).fetchall()
        cursor = kept.pop("cursor", None)
        read = None if before is None else str(before.high)
        gaps = {rows.decode_gap(key, value) for key, value in kept.items()}
        # Where none is kept, this is the first one.
        is_elsewhere = cursor not in {None, read}
        if is_elsewhere or gaps != closed:
            found = f"the outbox says {cursor}" if is_elsewhere else "gaps of it have been filled meanwhile"
            raise OutboxFenced(
                f"The log was read from {'its start' if before is None else before.high}, but {found}.",
                hint="Something else has moved the position, or the outbox has lost commits. What lies between is read "
                "again, with the same ids.",
            )

    def _insert_new(self, run: Run, wanted: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Insert events whose ids are not there yet, and were not purged either; return the ids of those."""
        # An id may come twice in one batch.
        new = {row["event_id"]: row for row in wanted}
        known = self._known(run, wanted)
        for event_id in known - self._taken_back(run, [new[event_id] for event_id in sorted(known)]):
            del new[event_id]
        self._insert_events(run, list(new.values()))
        self._note_users(run, {row["user_id"] for row in new.values()})
        return list(new)

    def _taken_back(self, run: Run, wanted: Sequence[Mapping[str, Any]]) -> set[str]:
        """Delete what says of these events that they could not be kept; return their ids: they are new, and the last.

        What is itself recorded as skipped, or is held, is no such event.
        """
        events = {row["event_id"]: row for row in wanted if row["status"] == Status.PENDING}
        before = self._unfit_before(run, list(events))
        for event_id in sorted(before):
            run(f"DELETE FROM {{p}}{EVENTS} WHERE event_id = ?", (event_id,))
            # As a skipped one it was seen.
            self._add(run, "count.seen", -1, events[event_id]["updated_at"])
        return before

    def _known(self, run: Run, wanted: Sequence[Mapping[str, Any]]) -> set[str]:
        """Return which of these events were recorded before, and may have been purged since."""
        known: set[str] = set()
        for start in range(0, len(wanted), IDS):
            term, ids = self._among([row["event_id"] for row in wanted[start : start + IDS]])
            found = run(f"SELECT event_id FROM {{p}}{EVENTS} WHERE event_id {term}", ids).fetchall()
            known |= {row[0] for row in found}
        ((newest,),) = run(f"SELECT MAX(log_id) FROM {{p}}{PURGED}").fetchall()
        logs = [row["log_id"] for row in wanted if (row["log_id"] or 0) <= (newest or 0) and row["log_id"] is not None]
        purged: set[str] = set()
        for start in range(0, len(logs), IDS):
            term, ids = self._among(logs[start : start + IDS])
            found = run(f"SELECT event_id FROM {{p}}{PURGED} WHERE log_id {term}", ids).fetchall()
            purged |= {row[0] for row in found}
        return known | purged.intersection(row["event_id"] for row in wanted)

    def _count(self, run: Run, batch: Batch, events: int, skips: int, now: float) -> None:
        """Add to the terms of the conservation sums; what comes from a sync is no log row, unless it is skipped."""
        ignored = {f"count.ignored.{reason}": count for reason, count in batch.ignored.items()}
        seen = events + skips + sum(ignored.values())
        added = {"count.seen": seen, "count.captured": events, **ignored}
        synced = {"count.reconciled" if batch.chunks else "count.synced": events, "count.seen": skips}
        for key, count in (added if batch.after is not None else synced).items():
            if count:
                run(self.COUNT_STATE, {"key": key, "value": count, "now": int(now)})

    def _save_position(self, run: Run, before: Position | None, after: Position, now: float) -> None:
        """Write what differs: with thousands of gaps open, a pass touches one or two."""
        old = set(before.gaps) if before else set()
        new = set(after.gaps)
        for gap in old - new:
            run(f"DELETE FROM {{p}}{STATE} WHERE config_key = ?", (f"gap.{gap.low}",))
        for gap in new - old:
            run(self.SET_STATE, {"key": f"gap.{gap.low}", "value": rows.encode_gap(gap), "now": int(now)})
        if before is None or before.high != after.high:
            run(self.SET_STATE, {"key": "cursor", "value": str(after.high), "now": int(now)})

    # -- the memory of Moodle's rows, and the history of syncs

    def remembered(self, table: str, ids: Sequence[int]) -> Mapping[int, Remembered]:
        found: dict[int, Remembered] = {}
        for start in range(0, len(ids), IDS):
            term, values = self._among(ids[start : start + IDS])
            statement = (
                f"SELECT row_id, digest, event_id, log_id FROM {{p}}{MEMORY} WHERE row_table = ? AND row_id {term}"
            )
            for row_id, digest, event_id, log_id in self._rows(statement, [table, *values]):
                found[row_id] = Remembered(digest=bytes(digest), event_id=event_id, log_id=log_id)
        return found

    def chunk(self, table: str, low: int) -> Chunk | None:
        return self._chunk("", table, low)

    def chunk_to_look_at(self, table: str, low: int, before: float) -> Chunk | None:
        return self._chunk("AND look_at <= ?", table, low, before)

    def _chunk(self, term: str, *values: Any) -> Chunk | None:
        found = self._rows(
            f"SELECT {', '.join(MOVED[CHUNKS])} FROM {{p}}{CHUNKS} WHERE row_table = ? AND low_id >= ? {term} "
            "ORDER BY low_id LIMIT 1",
            values,
        )
        return rows.chunk(found[0]) if found else None

    def last_look(self, table: str) -> float | None:
        found = self._rows(
            f"SELECT MAX(look_at) FROM {{p}}{CHUNKS} WHERE row_table = ? AND look_at IS NOT NULL", (table,)
        )
        return None if found[0][0] is None else float(found[0][0])

    def told(self, event_ids: Sequence[str]) -> Mapping[str, Told]:
        found: dict[str, Told] = {}
        for start in range(0, len(event_ids), IDS):
            term, values = self._among(event_ids[start : start + IDS])
            statement = f"SELECT event_id, event_type, event_data FROM {{p}}{EVENTS} WHERE event_id {term}"
            for event_id, event_type, data in self._rows(statement, values):
                found[event_id] = Told(event_type=event_type, data=data)
        return found

    def types_of(self, event_ids: Sequence[str]) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for start in range(0, len(event_ids), IDS):
            term, values = self._among(event_ids[start : start + IDS])
            found |= self._rows(f"SELECT event_id, event_type FROM {{p}}{EVENTS} WHERE event_id {term}", values)
        return found

    def captured_since(self, table: str, low: int, high: int, log_id: int) -> Sequence[int]:
        found = self._rows(
            f"SELECT row_id FROM {{p}}{MEMORY} WHERE row_table = ? AND row_id > ? AND row_id <= ? AND log_id > ? "
            "ORDER BY row_id",
            (table, low, high, log_id),
        )
        return [row[0] for row in found]

    def begin_sync(self, sync_type: str, action: str, triggered_by: int | None, now: float) -> int:
        statement = (
            f"INSERT INTO {{p}}{HISTORY} (sync_type, sync_action, status, started_at, triggered_by) "
            "VALUES (?, ?, 'running', ?, ?)"
        )
        return self._do(lambda run: run(statement, (sync_type, action, int(now), triggered_by)).lastrowid) or 0

    def note_sync(self, sync: Sync, now: float) -> None:
        statement = (
            f"UPDATE {{p}}{HISTORY} SET status = ?, records_processed = ?, records_failed = ?, completed_at = ?, "
            "error_message = ? WHERE id = ?"
        )
        completed_at = None if sync.status == "running" else int(now)
        values = (sync.status, sync.processed, sync.failed, completed_at, sync.error, sync.id)
        self._do(lambda run: run(statement, values))


class _TakenBack(Exception):
    """Ends a transaction that was only tried."""


def _with_skips(batch: Batch, unfit: Mapping[str, str]) -> Batch:
    """Return the batch with a Skip in the place of each event that cannot be kept, given the reason by its id."""
    skips = [
        Skip(
            event_id=event.event_id,
            event_type=event.event_type,
            log_id=event.log_id,
            user_id=event.user_id,
            occurred_at=event.occurred_at,
            reason=unfit[event.event_id],
        )
        for event in batch.events
        if event.event_id in unfit
    ]
    kept = [event for event in batch.events if event.event_id not in unfit]
    return batch._replace(events=kept, skips=[*batch.skips, *skips]) if skips else batch
