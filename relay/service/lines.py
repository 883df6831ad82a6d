"""Where log lines go: to a stream that may be full, closed or stalled; that never ends the process (contract, 7)."""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
import threading
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.model import Log
    from relay.outbox.values import Migrated

#: How long a line waits for a reader that does not read, in seconds; the lines behind it don't wait any more, until the
#: reader reads again.
STALL_S = 5.0
#: What poll(2) promises to have room for, in bytes: a larger write to a pipe may block.
PIECE = select.PIPE_BUF


class Lines:
    """Writes log lines to a stream, each at once and whole, whichever thread it comes from.

    A line that cannot be written is dropped and counted. Before the next one that can be written comes the line of
    `tell`.
    """

    def __init__(self, stream: TextIO | None, *, journal: str | None = None) -> None:
        """Take a stream; None, as Python has it where the process was started without one, takes no line.

        `journal`: what systemd's JOURNAL_STREAM says. Where the stream is that one, lines begin with a priority.

        Where it is a file of the system, it is written to past the stream's own buffer: what a failed write leaves
        there would be written later after all, and could not be counted.
        """
        self._is_journal = journal is not None and _identity(stream) == journal
        self._is_terminal = stream is not None and stream.isatty()
        self._encoding = (stream and stream.encoding) or "utf-8"
        self._sink = _sink(stream)
        self._lock = threading.Lock()
        self._kept = threading.local()
        #: How many lines were dropped since the start.
        self.dropped = 0
        #: How many of them a later line has told of.
        self._told = 0
        #: The last write ended in the midst of a line.
        self._is_torn = False
        #: Returns the line that tells how many lines were dropped since the last such line; None: nothing tells it.
        self.tell: Callable[[int], str] | None = None

    def isatty(self) -> bool:
        """Say whether a person reads along."""
        return self._is_terminal

    def line(self, text: str) -> None:
        """Write a line, or keep it until the end of `buffered`."""
        kept: list[str] | None = getattr(self._kept, "lines", None)
        if kept is None:
            self._write([text])
        else:
            kept.append(text)

    debug = info = line

    def warning(self, text: str) -> None:
        """Write a line that `journalctl -p warning` shows."""
        self.line(self.urgent(text, "<4>"))

    def error(self, text: str) -> None:
        """Write a line that `journalctl -p err` shows."""
        self.line(self.urgent(text, "<3>"))

    critical = error

    def urgent(self, text: str, priority: str) -> str:
        """Return a text with a priority (sd-daemon(3)) before each of its lines, where the journal reads them."""
        return "\n".join(priority + line for line in text.split("\n")) if self._is_journal else text

    @contextlib.contextmanager
    def buffered(self) -> Iterator[None]:
        """Keep the lines of this thread, and write them at the end: one write costs as much for hundreds as for one."""
        kept: list[str] = []
        self._kept.lines = kept
        try:
            yield
        finally:
            self._kept.lines = None
            if kept:
                self._write(kept)

    def _write(self, texts: list[str]) -> None:
        with self._lock:
            if self.dropped > self._told and self.tell is not None:
                missed = self.dropped - self._told
                if self._put([self.tell(missed)]):
                    self.dropped += len(texts)
                    return
                self._told += missed
            self.dropped += self._put(texts)

    def _put(self, texts: list[str]) -> int:
        """Write lines; return how many could not be written whole."""
        text = "\n".join(texts) + "\n"
        # A character that the stream's encoding lacks is no reason to lose the line.
        data = text.encode(self._encoding, "backslashreplace")
        begin = b"\n" if self._is_torn else b""
        done = self._sink(begin + data)
        if done < len(begin):
            return len(texts)
        whole = data[: done - len(begin)]
        # A line of several, such as a traceback, counts as all that it is made of: what was asked for is lost.
        lost = 0 if len(whole) == len(data) else max(1, len(texts) - whole.count(b"\n"))
        self._is_torn = bool(whole) and not whole.endswith(b"\n")
        return lost


def _identity(stream: TextIO | None) -> str:
    """Return the device and the inode of a stream's file, as JOURNAL_STREAM has them; '' where there is none."""
    try:
        found = os.fstat(stream.fileno()) if stream is not None else None
    except (OSError, ValueError):
        return ""
    return "" if found is None else f"{found.st_dev}:{found.st_ino}"


def _sink(stream: TextIO | None) -> Callable[[bytes], int]:
    """Return what writes bytes to a stream, and says how many of them it could write."""
    if stream is None:
        return lambda _data: 0
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        # No file of the system, such as io.StringIO.
        return lambda data: bool(stream.write(data.decode(stream.encoding or "utf-8"))) and len(data)
    with contextlib.suppress(OSError):
        stream.flush()
    return _Descriptor(descriptor).write


class _Descriptor:
    """A file, pipe, socket or terminal. A pipe that nobody reads is waited for once, for STALL_S."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._is_file = stat.S_ISREG(os.fstat(number).st_mode)
        self._poll = select.poll()
        self._poll.register(number, select.POLLOUT)
        self._wait_s = STALL_S

    def write(self, data: bytes) -> int:
        """Write as much as can be written; return how many bytes that is."""
        done = 0
        try:
            while done < len(data):
                if self._is_file:
                    done += os.write(self._number, data[done:])
                elif self._has_room():
                    done += os.write(self._number, data[done : done + PIECE])
                else:
                    break
        except OSError:
            # Full, or closed by its reader; what the matter is, nobody is there to be told.
            return done
        return done

    def _has_room(self) -> bool:
        has_room = bool(self._poll.poll(self._wait_s * 1000))
        self._wait_s = STALL_S if has_room else 0.0
        return has_room


def say_migrated(log: Log | None, migrated: Migrated) -> None:
    """Say that an outbox of an older relay has this one's tables now, and where the copy of its file is.

    A command without a log says it to a person, on stderr.
    """
    if log is not None:
        copy = {"copy": migrated.copy} if migrated.copy else {}
        log.info("outbox.migrated", before=migrated.before, after=migrated.after, **copy)
    else:
        copied = f"; the file as it was: {migrated.copy}" if migrated.copy else ""
        said = f"relay: the outbox's tables were brought from version {migrated.before} to {migrated.after}{copied}."
        Lines(sys.stderr).line(said)
