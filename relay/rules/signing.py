"""The signature header of one attempt, by the Standard Webhooks specification. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: The prefixes of the two kinds of key (Standard Webhooks, "Signature scheme").
SYMMETRIC, ASYMMETRIC = "whsec_", "whsk_"
#: What the public half of an asymmetric key begins with.
PUBLIC = "whpk_"
#: What to do where a key is missing or wrong.
HOW = "`relay keygen` makes one"
#: The specification wants symmetric secrets of 24 to 64 bytes.
SHORTEST_SECRET = 24
#: An Ed25519 private key is a seed of 32 bytes; some tools put the public key's 32 bytes behind it.
SEED = 32


@dataclass(frozen=True, slots=True)
class SymmetricKey:
    """A shared secret; signs with HMAC-SHA256."""

    secret: bytes
    #: The HMAC of no message yet: half of the work is the key's, and is done once.
    _begun: hmac.HMAC = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_begun", hmac.new(self.secret, digestmod=hashlib.sha256))

    def sign(self, message: bytes) -> str:
        """Return one signature of the header."""
        signing = self._begun.copy()
        signing.update(message)
        return "v1," + base64.b64encode(signing.digest()).decode()


@dataclass(frozen=True, slots=True)
class AsymmetricKey:
    """A private key whose public half the backend holds; signs with Ed25519."""

    private: Ed25519PrivateKey

    def sign(self, message: bytes) -> str:
        """Return one signature of the header."""
        return "v1a," + base64.b64encode(self.private.sign(message)).decode()


Key = SymmetricKey | AsymmetricKey


def parse_key(text: str) -> Key:
    """Return the key of a `whsec_` or `whsk_` text. Raises ValueError with a sentence's end, without the key."""
    for prefix in (SYMMETRIC, ASYMMETRIC):
        if text.startswith(prefix):
            try:
                raw = base64.b64decode(text.removeprefix(prefix), validate=True)
            except binascii.Error:
                raise ValueError(f"must be base64 behind {prefix}; {HOW}") from None
            return _symmetric(raw) if prefix == SYMMETRIC else _asymmetric(raw)
    raise ValueError(f"must begin with {SYMMETRIC} (HMAC-SHA256) or {ASYMMETRIC} (Ed25519); {HOW}")


def _symmetric(raw: bytes) -> SymmetricKey:
    if not raw:
        raise ValueError(f"must hold a secret behind {SYMMETRIC}; {HOW}")
    return SymmetricKey(raw)


def _asymmetric(raw: bytes) -> AsymmetricKey:
    if len(raw) not in (SEED, 2 * SEED):
        raise ValueError(f"must hold an Ed25519 private key of {SEED} bytes behind {ASYMMETRIC}; {HOW}")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 -- a tenth of a start

    key = AsymmetricKey(Ed25519PrivateKey.from_private_bytes(raw[:SEED]))
    if len(raw) == 2 * SEED and key.private.public_key().public_bytes_raw() != raw[SEED:]:
        raise ValueError(f"holds a private and a public key behind {ASYMMETRIC} that do not belong together")
    return key


def symmetric_texts(raw: bytes) -> tuple[str]:
    """Return the text of the symmetric key that these bytes are."""
    return (SYMMETRIC + base64.b64encode(raw).decode(),)


def asymmetric_texts(seed: bytes) -> tuple[str, str]:
    """Return the texts of a private key, given its 32 bytes, and of the public key that belongs to it."""
    return ASYMMETRIC + base64.b64encode(seed).decode(), public_text(_asymmetric(seed))


def public_text(key: AsymmetricKey) -> str:
    """Return the text of the public key that belongs to a private one."""
    return PUBLIC + base64.b64encode(key.private.public_key().public_bytes_raw()).decode()


def signatures(keys: Sequence[Key], event_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`: what each key makes of `id.timestamp.body`, separated by spaces.

    `timestamp` is that of the attempt, in unix seconds.
    """
    message = b".".join((event_id.encode(), str(timestamp).encode(), body))
    return " ".join(key.sign(message) for key in keys)
