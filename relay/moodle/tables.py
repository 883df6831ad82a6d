"""Moodle's tables: the facts of a batch of log rows, and the rows that are there now. One query a table, not a row."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from relay.events.kind import Facts
from relay.moodle.database import leading_number
from relay.moodle.sizes import SizeReader

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from relay.events.kind import EventKind, FactsTable, Lookup, Options
    from relay.events.rows import Row
    from relay.model import LogRow
    from relay.moodle.contract import Filters
    from relay.rules.server import Address


# Who is asked for by a name: a person asks, so that the whole table is read is no matter. id 0 is nobody's.
USERS_NAMED = "SELECT id FROM {p}user WHERE username = %s OR email = %s OR id = %s ORDER BY id LIMIT 20"
COURSES_NAMED = "SELECT id FROM {p}course WHERE shortname = %s OR id = %s ORDER BY id LIMIT 20"


class TableReader(SizeReader):
    """Reads the tables (contract.TableReads)."""

    def __init__(
        self,
        address: Address,
        kinds: Sequence[EventKind],
        triggered: Sequence[EventKind] = (),
        *,
        limit_s: float | None = None,
    ) -> None:
        super().__init__(address, kinds, triggered, limit_s=limit_s)
        #: The columns of newer Moodles that are there, by table; of those that were looked for.
        self._newer: dict[str, list[str]] = {}

    def close(self) -> None:
        self._newer = {}
        super().close()

    def facts(self, rows: Sequence[LogRow], options: Options) -> Facts:
        kinds = {kind.name: kind for kind in self.kinds}
        # Kinds that are about rows of one table share a query.
        tables: dict[str, FactsTable] = {}
        wanted: defaultdict[str, set[int]] = defaultdict(set)
        for row in rows:
            for table, row_id in kinds[row.event_type].rows_of(row):
                tables[table.key] = table
                wanted[table.key].add(row_id)
        found = {key: self._by_id(table, wanted[key]) for key, table in tables.items()}
        looked_up: dict[str, tuple[Lookup, list[Row]]] = {}
        for name in dict.fromkeys(row.event_type for row in rows):
            for lookup in kinds[name].asked(options):
                facts = kinds[name].facts
                _, asking = looked_up.setdefault(lookup.name, (lookup, []))
                asking += found.get(facts.key, {}).values() if facts else ()
        pairs = {name: self.pairs(*one) for name, one in looked_up.items()}
        return Facts(rows=found, pairs=pairs, now=self._now(kinds[name] for name in {row.event_type for row in rows}))

    def current_ids(self, kind: EventKind, after: int, limit: int, filters: Filters) -> list[int]:
        current = kind.current
        if current is None or kind.facts is None:
            raise LookupError(f"{kind.name} has no current rows")
        whose = f"t.{current.user} = %s"
        terms = {"t.id > %s": after, whose: filters.user, current.in_course: filters.course}
        terms["t.timemodified >= %s"] = filters.since
        given = {term: value for term, value in terms.items() if value is not None}
        conditions = [*given, current.only, current.only_unnamed if filters.user is None else ""]
        where = " AND ".join(filter(None, conditions))
        statement = f"SELECT t.id FROM {{p}}{kind.facts.table} t WHERE {where} ORDER BY t.id LIMIT %s"
        return [int(row["id"]) for row in self.select(statement, *given.values(), limit)]

    def current(self, kind: EventKind, ids: Sequence[int], options: Options | None = None) -> Facts:
        if kind.facts is None:
            raise LookupError(f"{kind.name} is about no rows")
        rows = self._by_id(kind.facts, set(ids))
        lookups = () if options is None else kind.asked(options)
        pairs = {lookup.name: self.pairs(lookup, rows.values()) for lookup in lookups}
        return Facts(rows={kind.facts.key: rows}, pairs=pairs, now=self._now([kind]))

    def _now(self, kinds: Iterable[EventKind]) -> int:
        """Return the time by the server's clock, in unix seconds; 0 where no kind judges by it."""
        return self.number("SELECT UNIX_TIMESTAMP()") if any(kind.may_be_held for kind in kinds) else 0

    def users_named(self, name: str) -> list[int]:
        return self._named(USERS_NAMED, name, name, leading_number(name) if name.isdecimal() else 0)

    def courses_named(self, name: str) -> list[int]:
        return self._named(COURSES_NAMED, name, leading_number(name) if name.isdecimal() else 0)

    def _named(self, statement: str, *values: str | int) -> list[int]:
        return [int(row["id"]) for row in self.select(statement, *values)]

    def touched(self, kind: EventKind, rows: Sequence[LogRow]) -> dict[int, list[int]]:
        trigger = kind.trigger
        pairs = {} if trigger is None else {row.id: pair for row in rows if (pair := trigger.pair(row)) is not None}
        if trigger is None or not pairs:
            return {}
        firsts, seconds = {first for first, _ in pairs.values()}, {second for _, second in pairs.values()}
        ids: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for row in self.select(trigger.statement, tuple(firsts), tuple(seconds)):
            ids[int(row["first"]), int(row["second"])].append(int(row["id"]))
        return {log_id: ids[pair] for log_id, pair in pairs.items() if pair in ids}

    def pairs(self, lookup: Lookup, rows: Iterable[Row]) -> dict[tuple[int, int], int]:
        pairs = {pair for row in rows if (pair := lookup.pair(row)) is not None}
        if not pairs:
            return {}
        firsts, seconds = {first for first, _ in pairs}, {second for _, second in pairs}
        found = self.select(lookup.statement, tuple(firsts), tuple(seconds))
        return {(int(row["first"]), int(row["second"])): int(row["value"]) for row in found}

    def _newer_columns(self, table: FactsTable) -> list[str]:
        """Return which of the columns that only newer Moodles have are there.

        A user with rights on columns is told the same of a column that is missing as of one that may not be read: the
        site's version decides. Raises MoodleRefused where one is there and may not be read.
        """
        if table.table not in self._newer:
            self._newer[table.table] = [
                column for column, version in table.newer.items() if self._has(table.table, column, version)
            ]
        return self._newer[table.table]

    def _has(self, table: str, column: str, version: int) -> bool:
        refusal = self.refusal(f"SELECT {column} FROM {{p}}{table} WHERE 1 = 0")
        if refusal is None:
            return True
        found = self.select("SELECT value FROM {p}config WHERE name = 'version'")
        if found and leading_number(found[0]["value"]) >= version:
            raise refusal
        return False

    def _by_id(self, table: FactsTable, ids: Collection[int]) -> dict[int, Row]:
        statement = table.statement(self._newer_columns(table))
        return {int(row[table.by]): row for row in self.select_for(statement, sorted(ids))}
