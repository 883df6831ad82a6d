"""Moodle's tables: the facts of a batch of log rows, and the rows that are there now. One query a table, not a row."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from relay.events.kind import Facts
from relay.moodle.database import Database

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from relay.events.kind import EventKind, FactsTable, Lookup, Options
    from relay.events.rows import Row
    from relay.model import LogRow
    from relay.moodle.contract import Filters

#: Ids in one IN list.
IDS_IN_QUERY = 500


class TableReader(Database):
    """Reads the tables (contract.TableReads)."""

    def facts(self, rows: Sequence[LogRow], options: Options) -> Facts:
        ids: defaultdict[str, set[int]] = defaultdict(set)
        for row in rows:
            if row.object_id is not None and row.object_id > 0:
                ids[row.event_type].add(row.object_id)
        kinds = [kind for kind in self.kinds if kind.name in ids]
        # Kinds that are about rows of one table share a query.
        tables = {kind.facts.table: kind.facts for kind in kinds}
        wanted: defaultdict[str, set[int]] = defaultdict(set)
        for kind in kinds:
            wanted[kind.facts.table] |= ids[kind.name]
        found = {name: self._by_id(tables[name], some) for name, some in wanted.items()}
        pairs: dict[str, Mapping[tuple[int, int], int]] = {}
        for kind in kinds:
            for lookup in kind.asked(options):
                pairs[lookup.name] = self._pairs(lookup, found[kind.facts.table].values())
        return Facts(rows=found, pairs=pairs)

    def current_ids(self, kind: EventKind, after: int, limit: int, filters: Filters) -> list[int]:
        current = kind.current
        if current is None:
            raise LookupError(f"{kind.name} has no current rows")
        whose = f"t.{current.user} = %s"
        terms = {"t.id > %s": after, whose: filters.user, current.in_course: filters.course}
        terms["t.timemodified >= %s"] = filters.since
        given = {term: value for term, value in terms.items() if value is not None}
        only = f" AND {current.only}" if current.only and filters.user is None else ""
        statement = (
            f"SELECT t.id FROM {{p}}{kind.facts.table} t WHERE {' AND '.join(given)}{only} ORDER BY t.id LIMIT %s"
        )
        return [int(row["id"]) for row in self.select(statement, *given.values(), limit)]

    def current(self, kind: EventKind, ids: Sequence[int], options: Options | None = None) -> Facts:
        rows = self._by_id(kind.facts, set(ids))
        lookups = () if options is None else kind.asked(options)
        pairs = {lookup.name: self._pairs(lookup, rows.values()) for lookup in lookups}
        return Facts(rows={kind.facts.table: rows}, pairs=pairs)

    def _pairs(self, lookup: Lookup, rows: Iterable[Row]) -> dict[tuple[int, int], int]:
        pairs = {pair for row in rows if (pair := lookup.pair(row)) is not None}
        if not pairs:
            return {}
        firsts, seconds = {first for first, _ in pairs}, {second for _, second in pairs}
        found = self.select(lookup.statement, tuple(firsts), tuple(seconds))
        return {(int(row["first"]), int(row["second"])): int(row["value"]) for row in found}

    def _by_id(self, table: FactsTable, ids: Collection[int]) -> dict[int, Row]:
        ordered, statement = sorted(ids), table.statement()
        found: dict[int, Row] = {}
        for start in range(0, len(ordered), IDS_IN_QUERY):
            some = tuple(ordered[start : start + IDS_IN_QUERY])
            found.update((int(row["id"]), row) for row in self.select(statement, some))
        return found
