"""What becomes of a delivery when its attempt has come back, and what is said of it. It serves `dispatch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.delivery.workers import Purpose, Result
from relay.events import envelope
from relay.model import UNDELIVERED, Delivery, Log, Outcome, Status
from relay.outbox.values import Settled
from relay.rules import retry
from relay.rules.retry import Decision, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable


def decided(result: Result, outcome: Outcome, policy: retry.Policy, jitter: Callable[[], float], now: float) -> Settled:
    """Return what is to be recorded of an attempt at `now` (unix seconds); `jitter` gives numbers from 0 to 1."""
    delivery = result.delivery
    decision = retry.decide(
        delivery,
        outcome,
        policy,
        now=now,
        # Randomness costs a call of the system: only what is tried again needs it.
        jitter=0.0 if retry.classify(outcome) is Verdict.TAKEN else jitter(),
        is_outage=result.is_outage,
        is_throttled=result.is_throttled,
    )
    if result.purpose is Purpose.REPLAY and delivery.status not in UNDELIVERED:
        decision = _unchanged_unless_delivered(decision, delivery)
    return Settled(
        delivery=delivery,
        outcome=outcome,
        decision=decision,
        started_at=result.started_at,
        holds_user=retry.holds_user(outcome),
    )


def _unchanged_unless_delivered(decision: Decision, delivery: Delivery) -> Decision:
    """Return what becomes of an event that had ended before it was sent again: it is delivered, or stays as it was."""
    if decision.status is Status.SUCCESS:
        return decision
    return Decision(status=delivery.status, due_at=None, failures=delivery.failures, verdict=decision.verdict)


def say(log: Log, one: Settled, now: float) -> None:
    """Log what came of an attempt, recorded at `now` (unix seconds)."""
    fields = {
        "event_id": one.delivery.event_id,
        "event_type": str(one.delivery.event_type),
        "log_id": one.delivery.log_id,
        **envelope.about(one.delivery.user_id, one.delivery.body),
        "attempt": one.delivery.attempt,
        "http_code": one.outcome.http_code,
        "duration_ms": one.outcome.duration_ms,
    }
    if one.decision.verdict is Verdict.TAKEN:
        log.info("delivery.succeeded", **fields, **({"duplicate": True} if one.outcome.duplicate else {}))
        return
    fields |= {"error": one.outcome.error_kind} if one.outcome.error_kind else {}
    if one.decision.status is Status.GAVE_UP:
        log.error("delivery.gave_up", **fields)
        return
    # One that was delivered before, and sent again for a person, is not tried any more.
    due_at = one.decision.due_at
    log.warning("delivery.failed", **fields, **({} if due_at is None else {"retry_in_s": round(due_at - now, 1)}))
