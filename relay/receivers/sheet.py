"""What a receiver should do, as a sheet of checks: what is sent, what may be answered, and the remedy. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.receivers import answers
from relay.receivers.checks import callers, contents, repeats, signatures
from relay.rules import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from relay.model import Outcome
    from relay.receivers.answers import Expected
    from relay.receivers.checks.check import Check, Tools
    from relay.receivers.craft import Attempt

    Send = Callable[[Attempt], Outcome]

CHECKS: tuple[Check, ...] = (
    contents.FIRST,
    *callers.CHECKS,
    *signatures.CHECKS,
    *repeats.CHECKS,
    *contents.CHECKS,
)
NO_ANSWER = "no answer"
#: What is answered to a wrong tenant, too.
TENANTS_CODE = 403
#: So much is shown of the answer to a good event that is not taken, in characters.
SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How a check came out."""

    name: str
    #: ok or fail.
    verdict: str
    #: What was answered.
    found: str
    remedy: str = ""


def examine(tools: Tools, send: Send, send_at_once: Callable[[Sequence[Attempt]], Sequence[Outcome]]) -> Iterator[Line]:
    """Yield a line for each check, as it is done; where a good event is not taken, that is the only one."""
    reason = _obstacle(tools, send)
    if reason is not None:
        yield reason
        return
    for check in CHECKS:
        tried = check.tries(tools)
        if check.is_at_once:
            found = _judged_at_once(send_at_once([attempt for attempt, _ in tried]))
        else:
            found = next(filter(None, (_judged(send(attempt), expected) for attempt, expected in tried)), "")
        if found:
            yield Line(name=check.name, verdict="fail", found=found, remedy=check.remedy)
        else:
            yield Line(name=check.name, verdict="ok", found="")


def _obstacle(tools: Tools, send: Send) -> Line | None:
    """Return why no check can tell anything of a receiver; None where it takes a good event."""
    outcome = send(tools.event())
    if answers.TAKEN.is_met(outcome):
        return None
    found = f"{_said(outcome)} {' '.join(outcome.answer[:SHOWN].split())}".rstrip()
    return Line(name=contents.FIRST.name, verdict="fail", found=found, remedy=_mended(tools, send, outcome))


def _mended(tools: Tools, send: Send, outcome: Outcome) -> str:
    """Return what to do where a good event is not taken: whose token and key these are is asked of its health."""
    health = tools.craft.asking(request.HEALTH)
    known = send(health)
    if outcome.http_code is None:
        if known.http_code is None:
            return "Nobody answers there: start the receiver, or mend the URL."
        return f"It answers to GET {request.HEALTH}, and breaks off at an event: see the receiver's own log."
    if answers.NO_PATH.is_met(outcome):
        return f"It has no {tools.event().path}: add it, or mend the URL, behind which this path comes."
    if 300 <= outcome.http_code < 400:
        return "relay follows no redirect: mend the URL, or take events where they are sent to."
    if answers.INVALID.is_met(outcome):
        return f"Answer 2xx. Perhaps its tenant is not {tools.craft.target.tenant_id}: --tenant names the receiver's."
    if not answers.UNKNOWN.is_met(outcome):
        return "Answer 2xx once it is stored: see the receiver's own log."
    if answers.UNKNOWN.is_met(known):
        return "The token is another one than the receiver's: --token-file or --token-env names that."
    key = "signing key (--secret-file)"
    if outcome.http_code == TENANTS_CODE:
        key += " or the tenant (--tenant)"
    if answers.UNKNOWN.is_met(send(health.with_headers(x_moodle_token=callers.WRONG_TOKEN))):
        return (
            f"It knows the token, so the {key} is another one than the receiver's; or it does not verify the bytes of "
            "the body as they came."
        )
    return f"The token (--token-file) or the {key} is another one than the receiver's."


def _said(outcome: Outcome) -> str:
    if outcome.http_code is None:
        return f"{NO_ANSWER}: {outcome.error}"
    return f"{outcome.http_code}{' as a duplicate' if outcome.duplicate else ''}"


def _judged(outcome: Outcome, expected: Expected) -> str:
    """Return what was answered and should not be; '' where it is right."""
    return "" if expected.is_met(outcome) else f"{_said(outcome)}; right is {expected.words}"


def _judged_at_once(outcomes: Sequence[Outcome]) -> str:
    """Return what is wrong about the answers to one event that came several times at once: one of them is new."""
    new = sum(answers.NEW.is_met(outcome) for outcome in outcomes)
    said = ", ".join(map(_said, outcomes))
    return "" if new == 1 else f"{said}: {new} of them as new; right is 1"
