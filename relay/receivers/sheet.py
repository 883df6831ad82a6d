"""What a receiver should do, as a sheet of checks: what is sent, what may be answered, and the remedy. Pure.

A long module, as it is a table: CHECKS has a line for each check, and above it stands what each of them sends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.events.catalogue import KINDS
from relay.receivers import answers, craft, samples
from relay.receivers.answers import Expected
from relay.receivers.schema import OR_NULL
from relay.rules import request, signing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from relay.events.kind import EventKind
    from relay.model import Outcome
    from relay.receivers.craft import Attempt, Crafter

#: A stale request, and one that was only held up, in seconds.
STALE_S, LATE_S = 900, 30
#: 64 KiB, in characters.
LARGE = 64 * 1024
#: So many times the same event at once.
AT_ONCE = 4
#: Types that relay sends unless the config says otherwise.
DEFAULT = tuple(kind for kind in KINDS.values() if kind.is_default)
WRONG_TOKEN = "a-wrong-token-made-up"  # noqa: S105 -- made up

Tried = tuple["Attempt", Expected]


@dataclass(frozen=True, slots=True)
class Tools:
    """What checks are made with: requests, and keys that the receiver does not know."""

    craft: Crafter
    other_keys: Sequence[signing.Key]

    def envelope(self, **changes: Any) -> dict[str, Any]:
        """Return a new made-up event of the first type, with other values in its head."""
        return {**self.craft.envelope(DEFAULT[0]), **changes}

    def event(self, **changes: Any) -> Attempt:
        """Return the request that delivers such an event."""
        return self.craft.event(self.envelope(**changes))


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the sheet."""

    name: str
    #: Returns the requests, and what may be answered to each.
    tries: Callable[[Tools], Sequence[Tried]]
    #: What to do where something else is answered.
    remedy: str
    #: A receiver can be right without it.
    is_advice: bool = False
    #: The requests are sent at once, and one of them must be taken as new.
    is_at_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How a check came out."""

    name: str
    #: ok, warn or fail.
    verdict: str
    #: What was answered.
    found: str
    remedy: str = ""


# -- what the checks send


def _alone(make: Callable[[Tools], Attempt], expected: Expected) -> Callable[[Tools], Sequence[Tried]]:
    return lambda tools: ((make(tools), expected),)


def _ask(
    path: str, expected: Expected, method: str = "GET", **headers: str | None
) -> Callable[[Tools], Sequence[Tried]]:
    return _alone(lambda tools: tools.craft.asking(path, method).with_headers(**headers), expected)


def _of_each_type(tools: Tools) -> Sequence[Tried]:
    return [(tools.craft.event(tools.craft.envelope(kind)), answers.NEW) for kind in DEFAULT]


def _nulls(tools: Tools) -> Sequence[Tried]:
    def emptied(kind: EventKind) -> dict[str, Any]:
        envelope = tools.craft.envelope(kind)
        nulls = {field.name: None for field in kind.fields if field.type.endswith(OR_NULL)}
        return {**envelope, "data": {**envelope["data"], **nulls}}

    return [(tools.craft.event(emptied(kind)), answers.NEW) for kind in DEFAULT]


def _repeated(tools: Tools) -> Sequence[Tried]:
    # Each attempt is signed anew, with its own time.
    envelope = tools.envelope()
    return (tools.craft.event(envelope, late_s=1), answers.NEW), (tools.craft.event(envelope), answers.DUPLICATE)


def _replayed(tools: Tools) -> Sequence[Tried]:
    attempt = tools.event()
    return (attempt, answers.NEW), (attempt, answers.NOT_NEW)


def _replayed_by_another_name(tools: Tools) -> Sequence[Tried]:
    attempt = tools.event()
    return (attempt, answers.NEW), (attempt.with_headers(x_event_id=tools.craft.new_id()), answers.NOT_NEW)


def _forged_first(tools: Tools) -> Sequence[Tried]:
    envelope = tools.envelope()
    forged = tools.craft.event(envelope, keys=tools.other_keys)
    return (forged, answers.UNKNOWN), (tools.craft.event(envelope), answers.NEW)


def _at_once(tools: Tools) -> Sequence[Tried]:
    envelope = tools.envelope()
    return [(tools.craft.event(envelope, late_s=number), answers.NEW) for number in range(AT_ONCE)]


def _tampered(tools: Tools) -> Attempt:
    attempt = tools.event()
    return attempt.with_body((attempt.body or b"").replace(b'"userid": 2', b'"userid": 3'))


def _tampered_tenant(tools: Tools) -> Attempt:
    envelope = tools.envelope()
    changed = tools.craft.event({**envelope, "tenant_id": craft.NO_TENANT})
    return tools.craft.event(envelope).with_body(changed.body or b"").with_headers(x_tenant_id=craft.NO_TENANT)


def _two_signatures(tools: Tools) -> Sequence[Tried]:
    def both(*, is_right_first: bool) -> Attempt:
        envelope = tools.envelope()
        right = _signature(tools.craft.event(envelope))
        wrong = _signature(tools.craft.event(envelope, keys=tools.other_keys))
        pair = f"{right} {wrong}" if is_right_first else f"{wrong} {right}"
        return tools.craft.event(envelope).with_headers(webhook_signature=pair)

    return (both(is_right_first=True), answers.NEW), (both(is_right_first=False), answers.NEW)


def _unknown_version(tools: Tools) -> Attempt:
    attempt = tools.event()
    return attempt.with_headers(webhook_signature=f"v9,AAAA {_signature(attempt)}")


def _unknown_version_alone(tools: Tools) -> Attempt:
    attempt = tools.event()
    signatures = [one.partition(",")[2] for one in _signature(attempt).split(" ")]
    return attempt.with_headers(webhook_signature=" ".join(f"v9,{one}" for one in signatures))


def _signature(attempt: Attempt) -> str:
    return str(attempt.headers["webhook-signature"])


def _shortened(tools: Tools) -> Sequence[Tried]:
    attempt = tools.event()
    begun = [_signature(attempt)[:-length] for length in (len(_signature(attempt)) - 3, 8)]
    return [(attempt.with_headers(webhook_signature=one), answers.UNKNOWN) for one in begun]


def _tenant_of_the_body(tools: Tools) -> Attempt:
    ours = str(tools.envelope()["tenant_id"])
    return tools.event(tenant_id=craft.NO_TENANT).with_headers(x_tenant_id=ours)


def _signed(tools: Tools, body: bytes, name: str = DEFAULT[0].name, event_id: str = "") -> Attempt:
    """Return any body, rightly signed and sent to the path of a type."""
    return tools.craft.signed(f"{request.EVENTS}{name}", event_id or tools.craft.new_id(), body)


def _without_data(tools: Tools) -> Attempt:
    envelope = tools.envelope()
    del envelope["data"]
    return _signed(tools, json.dumps(envelope).encode(), event_id=envelope["event_id"])


def _of_another_type(tools: Tools) -> Attempt:
    envelope = tools.envelope()
    return _signed(tools, json.dumps(envelope).encode(), DEFAULT[1].name, envelope["event_id"])


def _out_of_order(tools: Tools) -> Sequence[Tried]:
    earlier = tools.envelope(timestamp=craft.shown_time(tools.craft.now() - 60))
    return (tools.event(), answers.NEW), (tools.craft.event(earlier), answers.NEW)


def _cases_of_headers(tools: Tools) -> Sequence[Tried]:
    def named(change: Callable[[str], str]) -> Attempt:
        attempt = tools.event()
        headers = {change(name): value for name, value in attempt.headers.items()}
        return craft.Attempt(path=attempt.path, headers=headers, body=attempt.body)

    return (named(str.lower), answers.NEW), (named(str.upper), answers.NEW)


_401 = "Answer 401 (or 403): relay then holds back all events until the matter is mended, and loses none."
_VERIFY = f"Verify webhook-signature, with every key that is valid now, before anything else is done. {_401}"
_422 = "Answer 422 (or 400): no later attempt can be better. After a 5xx relay tries for three days."

CHECKS = (
    Check("GET /v1/health", _ask(request.HEALTH, answers.WELL), "Answer 200 where the token is right."),
    Check("HEAD /v1/health", _ask(request.HEALTH, answers.WELL, "HEAD"), "Answer HEAD as GET, without a body."),
    Check(
        "health with a wrong token",
        _ask(request.HEALTH, answers.UNKNOWN, x_moodle_token=WRONG_TOKEN),
        f"Compare X-Moodle-Token there too: `relay check` learns it so. {_401}",
    ),
    Check("health without a token", _ask(request.HEALTH, answers.UNKNOWN, x_moodle_token=None), _401),
    Check(
        "a student's profile",
        _ask(f"{request.PROFILE}?moodle_user_id=2000000001", answers.KNOWN_OR_NOT),
        "Answer 200 with what is known as JSON, or 404.",
    ),
    Check(
        "a profile with a wrong token",
        _ask(f"{request.PROFILE}?moodle_user_id=2000000001", answers.UNKNOWN, x_moodle_token=WRONG_TOKEN),
        f"A profile is personal data: compare X-Moodle-Token first. {_401}",
    ),
    Check("a good event", _alone(Tools.event, answers.NEW), "Answer 2xx once it is stored."),
    Check("an event of each type", _of_each_type, "Take each type that relay sends by default: `relay schema`."),
    Check("nulls where they may be", _nulls, "`relay schema` says which fields may be null."),
    Check(
        "the same event again",
        _repeated,
        'Drop what you have by event_id, and answer 200 {"status": "duplicate"}, so that it can be seen.',
    ),
    Check("the same request again", _replayed, "Drop what you have by event_id."),
    Check(
        "the same event under another X-Event-ID",
        _replayed_by_another_name,
        "X-Event-ID is not signed: drop repeats by the body's event_id.",
    ),
    Check(
        f"the same event {AT_ONCE} times at once",
        _at_once,
        "Let the database decide: a unique key on event_id, and one transaction for it and the event.",
        is_at_once=True,
    ),
    Check(
        "a forged event, then the right one",
        _forged_first,
        "Remember an event_id only once its signature is verified: else anybody can keep events out.",
    ),
    Check(
        "an event with a wrong token",
        _alone(lambda tools: tools.event().with_headers(x_moodle_token=WRONG_TOKEN), answers.UNKNOWN),
        f"Compare X-Moodle-Token. {_401}",
    ),
    Check(
        "an event without a token",
        _alone(lambda tools: tools.event().with_headers(x_moodle_token=None), answers.UNKNOWN),
        f"Compare X-Moodle-Token. {_401}",
    ),
    Check(
        "a signature of another key",
        _alone(lambda tools: tools.craft.event(tools.envelope(), keys=tools.other_keys), answers.UNKNOWN),
        _VERIFY,
    ),
    Check(
        "a signature of an empty key",
        _alone(lambda tools: tools.craft.event(tools.envelope(), keys=[signing.SymmetricKey(b"")]), answers.UNKNOWN),
        f"Refuse to start without a key: with an empty one everybody can sign. {_401}",
    ),
    Check(
        "no signature",
        _alone(lambda tools: tools.event().with_headers(webhook_signature=None), answers.UNKNOWN),
        _VERIFY,
    ),
    Check(
        "a signature that is none",
        _alone(lambda tools: tools.event().with_headers(webhook_signature="v1,!! rubbish"), answers.UNKNOWN),
        f"Take what cannot be parsed for no signature. {_401}",
    ),
    Check(
        "the beginning of a right signature",
        _shortened,
        f"Compare signatures whole, in constant time: an empty one begins them all. {_401}",
    ),
    Check(
        "a right signature under an unknown version",
        _alone(_unknown_version_alone, answers.UNKNOWN),
        f"Verify v1 as HMAC-SHA256, v1a as Ed25519, and pass over others. {_401}",
    ),
    Check("two signatures of which one is right", _two_signatures, "One that fits is enough: keys are changed so."),
    Check(
        "an unknown version beside the right signature",
        _alone(_unknown_version, answers.NEW),
        "Pass over signatures whose version you do not know.",
    ),
    Check("a tampered body", _alone(_tampered, answers.UNKNOWN), f"Verify the bytes of the body as they came. {_401}"),
    Check("a tampered tenant", _alone(_tampered_tenant, answers.UNKNOWN), _VERIFY),
    Check(
        "a tampered webhook-id",
        _alone(lambda tools: tools.event().with_headers(webhook_id=tools.craft.new_id()), answers.UNKNOWN),
        "What is signed is `webhook-id.webhook-timestamp.body`.",
    ),
    Check(
        "a tampered webhook-timestamp",
        _alone(
            lambda tools: tools.event().with_headers(webhook_timestamp=str(int(tools.craft.now()) - 5)),
            answers.UNKNOWN,
        ),
        "What is signed is `webhook-id.webhook-timestamp.body`: else a recorded event works for ever.",
    ),
    Check(
        "a stale event",
        _alone(lambda tools: tools.craft.event(tools.envelope(), late_s=STALE_S), answers.UNKNOWN),
        f"Refuse a webhook-timestamp that is more than 5 minutes old. {_401}",
    ),
    Check(
        "an event of the future",
        _alone(lambda tools: tools.craft.event(tools.envelope(), late_s=-STALE_S), answers.UNKNOWN),
        f"Refuse a webhook-timestamp that is more than 5 minutes ahead. {_401}",
    ),
    Check(
        "a webhook-timestamp that is no number",
        _alone(lambda tools: tools.event().with_headers(webhook_timestamp="tomorrow"), answers.UNKNOWN),
        _401,
    ),
    Check(
        f"an event that was held up for {LATE_S} s",
        _alone(lambda tools: tools.craft.event(tools.envelope(), late_s=LATE_S), answers.NEW),
        "Allow 5 minutes either way: an attempt may take long, and clocks differ.",
    ),
    Check(
        "an event of another tenant, rightly signed",
        _alone(
            lambda tools: tools.event(tenant_id=craft.NO_TENANT).with_headers(x_tenant_id=craft.NO_TENANT),
            answers.REFUSED,
        ),
        "Take your own tenants' events only: answer 403 or 422.",
    ),
    Check(
        "another tenant in X-Tenant-ID than in the body",
        _alone(lambda tools: tools.event().with_headers(x_tenant_id=craft.NO_TENANT), answers.REFUSED),
        "X-Tenant-ID is not signed: go by the body's tenant_id, and refuse what differs with 403 or 422.",
    ),
    Check(
        "another tenant in the body than in X-Tenant-ID",
        _alone(_tenant_of_the_body, answers.REFUSED),
        "X-Tenant-ID is not signed: go by the body's tenant_id, and refuse what differs with 403 or 422.",
    ),
    Check(
        "an unknown type",
        _alone(lambda tools: _signed(tools, samples.encode(tools.envelope()), "no_such_type"), answers.NO_PATH),
        "Answer 404: relay then holds back that type alone.",
    ),
    Check("a signed body that is no JSON", _alone(lambda tools: _signed(tools, b"{"), answers.INVALID), _422),
    Check("a signed body that is no object", _alone(lambda tools: _signed(tools, b"[1]"), answers.INVALID), _422),
    Check("an event without data", _alone(_without_data, answers.INVALID), _422),
    Check(
        "an event of another type than its path",
        _alone(_of_another_type, answers.REFUSED),
        f"Compare event_type with the path. {_422}",
        is_advice=True,
    ),
    Check(
        "another event_id than webhook-id",
        _alone(lambda tools: _signed(tools, samples.encode(tools.envelope())), answers.REFUSED),
        f"Compare them. {_422}",
        is_advice=True,
    ),
    Check(
        "an event_id that is no UUID",
        _alone(lambda tools: tools.event(event_id=f"made-up-{tools.craft.new_id()}"), answers.REFUSED),
        f"It is laid out as a UUID version 4. {_422}",
        is_advice=True,
    ),
    Check(
        "letters of all scripts",
        _alone(lambda tools: tools.craft.event(craft.with_text(tools.envelope(), craft.UNICODE)), answers.NEW),
        "The body is UTF-8. Store it as such: in MySQL that is utf8mb4.",
    ),
    Check(
        "a body of 64 KiB",
        _alone(
            lambda tools: tools.craft.event(craft.with_text(tools.envelope(), "made up " * (LARGE // 8), once=True)),
            answers.NEW,
        ),
        "Raise the limit of the body's size, in front of the receiver too: a comment may be long.",
    ),
    Check(
        "an earlier event after a later one",
        _out_of_order,
        "Take it: order is kept for each user, but what was given up may be sent again later. Go by timestamp.",
    ),
    Check(
        "names of headers in other cases",
        _cases_of_headers,
        "Names of headers are the same in any case; proxies change it.",
    ),
)


def examine(
    tools: Tools, send: Callable[[Attempt], Outcome], send_at_once: Callable[[Sequence[Attempt]], Sequence[Outcome]]
) -> Iterator[Line]:
    """Yield a line for each check, as it is done; where nobody answers the first, that is the only one."""
    for number, check in enumerate(CHECKS):
        tried = check.tries(tools)
        if check.is_at_once:
            found = _judged_at_once(send_at_once([attempt for attempt, _ in tried]))
        else:
            found = next(filter(None, (_judged(send(attempt), expected) for attempt, expected in tried)), "")
        if not found:
            yield Line(name=check.name, verdict="ok", found="")
            continue
        yield Line(name=check.name, verdict="warn" if check.is_advice else "fail", found=found, remedy=check.remedy)
        if number == 0 and found.startswith(NO_ANSWER):
            return


NO_ANSWER = "no answer"


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
