"""What the demo prints: a line for each thing that happens, and on a terminal a line that counts."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

COLOURS = {"college": "36", "relay": "32", "backend": "35", "trouble": "33", "": "1"}
CLEAR = "\r\x1b[K"


class Show:
    """Prints to a stream; safe to use from several threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._is_coloured = self._is_terminal and not os.environ.get("NO_COLOR")
        self._began_at = time.monotonic()
        self._lock = threading.Lock()
        self._counting = ""

    def line(self, who: str, text: str, colour: str | None = None) -> None:
        """Print what somebody does."""
        label = self._coloured(f"{who:<8}", COLOURS[colour or who])
        self._print(f"{time.monotonic() - self._began_at:6.1f} s  {label} {text}")

    def text(self, text: str) -> None:
        """Print a line as it is."""
        self._print(text)

    def title(self, text: str) -> None:
        """Print a line that stands out."""
        self._print(self._coloured(text, COLOURS[""]))

    def count(self, text: str) -> None:
        """Show the counting line below the others; only on a terminal."""
        if not self._is_terminal:
            return
        with self._lock:
            self._counting = text
            self._stream.write(f"{CLEAR}{text}")
            self._stream.flush()

    def _print(self, text: str) -> None:
        with self._lock:
            if self._counting:
                text = f"{CLEAR}{text}\n{self._counting}"
                self._stream.write(text)
            else:
                self._stream.write(f"{text}\n")
            self._stream.flush()

    def _coloured(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._is_coloured else text
