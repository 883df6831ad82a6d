"""Writes relay/receivers/verifiers/vectors.json: deliveries, good and bad, and what a verifier must say of each.

Signed here with the standard library and `cryptography`, not with relay's code, which is tried by them too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import relay

PATH = Path(relay.__file__).parent / "receivers" / "verifiers" / "vectors.json"
AT = 1_770_000_000
ID = "5f0a6f0e-3a55-4c1e-9f53-2d1f6b0c9a11"
#: Secrets and seeds that are made up, and never used elsewhere.
OLD, NEW, OTHER = (hashlib.sha256(name).digest() for name in (b"old", b"new", b"other"))
PAIR, OTHER_PAIR = (Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name).digest()) for name in (b"a", b"b"))
BODY = '{"event_id": "' + ID + '", "event_type": "user_created", "data": {"firstname": "Ada"}}'
ARABIC = (
    '{"event_id": "'
    + ID
    + '", "data": {"firstname": "\u0645\u0631\u064a\u0645", "city": "\u0639\u0645\u0651\u0627\u0646 \u200f"}}'
)


def secret(raw: bytes) -> str:
    return "whsec_" + base64.b64encode(raw).decode()


def public(pair: Ed25519PrivateKey) -> str:
    return "whpk_" + base64.b64encode(pair.public_key().public_bytes_raw()).decode()


PUBLIC = (public(PAIR),)


def v1(raw: bytes, body: str, event_id: str = ID, at: str = str(AT)) -> str:
    message = f"{event_id}.{at}.{body}".encode()
    return "v1," + base64.b64encode(hmac.digest(raw, message, hashlib.sha256)).decode()


def v1a(pair: Ed25519PrivateKey, body: str, event_id: str = ID, at: str = str(AT)) -> str:
    return "v1a," + base64.b64encode(pair.sign(f"{event_id}.{at}.{body}".encode())).decode()


def vector(
    name: str,
    expect: str = "ok",
    *,
    keys: tuple[str, ...] = (secret(OLD),),
    signature: str | None = None,
    body: str = BODY,
    event_id: str | None = ID,
    timestamp: str | None = str(AT),
    now: int = AT,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return a vector; the signature is the right one of the old secret unless another one is given."""
    made = {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": v1(OLD, body) if signature is None else signature or None,
        **(headers or {}),
    }
    return {
        "name": name,
        "expect": expect,
        "keys": list(keys),
        "headers": {name: value for name, value in made.items() if value is not None},
        "body": body,
        "now": now,
    }


def vectors() -> list[dict[str, Any]]:
    """Return them all: first those that are right, then each kind of bad."""
    large = '{"data": {"feedback": "' + "Well argued. " * 5041 + '"}}'
    twins = secret(OLD), secret(NEW)
    flipped = base64.b64encode(bytes([base64.b64decode(v1(OLD, BODY)[3:])[0] ^ 1]) + b"\0" * 31).decode()
    padded = v1(OLD, BODY)
    # The last letter before the padding has bits that say nothing.
    loose = padded[:-2] + chr(ord(padded[-2]) + 1) + "="
    upper = {"Webhook-Id": ID, "Webhook-Timestamp": str(AT), "WEBHOOK-SIGNATURE": v1(OLD, BODY)}
    return [
        vector("HMAC-SHA256"),
        vector("Arabic, with marks of direction", body=ARABIC),
        vector("beyond the basic plane", body='{"data": {"firstname": "\U0001f393"}}'),
        vector("line separators", body='{"data": {"feedback": "a\u2028b\u0085c"}}'),
        vector("an empty body", body=""),
        vector("64 KiB", body=large),
        vector("a body with dots", body="1.2.3"),
        vector("a line end behind the body", body=BODY + "\r\n"),
        vector("names of headers in other cases", event_id=None, timestamp=None, signature="", headers=upper),
        vector("two secrets of ours, the old one signs", keys=twins),
        vector("two secrets of ours, the new one signs", keys=twins, signature=v1(NEW, BODY)),
        vector("two signatures, the first is right", signature=f"{v1(OLD, BODY)} {v1(OTHER, BODY)}"),
        vector("two signatures, the second is right", signature=f"{v1(OTHER, BODY)} {v1(OLD, BODY)}"),
        vector("an unknown version beside the right one", signature=f"v9,AAAA {v1(OLD, BODY)}"),
        vector("rubbish beside the right one", signature=f"v1,!! v1 , v1a {v1(OLD, BODY)}"),
        vector("Ed25519", keys=PUBLIC, signature=v1a(PAIR, BODY)),
        vector("Ed25519, Arabic", keys=PUBLIC, signature=v1a(PAIR, ARABIC), body=ARABIC),
        vector(
            "Ed25519 beside HMAC, we have the public key", keys=PUBLIC, signature=f"{v1(OTHER, BODY)} {v1a(PAIR, BODY)}"
        ),
        vector("Ed25519 beside HMAC, we have the secret", signature=f"{v1a(PAIR, BODY)} {v1(OLD, BODY)}"),
        vector(
            "HMAC is right, Ed25519 is not",
            keys=(secret(OLD), public(PAIR)),
            signature=f"{v1a(OTHER_PAIR, BODY)} {v1(OLD, BODY)}",
        ),
        vector("300 seconds old", now=AT + 300),
        vector("300 seconds ahead", now=AT - 300),
        vector("301 seconds old", "clock", now=AT + 301),
        vector("301 seconds ahead", "clock", now=AT - 301),
        vector("old, and signed with Ed25519", "clock", keys=PUBLIC, signature=v1a(PAIR, BODY), now=AT + 3600),
        vector("another secret", "wrong_signature", signature=v1(OTHER, BODY)),
        vector("another secret, and old", "wrong_signature", signature=v1(OTHER, BODY), now=AT + 3600),
        vector("another pair", "wrong_signature", keys=PUBLIC, signature=v1a(OTHER_PAIR, BODY)),
        vector("a body that was changed", "wrong_signature", signature=v1(OLD, BODY), body=BODY.replace("Ada", "Bob")),
        vector(
            "a body that was encoded anew", "wrong_signature", signature=v1(OLD, BODY), body=BODY.replace(": ", ":")
        ),
        vector("a body with more behind it", "wrong_signature", signature=v1(OLD, BODY), body=BODY + " "),
        vector("a changed body, Ed25519", "wrong_signature", keys=PUBLIC, signature=v1a(PAIR, BODY), body=BODY + " "),
        vector("another id", "wrong_signature", event_id="6f0a6f0e-3a55-4c1e-9f53-2d1f6b0c9a11"),
        vector("another time", "wrong_signature", timestamp=str(AT + 1)),
        vector("a signature with a changed byte", "wrong_signature", signature=f"v1,{flipped}"),
        vector("a signature that was cut", "wrong_signature", signature=v1(OLD, BODY)[:-4]),
        vector("a signature with idle bits set", "wrong_signature", signature=loose),
        vector("an empty signature", "wrong_signature", signature="v1,"),
        vector("HMAC as if it were Ed25519", "wrong_signature", keys=PUBLIC, signature="v1a," + v1(OLD, BODY)[3:]),
        vector(
            "signed with the public key as a secret",
            "unknown_key",
            keys=PUBLIC,
            signature=v1(PAIR.public_key().public_bytes_raw(), BODY),
        ),
        vector("HMAC, and we have a public key alone", "unknown_key", keys=PUBLIC),
        vector("Ed25519, and we have a secret alone", "unknown_key", signature=v1a(PAIR, BODY)),
        vector("an unknown version alone", "unknown_key", signature="v2," + v1(OLD, BODY)[3:]),
        vector("no keys of ours", "unknown_key", keys=()),
        vector("no signature", "unsigned", signature=""),
        vector("no id", "malformed", event_id=None),
        vector("no time", "malformed", timestamp=None),
        vector("a time with a sign", "malformed", timestamp=f"+{AT}", signature=v1(OLD, BODY, at=f"+{AT}")),
        vector("a time with a fraction", "malformed", timestamp=f"{AT}.0", signature=v1(OLD, BODY, at=f"{AT}.0")),
        vector("an id with a dot", "malformed", event_id="a.b", signature=v1(OLD, BODY, event_id="a.b")),
        vector("an empty secret of ours", "bad_key", keys=("whsec_",), signature=v1(b"", BODY)),
        vector(
            "a private key in the place of the public one", "bad_key", keys=("whsk_" + base64.b64encode(OLD).decode(),)
        ),
        vector("a secret of ours that is no base64", "bad_key", keys=("whsec_not base64",)),
        vector("a public key that is too short", "bad_key", keys=("whpk_AAAA",), signature=v1a(PAIR, BODY)),
    ]


def text() -> str:
    """Return the text of vectors.json."""
    return json.dumps(vectors(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
