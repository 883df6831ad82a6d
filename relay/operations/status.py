"""What relay knows of itself, as figures; how they are shown is decided elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from relay.errors import MoodleError
from relay.model import Status
from relay.rules import cursor, retry

if TYPE_CHECKING:
    from relay.moodle.contract import Moodle
    from relay.outbox.contract import Counts, Outbox


def gather(outbox: Outbox, moodle: Moodle | None, now: float) -> dict[str, Any]:
    """Return the state of a relay as JSON types; times in unix seconds, ages in seconds.

    `lag` is None where Moodle's database cannot be asked. Raises OutboxError.
    """
    counts = outbox.counts()
    waiting = outbox.waiting()
    position = outbox.position()
    breaker = retry.decode(json.loads(outbox.state("circuit") or "{}"))
    oldest = waiting.oldest_created_at
    return {
        "by_status": {str(status): counts.of(status) for status in Status},
        "by_type": {name: dict(states) for name, states in sorted(counts.by_type.items())},
        "undelivered": waiting.count,
        "oldest_undelivered_age_s": None if oldest is None else max(0, int(now) - oldest),
        "circuit": retry.encode(breaker),
        "cursor": None if position is None else position.high,
        "open_gaps": 0 if position is None else len(position.gaps),
        "open_gap_ids": 0 if position is None else cursor.open_ids(position),
        **_lag(moodle, None if position is None else position.high),
        "conservation": conservation(counts),
        "relays": [{"name": one.name, "leads": one.leads} for one in outbox.members() if one.expires_at > now],
    }


def conservation(counts: Counts) -> dict[str, Any]:
    """Return each term of the sums of the contract's section 4, and whether they hold."""
    return {
        "seen": counts.seen,
        "captured": counts.captured,
        "skipped": counts.of(Status.SKIPPED),
        "ignored": sum(counts.ignored.values()),
        "ignored_by_reason": dict(counts.ignored),
        "synced": counts.synced,
        "success": counts.of(Status.SUCCESS),
        "pending": counts.of(Status.PENDING),
        "failed": counts.of(Status.FAILED),
        "failed_all_retries": counts.of(Status.GAVE_UP),
        "purged": counts.purged,
        "seen_holds": counts.seen_holds,
        "captured_holds": counts.captured_holds,
        "holds": counts.seen_holds and counts.captured_holds,
    }


def needs(found: dict[str, Any], max_age_s: float) -> list[str]:
    """Return why a person is needed, a sentence for each reason, given what `gather` found."""
    reasons = []
    if found["circuit"]["whole"]:
        reasons.append(f"nothing is delivered: {found['circuit']['whole']['reason']}")
    for name, path in found["circuit"]["paths"].items():
        reasons.append(f"no {name} is delivered: {path['reason']}")
    age = found["oldest_undelivered_age_s"]
    if age is not None and age > max_age_s:
        reasons.append(f"an event has been waiting for {age} s")
    given_up = found["by_status"][Status.GAVE_UP]
    if given_up:
        reasons.append(f"{given_up} events were given up: relay run --replay failed sends them again")
    if not found["conservation"]["holds"]:
        reasons.append("the accounts do not hold: please report this fault in relay")
    if "moodle_error" in found:
        reasons.append(found["moodle_error"])
    return reasons


def _lag(moodle: Moodle | None, high: int | None) -> dict[str, Any]:
    """Return how many ids the log is ahead of the cursor."""
    if moodle is None or high is None:
        return {"log_end": None, "lag": None}
    try:
        top = moodle.max_id()
    except MoodleError as error:
        return {"log_end": None, "lag": None, "moodle_error": str(error)}
    return {"log_end": top, "lag": max(0, top - high)}
