"""Whether and when an event is tried again after an attempt: one decision for one outcome. Pure (contract, section 3).

It serves delivery. An event that has ended without being delivered, as the backend refused it or its attempts are used
up, is what the field calls a dead letter: its status is `failed_all_retries`, it stays in the outbox, and it is sent
again only where a person asks for that (`relay run --replay failed`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from relay.model import Status

if TYPE_CHECKING:
    from relay.model import Delivery, Outcome

#: Jitter adds up to this share of the delay, and never takes from it.
JITTER = 0.1
#: So many attempts of an event that were refused for the rate alone are not counted. One that is refused again and
#: again while others are taken is at fault itself, and is to end some day.
FREE_REFUSALS = 10


class Verdict(StrEnum):
    """What an outcome means, by the contract's table of answers."""

    #: Delivered.
    TAKEN = "taken"
    #: The event is at fault: a dead letter at once.
    REFUSED = "refused"
    #: The backend does not know this relay: the backend's circuit opens, the event is tried again.
    UNKNOWN_CALLER = "unknown_caller"
    #: The backend lacks the path of this event type: the path's circuit opens, the event is tried again.
    NO_SUCH_PATH = "no_such_path"
    #: The backend fails, or gave no answer: the event is tried again, up to `max_attempts`.
    NOT_NOW = "not_now"


#: The answers that mean something else than "not now"; the 2xx aside.
VERDICTS = (
    dict.fromkeys((400, 413, 415, 422), Verdict.REFUSED)
    | dict.fromkeys((401, 403), Verdict.UNKNOWN_CALLER)
    | dict.fromkeys((404, 405, 410), Verdict.NO_SUCH_PATH)
)
#: What each of them means for an event, for those who receive it.
MEANINGS = {
    Verdict.TAKEN: "Taken: relay does not send it again",
    Verdict.REFUSED: "Refused for good: relay gives this event up at once, and a person has to look at it",
    Verdict.UNKNOWN_CALLER: "Token or signature not known: relay holds back all events, and probes until it is known",
    Verdict.NO_SUCH_PATH: "No such path: relay holds back the events of this type, and probes until it is there",
    Verdict.NOT_NOW: "Not now: relay sends the same event again, later and later, for about three days",
}


class Policy(NamedTuple):
    """The schedule of retries, from the config's `retry`: exponential backoff."""

    #: False: one attempt an event.
    enabled: bool = True
    #: After this many failed attempts an event is a dead letter.
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


class Decision(NamedTuple):
    """What becomes of an event after an attempt: it is delivered, tried again, or a dead letter."""

    status: Status
    #: When it is due again, in unix seconds; None where it is delivered or a dead letter.
    due_at: float | None
    #: How many attempts are used up now.
    failures: int
    verdict: Verdict
    #: Not before this time, in unix seconds, even if the circuit closes: the backend asked for it (0: it did not).
    not_before: float = 0.0


def classify(outcome: Outcome) -> Verdict:
    """Return what an outcome means by the contract's table of answers; no answer at all means "not now"."""
    code = outcome.http_code
    if code is None:
        return Verdict.NOT_NOW
    if 200 <= code < 300:
        return Verdict.TAKEN
    return VERDICTS.get(code, Verdict.NOT_NOW)


def holds_user(outcome: Outcome) -> bool:
    """Say whether later events of the same user wait for this event after such an outcome.

    They don't wait for one that was delivered or refused, nor for one whose path the backend does not have.
    """
    return classify(outcome) in (Verdict.NOT_NOW, Verdict.UNKNOWN_CALLER)


def decide(
    delivery: Delivery,
    outcome: Outcome,
    policy: Policy,
    *,
    now: float,
    jitter: float,
    is_outage: bool,
    is_throttled: bool = False,
) -> Decision:
    """Return what becomes of an event, given the outcome of its attempt.

    `now` is in unix seconds; `jitter` is a random number from 0 to 1. `is_outage` says that the attempt fell under an
    open circuit. With retries enabled, such an attempt does not count against `max_attempts`. Nor does, up to
    FREE_REFUSALS, one that was refused as there were too many requests (`is_throttled`): it is due again when the
    backend said. Nor does an answer that means UNKNOWN_CALLER or NO_SUCH_PATH, ever: these events are tried again until
    the answer changes.
    """
    verdict = classify(outcome)
    failures = delivery.failures
    if verdict is Verdict.TAKEN:
        return Decision(status=Status.SUCCESS, due_at=None, failures=failures, verdict=verdict)
    if verdict is Verdict.REFUSED:
        return Decision(status=Status.GAVE_UP, due_at=None, failures=failures, verdict=verdict)
    # Those that did not count so far, this one included, came of refusals and outages.
    is_free = is_outage or (is_throttled and delivery.attempt - failures <= FREE_REFUSALS)
    if verdict is Verdict.NOT_NOW and not (is_free and policy.enabled):
        failures += 1
        if failures >= (policy.max_attempts if policy.enabled else 1):
            return Decision(status=Status.GAVE_UP, due_at=None, failures=failures, verdict=verdict)
    delay = policy.delay_s(max(1, failures)) * (1 + JITTER * jitter)
    not_before = now + outcome.retry_after_s if outcome.retry_after_s is not None else 0.0
    due_at = not_before if is_throttled and is_free and not_before else max(now + delay, not_before)
    return Decision(status=Status.FAILED, due_at=due_at, not_before=not_before, failures=failures, verdict=verdict)
