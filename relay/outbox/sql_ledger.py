"""What is read from Moodle, written down in SQL: the Ledger of both dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.outbox import rows
from relay.outbox.contract import Ledger
from relay.outbox.sql import Sql, insert
from relay.outbox.tables import EVENTS, HISTORY, MEMORY, STATE
from relay.outbox.values import Remembered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.model import Position
    from relay.outbox.sql import Run
    from relay.outbox.values import Batch, Sync


class SqlLedger(Sql, Ledger):
    """Events, skips, counts and the position; the memory of Moodle's rows; the sync history."""

    def accept(self, batch: Batch, now: float) -> Sequence[str]:
        events, skips = list(rows.event_rows(batch, now)), list(rows.skip_rows(batch, now))

        def work(run: Run) -> Sequence[str]:
            if batch.after is not None:
                self._check_lead(run, batch.before)
            new_events = self._insert_new(run, events)
            new_skips = self._insert_new(run, skips)
            insert(run, MEMORY, rows.memory_rows(batch.events, new_events), self.REMEMBER)
            self._count(run, batch, len(new_events), len(new_skips), now)
            if batch.after is not None:
                self._save_position(run, batch.before, batch.after, now)
            for key, value in batch.state.items():
                run(self.SET_STATE, {"key": key, "value": value, "now": int(now)})
            return [*new_events, *new_skips]

        return self._do(work)

    def _insert_new(self, run: Run, wanted: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Insert events whose ids are not there yet; return the ids of those."""
        if not wanted:
            return ()
        term, ids = self._among([row["event_id"] for row in wanted])
        there = {row[0] for row in run(f"SELECT event_id FROM {{p}}{EVENTS} WHERE event_id {term}", ids).fetchall()}
        # An id may come twice in one batch.
        new = {row["event_id"]: row for row in wanted if row["event_id"] not in there}
        insert(run, EVENTS, [self._as_kept(row) for row in new.values()])
        self._note_users(run, {row["user_id"] for row in new.values()})
        return list(new)

    def _count(self, run: Run, batch: Batch, events: int, skips: int, now: float) -> None:
        """Add to the terms of the conservation sums; what comes from a sync is no log row."""
        ignored = {f"count.ignored.{reason}": count for reason, count in batch.ignored.items()}
        seen = events + skips + sum(ignored.values())
        added = {"count.seen": seen, "count.captured": events, **ignored}
        for key, count in (added if batch.after is not None else {"count.synced": events}).items():
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

    def remembered(self, table: str, ids: Sequence[int]) -> Mapping[int, Remembered]:
        term, values = self._among(ids)
        statement = f"SELECT row_id, digest, event_id, log_id FROM {{p}}{MEMORY} WHERE row_table = ? AND row_id {term}"
        return {
            row_id: Remembered(digest=bytes(digest), event_id=event_id, log_id=log_id)
            for row_id, digest, event_id, log_id in self._rows(statement, [table, *values])
        }

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
