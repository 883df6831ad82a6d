"""What relay knows of one kind of event, as data. Whoever lists, reads, builds or explains events asks these values."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.events.marks import BTEC

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from relay.events.marks import Bands
    from relay.events.rows import Row
    from relay.model import LogRow


#: How a server hashes a text. MySQL 9.6 and later, and servers in FIPS mode, may have no MD5.
MD5, SHA256 = "MD5(?)", "SHA2(?, 256)"
#: One value of a row as bytes that tell where it ends, and NULL from ''; a long one by its own hash: a server makes
#: NULL of what is longer than its max_allowed_packet. As bytes, columns of different collations go together.
_DIGESTED = "COALESCE(IF(LENGTH(?) > 999, CONCAT('L', #), CONCAT(LENGTH(?), ':', CAST(? AS BINARY))), 'N')"


class Option(NamedTuple):
    """A choice that the config offers for a kind: `events.KIND.NAME`."""

    name: str
    #: What may be written; the first of them is the default.
    choices: tuple[str, ...]
    #: What it means, as config.example.yaml and the README say it.
    meaning: str

    @property
    def is_switch(self) -> bool:
        """Whether true or false is written."""
        return self.choices == ("false", "true")


class Field(NamedTuple):
    """A field of an event's `data`, in the order in which it is sent."""

    name: str
    #: What it may hold: `int`, `str`, `bool`, `float`, with ` or null` behind it.
    type: str
    #: What it means, in a few words.
    meaning: str
    #: The option and its value under which it is sent; None for always.
    only_with: tuple[str, str] | None = None


class Join(NamedTuple):
    """A table that is read together with a facts table: LEFT JOIN, so that a row without its neighbours stays."""

    table: str
    #: What the table is called in `on` and within the statement.
    alias: str
    #: The condition: `{alias}` of this and other joins, and `t` for the facts table.
    on: str
    #: Columns that are read, by the name that they have in a fact.
    columns: Mapping[str, str]
    #: Columns that stand in `on` only.
    keys: tuple[str, ...] = ()


class FactsTable(NamedTuple):
    """A table of Moodle whose rows events are about, and what is read with each row: one statement for many ids."""

    #: Without the prefix.
    table: str
    columns: tuple[str, ...]
    #: The column that rows are asked for by.
    by: str = "id"
    #: What tells it from other readings of the same table, with other columns or joins; '' for the only one.
    shape: str = ""
    joins: tuple[Join, ...] = ()
    #: ORDER BY, where one id may give several rows: the last one read counts.
    order: str = ""
    #: Columns that only the filters of `relay sync` use.
    filters: tuple[str, ...] = ()
    #: Columns that only newer versions of Moodle have, with the version number that surely has each; a row lacks what
    #: the site lacks.
    newer: Mapping[str, int] = MappingProxyType({})

    @property
    def key(self) -> str:
        """What its rows are kept under among the facts of a batch: kinds that share it share a query."""
        return f"{self.table} {self.shape}".rstrip()

    def statement(self, newer: Collection[str] = ()) -> str:
        """Return the SELECT for rows by id, with `{p}` for the prefix and one mark for the list of ids.

        `newer`: which of the columns that only newer versions have are there.
        """
        names = [f"t.{name}" for name in (*self.columns, *newer)]
        names += [f"{join.alias}.{column} AS {name}" for join in self.joins for name, column in join.columns.items()]
        order = f" ORDER BY {self.order}" if self.order else ""
        return f"SELECT {', '.join(names)} FROM {self.source()} WHERE t.{self.by} IN %s{order}"

    def source(self) -> str:
        """Return the FROM of the table with its joins, with `{p}` for the prefix."""
        joins = "".join(f" LEFT JOIN {{p}}{join.table} {join.alias} ON {join.on}" for join in self.joins)
        return f"{{p}}{self.table} t{joins}"

    def digest(self, newer: Collection[str] = (), further: Collection[str] = (), *, hashed: str = MD5) -> str:
        """Return an expression: 64 bits of a hash of all that is read of a row, as a number, to be added up.

        `newer`: which of the columns that only newer versions have are there. `further`: what belongs to the row
        beside its columns, as expressions. `hashed`: MD5, or SHA256. NULL and lengths are marked, so that no two rows
        say the same.
        """
        names = [f"t.{name}" for name in (*self.columns, *newer)]
        names += [f"{join.alias}.{column}" for join in self.joins for column in join.columns.values()]
        part = _DIGESTED.replace("#", hashed)
        parts = ", ".join(part.replace("?", name) for name in (*names, *further))
        whole = hashed.replace("?", f"CONCAT({parts})")
        return f"CAST(CONV(LEFT({whole}, 16), 16, 10) AS UNSIGNED)"

    def reads(self) -> dict[str, tuple[str, ...]]:
        """Return every column that is read, by table: what the database user must be granted."""
        found = {self.table: (*self.columns, *self.filters)}
        for join in self.joins:
            found[join.table] = (*found.get(join.table, ()), *join.keys, *join.columns.values())
        return found


class Related(NamedTuple):
    """Further rows that are read for a log row, beside the one that its `objectid` names."""

    table: FactsTable
    #: Returns the id of the row in this table; None where the log row names none.
    id_of: Callable[[LogRow], int | None]


class Lookup(NamedTuple):
    """A value for pairs of ids, such as a user's role in a course: one statement for many pairs."""

    #: How the builder asks for it.
    name: str
    #: SELECT of `first`, `second` and `value` for two lists of ids, with `{p}` for the prefix; of several rows for one
    #: pair the last one counts.
    statement: str
    #: Which pair a fact asks for; None where it asks for none.
    pair: Callable[[Row], tuple[int, int] | None]
    #: The option and its value that it is asked for under; None where it does not come with the facts of log rows.
    option: tuple[str, str] | None
    reads: Mapping[str, tuple[str, ...]]
    #: The same for one row, as an expression of the facts table `t` and its joins: a part of the row's digest. ''
    #: where it does not come with the facts of log rows.
    value: str = ""


class Trigger(NamedTuple):
    """Log rows of other events, after which a kind may say something else of rows that it is about."""

    #: Their `eventname`, to the letter.
    moodle_events: tuple[str, ...]
    #: The option and its value under which they are read.
    option: tuple[str, str]
    #: Which pair of ids such a log row names; None where it names none.
    pair: Callable[[LogRow], tuple[int, int] | None]
    #: SELECT of `first`, `second` and the row's `id` for two lists of ids, with `{p}` for the prefix.
    statement: str
    #: Says that a row is as it is meant to stay: what is only on its way out is not sent.
    is_whole: Callable[[Row, Facts], bool]


class CurrentRows(NamedTuple):
    """How the rows that are there now are listed and sent, without a log row (`relay sync`)."""

    #: The columns that say whose row it is, and when it was so.
    user: str
    time: str
    #: The condition for rows of one course, with one mark for its id.
    in_course: str
    #: Returns the data of such a row; raises as EventKind.build.
    build: Callable[[Row, Facts, Options], dict[str, Any]]
    #: What `relay sync` calls them; '' where it does not send them.
    name: str = ""
    #: A condition that each row must fulfil, and one that it need not where its user is asked for by id; '' for none.
    only: str = ""
    only_unnamed: str = ""
    #: For `relay reconcile`: a condition that rows fulfil which are there at all. One that does so no more is gone.
    there: str = ""
    #: Times of a row: it is sent once more when one of them has passed since it was last written, which `written` says.
    passing: tuple[str, ...] = ()
    written: str = "0"
    #: Times of a row after which it may say something else, though nothing is written: it is read again.
    changing: tuple[str, ...] = ()
    #: What else of a row is worth an event, beside its data: a number below 256.
    beside: Callable[[Row], int] = lambda _row: 0
    #: Says of a row that nothing was ever sent of whether there is anything to say.
    is_news: Callable[[Row], bool] = lambda _row: True

    def passed(self) -> str:
        """Return a condition, with `:since` and `:now` in unix seconds: a time of the row has passed in between."""
        terms = [f"({time} > :since AND {time} <= :now AND {time} > {self.written})" for time in self.passing]
        terms += [f"({time} > :since AND {time} <= :now)" for time in self.changing]
        return " OR ".join(terms) or "0"


class Options(NamedTuple):
    """What the config says about envelopes and payloads."""

    #: Moodle's `siteidentifier`: event ids are derived from it.
    site: str
    moodle_url: str
    tenant_id: str
    btec: Bands = BTEC
    #: What is chosen of the kinds' options, by kind and option; what is missing has its default.
    chosen: Mapping[tuple[str, str], str] = MappingProxyType({})


class Facts(NamedTuple):
    """What Moodle's tables say about a batch of log rows."""

    #: Rows by the key of their table, and id.
    rows: Mapping[str, Mapping[int, Row]] = MappingProxyType({})
    #: Values by the name of their lookup and the pair of ids.
    pairs: Mapping[str, Mapping[tuple[int, int], int]] = MappingProxyType({})
    #: The ids of rows of which the outbox holds something, by table.
    held: Mapping[str, Collection[int]] = MappingProxyType({})
    #: When they were read, in unix seconds by the clock of Moodle's database: what is hidden until a time is judged by
    #: it. Relay's own clock may be another, and one that is ahead would give a grade away. At 0 nothing is over.
    now: int = 0

    def of(self, table: FactsTable) -> Mapping[int, Row]:
        """Return the rows of a table by id."""
        return self.rows.get(table.key, {})

    def value_of(self, lookup: Lookup, row: Row) -> int | None:
        """Return what a lookup has for a row; None where it has nothing, or was not asked."""
        pair = lookup.pair(row)
        return None if pair is None else self.pairs.get(lookup.name, {}).get(pair)


class EventKind(NamedTuple):
    """One kind of event: all that relay knows of it."""

    #: The event type: its name in envelopes, in the path on the backend, in the config and in the outbox.
    name: str
    #: `eventname` in Moodle's log, to the letter.
    moodle_event: str
    #: What it is about, for the README: a few words.
    meaning: str
    #: Returns whom it is about (user.id): events of one user are delivered in order. So are those of one course, which
    #: have minus its id here.
    subject: Callable[[LogRow], int]
    #: Returns the data of a log row. Raises NoEvent; Held where the student may not see it yet, before anything of it
    #: is made; and what envelope.UNUSABLE names for values that nothing can be made of.
    build: Callable[[LogRow, Facts, Options], dict[str, Any]]
    fields: tuple[Field, ...]
    #: The field of `data` that holds the row's id.
    id_field: str
    #: The rows that it is about: the log row's `objectid` is an id of this table. None where none is read by it.
    facts: FactsTable | None = None
    #: Other rows that the builder needs.
    related: tuple[Related, ...] = ()
    #: The table whose rows it tells the state of: the newest event of each row is remembered under its name, so that it
    #: is not sent again unchanged. '' where nothing is compared.
    row_table: str = ""
    #: The fields that say whether a row says something else than before, where not all do: kinds that tell the state of
    #: one table must agree in these.
    compared: tuple[str, ...] = ()
    #: The version of its payload: raised with each change of `fields` that those who receive it could notice.
    version: int = 1
    #: It is sent unless the config switches it off; else only where the config switches it on.
    is_default: bool = True
    options: tuple[Option, ...] = ()
    #: The kind whose options hold for this one.
    like: EventKind | None = None
    lookups: tuple[Lookup, ...] = ()
    #: How rows are sent without a log row of the kind; None where they are not.
    current: CurrentRows | None = None
    #: It tells that a row is gone: returns the data of that, given the row's id, the row itself where it is there and
    #: marked as deleted, the data that was last sent of it, which may be empty, and when that was found (unix seconds).
    #: None for any other kind.
    gone: Callable[[int, Row | None, Mapping[str, Any], int], dict[str, Any]] | None = None
    #: Whose log rows tell of a change that the kind's own do not; only with `current`.
    trigger: Trigger | None = None
    #: What `relay explain` calls the rows that it is about; '' where it does not go by them.
    explain: str = ""
    #: Columns of the log row that it needs beside those that each kind does: `other`, which can be large, and such.
    log_columns: tuple[str, ...] = ()
    #: The facts of `other` that the config lists for a kind of its own; None for a kind of the catalogue.
    listed: tuple[str, ...] | None = None
    #: So many of them in a page of the log at most, as each may be large; None for any number.
    most_in_page: int | None = None
    #: SELECT of `id` and `bytes`, how large the rows are, for a list of ids; '' where none of them is large.
    sizes: str = ""
    #: The table that its log rows point to, where the builder asks whether the outbox holds something of the row.
    held_of: str = ""
    #: Says that something which belongs to the row is not there yet; a young row is read again for it.
    is_early: Callable[[LogRow, Facts], bool] | None = None

    @property
    def current_table(self) -> FactsTable:
        """The table that its current rows are in. Raises LookupError where it is about none."""
        if self.facts is None:
            raise LookupError(f"{self.name} is about no rows")
        return self.facts

    @property
    def current_rows(self) -> CurrentRows:
        """How its current rows are listed. Raises LookupError where it has none."""
        if self.current is None:
            raise LookupError(f"{self.name} has no current rows")
        return self.current

    def chosen(self, options: Options, name: str) -> str:
        """Return what the config has chosen for one of the kind's options, or its default."""
        if self.like is not None:
            return self.like.chosen(options, name)
        written = options.chosen.get((self.name, name))
        return next(one.choices[0] for one in self.options if one.name == name) if written is None else written

    def tables(self) -> tuple[FactsTable, ...]:
        """Return the tables whose rows are read for it."""
        return (*(() if self.facts is None else (self.facts,)), *(one.table for one in self.related))

    def rows_of(self, row: LogRow) -> Iterator[tuple[FactsTable, int]]:
        """Yield the rows that a log row asks for, each as its table and its id."""
        named = [] if self.facts is None else [(self.facts, row.object_id)]
        for table, row_id in [*named, *((one.table, one.id_of(row)) for one in self.related)]:
            if row_id is not None and row_id > 0:
                yield table, row_id

    def is_chosen(self, options: Options, option: tuple[str, str]) -> bool:
        """Say whether the config has chosen this value for this option."""
        return self.chosen(options, option[0]) == option[1]

    @property
    def may_be_held(self) -> bool:
        """Whether its events are held while Moodle keeps from the student what they say (`events.held`)."""
        return any(option.name == "unreleased" for option in self.options)

    def asked(self, options: Options) -> tuple[Lookup, ...]:
        """Return the lookups that the config asks for."""
        return tuple(one for one in self.lookups if one.option is not None and self.is_chosen(options, one.option))
