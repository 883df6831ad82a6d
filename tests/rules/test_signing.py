"""Signatures, checked by an independent Standard Webhooks library and by the public key."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from relay.rules import signing

SEED = bytes(range(32))
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key()
ASYMMETRIC = "whsk_" + base64.b64encode(SEED).decode()


def symmetric(secret: bytes) -> str:
    return "whsec_" + base64.b64encode(secret).decode()


def now() -> int:
    return int(datetime.now(UTC).timestamp())


def headers(keys: list[str], event_id: str, body: bytes) -> dict[str, str]:
    timestamp = now()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.signatures([signing.parse_key(key) for key in keys], event_id, timestamp, body),
    }


@given(st.binary(min_size=1, max_size=80), st.uuids(version=4), st.text(max_size=200))
def test_an_independent_library_verifies_what_is_signed(secret: bytes, event_id: object, text: str) -> None:
    body = json.dumps(text).encode()
    made = headers([symmetric(secret)], str(event_id), body)
    webhook = Webhook(symmetric(secret))
    assert webhook.verify(body, made) == text
    with pytest.raises(WebhookVerificationError):
        webhook.verify(body + b" ", made)


def test_each_of_several_keys_signs() -> None:
    secrets = [symmetric(b"the old one, made up for tests"), symmetric(b"the new one, made up for tests")]
    made = headers([*secrets, ASYMMETRIC], "msg", b"{}")
    for secret in secrets:
        assert Webhook(secret).verify(b"{}", made) == {}
    kinds = [one.split(",")[0] for one in made["webhook-signature"].split(" ")]
    assert kinds == ["v1", "v1", "v1a"]


@pytest.mark.parametrize("key", [ASYMMETRIC, "whsk_" + base64.b64encode(SEED + PUBLIC.public_bytes_raw()).decode()])
def test_ed25519_signs_the_id_the_time_and_the_body(key: str) -> None:
    signature = base64.b64decode(signing.signatures([signing.parse_key(key)], "msg_1", 1_770_000_000, b"{}")[4:])
    PUBLIC.verify(signature, b"msg_1.1770000000.{}")
    with pytest.raises(InvalidSignature):
        PUBLIC.verify(signature, b"msg_1.1770000001.{}")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "secret",
        "whsec_",
        "whsec_a b",
        "whsec_abc",
        "whsk_" + base64.b64encode(b"short").decode(),
        "whsk_" + base64.b64encode(SEED + SEED).decode(),
    ],
)
def test_a_key_that_is_none_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|holds) ") as caught:
        signing.parse_key(key)
    assert key.partition("_")[2] == "" or key.partition("_")[2] not in str(caught.value)
