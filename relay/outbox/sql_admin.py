"""Purging and moving an outbox, in SQL: the parts of the Admin that are the same in both dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.model import Status
from relay.outbox.contract import Admin
from relay.outbox.rows import dumped
from relay.outbox.sql import Sql, insert
from relay.outbox.tables import ACKNOWLEDGED, ATTEMPTS, EVENTS, HISTORY, MEMORY, MOVED, OWN_STATE, STATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from relay.outbox.sql import Run

#: The tables that a move empties and compares; of the state a part is the outbox's own.
WHOLE = (EVENTS, ATTEMPTS, HISTORY, MEMORY, ACKNOWLEDGED)


class SqlAdmin(Sql, Admin):
    """What is deleted, and what is taken to another outbox."""

    def purge(self, before: float, limit: int) -> int:
        ended = f"SELECT id, event_id FROM {{p}}{EVENTS} WHERE status = ? AND processed_at < ? ORDER BY id LIMIT ?"

        def work(run: Run) -> int:
            found = run(ended, (Status.SUCCESS, before, limit)).fetchall()
            term, ids = self._among([row[0] for row in found])
            count = run(f"DELETE FROM {{p}}{EVENTS} WHERE id {term}", ids).rowcount if found else 0
            if count:
                term, event_ids = self._among([row[1] for row in found])
                run(f"DELETE FROM {{p}}{ATTEMPTS} WHERE event_id {term}", event_ids)
                run(f"DELETE FROM {{p}}{ACKNOWLEDGED} WHERE event_id {term}", event_ids)
                run(self.COUNT_STATE, {"key": "count.purged", "value": count, "now": int(before)})
            return count

        return self._do(work)

    def sizes(self) -> Mapping[str, int]:
        return {table: self._rows(f"SELECT COUNT(*) FROM {{p}}{table}")[0][0] for table in WHOLE}

    def dump(self, table: str, limit: int) -> Iterator[Sequence[Mapping[str, Any]]]:
        if table != MEMORY:
            yield from self._pages(table, "id", "", (), limit)
            return
        # One of Moodle's tables after the other: each page begins in the key where the one before has ended.
        for (name,) in self._rows(f"SELECT DISTINCT row_table FROM {{p}}{MEMORY}"):
            yield from self._pages(table, "row_id", "row_table = ? AND", (name,), limit)

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
        loaded = [self._as_kept(row) for row in rows] if table == EVENTS else rows
        if table == STATE:
            # Its ids mean nothing, and the new outbox has given out some of them already.
            loaded = [{name: value for name, value in row.items() if name != "id"} for row in rows]

        def work(run: Run) -> None:
            insert(run, table, loaded)
            if table == EVENTS:
                self._note_users(run, {row["user_id"] for row in rows})

        self._do(work)

    def clear(self) -> None:
        def work(run: Run) -> None:
            for table in WHOLE:
                run(f"DELETE FROM {{p}}{table}")
            run(f"DELETE FROM {{p}}{STATE} WHERE config_key NOT IN ({', '.join('?' * len(OWN_STATE))})", OWN_STATE)

        self._do(work)
