"""The outbox's contract: what each method promises, whichever database keeps it (contract, section 4)."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from relay.model import Delivery, Event, Outcome, Position, Skip, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.rules.retry import Decision

#: Which version of the tables this code makes and reads; kept in the state `schema_version`.
SCHEMA_VERSION = 1
#: The tables of the contract; the prefix comes before each.
EVENTS, ATTEMPTS, HISTORY, STATE = (
    "mb_zoho_event_log",
    "mb_zoho_event_attempt",
    "mb_zoho_sync_history",
    "mb_zoho_config",
)
#: Where a claim finds none among the first due events (all wait for an earlier one), it looks this many times further.
CLAIM_LOOKS = (1, 20, 400, 8000)
#: How long a relay's lease on a shared outbox lasts, and how often it is renewed, in seconds: what a dead one had under
#: way goes to others after LEASE_S + RENEW_S at the most.
LEASE_S = 12.0
RENEW_S = 3.0
#: The last_error of an event keeps at most this many characters of the backend's answer.
ANSWER_CHARACTERS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one pass of capture has read: accepted as a whole, or not at all."""

    events: Sequence[Event] = ()
    skips: Sequence[Skip] = ()
    #: How many log rows were passed over, by reason (restored, actor, disabled).
    ignored: Mapping[str, int] = field(default_factory=dict)
    #: The position before this batch, and after it; both None for rows that come from `relay sync`.
    before: Position | None = None
    after: Position | None = None
    #: Further state to keep, by key, in the same transaction.
    state: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A delivery with what came of it."""

    delivery: Delivery
    outcome: Outcome
    decision: Decision
    #: When the attempt began, in unix seconds.
    started_at: float
    #: Events of the same user wait until this one is due again.
    holds_user: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which recorded events are meant; all that is given must hold."""

    event_id: str | None = None
    status: Status | None = None
    event_type: str | None = None
    user_id: int | None = None
    #: The event's own time, in unix seconds, both ends included.
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt, as it is recorded."""

    number: int
    #: Unix seconds.
    started_at: int
    duration_ms: int | None
    http_code: int | None
    #: unknown, success, duplicate, refused or failed.
    outcome: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the outbox knows of an event: everything but its data."""

    id: int
    event_id: str
    event_type: str
    log_id: int | None
    user_id: int
    occurred_at: int
    created_at: int
    status: Status
    failures: int
    #: The last error, as JSON types.
    last_error: Mapping[str, Any]
    #: When it is due, in unix seconds; None where it has ended.
    due_at: float | None
    is_under_way: bool
    attempts: Sequence[Attempt]
    #: The event of the same user that it waits for.
    waits_for: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """A line of the sync history."""

    id: int
    processed: int = 0
    failed: int = 0
    status: str = "running"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The terms of the conservation sums (contract, section 4), read at one moment."""

    #: Log rows of the four kinds that have been seen.
    seen: int
    captured: int
    ignored: Mapping[str, int]
    #: Events that `relay sync` made.
    synced: int
    purged: int
    #: How many events stand in each state, by type.
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
        """Captured + synced = success + pending + failed + failed_all_retries + purged."""
        kept = sum(self.of(status) for status in Status if status is not Status.SKIPPED)
        return self.captured + self.synced == kept + self.purged


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What is still to be delivered."""

    count: int
    #: When the oldest undelivered event was recorded, in unix seconds.
    oldest_created_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A relay that takes part in a shared outbox."""

    #: The machine and the process.
    name: str
    #: It reads the log; the others stand by.
    leads: bool
    #: When its lease ends, in unix seconds of the outbox's clock.
    expires_at: float


class Outbox(ABC):
    """Where events wait and attempts are recorded. Safe to use from several threads.

    Every method that writes is one transaction, on disk when it returns. Raises OutboxUnavailable where the same call
    may work later (locked, full, read-only), OutboxCorrupt where it can't.
    """

    @abstractmethod
    def close(self) -> None:
        """Close the connections; the outbox is not to be used any more."""

    @property
    @abstractmethod
    def is_shared(self) -> bool:
        """Whether several relays may run on it: then `renew` must be called every RENEW_S seconds."""

    @abstractmethod
    def time(self, now: float) -> float:
        """Return what time it is for all who use the outbox, in unix seconds, where this machine's clock says `now`."""

    @abstractmethod
    def hold(self, now: float, *, alone: bool = False) -> None:
        """Take part as a running relay, and free what one that was killed had under way.

        Raises OutboxInUse where the outbox allows one running relay, or `alone` asks for that, and there is one.
        """

    @abstractmethod
    def join(self, now: float) -> None:
        """Take part in delivering for a while, beside the relays that run."""

    @abstractmethod
    def renew(self, now: float) -> None:
        """Renew this relay's leases, free what dead relays had under way, and take the lead where nobody has it."""

    @abstractmethod
    def leads(self) -> bool:
        """Say whether this relay is the one that reads the log."""

    @abstractmethod
    def may_send(self, delivery: Delivery) -> bool:
        """Say whether a claimed event is still this relay's to send: its lease may have ended. Asks no database."""

    @abstractmethod
    def members(self) -> Sequence[Member]:
        """Return the relays that take part in a shared outbox."""

    @abstractmethod
    def probe_write(self) -> None:
        """Begin to write, and take it back: raises OutboxError where the outbox cannot be written."""

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
    def position(self) -> Position | None:
        """Return how far the log is read, or None before the first batch."""

    @abstractmethod
    def accept(self, batch: Batch, now: float) -> Sequence[str]:
        """Record events, skips, counts and the new position in one transaction; return the ids that are new.

        An event whose id is there already changes nothing and counts nothing. Raises OutboxFenced for what was read
        from the log where this relay does not lead any more.
        """

    @abstractmethod
    def claim(
        self,
        now: float,
        limit: int,
        *,
        lease_s: float,
        blocked: frozenset[str] = frozenset(),
        only: str | None = None,
        probe: bool = False,
    ) -> Sequence[Delivery]:
        """Lease due events, and write the row of an attempt, of outcome `unknown`, for each.

        In order within each user: an event is claimed only with all undelivered earlier ones of its user, unless those
        are of a blocked type. `blocked` types are left out; `only` one type is looked at. `probe`: claim one event
        that no other precedes, due or not, save where the backend asked for a later time.
        """

    @abstractmethod
    def claim_again(self, ids: Sequence[int], now: float, *, lease_s: float) -> Sequence[Delivery]:
        """Lease these events (row ids) whatever their state, as `claim` does, save those under way elsewhere."""

    @abstractmethod
    def settle(self, settled: Sequence[Settled], now: float, state: Mapping[str, str] | None = None) -> None:
        """Complete the attempts' rows and write what becomes of the events, in one transaction.

        Where another relay has taken over an event, only its attempt's row is completed.
        """

    @abstractmethod
    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Take back claims whose request never left: no trace of the attempt remains."""

    @abstractmethod
    def all_due(self, now: float) -> None:
        """Make all that waits due at once, save where the backend asked for a later time."""

    @abstractmethod
    def set_back(self, seconds: float) -> None:
        """Bring all due times forward: the clock was set back by so many seconds."""

    @abstractmethod
    def last_recorded_at(self) -> float:
        """Return when the newest event or attempt was recorded, in unix seconds; 0.0 where there is none."""

    @abstractmethod
    def next_due(self, blocked: frozenset[str]) -> float | None:
        """Return when the next event is due (unix seconds), or None where none waits; leased ones are left out."""

    @abstractmethod
    def waiting(self) -> Waiting:
        """Return what is undelivered, under way or not."""

    @abstractmethod
    def select(self, selector: Selector) -> Sequence[int]:
        """Return the row ids of the events that are meant, skipped ones aside, in the order they happened."""

    @abstractmethod
    def count_undelivered(self, ids: Sequence[int] | None = None) -> int:
        """Return how many events, of these rows or of all, have not reached the backend: given up ones count too."""

    @abstractmethod
    def recorded(
        self,
        now: float,
        *,
        event_id: str | None = None,
        log_id: int | None = None,
        user_id: int | None = None,
        data: tuple[str, int] | None = None,
    ) -> Sequence[Recorded]:
        """Return the events that all given terms hold of, in the order they happened, the newest 500 of them.

        `data`: a key of the event's data, and its value.
        """

    @abstractmethod
    def begin_sync(self, sync_type: str, action: str, triggered_by: int | None, now: float) -> int:
        """Write a line of the sync history; return its id."""

    @abstractmethod
    def note_sync(self, sync: Sync, now: float) -> None:
        """Bring a line of the sync history up to date."""

    @abstractmethod
    def purge(self, before: float, limit: int) -> int:
        """Delete delivered events that ended before a time (unix seconds), with their attempts; return how many."""

    @abstractmethod
    def shrink(self) -> None:
        """Give back the room that purged events took."""

    @abstractmethod
    def counts(self) -> Counts:
        """Return the terms of the conservation sums, read at one moment."""

    @abstractmethod
    def dump(self, table: str, after: int, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return rows of a table (EVENTS, ATTEMPTS, HISTORY, STATE) behind an id, with the columns of rows.MOVED."""

    @abstractmethod
    def load(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that `dump` gave, of whichever kind of outbox."""

    @abstractmethod
    def clear(self) -> None:
        """Delete all that was loaded: the outbox is as new."""


def split(body: bytes, data: str) -> str:
    """Return the envelope up to its data: with data and a brace behind it, it is the body again, byte for byte."""
    head = body.decode()[: -len(data) - 1]
    if join(head, data) != body:
        raise ValueError("data is not the last part of the envelope")
    return head


def join(head: str, data: str) -> bytes:
    """Return the body of an event from its two columns."""
    return f"{head}{data}}}".encode()


def outcome_name(settled: Settled) -> str:
    """Return what the attempt's row says: success, duplicate, refused or failed."""
    code = settled.outcome.http_code
    if code is not None and 200 <= code < 300:
        return "duplicate" if settled.outcome.duplicate else "success"
    return str(settled.decision.verdict) if settled.decision.verdict == "refused" else "failed"


def error_json(outcome: Outcome) -> str | None:
    """Return an event's last_error as JSON; None after a success."""
    if outcome.http_code is not None and 200 <= outcome.http_code < 300:
        return None
    error: dict[str, Any] = {"http_code": outcome.http_code, "error": error_text(outcome)}
    if outcome.error_kind:
        error["kind"] = outcome.error_kind
    if outcome.answer:
        error["answer"] = outcome.answer[:ANSWER_CHARACTERS]
    return json.dumps(error, ensure_ascii=False)


def error_text(outcome: Outcome) -> str | None:
    """Return the attempt's error as a sentence; None after a success."""
    if outcome.http_code is None:
        return outcome.error
    return None if 200 <= outcome.http_code < 300 else f"the backend answered {outcome.http_code}"
