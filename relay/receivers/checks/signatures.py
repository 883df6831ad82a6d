"""Checks of what is signed: the signature, the id, the body, and the time of the attempt. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.receivers import answers, craft
from relay.receivers.checks.check import ANSWER_401, Check, Tools, alone
from relay.rules import signing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.receivers.checks.check import Tried
    from relay.receivers.craft import Attempt

#: Beyond the 5 minutes of tolerance, and within them, in seconds: a clock that is off by a minute changes nothing.
STALE_S, LATE_S = 360, 240
#: What is no time, signed all the same. A language may read the second one, and no number is far from it.
NO_TIMES = ("tomorrow", "nan")


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


def _swapped(tools: Tools) -> Attempt:
    attempt = tools.event()
    pairs = [one.partition(",")[::2] for one in _signature(attempt).split(" ")]
    swapped = " ".join(f"{version},{text.swapcase()}" for version, text in pairs)
    return attempt.with_headers(webhook_signature=swapped)


def _no_times(tools: Tools) -> Sequence[Tried]:
    def at(time: str) -> Attempt:
        attempt = tools.event()
        message = b".".join((str(attempt.headers["webhook-id"]).encode(), time.encode(), attempt.body or b""))
        signatures = " ".join(key.sign(message) for key in tools.craft.target.keys)
        return attempt.with_headers(webhook_timestamp=time, webhook_signature=signatures)

    return [(at(time), answers.UNKNOWN) for time in NO_TIMES]


def _held_up(tools: Tools) -> Sequence[Tried]:
    return [(tools.craft.event(tools.envelope(), late_s=late_s), answers.NEW) for late_s in (LATE_S, -LATE_S)]


_VERIFY = f"Verify webhook-signature, with every key that is valid now, before anything else is done. {ANSWER_401}"
_MESSAGE = "What is signed is `webhook-id.webhook-timestamp.body`"

CHECKS = (
    Check(
        "a signature of another key",
        alone(lambda tools: tools.craft.event(tools.envelope(), keys=tools.other_keys), answers.UNKNOWN),
        _VERIFY,
    ),
    Check(
        "a signature of an empty key",
        alone(lambda tools: tools.craft.event(tools.envelope(), keys=[signing.SymmetricKey(b"")]), answers.UNKNOWN),
        f"Refuse to start without a key: with an empty one everybody can sign. {ANSWER_401}",
    ),
    Check(
        "no signature",
        alone(lambda tools: tools.event().with_headers(webhook_signature=None), answers.UNKNOWN),
        _VERIFY,
    ),
    Check(
        "a signature that is none",
        alone(lambda tools: tools.event().with_headers(webhook_signature="v1,!! rubbish"), answers.UNKNOWN),
        f"Take what cannot be parsed for no signature. {ANSWER_401}",
    ),
    Check(
        "the beginning of a right signature",
        _shortened,
        f"Compare signatures whole, in constant time: an empty one begins them all. {ANSWER_401}",
    ),
    Check(
        "a right signature with its letters in the other case",
        alone(_swapped, answers.UNKNOWN),
        f"Compare signatures as they are: base64 has letters of both cases. {ANSWER_401}",
    ),
    Check(
        "a right signature under an unknown version",
        alone(_unknown_version_alone, answers.UNKNOWN),
        f"Verify v1 as HMAC-SHA256, v1a as Ed25519, and pass over others. {ANSWER_401}",
    ),
    Check("two signatures of which one is right", _two_signatures, "One that fits is enough: keys are changed so."),
    Check(
        "an unknown version beside the right signature",
        alone(_unknown_version, answers.NEW),
        "Pass over signatures whose version you do not know.",
    ),
    Check(
        "a tampered body",
        alone(_tampered, answers.UNKNOWN),
        f"Verify the bytes of the body as they came. {ANSWER_401}",
    ),
    Check("a tampered tenant", alone(_tampered_tenant, answers.UNKNOWN), _VERIFY),
    Check(
        "a tampered webhook-id",
        alone(lambda tools: tools.event().with_headers(webhook_id=tools.craft.new_id()), answers.UNKNOWN),
        f"{_MESSAGE}.",
    ),
    Check(
        "a tampered webhook-timestamp",
        alone(
            lambda tools: tools.event().with_headers(webhook_timestamp=str(int(tools.craft.now()) - 5)), answers.UNKNOWN
        ),
        f"{_MESSAGE}: else a recorded event works for ever.",
    ),
    Check(
        "a stale event",
        alone(lambda tools: tools.craft.event(tools.envelope(), late_s=STALE_S), answers.UNKNOWN),
        f"Refuse a webhook-timestamp that is more than 5 minutes old (this one: {STALE_S} s). {ANSWER_401}",
    ),
    Check(
        "an event of the future",
        alone(lambda tools: tools.craft.event(tools.envelope(), late_s=-STALE_S), answers.UNKNOWN),
        f"Refuse a webhook-timestamp that is more than 5 minutes ahead (this one: {STALE_S} s). {ANSWER_401}",
    ),
    Check(
        "a webhook-timestamp that is no number",
        _no_times,
        f"Take digits alone for a time, though the signature is right: NaN is within any tolerance. {ANSWER_401}",
    ),
    Check(
        f"an event whose clock is {LATE_S} s off",
        _held_up,
        "Allow 5 minutes either way: an attempt may take long, and clocks differ.",
    ),
)
