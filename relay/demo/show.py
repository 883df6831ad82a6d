"""What the demo prints: a line for each thing that happens, and on a terminal a line that counts."""

from __future__ import annotations

import contextlib
import os
import shutil
import textwrap
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

#: What a colour means, of an event and of the backend.
COLOURS = {"taken": "32", "waiting": "33", "refused": "31", "title": "1"}
CLEAR = "\r\x1b[K"
#: The longest line, in columns; and where the text of one begins that says when and who.
WIDTH, MARGIN = 80, 19
#: How often a wait says that it goes on, in seconds: on a terminal, and elsewhere.
TICK_S, REPORT_S = 0.5, 3.0


class Show:
    """Prints to a stream; safe to use from several threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        #: Whether colours are wanted.
        self.is_coloured = self._is_terminal and not os.environ.get("NO_COLOR")
        self._width = min(WIDTH, shutil.get_terminal_size().columns) if self._is_terminal else WIDTH
        self._began_at = time.monotonic()
        self._lock = threading.Lock()
        self._counting = ""

    def line(self, who: str, text: str, colour: str = "") -> None:
        """Print what somebody does."""
        begin = f"{time.monotonic() - self._began_at:6.1f} s  {who:<8} "
        first, *others = self._wrapped(text, MARGIN)
        self._print("\n".join([begin + self.coloured(first, colour), *(self._margin(one, colour) for one in others)]))

    def _margin(self, text: str, colour: str) -> str:
        return " " * MARGIN + self.coloured(text, colour)

    def _wrapped(self, text: str, margin: int) -> list[str]:
        return textwrap.wrap(text, max(self._width - margin, 20)) or [""]

    def text(self, text: str, hanging: int = 0) -> None:
        """Print a text as it is, but that a line which is too long goes on in the next, so many columns further in."""
        for line in text.split("\n"):
            if len(line) <= self._width:
                self._print(line)
            else:
                options = {"subsequent_indent": " " * hanging, "replace_whitespace": False}
                self._print(textwrap.fill(line, self._width, **options))  # type: ignore[arg-type] # by name

    def title(self, text: str) -> None:
        """Print a line that stands out, after an empty one."""
        self._print("\n" + "\n".join(self.coloured(one, "title") for one in self._wrapped(text, 0)))

    def coloured(self, text: str, colour: str) -> str:
        """Return a text in the colour of what it says: taken, waiting or refused; as it is where none is wanted."""
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.is_coloured and colour else text

    def count(self, *parts: tuple[str, str]) -> None:
        """Show the counting line below the others, of texts with their colours; only on a terminal."""
        if not self._is_terminal:
            return
        left, shown = self._width, []
        for part, colour in parts:
            left -= len(part) + 3
            if left >= 0:  # a longer one would go on in the next line, and stay there
                shown.append(self.coloured(part, colour))
        text = "   ".join(shown)
        with self._lock:
            self._counting = text
            self._stream.write(f"{CLEAR}{text}")
            self._stream.flush()

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say what is waited for within, and from time to time that it goes on."""
        self.line("demo", what)
        began_at, has_ended = time.monotonic(), threading.Event()

        def tell() -> None:
            while not has_ended.wait(TICK_S if self._is_terminal else REPORT_S):
                seconds = f"{time.monotonic() - began_at:.0f} s so far"
                if self._is_terminal:
                    self.count((seconds, "waiting"))
                else:
                    self.line("demo", seconds)

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        try:
            yield
        finally:
            has_ended.set()
            thread.join()
            self.count()

    def _print(self, text: str) -> None:
        with self._lock:
            self._stream.write(f"{CLEAR}{text}\n{self._counting}" if self._counting else f"{text}\n")
            self._stream.flush()
