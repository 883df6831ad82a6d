"""The outbox's contract in parts, by who uses it: what each method promises, whichever database keeps it.

Capture and sync take a Ledger, reconcile Chunks too, delivery a Queue, the daemon's lease a Membership, status and
explain Reports, the commands that look after the outbox an Admin. An Outbox is all. (Tables: contract, section 4.) The
module is long, as each method states its promise here, for both kinds of database.

Every method that writes is one transaction, on disk when it returns. Every method raises OutboxUnavailable where the
same call may work later (locked, full, read-only), OutboxCorrupt where it can't. Safe to use from several threads.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from relay.outbox.acknowledging import Acknowledging
from relay.outbox.chunks import Chunks
from relay.outbox.looking import Looking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from relay.model import Delivery, Position
    from relay.outbox.unsent import Unsent
    from relay.outbox.values import (
        Accepted,
        Batch,
        Counts,
        Forgotten,
        HeldEvent,
        Judged,
        Listed,
        Member,
        Migrated,
        Purged,
        Recorded,
        Remembered,
        Selector,
        Settled,
        Sync,
        Waiting,
    )

#: How long a relay's lease on a shared outbox lasts, and how often it is renewed, in seconds: what a dead one had under
#: way goes to others after LEASE_S + RENEW_S at the most.
LEASE_S = 12.0
RENEW_S = 3.0
#: What is claimed at once is in memory: about so many bytes, unless the caller says another number.
CLAIM_BYTES = 16_000_000


class State(Protocol):
    """What relay keeps from one run to the next: the position in the log, and values by key."""

    @abstractmethod
    def state(self, key: str) -> str | None:
        """Return what is kept under the key, or None."""

    @abstractmethod
    def set_state(self, key: str, value: str, now: float) -> None:
        """Keep a value under a key."""

    @abstractmethod
    def swap_state(self, key: str, old: str, new: str, now: float) -> bool:
        """Keep a new value in the place of the old one; return False where another value is there."""

    @abstractmethod
    def note(self, state: Mapping[str, str], counts: Mapping[str, int], now: float) -> None:
        """Keep values, and add to the numbers that are kept, by key: all of it or nothing."""

    @abstractmethod
    def position(self) -> Position | None:
        """Return how far the log is read, or None before the first batch."""


class Sharing(Protocol):
    """What a relay asks about the others that use the same outbox."""

    @property
    @abstractmethod
    def is_shared(self) -> bool:
        """Whether several relays may run on it: then `renew` must be called every RENEW_S seconds."""

    @abstractmethod
    def time(self, now: float) -> float:
        """Return what time it is for all who use the outbox, in unix seconds, where this machine's clock says `now`."""

    @abstractmethod
    def leads(self) -> bool:
        """Say whether this relay is the one that reads the log. Asks no database."""

    @abstractmethod
    def members(self) -> Sequence[Member]:
        """Return the relays that take part in a shared outbox."""


class HeldReads(Protocol):
    """What is asked about held events."""

    @abstractmethod
    def held_of(self, table: str, ids: Sequence[int]) -> Sequence[HeldEvent]:
        """Return all that is held about these rows of a table of Moodle, in the order in which it was recorded."""


class Holding(HeldReads, Protocol):
    """For capture: events that are not sent before Moodle shows the student what they say."""

    @abstractmethod
    def held(self, after: int, limit: int) -> Sequence[HeldEvent]:
        """Return what is held behind a row of the outbox, in the order in which it was recorded."""

    @abstractmethod
    def judge(self, judged: Judged, now: float) -> Judged:
        """Release held events, due at once, skip them, or keep them as they are now known.

        Returns what was done: a released event that the outbox cannot keep is skipped, with the reason, and one that
        was not held any more is left out. Raises OutboxFenced where this relay does not lead.
        """

    @abstractmethod
    def hold_undelivered(
        self, event_type: str, table: str, field: str, now: float, *, only: Mapping[int, int] | None = None
    ) -> Sequence[str]:
        """Hold what is undelivered of a type, and not under way; return the ids. `field` of its data has the row's id.

        It keeps its body until it is judged. `only`: what was never under way, about these rows: the user of each.
        """

    @abstractmethod
    def unsent(
        self, event_type: str, field: str, now: float, *, before: float, limit: int, after: Unsent | None = None
    ) -> Sequence[Unsent]:
        """Return what waits for its first attempt of a type, recorded up to a time: what is due first comes first.

        `field` as in `hold_undelivered`; times in unix seconds. `after` is what one page ended with: the next one.
        """


class Ledger(State, Holding, Protocol):
    """For capture and sync: records what was read from Moodle."""

    @abstractmethod
    def accept(self, batch: Batch, now: float) -> Accepted:
        """Record events, skips, holds, counts and the new position in one transaction; return what is new.

        Idempotent: an event whose id is there already, or was and has been purged, changes and counts nothing. One that
        the outbox cannot keep (its server takes less at once) is recorded as skipped, with the reason; when it comes
        again and can be kept, it is new. Each new event that names its row is remembered as its newest. Raises
        OutboxOvertaken where a chunk is not as it was read, and OutboxFenced, of what was read from the log, where this
        relay leads no more or the position is not `before`.
        """

    @abstractmethod
    def remembered(self, table: str, ids: Sequence[int]) -> Mapping[int, Remembered]:
        """Return the newest event of each of these rows of a table of Moodle, by the row's id.

        A row of which no event was ever recorded is left out. It outlives a purge.
        """

    @abstractmethod
    def begin_sync(self, sync_type: str, action: str, triggered_by: int | None, now: float) -> int:
        """Write a line of the sync history; return its id."""

    @abstractmethod
    def note_sync(self, sync: Sync, now: float) -> None:
        """Bring a line of the sync history up to date."""


class Queue(State, Sharing, Protocol):
    """For delivery: events are claimed, sent, and settled.

    `types` are the types of event that may be sent now. A stored event may be of another type: one whose path has an
    open circuit, or one that this relay does not know. Such an event is kept, never claimed, and makes no other event
    of its user wait.
    """

    @abstractmethod
    def claim(
        self,
        now: float,
        limit: int,
        *,
        lease_s: float,
        types: frozenset[str],
        most_bytes: int = CLAIM_BYTES,
        only: str | None = None,
        probe: bool = False,
    ) -> Sequence[Delivery]:
        """Lease due events of these types, and write the row of an attempt, of outcome `unknown`, for each.

        Keeps each user's order: an event is claimed only together with all earlier undelivered events of its user that
        are of these types, and never while another event of its user is under way. `most_bytes`: of those that may be
        claimed, claim the first whose bodies have about so many bytes together; one at least. `only`: claim events of
        this one type; earlier ones of the other types still come first. `probe`: claim one event that is the first of
        its user, due or not, but not before a time that the backend asked for.
        """

    @abstractmethod
    def claim_again(
        self, ids: Sequence[int], now: float, *, lease_s: float, types: frozenset[str]
    ) -> Sequence[Delivery]:
        """Lease these events (row ids) of these types whatever their state, as `claim` does.

        Those that are under way elsewhere are left out.
        """

    @abstractmethod
    def may_send(self, delivery: Delivery) -> bool:
        """Say whether a claimed event is still this relay's to send: its lease may have ended. Asks no database."""

    @abstractmethod
    def settle(self, settled: Sequence[Settled], now: float, state: Mapping[str, str] | None = None) -> None:
        """Complete the attempts' rows and write what becomes of the events, in one transaction.

        Where another relay has taken over an event, only its attempt's row is completed.
        """

    @abstractmethod
    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Take back claims whose request never left: no trace of the attempt remains."""

    @abstractmethod
    def next_due(self, types: frozenset[str], now: float) -> float | None:
        """Return when the next event of these types is due (unix seconds); None where none waits.

        What is under way at `now` is left out. A lease that has ended is none: not by its time, nor where the process
        that has it is known to be gone.
        """

    @abstractmethod
    def all_due(self, now: float) -> None:
        """Make all that waits due at once, save where the backend asked for a later time."""

    @abstractmethod
    def set_back(self, seconds: float) -> None:
        """Bring all due times forward: the clock was set back by so many seconds."""

    @abstractmethod
    def last_recorded_at(self) -> float:
        """Return when the newest event or attempt was recorded, in unix seconds; 0.0 where there is none."""


class Membership(Sharing, Protocol):
    """For the process: taking part in an outbox, alone or beside other relays."""

    @abstractmethod
    def hold(self, now: float, *, alone: bool = False, exclusive: bool = False) -> None:
        """Take part as a running relay, and free what one that was killed had under way.

        `alone`: where no other one takes part at this moment. `exclusive`: that, and none may begin to until this one
        ends. Raises OutboxInUse where another one takes part and the outbox, or the caller, allows one alone, and where
        another one is exclusive; OutboxError where the outbox was moved since it was opened.
        """

    @abstractmethod
    def join(self, now: float) -> None:
        """Take part for a while, beside the relays that run. Raises what `hold` does."""

    @abstractmethod
    def let_go(self) -> None:
        """Give up what this process has under way: others, and this one, may claim it. Asks no database.

        On a shared outbox that holds once the lease under which it was claimed has ended; the next `renew` makes
        another one.
        """

    @abstractmethod
    def renew(self, now: float) -> None:
        """Renew this relay's leases, free what dead relays had under way, and take the lead where nobody has it."""


class Reports(State, Sharing, HeldReads, Protocol):
    """For status, explain and replay: questions about what is recorded."""

    @abstractmethod
    def counts(self) -> Counts:
        """Return the terms of the conservation sums, read at one moment."""

    @abstractmethod
    def waiting(self) -> Waiting:
        """Return what is undelivered, under way or not, of whatever type."""

    @abstractmethod
    def numbers(self, beginning: str) -> Mapping[str, int]:
        """Return the numbers that `note` has added up under keys that begin so, by what comes behind the dot."""

    @abstractmethod
    def select(self, selector: Selector) -> Sequence[int]:
        """Return the row ids of the events that are meant and have data, in the order they happened.

        Skipped and held ones have none, nor those that were forgotten.
        """

    @abstractmethod
    def count_held(self, selector: Selector) -> int:
        """Return how many held events are meant."""

    @abstractmethod
    def row_ids(self, ids: Sequence[int], event_type: str, field: str) -> Mapping[int, int]:
        """Return which row of Moodle those of the events (row ids) of a type are about: what `field` of the data says.

        One whose data say nothing is left out.
        """

    @abstractmethod
    def was_purged(self, log_id: int) -> bool | None:
        """Say whether an event of a log row was delivered and purged; None where it would not be remembered."""

    @abstractmethod
    def count_forgotten(self, selector: Selector) -> int:
        """Return how many of the events that are meant have lost their data: they can't be sent again."""

    @abstractmethod
    def listed(self, selector: Selector, limit: int) -> Sequence[Listed]:
        """Return the events that are meant, skipped ones among them: so many at most, the last recorded first."""

    @abstractmethod
    def listed_rows(self, ids: Sequence[int]) -> Iterator[Listed]:
        """Yield the events of these rows, in the order of the ids."""

    @abstractmethod
    def count_undelivered(self, ids: Sequence[int] | None = None) -> int:
        """Return how many events, of these rows or of all, have not reached the backend; dead letters count too.

        What was forgotten is not counted: nobody can deliver it. Of all events, acknowledged ones aren't either.
        """

    @abstractmethod
    def recorded(
        self,
        now: float,
        *,
        event_id: str | None = None,
        log_id: int | None = None,
        user_id: int | None = None,
        data: tuple[str, int] | None = None,
        skipped_type: str | None = None,
        types: frozenset[str] | None = None,
    ) -> Sequence[Recorded]:
        """Return the newest 500 events that match all given terms, the earliest first; at least one term is needed.

        `data`: a key of the event's data, and its value. `skipped_type`: what was skipped, of this type. `types`: those
        that later events of their user wait for (`Recorded.waits_for`); None: all.
        """


class Admin(State, Protocol):
    """For those who open, look after, and move an outbox."""

    #: Whether this opening has made the outbox.
    created: bool
    #: What this opening has changed of the tables; None where they had this relay's version.
    migrated: Migrated | None

    @abstractmethod
    def close(self) -> None:
        """Close the connections; the outbox is not to be used any more."""

    @abstractmethod
    def probe_write(self) -> None:
        """Begin to write, and take it back: raises OutboxError where the outbox cannot be written."""

    @abstractmethod
    def purge(self, before: float, after: int, limit: int) -> Purged:
        """Take one step of a purge: look at so many rows behind `after` (0: at the first ones).

        Delivered events that ended before a time (unix seconds) are deleted, with their attempts. What may be read from
        the log again is not new for that: the ids are kept.
        """

    @abstractmethod
    def forget(self, user_id: int, now: float, limit: int, *, undelivered: bool) -> Forgotten:
        """Take the personal data out of so many events of a user at the most: bodies, data, and what was answered.

        What has ended and was delivered loses it, and where `undelivered` says so what is still to be delivered or is
        held too, which is given up by that. Their ids, times and outcomes stay. Nothing is written over for those who
        look at the disk before `shrink` has come to its end.
        """

    @abstractmethod
    def shrink(self) -> bool:
        """Give back some of the disk space that purged events took; say whether there is more."""

    @abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """Return how many rows there are in each table that a move takes along, the state aside."""

    @abstractmethod
    def dump(self, table: str, limit: int) -> Iterator[Sequence[Mapping[str, Any]]]:
        """Yield the rows of a table of tables.MOVED, with its columns, in pages of at most `limit`."""

    @abstractmethod
    def load(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that `dump` gave, of whichever kind of outbox."""

    @abstractmethod
    def clear(self) -> None:
        """Delete all that was loaded: the outbox is as new."""


class Outbox(Chunks, Ledger, Queue, Membership, Reports, Admin, Acknowledging, Looking, Protocol):
    """All parts of an outbox, for who opens it and hands them out."""
