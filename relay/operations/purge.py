"""Deletes what was delivered long ago, in small steps: whoever else uses the outbox gets in between two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.outbox.contract import Admin

#: How many rows one step looks at, and how long nothing is done after it, in seconds.
ROWS = 100
REST_S = 0.02


class Purge:
    """A purge, which is a step at a time.

    What is undelivered, skipped, or a dead letter is never touched: somebody may still ask for it.
    """

    def __init__(self, outbox: Admin, before: float) -> None:
        """Take when the events ended that are deleted: before a time in unix seconds."""
        self._outbox = outbox
        self._before = before
        self._looked_at: int | None = 0
        #: How many events have been deleted.
        self.count = 0

    def step(self) -> bool:
        """Delete some of the events, or give back some of the room that they took; say whether there is more to do.

        Raises OutboxError; what was deleted until then stays deleted.
        """
        if self._looked_at is None:
            return self._outbox.shrink()
        purged = self._outbox.purge(self._before, self._looked_at, ROWS)
        self.count += purged.count
        self._looked_at = purged.looked_at
        return self._looked_at is not None or self.count > 0


def purge(outbox: Admin, before: float, sleep: Callable[[float], object]) -> int:
    """Delete delivered events that ended before a time (unix seconds); return how many. Raises OutboxError.

    `sleep` waits so many seconds.
    """
    purging = Purge(outbox, before)
    while purging.step():
        sleep(REST_S)
    return purging.count
