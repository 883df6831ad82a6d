"""Verifies deliveries of moodle-relay (Standard Webhooks). One file, without dependencies: take it along as it is.

    try:
        event_id = verify(["whsec_..."], request.headers, body)  # body: the bytes as they came
    except Refused as refused:
        ...                                                      # answer 401; refused.reason says why

Headers: those of http.server, Flask, Django or FastAPI, a WSGI environ, an ASGI scope's, or a mapping, in any case.
Keep the body's bytes: `request.get_data()` (Flask), `request.body` (Django), `await request.body()` (FastAPI), and
json.loads after `verify`.
Keys: `whsec_...` (HMAC-SHA256), and `whpk_...` (Ed25519, for which `pip install cryptography` is needed). Give all that
are valid now: where a key is being changed, the old one and the new one. Drop what you have by the event id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: How far `webhook-timestamp` may be from this machine's clock, either way, in seconds.
TOLERANCE_S = 300
SENTENCES = {
    "bad_key": "a key of yours is neither whsec_... nor whpk_...",
    "unsigned": "there is no webhook-signature header",
    "malformed": "webhook-id or webhook-timestamp is missing or malformed",
    "unknown_key": "no signature is of a kind that your keys make",
    "wrong_signature": "no signature fits: another key, or the body is not as it was sent",
    "clock": "the signature is right, and its time too far from this clock",
}


class Refused(Exception):
    """A delivery that is not to be trusted; `reason` is a key of SENTENCES."""

    def __init__(self, reason: str) -> None:
        super().__init__(SENTENCES[reason])
        self.reason = reason


def verify(
    keys: Sequence[str],
    headers: Mapping[str, object] | Iterable[tuple[str | bytes, object]],
    body: bytes | bytearray | memoryview,
    *,
    now: float | None = None,
    tolerance_s: float = TOLERANCE_S,
) -> str:
    """Return the event id of a delivery that one of the keys has signed, and not long ago. Raises Refused.

    `now`: unix seconds, this machine's clock by default. Raises RuntimeError for `whpk_...` without `cryptography`, and
    TypeError for a body that is no bytes: JSON that was parsed is not what was signed.
    """
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"verify: the body must be the bytes as they came, and is {type(body).__name__}. Is it a text, or JSON "
            "that was parsed already? Take the raw body of the request, and json.loads after verify."
        )
    secrets, public = _parsed(keys)
    given = _named(headers)
    event_id, timestamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not given.get("webhook-signature"):
        raise Refused("unsigned")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", event_id) or not re.fullmatch(r"[0-9]{1,15}", timestamp):
        raise Refused("malformed")
    message = b".".join((event_id.encode(), timestamp.encode(), bytes(body)))
    signatures = [one.partition(",")[::2] for one in given["webhook-signature"].split(" ")]
    known = [(kind, value) for kind, value in signatures if (kind == "v1" and secrets) or (kind == "v1a" and public)]
    if not known:
        raise Refused("unknown_key")
    if not any(_fits(value, message, secrets if kind == "v1" else public, kind) for kind, value in known):
        raise Refused("wrong_signature")
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance_s:
        raise Refused("clock")
    return event_id


def _named(headers: Mapping[str, object] | Iterable[tuple[str | bytes, object]]) -> dict[str, str]:
    """Return headers by their names in lower case; WSGI calls them HTTP_WEBHOOK_ID, those of ASGI are bytes."""
    pairs: Iterable[tuple[object, object]] = headers.items() if hasattr(headers, "items") else headers
    found = {}
    for key, value in pairs:
        name, text = (one.decode("latin-1") if isinstance(one, bytes) else str(one) for one in (key, value))
        if name.startswith("HTTP_"):
            name = name[5:].replace("_", "-")
        found[name.lower()] = text
    return found


def _parsed(keys: Sequence[str]) -> tuple[list[bytes], list[bytes]]:
    """Return the secrets and the public keys. Raises Refused: an empty secret would let everybody sign."""
    found: dict[str, list[bytes]] = {"whsec": [], "whpk": []}
    for key in [keys] if isinstance(keys, str) else keys:
        # A file that holds a key ends with a line's end.
        kind, _, text = str(key).strip().partition("_")
        raw = _decoded(text)
        if kind not in found or not raw or (kind == "whpk" and len(raw) != 32):
            raise Refused("bad_key")
        found[kind].append(raw)
    return found["whsec"], found["whpk"]


def _fits(signature: str, message: bytes, keys: Sequence[bytes], kind: str) -> bool:
    """Say whether one of the keys of a kind has made this signature of the message."""
    raw = _decoded(signature)
    if kind == "v1":
        return any(hmac.compare_digest(hmac.digest(key, message, hashlib.sha256), raw) for key in keys)
    return any(_fits_public(raw, message, key) for key in keys)


def _fits_public(signature: bytes, message: bytes, key: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 -- for those with whpk_ alone
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ImportError:
        raise RuntimeError("whpk_ keys need: pip install cryptography") from None
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _decoded(text: str) -> bytes:
    """Return what a text of base64 stands for; b'' where it is none."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    # Bits that say nothing could make two texts of one signature.
    return raw if base64.b64encode(raw).decode() == text else b""
