"""What is printed: JSON for other programs, and sentences for people, which fit the terminal."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from relay.model import Event


def fitted(text: str, stream: TextIO, indent: str = "  ") -> str:
    """Return a sentence as lines that fit the terminal, those after the first indented; elsewhere it is one line."""
    if not stream.isatty():
        return text
    import shutil  # noqa: PLC0415 -- for a person at a terminal; a start does not wait for it
    import textwrap  # noqa: PLC0415

    width = shutil.get_terminal_size().columns
    lines = textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines) or text


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
