"""The settings of the PHP plugin that relay replaces, as a config of relay. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from relay.errors import CredentialError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The plugin's name in Moodle's config_plugins.
NAME = "local_moodle_zoho_integration"
IV_BYTES = 16


def decrypt(sealed: str, key_hex: str) -> str:
    """Return the plugin's token: base64 of 16 bytes IV and the base64 text that PHP's openssl_encrypt returns.

    Raises CredentialError, without the token or the key.
    """
    try:
        raw = base64.b64decode(sealed, validate=True)
        encrypted = base64.b64decode(raw[IV_BYTES:], validate=True)
        decryptor = Cipher(AES(bytes.fromhex(key_hex)), CBC(raw[:IV_BYTES])).decryptor()
        padded = decryptor.update(encrypted) + decryptor.finalize()
        unpadder = padding.PKCS7(AES.block_size).unpadder()
        return (unpadder.update(padded) + unpadder.finalize()).decode()
    except (ValueError, binascii.Error):
        raise CredentialError(
            f"The plugin's api_token cannot be decrypted with its encryption_key ({NAME} in config_plugins).",
            hint="Ask those who run the backend for the token, and give it as backend.token.",
        ) from None


def config_lines(settings: Mapping[str, str], database: Mapping[str, object], prefix: str) -> list[str]:
    """Return a config as YAML lines, given the plugin's settings and how its Moodle's database is reached.

    Raises UsageError where the plugin is not there, CredentialError where its token cannot be decrypted.
    """
    if not settings.get("backend_url"):
        raise UsageError(
            f"There are no settings of the plugin {NAME} in {prefix}config_plugins.",
            hint="Write a config by hand: config.example.yaml shows every key.",
        )
    token = settings.get("api_token", "")
    if settings.get("encryption_key") and token:
        token = decrypt(token, settings["encryption_key"])
    attempts = settings.get("max_retry_attempts", "")
    lines = [
        f"# Made from the settings of {NAME}.",
        f"enabled: {_truth(settings.get('enabled', '1'))}",
        "moodle:",
        f"  url: {json.dumps(settings.get('moodle_url', ''))}",
        f"  database: {json.dumps(database, ensure_ascii=False)}",
        "backend:",
        f"  url: {json.dumps(settings['backend_url'])}",
        "  # In the open: keep this file to yourself (chmod 600), or put the token into a file of its own.",
        f"  token: {json.dumps(token, ensure_ascii=False)}",
        f"  tenant_id: {json.dumps(settings.get('tenant_id') or 'default', ensure_ascii=False)}",
        "  # The plugin did not sign. Ask the backend's developers for a key, as whsec_... or whsk_...",
        "  signing_keys: []",
        "retry:",
        f"  enabled: {_truth(settings.get('retry_enabled', '1'))}",
    ]
    if attempts.isdigit():
        lines.append(f"  # The plugin gave up after {attempts} attempts; relay tries for about three days.")
    return lines


def _truth(value: str) -> str:
    return "false" if value in ("", "0") else "true"
