"""Moving an outbox, with all that it holds, into another one of whichever kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import OutboxError, UsageError
from relay.outbox.tables import MOVED, MOVED_TO, MOVING, STATE, is_own_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.outbox.contract import Outbox

#: Rows that are held in memory at once.
CHUNK = 200


class Move:
    """A move from one outbox, which stays as it is and is marked at the end, into an empty one."""

    def __init__(self, *, source: Outbox, source_url: str, target: Outbox, target_url: str) -> None:
        """Take both outboxes, opened for a move, and how the config names them."""
        self._source, self._source_url = source, source_url
        self._target, self._target_url = target, target_url

    def check(self) -> None:
        """Raise UsageError where the one is not there to be moved, or the other is not empty."""
        if self._source_url == self._target_url:
            raise UsageError(
                "The outbox is there already: both configs name the same.",
                hint="Give a copy of the config in which outbox.url is the new one.",
            )
        is_broken_off = bool(self._target.state(MOVING))
        moved_to = self._source.state(MOVED_TO)
        if self._source.state(MOVING) or (moved_to and not is_broken_off):
            raise UsageError(
                f"The outbox {self._source_url} is not the current one: it was moved"
                f"{f' to {moved_to}' if moved_to else ', or half of it is there'}.",
                hint="Give the config that names the current one with --config.",
            )
        # What was moved away from here earlier is there, and newer, in the outbox that is to come back.
        is_old = self._target.state(MOVED_TO) == self._source_url
        is_empty = not self._target.counts().by_type and self._target.position() is None
        if not (is_broken_off or is_old or is_empty):
            raise UsageError(
                f"The outbox {self._target_url} holds events already.", hint="Name an empty schema, or a new file."
            )

    def run(self, now: float, tell: Callable[[int], None]) -> int:
        """Copy all rows, compare, and mark the old outbox; return how many rows there are. Raises OutboxError.

        Killed at any moment, the old outbox is whole, and the same move begins anew.
        """
        self._target.set_state(MOVING, self._source_url, now)
        self._target.clear()
        total = 0
        for table in MOVED:
            total = self._copy(table, total, tell)
        self._compare()
        self._source.set_state(MOVED_TO, self._target_url, now)
        self._target.set_state(MOVED_TO, "", now)
        self._target.set_state(MOVING, "", now)
        return total

    def _copy(self, table: str, total: int, tell: Callable[[int], None]) -> int:
        for rows in self._source.dump(table, CHUNK):
            kept = [row for row in rows if table != STATE or not is_own_state(row["config_key"])]
            self._target.load(table, kept)
            total += len(kept)
            tell(total)
        return total

    def _compare(self) -> None:
        for name in ("sizes", "counts", "position", "waiting"):
            if getattr(self._source, name)() != getattr(self._target, name)():
                raise OutboxError(
                    f"The new outbox is not the same as the old one: they differ in their {name}.",
                    hint="The old one is as it was: go on with that, and report this fault in relay.",
                )
