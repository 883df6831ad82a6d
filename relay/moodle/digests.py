"""What Moodle's tables say, as digests that the server makes: of a chunk of rows, and of each row of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import MoodleRefused
from relay.events.kind import MD5, SHA256
from relay.moodle.contract import DIGESTS, RowDigest, Sum
from relay.moodle.database import number_or_none
from relay.moodle.tables import TableReader

if TYPE_CHECKING:
    from relay.events.kind import CurrentRows, EventKind, Options
    from relay.moodle.contract import Stretch


class DigestReader(TableReader):
    """Reads digests (contract.DigestReads)."""

    #: How the server hashes; '' where it was not asked yet.
    _hashed = ""

    def close(self) -> None:
        self._hashed = ""
        super().close()

    def moment(self) -> int:
        return self.number("SELECT UNIX_TIMESTAMP() AS moment")

    def sum(self, kind: EventKind, stretch: Stretch, options: Options) -> Sum:
        digest, passed = self._digest(kind, options), _passed(kind.current_rows)
        statement = (
            f"SELECT COUNT(*) AS there, SUM({digest}) AS digest, SUM({passed}) AS due "
            f"FROM {kind.current_table.source()} WHERE {_within(kind.current_rows)}"
        )
        (row,) = self.select(statement, *_times(kind.current_rows, stretch), stretch.low, stretch.high)
        if row["there"] and row["digest"] is None:
            raise _no_digest()
        return Sum(rows=int(row["there"]), digest=int(row["digest"] or 0) % DIGESTS, due=int(row["due"] or 0))

    def digests(self, kind: EventKind, stretch: Stretch, options: Options) -> list[RowDigest]:
        current, digest = kind.current_rows, self._digest(kind, options)
        statement = (
            f"SELECT t.id AS id, {digest} AS digest, {_passed(current)} AS due "
            f"FROM {kind.current_table.source()} WHERE {_within(current)}"
        )
        found: dict[int, RowDigest] = {}
        for row in self.select(statement, *_times(current, stretch), stretch.low, stretch.high):
            if row["digest"] is None:
                raise _no_digest()
            row_id, before = int(row["id"]), found.get(int(row["id"]))
            # A row that a join gives twice has the sum of its digests.
            digest_sum = int(row["digest"]) + (before.digest if before is not None else 0)
            found[row_id] = RowDigest(id=row_id, digest=digest_sum % DIGESTS, is_due=bool(row["due"]))
        return [found[row_id] for row_id in sorted(found)]

    def end_of_rows(self, kind: EventKind, low: int, rows: int) -> int | None:
        # Without the condition of what is there: a stretch whose rows do not fulfil it would take long to read.
        ids = f"SELECT t.id AS id FROM {{p}}{kind.current_table.table} t WHERE t.id > %s ORDER BY t.id LIMIT %s"
        # The server looks for the last one: to bring all of them over costs more than a digest of them.
        return number_or_none(self.select(f"SELECT MAX(s.id) AS last FROM ({ids}) s", low, rows)[0]["last"])

    def recipe(self, kind: EventKind, options: Options) -> str:
        return f"{self._digest(kind, options)} {kind.current_table.source()} {kind.current_rows.there}"

    def _digest(self, kind: EventKind, options: Options) -> str:
        further = [lookup.value for lookup in kind.asked(options)]
        return kind.current_table.digest(self._newer_columns(kind.current_table), further, hashed=self._hash())

    def _hash(self) -> str:
        """Return how this server hashes: by MD5 where it has that, as it takes less time."""
        if not self._hashed:
            asked = f"SELECT {MD5.replace('?', repr('relay'))} IS NOT NULL AS made"
            self._hashed = MD5 if self.refusal(asked) is None and self.number(asked) else SHA256
        return self._hashed


def _no_digest() -> MoodleRefused:
    return MoodleRefused(
        "Moodle's database makes no digest of a row, by MD5 or SHA-256: its tables cannot be compared.",
        hint="Set reconcile.interval: never; relay sync sends what the log does not say.",
    )


def _passed(current: CurrentRows) -> str:
    return f"({current.passed().replace(':since', '%s').replace(':now', '%s')})"


def _times(current: CurrentRows, stretch: Stretch) -> tuple[int, ...]:
    return (stretch.since, stretch.until) * (len(current.passing) + len(current.changing))


def _within(current: CurrentRows) -> str:
    return " AND ".join(filter(None, ("t.id > %s AND t.id <= %s", current.there and f"({current.there})")))
