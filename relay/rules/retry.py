"""When may this be tried again: the decision for one outcome, and the circuit breaker. Pure (contract, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from relay.model import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.model import Delivery, Outcome

#: How many failures in a row, of at least how many different events, open the circuit. Fewer events could as well be
#: bad ones: those are to use up their attempts and end.
STREAK = 10
STREAK_EVENTS = 3
#: The longest wait between two probes of an open circuit, in seconds (unless the backend asks for more).
PROBE_MAX_S = 15.0
#: Jitter adds up to this share of the delay, and never takes from it.
JITTER = 0.1


class Verdict(StrEnum):
    """What an outcome means, by the contract's table of answers."""

    TAKEN = "taken"
    REFUSED = "refused"
    UNKNOWN_CALLER = "unknown_caller"
    NO_SUCH_PATH = "no_such_path"
    NOT_NOW = "not_now"


#: The answers that mean something else than "not now"; the 2xx aside.
VERDICTS = (
    dict.fromkeys((400, 413, 415, 422), Verdict.REFUSED)
    | dict.fromkeys((401, 403), Verdict.UNKNOWN_CALLER)
    | dict.fromkeys((404, 405, 410), Verdict.NO_SUCH_PATH)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The schedule of retries, from the config's `retry`."""

    #: False: one attempt an event.
    enabled: bool = True
    #: After this many failed attempts an event is given up.
    max_attempts: int = 24
    #: The wait before the second attempt, in seconds.
    first_delay_s: float = 5.0
    #: Each further wait is this many times the one before, ...
    multiplier: float = 2.0
    #: ... up to this, in seconds.
    max_delay_s: float = 6 * 3600.0

    def delay_s(self, failures: int) -> float:
        """Return the wait after the given number (from 1) of failed attempts, in seconds, without jitter."""
        try:
            return min(self.max_delay_s, self.first_delay_s * self.multiplier ** (failures - 1))
        except OverflowError:
            return self.max_delay_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of an event after an attempt."""

    status: Status
    #: When it is due again, in unix seconds; None where it has ended.
    due_at: float | None
    #: Not before this time, in unix seconds, even if the circuit closes: the backend asked for it (0: it did not).
    not_before: float = 0.0
    #: How many attempts are used up now.
    failures: int
    verdict: Verdict


def classify(outcome: Outcome) -> Verdict:
    """Return what the outcome means by the contract's table of answers."""
    code = outcome.http_code
    if code is None:
        return Verdict.NOT_NOW
    if 200 <= code < 300:
        return Verdict.TAKEN
    return VERDICTS.get(code, Verdict.NOT_NOW)


def decide(
    delivery: Delivery, outcome: Outcome, policy: Policy, *, now: float, jitter: float, is_outage: bool
) -> Decision:
    """Return what becomes of the event, given the outcome and a random number from 0 to 1 for the jitter.

    `is_outage`: a circuit is open that this event falls under, so the attempt was a probe and uses nothing up.
    """
    verdict = classify(outcome)
    failures = delivery.failures
    if verdict is Verdict.TAKEN:
        return Decision(status=Status.SUCCESS, due_at=None, failures=failures, verdict=verdict)
    if verdict is Verdict.REFUSED:
        return Decision(status=Status.GAVE_UP, due_at=None, failures=failures, verdict=verdict)
    if verdict is Verdict.NOT_NOW and not (is_outage and policy.enabled):
        failures += 1
        if failures >= (policy.max_attempts if policy.enabled else 1):
            return Decision(status=Status.GAVE_UP, due_at=None, failures=failures, verdict=verdict)
    delay = policy.delay_s(max(1, failures)) * (1 + JITTER * jitter)
    not_before = now + outcome.retry_after_s if outcome.retry_after_s is not None else 0.0
    due_at = max(now + delay, not_before)
    return Decision(status=Status.FAILED, due_at=due_at, not_before=not_before, failures=failures, verdict=verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """An open circuit: nothing is sent through it but one probe at a time."""

    #: Unix seconds.
    opened_at: float
    #: Why, without secrets or personal data.
    reason: str
    #: When the next probe may go, in unix seconds.
    probe_at: float
    #: How many probes have failed.
    probes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The circuit to the backend as a whole, one for each path, and the failures in a row so far."""

    whole: Circuit | None = None
    paths: Mapping[str, Circuit] = field(default_factory=dict)
    #: Failures in a row since the last answer that was not one.
    streak: int = 0
    #: The events of the streak, up to STREAK_EVENTS of them.
    streak_events: frozenset[str] = frozenset()

    def covers(self, event_type: str) -> bool:
        """Say whether an event of this type falls under an open circuit."""
        return self.whole is not None or event_type in self.paths


def observe(breaker: Breaker, delivery: Delivery, outcome: Outcome, policy: Policy, now: float) -> Breaker:
    """Return the breaker after one more outcome."""
    verdict = classify(outcome)
    if verdict in (Verdict.TAKEN, Verdict.REFUSED):
        return _answered(breaker, delivery)
    reason = f"the backend answered {outcome.http_code}" if outcome.http_code else outcome.error
    if verdict is Verdict.UNKNOWN_CALLER:
        return replace(breaker, whole=_opened(breaker.whole, reason, outcome, policy, now))
    if verdict is Verdict.NO_SUCH_PATH:
        path = _opened(breaker.paths.get(delivery.event_type), reason, outcome, policy, now)
        return Breaker(paths={**breaker.paths, delivery.event_type: path})
    return _failed(breaker, delivery, reason, outcome, policy, now)


def _answered(breaker: Breaker, delivery: Delivery) -> Breaker:
    """Close what is open, and begin the streak anew; the same breaker where there is nothing to change."""
    if breaker.whole is None and not breaker.paths and not breaker.streak:
        return breaker
    return Breaker(paths={name: path for name, path in breaker.paths.items() if name is not delivery.event_type})


def _failed(breaker: Breaker, delivery: Delivery, reason: str, outcome: Outcome, policy: Policy, now: float) -> Breaker:
    streak = breaker.streak + 1
    events = breaker.streak_events
    if len(events) < STREAK_EVENTS:
        events |= {delivery.event_id}
    whole = breaker.whole
    many = streak >= STREAK and len(events) >= STREAK_EVENTS
    # With one attempt an event there is no retry that a circuit could spare.
    if whole is not None or (many and policy.enabled):
        whole = _opened(whole, reason, outcome, policy, now)
    paths = breaker.paths
    if delivery.event_type in paths:
        path = _opened(paths[delivery.event_type], reason, outcome, policy, now)
        paths = {**paths, delivery.event_type: path}
    return Breaker(whole=whole, paths=paths, streak=streak, streak_events=events)


def _opened(circuit: Circuit | None, reason: str, outcome: Outcome, policy: Policy, now: float) -> Circuit:
    """Open a circuit, or put off the next probe of an open one."""
    probes = 0 if circuit is None else circuit.probes + 1
    wait = min(policy.delay_s(probes + 1), PROBE_MAX_S)
    probe_at = now + max(wait, outcome.retry_after_s or 0.0)
    opened_at = now if circuit is None else circuit.opened_at
    return Circuit(opened_at=opened_at, reason=reason, probe_at=probe_at, probes=probes)


def put_off(breaker: Breaker, event_type: str | None, until: float) -> Breaker:
    """Return the breaker with the next probe of a path, or of the whole, no sooner than `until` (unix seconds)."""
    if event_type is None:
        return replace(breaker, whole=breaker.whole and replace(breaker.whole, probe_at=until))
    paths = {
        name: replace(path, probe_at=until) if name is event_type else path for name, path in breaker.paths.items()
    }
    return replace(breaker, paths=paths)


def probe_now(breaker: Breaker, now: float) -> Breaker:
    """Return the breaker with its next probes due at once: the clock was set back."""
    paths = {name: replace(path, probe_at=now) for name, path in breaker.paths.items()}
    return replace(breaker, whole=breaker.whole and replace(breaker.whole, probe_at=now), paths=paths)


def encode(breaker: Breaker) -> dict[str, Any]:
    """Return the open circuits as JSON types, for the outbox; the streak starts anew after a restart."""
    return {
        "whole": None if breaker.whole is None else _encode(breaker.whole),
        "paths": {str(name): _encode(path) for name, path in breaker.paths.items()},
    }


def _encode(circuit: Circuit) -> dict[str, Any]:
    names = ("opened_at", "reason", "probe_at", "probes")
    return {name: getattr(circuit, name) for name in names}


def decode(saved: Mapping[str, Any]) -> Breaker:
    """Return the breaker that `encode` gave."""
    whole = saved.get("whole")
    return Breaker(
        whole=Circuit(**whole) if whole else None,
        paths={name: Circuit(**path) for name, path in saved.get("paths", {}).items()},
    )
