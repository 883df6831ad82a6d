"""Why a signature does not fit: whether the body is the same JSON written otherwise, or a clock is wrong. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from relay.events.catalogue import KINDS
from relay.receivers import samples, schema
from relay.receivers.verifiers import verifier

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

REENCODED = (
    "The body was encoded anew on the way: the signature fits the same JSON as relay wrote it. Verify the bytes as "
    "they came, before anything parses them (a framework's JSON middleware, a proxy, a gateway)."
)
ANOTHER_FORM = (
    "No signature fits, and the body is not written as relay writes JSON: it was changed on the way, or relay did not "
    "send it."
)
SEEN = "An event of this id was taken with a right signature, and now none fits: what is signed was changed since."


def parsed(body: bytes) -> dict[str, Any] | None:
    """Return a body that is a JSON object; None where it is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def clock(timestamp: str, now: float) -> str:
    """Return what is wrong with a rightly signed time, given this machine's; both in unix seconds."""
    late = now - int(timestamp)
    way = "behind" if late > 0 else "ahead of"
    return (
        f"The signature is right, and its time is {abs(late):.0f} s {way} this machine's clock "
        f"({verifier.TOLERANCE_S} s are allowed): set the clocks of both machines (timedatectl set-ntp true), or it is "
        "an old request that somebody sends again."
    )


def changed(keys: Sequence[str], headers: Mapping[str, str], body: bytes, taken: Collection[str]) -> str:
    """Return why the body of a request whose signature does not fit must have been changed; '' where nothing tells."""
    for candidate in _as_sent(body):
        if candidate != body and _fits(keys, headers, candidate):
            return REENCODED
    if headers.get("webhook-id") in taken:
        return SEEN
    try:
        is_as_written = parsed(body) is not None and samples.encode(parsed(body)) == body
    except ValueError:
        is_as_written = False
    return "" if is_as_written else ANOTHER_FORM


def _as_sent(body: bytes) -> Iterator[bytes]:
    """Yield what relay may have sent where this came: the same JSON, written as relay writes it."""
    yield body.removeprefix(b"\xef\xbb\xbf").strip()
    found = parsed(body)
    if found is None:
        return
    try:
        yield samples.encode(found)
        yield samples.encode(_in_order(found))
    except ValueError:  # NaN
        return


def _in_order(envelope: dict[str, Any]) -> dict[str, Any]:
    """Return an envelope with its fields in relay's order, and 70 as 70.0 where the field holds fractions."""
    kind = KINDS.get(str(envelope.get("event_type")))
    data = envelope.get("data")
    if kind is None or not isinstance(data, dict):
        return envelope
    rules = schema.envelope(kind)["properties"]
    whole = {name: envelope[name] for name in rules if name in envelope}
    fractions = {field.name for field in kind.fields if field.type.startswith("float")}
    whole["data"] = {
        name: float(data[name]) if name in fractions and isinstance(data[name], int) else data[name]
        for name in rules["data"]["properties"]
        if name in data
    }
    return whole


def _fits(keys: Sequence[str], headers: Mapping[str, str], body: bytes) -> bool:
    """Say whether a key has signed this body, whenever that was."""
    try:
        verifier.verify(keys, headers, body, now=int(headers["webhook-timestamp"]))
    except verifier.Refused:
        return False
    return True
