"""Ctrl-C, heard only where the demo waits: nothing that is half made is left behind."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How long is waited at once, in seconds: a signal that another thread was given is heard then.
ONCE_S = 0.1
NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupts:
    """Signals that ask for the end: one raises KeyboardInterrupt at the next wait, and further ones do nothing."""

    def __init__(self) -> None:
        self._has_come = self._is_heard = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in NUMBERS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, *_: object) -> None:
        self._has_come = True
        if self._is_heard:
            self._is_heard = False
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Raise KeyboardInterrupt within, for a signal that comes now or has come before."""
        self._is_heard = True
        try:
            if self._has_come:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_heard = False


def output_of(process: subprocess.Popen[Any]) -> Any:
    """Return what a process prints to its end; a signal is heard meanwhile, whichever thread it was given to."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=ONCE_S)[0]
