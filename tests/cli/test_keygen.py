"""`relay keygen`: keys that sign, and that an independent library verifies."""

from __future__ import annotations

import base64
import stat
from pathlib import Path
from time import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook

from relay.cli import main
from relay.rules import signing


def test_a_symmetric_key_signs_for_an_independent_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen"]) == 0
    text = capsys.readouterr().out.strip()
    assert len(base64.b64decode(text.removeprefix("whsec_"), validate=True)) == 32
    now = int(time())
    signature = signing.signatures([signing.parse_key(text)], "msg", now, b"{}")
    headers = {"webhook-id": "msg", "webhook-timestamp": str(now), "webhook-signature": signature}
    assert Webhook(text).verify(b"{}", headers) == {}


def test_an_ed25519_pair_belongs_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--ed25519"]) == 0
    private, public = capsys.readouterr().out.split()
    assert public.startswith("whpk_")
    signature = signing.signatures([signing.parse_key(private)], "msg", 1, b"{}")
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    key.verify(base64.b64decode(signature.removeprefix("v1a,")), b"msg.1.{}")


def test_no_two_keys_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        assert main(["keygen"]) == 0
    assert len(set(capsys.readouterr().out.split())) == 3


def test_a_key_goes_into_a_new_file_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key"
    assert main(["keygen", "--ed25519", "--out", str(path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = signing.parse_key(path.read_text().strip())
    assert isinstance(key, signing.AsymmetricKey)
    assert capsys.readouterr().out.strip() == signing.public_text(key)
    before = path.read_text()
    assert main(["keygen", "--out", str(path)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert path.read_text() == before
    assert main(["keygen", "--out", str(tmp_path / "nowhere" / "key")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["secret", "whsec_", "whsec_abc", "whsk_" + base64.b64encode(b"short").decode()])
def test_a_key_that_is_wrong_names_the_command(key: str) -> None:
    with pytest.raises(ValueError, match="`relay keygen` makes one"):
        signing.parse_key(key)
