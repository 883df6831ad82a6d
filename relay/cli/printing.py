"""JSON for other programs, on standard output."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.model import Event


def print_envelope(event: Event) -> None:
    """Print the envelope of an event as one line."""
    # Three characters end a line for some readers, and none in JSON.
    print_json(event.body.decode().translate({code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}))


def print_json(text: str) -> None:
    """Print JSON text in UTF-8, whatever the locale is: nothing else is JSON (RFC 8259, section 8.1)."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode() + b"\n")
    else:
        print(text)
