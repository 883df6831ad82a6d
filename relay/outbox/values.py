"""What goes into an outbox and comes out of it, by who uses it: capture, delivery, reports, the process."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.model import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from relay.model import Delivery, Event, Hold, Outcome, Position, Skip
    from relay.rules.retry import Decision

#: How many bytes of a digest are kept: enough that two texts of one row never have the same one.
DIGEST_BYTES = 12


# -- capture and sync


class Batch(NamedTuple):
    """What one pass of capture or sync has read: accepted as a whole, or not at all."""

    events: Sequence[Event] = ()
    skips: Sequence[Skip] = ()
    holds: Sequence[Hold] = ()
    #: How many log rows were passed over, by reason (restored, actor, disabled).
    ignored: Mapping[str, int] = MappingProxyType({})
    #: What is remembered of rows as if it had been sent, though it is not recorded.
    noted: Sequence[Event] = ()
    #: The position before this batch, and after it; both None for rows that come from `relay sync`.
    before: Position | None = None
    after: Position | None = None
    #: Further state to keep, by key, in the same transaction.
    state: Mapping[str, str] = MappingProxyType({})
    #: What reconcile has seen of Moodle's tables with these events; `found`: the kind of difference that each tells of.
    chunks: Sequence[Chunk] = ()
    #: The chunks in whose place they are, as they were read.
    replaced: Sequence[Chunk] = ()
    found: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Collection[str]):
    """What has come of a batch. As a collection: the ids of the events, skips and holds that are new."""

    new: Sequence[str] = ()
    #: What is new as well, and recorded as skipped: the outbox cannot keep the event.
    unfit: Sequence[Skip] = ()
    #: What was recorded so before, and still cannot be kept: it is not new.
    still_unfit: Sequence[Skip] = ()

    def __contains__(self, event_id: object) -> bool:
        return event_id in self.new

    def __iter__(self) -> Iterator[str]:
        return iter(self.new)

    def __len__(self) -> int:
        return len(self.new)


class HeldEvent(NamedTuple):
    """A held event of the outbox."""

    #: Its row in the outbox.
    id: int
    event_id: str
    event_type: str
    log_id: int | None
    user_id: int
    occurred_at: int
    #: A sentence's end.
    reason: str
    #: The table and the id of the row of Moodle that it is about.
    row_table: str
    row_id: int
    #: Since when its student has no enrolment in the course, in unix seconds; None where there is one.
    absent_since: int | None
    #: An older relay has made its body, and it was not sent.
    is_built: bool


class Judged(NamedTuple):
    """What is to become of held events."""

    #: Those that are sent now, as these events.
    released: Sequence[tuple[HeldEvent, Event]] = ()
    #: Those that are sent with the bytes that they have.
    sent: Sequence[HeldEvent] = ()
    #: Those that are not sent, and why.
    skipped: Sequence[tuple[HeldEvent, str]] = ()
    #: Those that stay held: what is known of them now. What was built of one is deleted.
    kept: Sequence[HeldEvent] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What one step of a purge has done."""

    #: How many events it has deleted.
    count: int
    #: Up to which row it has looked; None where there are no more.
    looked_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What one step of forgetting a user has done, and what it has left."""

    #: How many events have lost their personal data, and how many of those had not been delivered.
    count: int = 0
    undelivered: int = 0
    #: How many undelivered ones were left as nobody has asked for them, and how many as they are being sent.
    kept: int = 0
    under_way: int = 0


class Sync(NamedTuple):
    """A line of the sync history."""

    id: int
    processed: int = 0
    failed: int = 0
    status: str = "running"
    error: str | None = None


class Remembered(NamedTuple):
    """The newest event of a row of Moodle."""

    #: What `digest` makes of its state.
    digest: bytes
    event_id: str
    #: The row of the log that it was made of; None for an event that sync made.
    log_id: int | None


class Chunk(NamedTuple):
    """What reconcile has seen of a stretch of the rows of one of Moodle's tables."""

    table: str
    #: The ids behind this one, up to that one.
    low: int
    high: int
    #: What the digests are made of: those of another recipe cannot be compared.
    recipe: str
    #: The digest of the stretch; '' where it is not known.
    digest: str
    #: What is kept of each row: `rules.prints`.
    prints: bytes
    #: When the rows were read, in unix seconds by the clock of Moodle's database.
    seen_at: int
    #: The rows that differ, and since when: `rules.differences`; '' where none does.
    suspects: str = ""
    #: When they are to be looked at again, in unix seconds; None where none differs.
    look_at: float | None = None
    #: Up to which id the log had been read when the rows were.
    log_end: int = 0


def digest(state: str) -> bytes:
    """Return what is remembered of an event's state (JSON text): the first DIGEST_BYTES of its SHA-256."""
    return hashlib.sha256(state.encode()).digest()[:DIGEST_BYTES]


# -- delivery


class Settled(NamedTuple):
    """A delivery with what came of it."""

    delivery: Delivery
    outcome: Outcome
    decision: Decision
    #: When the attempt began, in unix seconds.
    started_at: float
    #: Events of the same user wait until this one is due again.
    holds_user: bool = True


# -- status, explain, replay


class Selector(NamedTuple):
    """Which recorded events are meant; all that is given must hold."""

    event_id: str | None = None
    status: Status | None = None
    event_type: str | None = None
    user_id: int | None = None
    #: The event's own time, in unix seconds, both ends included.
    since: float | None = None
    until: float | None = None


class Attempt(NamedTuple):
    """One attempt, as it is recorded."""

    number: int
    #: Unix seconds.
    started_at: int
    duration_ms: int | None
    http_code: int | None
    #: unknown, success, duplicate, refused or failed.
    outcome: str
    error: str | None


class Listed(NamedTuple):
    """A line of a list of events: nothing of its data but whose it is, and in which course."""

    event_id: str
    event_type: str
    log_id: int | None
    user_id: int
    #: None where it is about no course, or its data are gone.
    course_id: int | None
    #: The event's own time, and when it was recorded, in unix seconds.
    occurred_at: int
    created_at: int
    status: Status
    attempts: int
    #: The last error, or the reason why nothing is sent, as JSON types.
    last_error: Mapping[str, Any]


class Taken(NamedTuple):
    """Who has an event under way."""

    #: Such as `db1 pid 17`; '' where that is not known any more.
    by: str
    #: When the lease under which it is, ends or has ended, in unix seconds.
    until: float


class Recorded(NamedTuple):
    """What the outbox knows of an event: everything but its data."""

    id: int
    event_id: str
    #: As it was recorded: a relay of another version, or another config, may have known types that this one does not.
    event_type: str
    log_id: int | None
    user_id: int
    #: None where it is about no course, or its data are gone.
    course_id: int | None
    occurred_at: int
    created_at: int
    status: Status
    failures: int
    #: The last error, as JSON types.
    last_error: Mapping[str, Any]
    #: When it is due, in unix seconds; None where it has ended.
    due_at: float | None
    #: Who has it under way; None where nobody does.
    taken: Taken | None
    attempts: Sequence[Attempt]
    #: The earliest undelivered event of the same user, where there is one before this.
    waits_for: str | None
    #: When reconcile found the difference that it tells of, in unix seconds; None for an event of another origin.
    found_at: int | None = None
    #: When a person said that it is dealt with, in unix seconds, and what was done; None where nobody has.
    acknowledged: tuple[int, str] | None = None


class Counts(NamedTuple):
    """The terms of the conservation sums (contract, section 4), read at one moment."""

    #: Log rows that have been seen, of the kinds that relay sends.
    seen: int
    captured: int
    ignored: Mapping[str, int]
    #: Events that `relay sync` made, and those that reconcile did.
    synced: int
    reconciled: int
    purged: int
    #: How many events stand in each state, by type; types that this relay does not know are among them.
    by_type: Mapping[str, Mapping[str, int]]

    def of(self, status: Status) -> int:
        """Return how many events stand in this state."""
        return sum(states.get(status, 0) for states in self.by_type.values())

    @property
    def seen_holds(self) -> bool:
        """Log rows seen = captured + skipped + ignored."""
        return self.seen == self.captured + self.of(Status.SKIPPED) + sum(self.ignored.values())

    @property
    def captured_holds(self) -> bool:
        """Captured + synced + reconciled = success + pending + failed + failed_all_retries + held + purged."""
        kept = sum(self.of(status) for status in Status if status is not Status.SKIPPED)
        return self.captured + self.synced + self.reconciled == kept + self.purged


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What is still to be delivered."""

    count: int
    #: When the oldest undelivered event was recorded, in unix seconds.
    oldest_created_at: int | None = None
    #: When the one that is due first is, or was, due, in unix seconds.
    oldest_due_at: float | None = None


# -- the relays that share an outbox, and what an opening has done


class Member(NamedTuple):
    """A relay that takes part in a shared outbox."""

    #: The machine and the process.
    name: str
    #: It reads the log; the others stand by.
    leads: bool
    #: When its lease ends, in unix seconds of the outbox's clock.
    expires_at: float
    #: It is the one that asks.
    is_own: bool = False


class Migrated(NamedTuple):
    """The tables were brought to this relay's version when the outbox was opened."""

    before: int
    after: int
    #: The copy of the file as it was before; '' where the outbox is in a schema, of which relay makes no copy.
    copy: str = ""
