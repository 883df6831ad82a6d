"""What relay knows of itself (`relay status`): gathered as one value, which a person or a monitor is then shown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from relay import times
from relay.errors import MoodleError
from relay.events import catalogue
from relay.model import Status
from relay.outbox.acknowledging import Acknowledging
from relay.outbox.contract import Reports
from relay.rules import circuit, cursor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.outbox.values import Counts, Member
    from relay.rules.circuit import Breaker


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
    #: Why Moodle's database cannot be asked; '' where it can.
    moodle_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What the last whole comparison of a table has found (`capture.reconcile`)."""

    #: When it ended, in unix seconds.
    at: float
    rows: int
    #: How many rows differed, and how many events were made of them.
    differed: int
    sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The state of a relay at one moment."""

    counts: Counts
    #: How many events are still to be delivered, and for how many seconds the oldest of them has waited.
    undelivered: int
    oldest_undelivered_age_s: int | None
    breaker: Breaker
    reading: Reading
    #: How many of the given-up events a person has dealt with.
    acknowledged: int
    #: The relays that run on a shared outbox.
    relays: Sequence[Member]
    #: What the last whole comparison of each table has found, by what reconcile calls it.
    compared: Mapping[str, Compared] = field(default_factory=dict)

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


class LogEnd(Protocol):
    """What is asked of Moodle."""

    def max_id(self) -> int:
        """Return the highest id in the log. Raises MoodleError."""


class Recorded(Reports, Acknowledging, Protocol):
    """What is asked of the outbox."""


def gather(outbox: Recorded, moodle: LogEnd, now: float) -> Report:
    """Return the state of a relay at `now` (unix seconds). Raises OutboxError."""
    waiting = outbox.waiting()
    oldest = waiting.oldest_created_at
    return Report(
        counts=outbox.counts(),
        undelivered=waiting.count,
        oldest_undelivered_age_s=None if oldest is None else max(0, int(now) - oldest),
        breaker=circuit.load(outbox.state(circuit.STATE)),
        reading=_reading(outbox, moodle),
        acknowledged=outbox.count_acknowledged(),
        relays=[one for one in outbox.members() if one.expires_at > now],
        compared=_compared(outbox),
    )


def say_compared(outbox: Reports, name: str) -> str:
    """Say when a table was last compared with what was sent of it, by reconcile's name of it. Raises OutboxError."""
    last = _compared(outbox).get(name)
    if last is None:
        return "Moodle's table has not been compared with what was sent (relay reconcile)."
    return (
        f"The table was last compared at {times.show(last.at)}: what was there at the first comparison is sent when it "
        "changes."
    )


def _compared(outbox: Reports) -> dict[str, Compared]:
    found = {name: outbox.state(f"reconcile.{name}.last") for name in catalogue.SYNCED}
    return {name: Compared(**json.loads(saved)) for name, saved in found.items() if saved}


def _reading(outbox: Reports, moodle: LogEnd) -> Reading:
    position = outbox.position()
    if position is None:
        return Reading(cursor=None, open_gaps=0, open_gap_ids=0)
    gaps, missing = len(position.gaps), cursor.open_ids(position)
    try:
        end = moodle.max_id()
    except MoodleError as error:
        return Reading(cursor=position.high, open_gaps=gaps, open_gap_ids=missing, moodle_error=str(error))
    lag = max(0, end - position.high)
    return Reading(cursor=position.high, open_gaps=gaps, open_gap_ids=missing, log_end=end, lag=lag)


def needs(report: Report, max_age_s: float) -> list[str]:
    """Return why a person is needed, a sentence each; `max_age_s` is how long an event may wait, in seconds."""
    breaker = report.breaker
    reasons = [f"nothing is delivered: {breaker.backend.reason}"] if breaker.backend else []
    reasons += [f"no {name} is delivered: {path.reason}" for name, path in breaker.paths.items()]
    age = report.oldest_undelivered_age_s
    if age is not None and age > max_age_s:
        reasons.append(f"an event has been waiting for {age} s")
    given_up = report.counts.of(Status.GAVE_UP) - report.acknowledged
    if given_up > 0:
        ways = "relay run --replay failed sends them again, relay acknowledge failed says that they are dealt with"
        reasons.append(f"{given_up} events were given up: {ways}")
    if not report.holds:
        reasons.append("the accounts do not hold: please report this fault in relay")
    if report.reading.moodle_error:
        reasons.append(report.reading.moodle_error)
    return reasons


def as_json(report: Report) -> dict[str, Any]:
    """Return what `relay status --json` prints, as JSON types (contract, section 5)."""
    reading = report.reading
    error = {"moodle_error": reading.moodle_error} if reading.moodle_error else {}
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
