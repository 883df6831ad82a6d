"""What relay knows of itself (`relay status`): gathered as one value, which a person or a monitor is then shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from relay import times
from relay.errors import MoodleError, MoodleUnasked
from relay.model import Status
from relay.operations import compared as comparing
from relay.outbox import owners
from relay.outbox.acknowledging import Acknowledging
from relay.outbox.contract import Reports
from relay.outbox.pausing import paused_by
from relay.outbox.values import Counts, Waiting
from relay.rules import circuit, cursor
from relay.rules.circuit import Breaker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.model import Position
    from relay.moodle.contract import Moodle
    from relay.operations.compared import Compared
    from relay.outbox.values import Member

#: Where the outbox keeps when a relay last completed a pass of capture, of delivery (with the process's name behind
#: it), and when one ended, in unix seconds.
CAPTURED_AT, DELIVERED_AT, ENDED_AT = "pass.capture", "pass.delivery", "pass.ended"
#: When the backend last took an event, in unix seconds, and how far its clock was ahead then, in seconds.
TAKEN_AT, CLOCK_SKEW = "pass.taken", "pass.skew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the config says that decides whether all is well."""

    #: How long an event, or a log row, may wait, in seconds.
    max_age_s: float = 3600.0
    poll_interval_s: float = 0.5
    is_paused: bool = False
    #: Requests are signed.
    signs: bool = True
    #: Which tables are compared each day or so, by reconcile's names of them, and how often, in seconds.
    reconciled: Sequence[str] = ()
    reconcile_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MoodleLog:
    """What is known of Moodle's log."""

    #: Its newest id; None where that is not known.
    end: int | None = None
    #: When the oldest row that is to be read was triggered, in unix seconds; None where there is none.
    unread_since: int | None = None
    #: Moodle writes it; None where that is not known.
    is_on: bool | None = None
    #: Why Moodle's database cannot be asked; '' where it can.
    error: str = ""
    #: Why it was not asked, as its password is not for whoever looks: no fault of the relay that runs. '' where it was.
    unasked: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """When a relay last completed a pass, in unix seconds; None where none ever did."""

    capture_at: float | None = None
    delivery_at: float | None = None
    #: The relay that completed it has ended.
    has_ended: bool = False
    #: Since when that relay has run.
    delivering_since: float = 0.0

    def age_s(self, now: float) -> int:
        """Return how many seconds ago the last pass of delivery was completed; 0 where there was none."""
        return 0 if self.delivery_at is None else max(0, int(now - self.delivery_at))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far the log is read."""

    #: Every log id up to here has been seen, save for the missing ones; None before the first pass.
    cursor: int | None
    #: Stretches of ids of which some are missing and may still turn up, and how many ids are missing in them.
    open_gaps: int
    open_gap_ids: int
    #: The newest id of the log, and how many ids that is ahead of the cursor; None where Moodle cannot be asked.
    log_end: int | None = None
    lag: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What takes a while to count in a large outbox, and the moment of it in unix seconds."""

    counts: Counts
    waiting: Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The state of a relay at one moment."""

    counts: Counts
    #: How many events are still to be delivered, and for how many seconds the oldest of them has waited.
    undelivered: int
    oldest_undelivered_age_s: int | None
    breaker: Breaker
    reading: Reading
    #: The relays that run on a shared outbox.
    relays: Sequence[Member]
    #: When, in unix seconds, by the clock of all who use the outbox.
    at: float = 0.0
    settings: Settings = field(default_factory=Settings)
    log: MoodleLog = field(default_factory=MoodleLog)
    passes: Passes = field(default_factory=Passes)
    #: When the event that is due first is, or was, due, in unix seconds.
    oldest_due_at: float | None = None
    #: When the backend last took an event, in unix seconds, and how far its clock was ahead at the last answer.
    last_delivery_at: float | None = None
    clock_skew_s: float | None = None
    #: How many bytes are free on the disk of the outbox; None where that is not known.
    disk_free: int | None = None
    #: How many of the given-up events a person has dealt with.
    acknowledged: int = 0
    #: How many events have been forgotten for good, and how many of those were not delivered.
    forgotten: int = 0
    forgotten_undelivered: int = 0
    #: What the last whole comparison of each table has found, by what reconcile calls it.
    compared: Mapping[str, Compared] = field(default_factory=dict)
    #: Since when no reconcile has been completed that should have been, in unix seconds; None where all is well.
    reconcile_overdue_since: float | None = None
    #: Why the outbox cannot be read, or written; '' where it can.
    outbox_error: str = ""

    @property
    def given_up(self) -> int:
        """How many events were given up and need a person: what was forgotten, or is acknowledged, needs none."""
        return max(0, self.counts.of(Status.GAVE_UP) - self.forgotten_undelivered - self.acknowledged)

    @property
    def oldest_unread_age_s(self) -> int | None:
        """For how many seconds the oldest log row that is to be read has been unread; None where there is none."""
        return None if self.log.unread_since is None else max(0, int(self.at) - self.log.unread_since)

    @property
    def by_status(self) -> dict[str, int]:
        """How many events stand in each state."""
        return {str(status): self.counts.of(status) for status in Status}

    @property
    def by_type(self) -> dict[str, Mapping[str, int]]:
        """How many events stand in each state, by type."""
        return dict(sorted(self.counts.by_type.items()))

    @property
    def ignored(self) -> int:
        """How many log rows were passed over."""
        return sum(self.counts.ignored.values())

    @property
    def holds(self) -> bool:
        """Whether both sums of the contract's section 4 hold."""
        return self.counts.seen_holds and self.counts.captured_holds


class Recorded(Reports, Acknowledging, Protocol):
    """What is asked of the outbox."""


def ask(moodle: Moodle, position: Position | None) -> MoodleLog:
    """Return what Moodle's database says of its log, which is read up to a position."""
    try:
        end = moodle.max_id()
        unread = None if position is None or end <= position.high else moodle.unread_since(position.high, end)
        return MoodleLog(end=end, unread_since=unread, is_on=moodle.log_store().is_enabled)
    except MoodleUnasked as error:
        return MoodleLog(unasked=str(error))
    except MoodleError as error:
        return MoodleLog(error=str(error))


def count(outbox: Reports) -> Counted:
    """Return what takes a while to count. Raises OutboxError."""
    return Counted(counts=outbox.counts(), waiting=outbox.waiting())


def gather(
    outbox: Recorded,
    look: Callable[[Position | None], MoodleLog],
    settings: Settings,
    now: float,
    *,
    disk_free: int | None = None,
    counted: Counted | None = None,
) -> Report:
    """Return the state of a relay at `now` (unix seconds). Raises OutboxError.

    `look` says what is known of Moodle's log, given the position. `counted`: what was counted before is taken.
    """
    position, counted = outbox.position(), counted or count(outbox)
    waiting, oldest = counted.waiting, counted.waiting.oldest_created_at
    log = look(position)
    compared = comparing.last(outbox)
    forgotten = outbox.numbers("count")
    settings = replace(settings, is_paused=settings.is_paused or bool(paused_by(outbox)))
    return Report(
        counts=counted.counts,
        undelivered=waiting.count,
        oldest_undelivered_age_s=None if oldest is None else max(0, int(now) - oldest),
        oldest_due_at=waiting.oldest_due_at,
        breaker=circuit.load(outbox.state(circuit.STATE)),
        reading=_reading(position, log),
        acknowledged=outbox.count_acknowledged(),
        relays=[one for one in outbox.members() if one.expires_at > now],
        at=now,
        settings=settings,
        log=log,
        passes=_passes(outbox, now),
        last_delivery_at=_float(outbox.state(TAKEN_AT)),
        clock_skew_s=_float(outbox.state(CLOCK_SKEW)),
        disk_free=disk_free,
        compared=compared,
        reconcile_overdue_since=comparing.overdue(outbox, compared, settings.reconciled, settings.reconcile_s, now),
        forgotten=forgotten.get("forgotten", 0),
        forgotten_undelivered=forgotten.get("forgotten_undelivered", 0),
    )


def without_outbox(error: str, settings: Settings, now: float, disk_free: int | None = None) -> Report:
    """Return what is known where the outbox cannot be read, and why that is."""
    nothing = Counts(seen=0, captured=0, ignored={}, synced=0, reconciled=0, purged=0, by_type={})
    return Report(
        counts=nothing,
        undelivered=0,
        oldest_undelivered_age_s=None,
        breaker=Breaker(),
        reading=Reading(cursor=None, open_gaps=0, open_gap_ids=0),
        relays=(),
        at=now,
        settings=settings,
        disk_free=disk_free,
        outbox_error=error,
    )


def _reading(position: Position | None, log: MoodleLog) -> Reading:
    if position is None:
        return Reading(cursor=None, open_gaps=0, open_gap_ids=0, log_end=log.end)
    return Reading(
        cursor=position.high,
        open_gaps=len(position.gaps),
        open_gap_ids=cursor.open_ids(position),
        log_end=log.end,
        lag=None if log.end is None else max(0, log.end - position.high),
    )


def _passes(outbox: Reports, now: float) -> Passes:
    captured_at = outbox.state(CAPTURED_AT)
    delivered_at, since, name = f"{outbox.state(DELIVERED_AT) or ''}  ".split(" ")[:3]
    if not delivered_at:
        return Passes()
    has_ended = float(outbox.state(ENDED_AT) or 0) >= float(delivered_at)
    if outbox.is_shared:
        # They may be on other machines, whose processes cannot be looked for; and others may go on.
        has_ended = has_ended and not any(one.expires_at > now for one in outbox.members())
    else:
        has_ended = has_ended or owners.is_gone(name)
    return Passes(
        capture_at=_float(captured_at),
        delivery_at=float(delivered_at),
        has_ended=has_ended,
        delivering_since=float(since or 0),
    )


def _float(kept: str | None) -> float | None:
    return float(kept) if kept else None


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else times.iso(seconds)


def as_json(report: Report) -> dict[str, Any]:
    """Return what `relay status --json` prints, as JSON types (contract, section 5)."""
    reading = report.reading
    said = {"moodle_error": report.log.error, "moodle_not_asked": report.log.unasked}
    error = {name: reason for name, reason in said.items() if reason}
    return {
        "by_status": report.by_status,
        "by_type": {name: dict(states) for name, states in report.by_type.items()},
        "undelivered": report.undelivered,
        "oldest_undelivered_age_s": report.oldest_undelivered_age_s,
        "circuit": circuit.encode(report.breaker),
        "cursor": reading.cursor,
        "open_gaps": reading.open_gaps,
        "open_gap_ids": reading.open_gap_ids,
        "log_end": reading.log_end,
        "lag": reading.lag,
        **error,
        "runs": report.passes.delivery_at is not None and not report.passes.has_ended,
        "last_pass": {"capture": _utc(report.passes.capture_at), "delivery": _utc(report.passes.delivery_at)},
        "paused": report.settings.is_paused,
        "log_store": report.log.is_on,
        "oldest_unread": _utc(report.log.unread_since),
        "oldest_unread_age_s": report.oldest_unread_age_s,
        "disk_free_bytes": report.disk_free,
        "forgotten": report.forgotten,
        "conservation": _conservation(report),
        "relays": [{"name": one.name, "leads": one.leads} for one in report.relays],
        "acknowledged": report.acknowledged,
        "compared": {name: asdict(one) for name, one in report.compared.items()},
    }


def _conservation(report: Report) -> dict[str, Any]:
    """Return each term of the sums of the contract's section 4, and whether they hold."""
    counts = report.counts
    return {
        "seen": counts.seen,
        "captured": counts.captured,
        "skipped": counts.of(Status.SKIPPED),
        "ignored": report.ignored,
        "ignored_by_reason": dict(counts.ignored),
        "synced": counts.synced,
        "reconciled": counts.reconciled,
        "success": counts.of(Status.SUCCESS),
        "pending": counts.of(Status.PENDING),
        "failed": counts.of(Status.FAILED),
        "failed_all_retries": counts.of(Status.GAVE_UP),
        "held": counts.of(Status.HELD),
        "purged": counts.purged,
        "seen_holds": counts.seen_holds,
        "captured_holds": counts.captured_holds,
        "holds": report.holds,
    }
