"""Made-up events for `relay send-test`: a good one, or one of each kind of bad, and what should be answered. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from relay.events.catalogue import KINDS
from relay.model import Delivery, Outcome, Status
from relay.receivers import answers, craft, schema
from relay.receivers.fits import misfit
from relay.rules import retry
from relay.rules.retry import MEANINGS, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.events.kind import EventKind
    from relay.receivers.answers import Expected
    from relay.receivers.craft import Attempt, Crafter
    from relay.rules.signing import Key

#: How old a stale request is, and how far two events out of order are apart, in seconds.
STALE_S = 3600
APART_S = 60
#: The length of a huge text, in characters.
HUGE = 1024 * 1024


class Bad(StrEnum):
    """What can be wrong, or unusual, about a made-up event."""

    SIGNATURE = "signature"
    STALE = "stale"
    REPLAYED = "replayed"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out-of-order"
    HUGE = "huge"
    UNICODE = "unicode"
    WRONG_TENANT = "wrong-tenant"


@dataclass(frozen=True, slots=True)
class Step:
    """A request to send, what it is, and what a right receiver answers."""

    says: str
    attempt: Attempt
    expected: Expected
    #: A right receiver refuses it.
    is_wrong: bool = False


def plan(
    crafter: Crafter,
    envelope: dict[str, Any],
    bad: Bad | None,
    other_keys: Sequence[Key],
    kinds: Mapping[str, EventKind] = KINDS,
) -> Sequence[Step]:
    """Return the requests that send an event, in order; `other_keys` are none of the receiver's.

    The event may be wrong itself: of no type of `kinds`, of another tenant, or not as its schema says.
    """
    good = Step("an event", crafter.event(envelope), answers.TAKEN)
    if bad is Bad.SIGNATURE:
        attempt = crafter.event(envelope, keys=other_keys)
        steps = [Step("an event that is signed with a key that nobody has", attempt, answers.UNKNOWN, is_wrong=True)]
    elif bad in FOLLOWED:
        steps = [good, FOLLOWED[bad](crafter, envelope, good.attempt)]
    else:
        steps = [good if bad is None else ALONE[bad](crafter, envelope)]
    return [_fitting(step, crafter.target.tenant_id, kinds) for step in steps]


def _fitting(step: Step, tenant_id: str, kinds: Mapping[str, EventKind]) -> Step:
    """Return a step that says what is wrong with its event, and expects that a right receiver sees it."""
    envelope = json.loads(step.attempt.body or b"")
    kind = kinds.get(envelope["event_type"])
    if kind is None:
        fault, answer = f"there is no type {envelope['event_type']}", answers.NO_PATH
    else:
        fault, answer = misfit(schema.envelope(kind), envelope), answers.REFUSED
        if not fault and envelope["tenant_id"] != tenant_id:
            fault = f"tenant_id is not {tenant_id} (--tenant)"
    if not fault:
        return step
    # The path is looked at before the signature, and the signature before the event.
    if step.expected is answers.UNKNOWN:
        answer = answers.UNKNOWN if kind is not None else answers.either(answers.UNKNOWN, answer)
    return Step(f"{step.says}, wrong on purpose: {fault}", step.attempt, answer, is_wrong=True)


def _stale(crafter: Crafter, envelope: dict[str, Any]) -> Step:
    attempt = crafter.event(envelope, late_s=STALE_S)
    return Step(f"an event that was rightly signed {STALE_S} s ago", attempt, answers.UNKNOWN, is_wrong=True)


def _huge(crafter: Crafter, envelope: dict[str, Any]) -> Step:
    attempt = crafter.event(craft.with_text(envelope, "made up " * (HUGE // 8), once=True))
    return Step(f"an event with a text of {HUGE} characters", attempt, answers.TAKEN)


def _unicode(crafter: Crafter, envelope: dict[str, Any]) -> Step:
    attempt = crafter.event(craft.with_text(envelope, craft.UNICODE))
    return Step("an event whose texts are of several scripts, with marks of direction", attempt, answers.TAKEN)


def _wrong_tenant(crafter: Crafter, envelope: dict[str, Any]) -> Step:
    attempt = crafter.event({**envelope, "tenant_id": craft.NO_TENANT}).with_headers(x_tenant_id=craft.NO_TENANT)
    says = "an event of a tenant that is not yours, rightly signed"
    return Step(says, attempt, answers.REFUSED, is_wrong=True)


def _replayed(_crafter: Crafter, _envelope: dict[str, Any], first: Attempt) -> Step:
    return Step("the very same request, as somebody who recorded it would send it", first, answers.NOT_NEW)


def _duplicate(crafter: Crafter, envelope: dict[str, Any], _first: Attempt) -> Step:
    attempt = crafter.event(envelope, late_s=1)
    return Step("the same event in another attempt, as after an answer that was lost", attempt, answers.DUPLICATE)


def _earlier(crafter: Crafter, envelope: dict[str, Any], _first: Attempt) -> Step:
    before = {**envelope, "event_id": crafter.new_id(), "timestamp": craft.shown_time(crafter.now() - APART_S)}
    says = f"an event of the same user that happened {APART_S} s before the first"
    return Step(says, crafter.event(before), answers.NEW)


#: What is sent in the place of a good event, and what is sent after one.
ALONE: dict[Bad, Callable[[Crafter, dict[str, Any]], Step]] = {
    Bad.STALE: _stale,
    Bad.HUGE: _huge,
    Bad.UNICODE: _unicode,
    Bad.WRONG_TENANT: _wrong_tenant,
}
FOLLOWED: dict[Bad | None, Callable[[Crafter, dict[str, Any], Attempt], Step]] = {
    Bad.REPLAYED: _replayed,
    Bad.DUPLICATE: _duplicate,
    Bad.OUT_OF_ORDER: _earlier,
}


def consequence(outcome: Outcome, policy: retry.Policy) -> str:
    """Return what relay does after such an answer to the first attempt of an event, as a sentence."""
    delivery = Delivery(
        id=0,
        event_id="",
        event_type="",
        log_id=None,
        user_id=0,
        occurred_at=0,
        body=b"",
        attempt=1,
        attempt_id=0,
        failures=0,
    )
    decision = retry.decide(delivery, outcome, policy, now=0.0, jitter=0.0, is_outage=False)
    meaning = MEANINGS[decision.verdict]
    if decision.status is Status.SUCCESS:
        return f"{meaning}{'; noted as a duplicate' if outcome.duplicate else ''}."
    if decision.verdict is Verdict.NOT_NOW and decision.due_at is not None:
        return f"{meaning}; this one first in {decision.due_at:.0f} s."
    return f"{meaning}."
