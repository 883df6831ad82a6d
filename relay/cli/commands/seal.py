"""`relay seal`: a secret, encrypted for the config."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from relay.cli.command import Command, Exit
from relay.cli.configured import config_path
from relay.config import credentials
from relay.errors import CredentialError, UsageError

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay seal < token                          prints {sealed: ...}: put that
                                              into the config
  systemd-ask-password Token: | relay seal    the same, typed unseen

The key is seal.key beside the config, or the systemd credential
relay-seal-key. It is made on first use.
"""


def handle(arguments: argparse.Namespace) -> int:
    """Read the secret from standard input, and print what stands for it."""
    try:
        secret = sys.stdin.buffer.read().decode().strip("\r\n")
    except UnicodeDecodeError:
        raise UsageError(
            "The secret is no UTF-8 text.", hint="Write it as UTF-8: iconv -t UTF-8 < FILE | relay seal"
        ) from None
    if not secret or "\n" in secret:
        raise UsageError("A secret is one line, read from standard input.", hint="relay seal < FILE")
    folder = config_path(arguments).absolute().parent
    try:
        print(f"{{sealed: {credentials.seal(secret, folder)}}}")
    except CredentialError as error:
        raise CredentialError(
            f"It cannot be sealed: {error}.", hint="Run it as root, or as the user that owns the folder."
        ) from None
    return Exit.WELL


COMMAND = Command(
    name="seal",
    summary="encrypt a secret for the config",
    examples=EXAMPLES,
    handle=handle,
)
