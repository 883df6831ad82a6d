"""`relay keygen`: a new signing key."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from relay.cli.command import Command, Exit
from relay.errors import RelayError
from relay.rules import signing

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay keygen --out signing-key
      a new file that only you can read; the backend gets the same key
  relay keygen
      to standard output: whsec_..., for HMAC-SHA256
  relay keygen --ed25519
      two lines: whsk_... is for relay alone, whpk_... for the backend
  relay keygen --ed25519 --out key
      the private key goes into the file, the public one to standard output

To change a key, name the old and the new one in backend.signing_keys until
the backend knows the new one.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--ed25519", action="store_true", help="a pair: relay signs, and the backend can only verify")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write what relay needs into this new file")


def handle(arguments: argparse.Namespace) -> int:
    """Print a key, or write it."""
    make = signing.asymmetric_texts if arguments.ed25519 else signing.symmetric_texts
    private, *public = make(secrets.token_bytes(signing.SEED))
    if arguments.out is None:
        public.insert(0, private)
    else:
        _write(arguments.out, private)
    for line in public:
        print(line)
    return Exit.WELL


def _write(path: Path, text: str) -> None:
    """Write a file that is not there yet, for its owner alone. Raises RelayError."""
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"{text}\n")
    except FileExistsError:
        raise RelayError(
            f"{path} is there already, and is left as it is: it may hold a key that is in use.",
            hint="Name another file.",
        ) from None
    except OSError as error:
        raise RelayError(f"{path} cannot be written: {error.strerror}.", hint="Name another file.") from None


COMMAND = Command(
    name="keygen",
    summary="make a new signing key",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
