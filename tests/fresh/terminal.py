"""A person before a terminal: what a command shows there, and what is typed."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A line of the SQL that `relay init` shows.
STATEMENT = re.compile(r"^(?:CREATE|SET|PREPARE|EXECUTE|DEALLOCATE|GRANT) .*;$", re.MULTILINE)
#: How long a command may say nothing, in seconds.
SILENT_S = 60.0


class Terminal:
    """A command that runs in a terminal of its own. Raises OSError where this machine has none to give."""

    def __init__(self, command: Sequence[str]) -> None:
        self._leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=follower, stdout=follower, stderr=follower, start_new_session=True
        )
        os.close(follower)
        #: All that was shown.
        self.shown = ""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._leader)

    def _read(self) -> bool:
        if not select.select([self._leader], [], [], SILENT_S)[0]:
            raise TimeoutError(self.shown)
        try:
            data = os.read(self._leader, 65536)
        except OSError:  # its other end is closed
            data = b""
        self.shown += data.decode().replace("\r\n", "\n")
        return bool(data)

    def until(self, text: str) -> str:
        """Read until a text is shown; return what was shown since the last one."""
        while text not in self.shown[self._seen :]:
            assert self._read(), self.shown
        begin, self._seen = self._seen, self.shown.index(text, self._seen) + len(text)
        return self.shown[begin : self._seen]

    def enter(self, text: str = "") -> None:
        """Type a line."""
        os.write(self._leader, f"{text}\n".encode())

    def answer(self, question: str, text: str = "") -> None:
        """Wait for a question, and type its answer."""
        self.until(question)
        self.until(": ")
        self.enter(text)

    def interrupt(self) -> None:
        """Press Ctrl-C, once the answer is waited for: Python sees one just before that with the next key only."""
        # Its call to the kernel has the terminal, the descriptor 0, as its first argument: it reads.
        while Path(f"/proc/{self.process.pid}/syscall").read_text().split()[1:2] != ["0x0"]:
            os.sched_yield()
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait for the end of the command; return its exit code."""
        while self._read():
            pass
        return self.process.wait(SILENT_S)
