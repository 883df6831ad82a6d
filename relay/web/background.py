"""What may take a while is found out in the background and kept for a moment: no page waits long for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.service.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

#: What was found is shown for so long, in seconds, before it is asked for again; and for so many times as long as it
#: took to be found.
FRESH_S, REST = 2.0, 20
#: What is not fresh is shown for so long still, in seconds, while it is asked for again.
OLD_S = 30.0
#: How long a page waits, in seconds.
WAIT_S = 0.06
#: How many answers are kept.
MOST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An answer, or the error that came instead."""

    #: When, and how long it took, in seconds of a clock that is never set.
    at: float
    took_s: float
    value: object = None
    error: Exception | None = None


class Background:
    """Finds things out, each under a key, in two threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._pool: Pool[tuple[str, Callable[[], object]]] = Pool(2, self._find, "web-background")
        self._changed = threading.Condition()
        self._found: dict[str, Found] = {}
        self._asked: set[str] = set()

    def get(self, key: str, make: Callable[[], object]) -> object | None:
        """Return what `make` makes, now or a moment ago; None where it is still to be found. Raises what it raises."""
        with self._changed:
            if not self._is_younger(key, FRESH_S, REST):
                if key not in self._asked:
                    self._asked.add(key)
                    self._pool.submit((key, make))
                self._changed.wait_for(lambda: key not in self._asked, WAIT_S)
            found = self._found.get(key) if self._is_younger(key, OLD_S, 2 * REST) else None
        if found is not None and found.error is not None:
            raise found.error
        return None if found is None else found.value

    def close(self) -> None:
        """End the threads."""
        self._pool.close(1.0)

    def _is_younger(self, key: str, seconds: float, times: int) -> bool:
        found = self._found.get(key)
        return found is not None and self._monotonic() - found.at < max(seconds, times * found.took_s)

    def _find(self, item: tuple[str, Callable[[], object]]) -> None:
        key, make = item
        began = self._monotonic()
        value, error = None, None
        try:
            value = make()
        except Exception as caught:  # noqa: BLE001 -- whatever it is, who asks is to have it
            error = caught
        now = self._monotonic()
        with self._changed:
            self._asked.discard(key)
            self._found.pop(key, None)
            self._found[key] = Found(at=now, took_s=now - began, value=value, error=error)
            while len(self._found) > MOST:
                del self._found[next(iter(self._found))]
            self._changed.notify_all()
