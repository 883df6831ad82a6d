"""Deletes what was delivered long ago."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.outbox.contract import Admin

#: Events that are deleted in one transaction: the daemon's other loops write between two of them.
BATCH = 500


def purge(outbox: Admin, before: float) -> int:
    """Delete delivered events that ended before a time (unix seconds), in small batches; return how many.

    What is undelivered, skipped, or a dead letter is never touched: somebody may still ask for it. Raises OutboxError;
    what was deleted until then stays deleted.
    """
    total = 0
    while (count := outbox.purge(before, BATCH)) > 0:
        total += count
    if total:
        outbox.shrink()
    return total
