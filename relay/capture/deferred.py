"""Log rows that are read again: what they point to is not there yet. Kept in the outbox, so that a restart goes on.

A log row may be visible before the row it points to (a replica, a proxy, an open transaction), and a role comes after
its enrolment. Such a row has been seen, so it is none of the gaps; it holds up nothing meanwhile.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from relay.model import LogRow
    from relay.outbox.contract import Ledger

#: How old a log row, in seconds, may be at most to be read again; and for how long after relay first saw it, as the two
#: clocks need not agree (contract, end of section 2).
WAIT_S = 60.0
#: How often, in seconds, where nothing else is new.
LOOK_EVERY_S = 1.0
STATE_KEY = "deferred"


class Deferred:
    """The log rows that are read again, each with the time when it was first seen."""

    def __init__(self, outbox: Ledger) -> None:
        self._outbox = outbox
        self._since: dict[int, float] = {}
        self._looked_at = 0.0

    def load(self) -> None:
        """Read what an earlier start has kept. Raises OutboxError."""
        saved = json.loads(self._outbox.state(STATE_KEY) or "{}")
        self._since = {int(log_id): float(since) for log_id, since in saved.items()}

    def __contains__(self, log_id: int) -> bool:
        return log_id in self._since

    def __len__(self) -> int:
        return len(self._since)

    @property
    def ids(self) -> tuple[int, ...]:
        """Their log ids, in ascending order."""
        return tuple(sorted(self._since))

    def is_due(self, now: float) -> bool:
        """Say whether it is time, in unix seconds, to read them again."""
        return bool(self._since) and not 0 <= now - self._looked_at < LOOK_EVERY_S

    def may_wait(self, row: LogRow, now: float) -> bool:
        """Say whether a row is young enough, by its own time and since it was first seen, to be read again.

        Its age may be negative, by as much as two clocks differ; a row that is stamped far ahead is not young.
        """
        age = now - row.created_at
        is_young = age < WAIT_S and (age > -WAIT_S or row.id in self._since)
        return is_young and now - self._first_seen(row.id, now) < WAIT_S

    def _first_seen(self, log_id: int, now: float) -> float:
        # Not later than now: the clock may have been set back.
        return min(self._since.get(log_id, now), now)

    def after(self, read: Collection[int], deferred: Collection[int], now: float) -> Mapping[int, float]:
        """Return what is to be read again after these ids were read at `now`, and those of them were deferred."""
        kept = {log_id: since for log_id, since in self._since.items() if log_id not in read}
        return kept | {log_id: self._first_seen(log_id, now) for log_id in deferred}

    def state(self, after: Mapping[int, float]) -> dict[str, str]:
        """Return the state to keep with the next batch; nothing where it is as it was."""
        return {} if after == self._since else {STATE_KEY: json.dumps(after)}

    def move_to(self, after: Mapping[int, float]) -> None:
        """Take over what has been accepted."""
        self._since = dict(after)

    def looked(self, now: float) -> None:
        """Note that all of them were read again at `now`."""
        self._looked_at = now
