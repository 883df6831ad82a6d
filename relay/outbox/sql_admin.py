"""Purging and moving an outbox, in SQL: the parts of the Admin that are the same in both dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.model import UNDELIVERED, Status
from relay.outbox.contract import Admin
from relay.outbox.rows import dumped
from relay.outbox.sql import IDS, OF_STATUS, Sql
from relay.outbox.tables import (
    ACKNOWLEDGED,
    ATTEMPTS,
    CHUNKS,
    EVENTS,
    FOUND,
    HELD,
    HISTORY,
    MEMORY,
    MOVED,
    OWN_STATE,
    PURGED,
    PURGED_IDS,
    STATE,
)
from relay.outbox.values import Forgotten, Purged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from relay.outbox.sql import Run

#: The tables that a move empties and compares; of the state a part is the outbox's own.
WHOLE = (EVENTS, ATTEMPTS, HISTORY, MEMORY, PURGED, HELD, ACKNOWLEDGED, CHUNKS, FOUND)
#: Those whose key is one of Moodle's tables and a number.
BY_ROW_TABLE = {MEMORY: "row_id", CHUNKS: "low_id"}

#: The states of an event that the backend has not got.
UNDELIVERED_ALL = (*UNDELIVERED, Status.GAVE_UP, Status.HELD)
#: What becomes of one whose data is taken out.
GIVE_UP = (
    f"status = '{Status.GAVE_UP}', due_at = NULL, processed_at = COALESCE(processed_at, updated_at), "
    "last_error = JSON_SET(last_error, '$.reason', 'its data was forgotten before it was delivered')"
)


class SqlAdmin(Sql, Admin):
    """What is deleted, and what is taken to another outbox."""

    def purge(self, before: float, after: int, limit: int) -> Purged:
        free, values = self._free(before)
        ended = (
            f"SELECT id, event_id, log_id FROM {{p}}{EVENTS} WHERE id BETWEEN ? AND ? AND {OF_STATUS} AND "
            f"processed_at < ? AND {free}"
        )

        def work(run: Run) -> Purged:
            ((first,),) = run(f"SELECT MIN(id) FROM {{p}}{EVENTS} WHERE id > ?", (after,)).fetchall()
            if first is None:
                return Purged(count=0, looked_at=None)
            last = first + limit - 1
            found = run(ended, (first, last, Status.SUCCESS, before, *values)).fetchall()
            return Purged(count=self._purge(run, found, before) if found else 0, looked_at=last)

        return self._do(work)

    def _purge(self, run: Run, found: Sequence[Any], before: float) -> int:
        """Delete events, given their row ids, event ids and log ids; return how many."""
        term, ids = self._among([row[0] for row in found])
        count = run(f"DELETE FROM {{p}}{EVENTS} WHERE id {term}", ids).rowcount
        column, name = self._OF_EVENT
        term, events = self._among([row[0] if name == "id" else row[1] for row in found])
        run(f"DELETE FROM {{p}}{ATTEMPTS} WHERE {column} {term}", events)
        term, event_ids = self._among([row[1] for row in found])
        run(f"DELETE FROM {{p}}{ACKNOWLEDGED} WHERE event_id {term}", event_ids)
        run(f"DELETE FROM {{p}}{FOUND} WHERE event_id {term}", event_ids)
        run(self.COUNT_STATE, {"key": "count.purged", "value": count, "now": int(before)})
        cursor = run(f"SELECT config_value FROM {{p}}{STATE} WHERE config_key = 'cursor'").fetchall()
        oldest = (int(cursor[0][0]) if cursor else 0) - PURGED_IDS
        kept = [{"log_id": row[2], "event_id": row[1]} for row in found if row[2] is not None and row[2] > oldest]
        self._insert(run, PURGED, sorted(kept, key=lambda row: (row["log_id"], row["event_id"])), self.KEEP)
        forgotten = run(f"SELECT log_id FROM {{p}}{PURGED} WHERE log_id <= ? LIMIT ?", (oldest, IDS)).fetchall()
        if forgotten:
            term, ids = self._among([row[0] for row in forgotten])
            run(f"DELETE FROM {{p}}{PURGED} WHERE log_id {term}", ids)
        return count

    def forget(self, user_id: int, now: float, limit: int, *, undelivered: bool) -> Forgotten:
        free, values = self._free(now)
        meant = [Status.SUCCESS, *(UNDELIVERED_ALL if undelivered else ())]
        whose = f"FROM {{p}}{EVENTS} WHERE user_id = ? AND event_data IS NOT NULL AND status"

        def work(run: Run) -> Forgotten:
            term, states = self._among(meant)
            found = run(
                f"SELECT id, status {whose} {term} AND {free} ORDER BY id LIMIT ?", (user_id, *states, *values, limit)
            ).fetchall()
            lost = [row[0] for row in found if row[1] != Status.SUCCESS]
            self._forget(run, [row[0] for row in found], now, self._FORGET)
            self._forget(run, lost, now, GIVE_UP)
            if lost:
                # What was held is not released any more.
                term, ids = self._among(lost)
                run(f"DELETE FROM {{p}}{HELD} WHERE id {term}", ids)
            for key, count in (("count.forgotten", len(found)), ("count.forgotten_undelivered", len(lost))):
                if count:
                    run(self.COUNT_STATE, {"key": key, "value": count, "now": int(now)})
            term, states = self._among(UNDELIVERED_ALL)
            ((left,),) = run(f"SELECT COUNT(*) {whose} {term}", (user_id, *states)).fetchall()
            term, states = self._among(meant)
            ((busy,),) = run(f"SELECT COUNT(*) {whose} {term} AND NOT {free}", (user_id, *states, *values)).fetchall()
            return Forgotten(count=len(found), undelivered=len(lost), kept=0 if undelivered else left, under_way=busy)

        return self._do(work)

    def _forget(self, run: Run, ids: Sequence[int], now: float, changes: str) -> None:
        if ids:
            term, values = self._among(ids)
            run(f"UPDATE {{p}}{EVENTS} SET {changes}, updated_at = ? WHERE id {term}", (int(now), *values))

    def sizes(self) -> Mapping[str, int]:
        return {table: self._rows(f"SELECT COUNT(*) FROM {{p}}{table}")[0][0] for table in WHOLE}

    def dump(self, table: str, limit: int) -> Iterator[Sequence[Mapping[str, Any]]]:
        if table in BY_ROW_TABLE:
            # One of Moodle's tables after the other: each page begins in the key where the one before has ended.
            for (name,) in self._rows(f"SELECT DISTINCT row_table FROM {{p}}{table}"):
                yield from self._pages(table, BY_ROW_TABLE[table], "row_table = ? AND", (name,), limit)
        elif table == PURGED:
            yield from self._purged(limit)
        else:
            yield from self._pages(table, "id", "", (), limit)

    def _purged(self, limit: int) -> Iterator[Sequence[Mapping[str, Any]]]:
        """Yield the rows of the purged events: several may have one log id."""
        statement = (
            f"SELECT log_id, event_id FROM {{p}}{PURGED} WHERE log_id >= ? AND (log_id > ? OR event_id > ?) "
            "ORDER BY log_id, event_id LIMIT ?"
        )
        log_id, event_id = -1, ""
        while found := self._rows(statement, (log_id, log_id, event_id, limit)):
            yield [dict(zip(MOVED[PURGED], row, strict=True)) for row in found]
            log_id, event_id = found[-1]

    def _pages(
        self, table: str, number: str, term: str, values: Sequence[Any], limit: int
    ) -> Iterator[Sequence[Mapping[str, Any]]]:
        """Yield the rows of which `term` holds, in the order of a number."""
        columns = MOVED[table]
        names = ", ".join(self._BODY if name == "body" else name for name in columns)
        statement = f"SELECT {names} FROM {{p}}{table} WHERE {term} {number} > ? ORDER BY {number} LIMIT ?"
        after = -1
        while found := self._rows(statement, [*values, after, limit]):
            page = [dumped(dict(zip(columns, row, strict=True))) for row in found]
            yield page
            after = page[-1][number]

    def load(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        # The ids of the state mean nothing, and the new outbox has given out some of them already.
        loaded = [{name: row[name] for name in row if name != "id"} for row in rows] if table == STATE else rows

        def work(run: Run) -> None:
            if table == EVENTS:
                self._insert_events(run, loaded)
                self._note_users(run, {row["user_id"] for row in loaded})
            else:
                self._insert(run, table, loaded)

        self._do(work)

    def clear(self) -> None:
        def work(run: Run) -> None:
            for table in WHOLE:
                run(f"DELETE FROM {{p}}{table}")
            run(f"DELETE FROM {{p}}{STATE} WHERE config_key NOT IN ({', '.join('?' * len(OWN_STATE))})", OWN_STATE)

        self._do(work)
