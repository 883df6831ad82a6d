"""What the use cases may ask of Moodle, whichever database it is in.

Every method raises MoodleUnreachable where the same call may work later, MoodleRefused where it won't.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from relay.errors import MoodleRefused
    from relay.events.kind import EventKind, Facts, Lookup, Options
    from relay.events.rows import Row
    from relay.model import Gap, LogRow

#: Digests are numbers of 64 bits, and are added up modulo this.
DIGESTS = 1 << 64
#: How many bytes of what may be large are read at once, and what one row has: there are several copies of them while
#: events are made.
BYTES_AT_ONCE = 6_000_000


class Page(NamedTuple):
    """A stretch of the log, read at one moment."""

    #: The first and the last id of the stretch; below `first` nothing is there.
    first: int
    last: int
    #: The rows of the kinds that are read, in the order of their ids.
    rows: tuple[LogRow, ...]
    #: All ids that are there; None where none is missing.
    ids: tuple[int, ...] | None
    #: More is there behind it.
    is_more: bool

    def present(self) -> Sequence[int]:
        """Return all ids that are there, in ascending order."""
        return range(self.first, self.last + 1) if self.ids is None else self.ids


class Site(NamedTuple):
    """What Moodle says of itself."""

    #: Moodle's `siteidentifier`.
    identifier: str
    #: Moodle's version number, such as 2023112400.
    version: int
    release: str
    #: The hosts that Moodle's own settings name: where it was installed, and where its mail comes from.
    hosts: tuple[str, ...] = ()


class LogStore(NamedTuple):
    """How Moodle keeps its log."""

    is_enabled: bool
    #: After how many days rows are deleted; 0 for never.
    lifetime_days: int
    #: What is done by nobody who has logged in, such as signing up, is logged too.
    logs_guests: bool = True


class Excess(NamedTuple):
    """Something that the database user may do and relay does not need."""

    #: The end of a sentence.
    found: str
    #: The statement that takes it away, for an administrator of the server; '' where there is none.
    remedy: str


class Standing(NamedTuple):
    """What an account is, by Moodle's role tables."""

    #: A site administrator, or a manager of the whole site.
    is_manager: bool = False
    #: The courses that it teaches now.
    courses: frozenset[int] = frozenset()


class Filters(NamedTuple):
    """Which current rows are asked for; all that is given must hold."""

    user: int | None = None
    course: int | None = None
    #: Rows changed at or after this time only, in unix seconds.
    since: int | None = None


class Stretch(NamedTuple):
    """A stretch of a table's rows, and of time: which rows are compared, and whose times have passed."""

    #: Behind this id, up to that one.
    low: int
    high: int
    #: Behind this time, up to that one, in unix seconds by the database's clock.
    since: int
    until: int


class Sum(NamedTuple):
    """The digest of a stretch of rows."""

    #: How many rows its joins give.
    rows: int
    #: The sum of the rows' digests, modulo 2**64.
    digest: int
    #: How many rows have a time that has passed in the stretch of time.
    due: int


class RowDigest(NamedTuple):
    """The digest of one row, as it stands in the sum of its stretch."""

    id: int
    digest: int
    #: One of its times has passed.
    is_due: bool


class LogReads(Protocol):
    """Moodle's log: for capture and explain."""

    def max_id(self) -> int:
        """Return the highest id in the log, 0 where it is empty."""

    def min_id(self) -> int:
        """Return the lowest id in the log, 0 where it is empty."""

    def first_since(self, seconds: int) -> int | None:
        """Return the lowest id of the rows triggered at or after a time (unix seconds), or None."""

    def row_time(self, log_id: int) -> int | None:
        """Return when the row was triggered (unix seconds), or None where there is no such row."""

    def page(self, after: int, top: int) -> Page | None:
        """Return the next stretch of the log behind an id and up to `top`, or None where none is there."""

    def unread_since(self, after: int, top: int) -> int | None:
        """Return when the first row behind an id and up to `top` was triggered that makes an event (unix seconds).

        None where there is none among the next million ids. What a course restore copied in makes none.
        """

    def ids(self, low: int, high: int, limit: int) -> tuple[int, ...]:
        """Return the ids that are there from `low` to `high`, the first `limit` of them."""

    def fingerprints(self, gaps: Sequence[Gap]) -> list[tuple[int, int]]:
        """Return how many rows are there in each gap, and the sum of the CRC-32 of their ids, as decimal text."""

    def rows(self, ids: Sequence[int]) -> tuple[LogRow, ...]:
        """Return those of the rows with these ids that are of the kinds that are read."""

    def any_log_row(self, log_id: int) -> tuple[str, LogRow | None] | None:
        """Return a log row's eventname and, if it is of a kind that is read, the row; None where there is none."""

    def log_of(
        self, kinds: Sequence[EventKind], object_id: int, *, course: int | None, times: Sequence[int]
    ) -> list[LogRow]:
        """Return the log rows about an object: those of a course, else those within an hour of one of the times."""

    def newest(self, kind: EventKind, limit: int) -> list[LogRow]:
        """Return the newest log rows of a kind, the first `limit` of them; what is long ago is not looked at."""


class TableReads(Protocol):
    """Moodle's tables: for capture, sync and explain."""

    def facts(self, rows: Sequence[LogRow], options: Options) -> Facts:
        """Return what the tables say about these log rows: one query a table, many rows each."""

    def users_named(self, name: str) -> list[int]:
        """Return the ids of the users whose username, e-mail address or id this is."""

    def courses_named(self, name: str) -> list[int]:
        """Return the ids of the courses whose short name or id this is."""

    def pairs(self, lookup: Lookup, rows: Iterable[Row]) -> Mapping[tuple[int, int], int]:
        """Return what a lookup has for these facts, by the pairs of ids that they ask for."""

    def touched(self, kind: EventKind, rows: Sequence[LogRow]) -> Mapping[int, Sequence[int]]:
        """Return the ids of the kind's rows that each of these log rows, its triggers, may have changed, by log id."""

    def current_ids(self, kind: EventKind, after: int, limit: int, filters: Filters) -> list[int]:
        """Return the ids of a kind's current rows behind an id, in ascending order."""

    def current(self, kind: EventKind, ids: Sequence[int], options: Options | None = None) -> Facts:
        """Return what the tables say about these rows now; without options, the rows alone."""

    def portions(self, kind: EventKind, ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """Yield these rows of a kind in parts, in their order, none of which is too large to be read at once."""


class DigestReads(Protocol):
    """Digests of Moodle's tables, made by the server: for reconcile. Each statement reads one stretch of rows by id.

    A reader that is made with a limit raises MoodleTooSlow where a statement takes longer.
    """

    def moment(self) -> int:
        """Return the time of the database's clock, in unix seconds."""

    def sum(self, kind: EventKind, stretch: Stretch, options: Options) -> Sum:
        """Return the digest of the rows of a stretch. Raises MoodleRefused where the server makes none."""

    def digests(self, kind: EventKind, stretch: Stretch, options: Options) -> list[RowDigest]:
        """Return the digest of each row of a stretch, by ascending id; raises as `sum`."""

    def end_of_rows(self, kind: EventKind, low: int, rows: int) -> int | None:
        """Return the id of the last of the next so many rows behind an id, or None where none is there."""

    def recipe(self, kind: EventKind, options: Options) -> str:
        """Return what the digests are made of: another recipe makes others of the same rows."""


class SiteReads(Protocol):
    """Moodle's settings, and what the database user may do: for check, status and import-plugin."""

    def site(self) -> Site:
        """Return what Moodle says of itself. Raises MoodleRefused where this is no Moodle."""

    def log_store(self) -> LogStore:
        """Return how Moodle keeps its log."""

    def find_known_row(self) -> int | None:
        """Find the newest log row again by its name, as relay finds rows; return its id, None where there is none.

        Raises MoodleRefused where it is not found: relay would read nothing, and take that for nothing new.
        """

    def plugin_settings(self, plugin: str) -> Mapping[str, str]:
        """Return the settings of a Moodle plugin, some of which are secrets."""

    def missing(self) -> list[MoodleRefused]:
        """Read every column that relay reads, of no row; return why, for each that may not be read or is not there."""

    def missing_for_page(self) -> list[MoodleRefused]:
        """Do the same with what the page alone reads, to know who somebody is."""

    def prefixes(self) -> list[str]:
        """Return with what the names of Moodle's tables begin that the user can see; several Moodles may be there."""

    def too_much(self) -> list[Excess]:
        """Return what the database user may do and need not, itself or by a role."""


class PeopleReads(Protocol):
    """Who somebody is: for the page."""

    def account(self, username: str) -> int | None:
        """Return the id of the account of this username; None where there is none that may log in, or several are."""

    def standing(self, user: int) -> Standing | None:
        """Return what an account is; None where there is none that may log in."""

    def is_in(self, user: int, courses: Collection[int]) -> bool:
        """Say whether somebody is enrolled in one of these courses, suspended or not."""


class Moodle(LogReads, TableReads, DigestReads, SiteReads, PeopleReads, Protocol):
    """All of it, over one connection. For one thread."""

    @property
    def kinds(self) -> tuple[EventKind, ...]:
        """The kinds of event whose log rows are read."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Let all reads within see the database at one moment."""

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
