"""Given-up events that a person has dealt with, in SQL: the Acknowledging of both dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.model import Status
from relay.outbox.acknowledging import Acknowledging
from relay.outbox.sql import Sql
from relay.outbox.tables import ACKNOWLEDGED, EVENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Rows in one statement.
ROWS = 500


class SqlAcknowledged(Sql, Acknowledging):
    """What was acknowledged stays so, whatever becomes of the event; it counts as long as the event is given up."""

    def acknowledge(self, ids: Sequence[int], reason: str, now: float) -> int:
        for start in range(0, len(ids), ROWS):
            term, values = self._among(ids[start : start + ROWS])
            statement = (
                f"INSERT INTO {{p}}{ACKNOWLEDGED} (event_id, acknowledged_at, reason) SELECT event_id, ?, ? "
                f"FROM {{p}}{EVENTS} WHERE id {term} AND status = ? "
                f"AND event_id NOT IN (SELECT event_id FROM {{p}}{ACKNOWLEDGED})"
            )
            self._do(lambda run, s=statement, v=values: run(s, (int(now), reason, *v, Status.GAVE_UP)))  # type: ignore[misc]
        return self._count_acknowledged(ids)

    def count_acknowledged(self) -> int:
        return self._count_acknowledged(None)

    def _count_acknowledged(self, ids: Sequence[int] | None) -> int:
        """Return how many given-up events, of these rows or of all, are acknowledged."""
        count = 0
        for start in range(0, 1 if ids is None else len(ids), ROWS):
            term, values = ("", ()) if ids is None else self._among(ids[start : start + ROWS])
            statement = (
                f"SELECT COUNT(*) FROM {{p}}{EVENTS} AS e JOIN {{p}}{ACKNOWLEDGED} AS a ON a.event_id = e.event_id "
                f"WHERE e.status = ? {term and f'AND e.id {term}'}"
            )
            count += int(self._rows(statement, (Status.GAVE_UP, *values))[0][0])
        return count
