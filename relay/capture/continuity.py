"""Detects that Moodle's log was switched off, purged, emptied, truncated or restored. It serves `capture.log`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from relay.capture.start import History
from relay.model import Position
from relay.outbox.values import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.model import Log, LogRow
    from relay.moodle.contract import Moodle
    from relay.outbox.contract import Ledger

#: How often the log store's settings are looked at, in seconds.
STORE_CHECK_S = 60.0
#: How many checkpoints (id and time of a row) are kept, to find out that the database was restored from a backup.
CHECKPOINTS = 24
#: A new checkpoint is kept at most this often, in seconds of the log.
CHECKPOINT_EVERY_S = 60
#: A log that ends before the position for so long, in seconds, is no copy that is a little behind.
BEHIND_S = 10.0
#: Where the outbox keeps them: a name that older versions read.
STATE_KEY = "anchors"


class Continuity:
    """Checks that the log is still the one that was read before, and says what is not as it was."""

    def __init__(self, *, moodle: Moodle, outbox: Ledger, log: Log) -> None:
        self._moodle = moodle
        self._outbox = outbox
        self._log = log
        self._checkpoints: list[tuple[int, int]] = []
        self._store_checked_at = 0.0
        #: Moodle's standard log was off at the last look.
        self.is_store_off = False
        self._is_empty = False
        #: Since when the log ends before the position, in unix seconds.
        self._behind_since: float | None = None
        #: When the log last ended at the position or behind it, in unix seconds.
        self._whole_at = 0.0

    def load(self) -> None:
        """Read the checkpoints that an earlier start has kept. Raises OutboxError."""
        saved = json.loads(self._outbox.state(STATE_KEY) or "[]")
        self._checkpoints = [(log_id, seconds) for log_id, seconds in saved]

    def check_store(self, now: float) -> None:
        """Say once that Moodle's standard log is off, and once that it is on again. Raises MoodleError."""
        if 0 <= now - self._store_checked_at < STORE_CHECK_S:
            return
        self._store_checked_at = now
        is_off = not self._moodle.log_store().is_enabled
        if is_off and not self.is_store_off:
            self._log.error(
                "log_store.disabled",
                hint="Moodle records nothing that relay could send: switch the standard log on under Site "
                "administration > Plugins > Logging > Manage log stores, then run relay sync for the time between.",
            )
        elif self.is_store_off and not is_off:
            self._log.warning("log_store.enabled", hint="What happened while it was off: relay sync.")
        self.is_store_off = is_off

    def check_end(self, position: Position, top: int, now: float) -> Position:
        """Go back where the log's highest id, `top`, is below the position; warn once where the log is empty.

        Returns the position to read on from. Raises MoodleError and OutboxError.
        """
        if top >= position.high:
            self._is_empty = False
            self._whole_at = now
            was_behind, self._behind_since = self._behind_since is not None, None
            return self._check_newest(position, top, now) if was_behind else position
        if top > 0:
            return self._check_behind(position, top, now)
        if not self._is_empty:
            self._is_empty = True
            hint = "Rows that were deleted before relay read them: relay sync fills what is missing."
            self._log.warning("log.emptied", cursor=position.high, hint=hint)
        return position

    def check_restored(self, position: Position, now: float) -> Position:
        """Compare the newest checkpoint with the log, which may be a restored one that has grown since.

        Returns where to read on.
        """
        top, low = self._moodle.max_id(), self._moodle.min_id()
        if low > position.high + 1:
            hint = "Moodle deleted log rows before relay read them: relay sync fills what is missing."
            self._log.error("log.purged", cursor=position.high, first_id=low, hint=hint)
        elif top >= position.high:
            return self._check_newest(position, top, now)
        return position

    def _check_behind(self, position: Position, top: int, now: float) -> Position:
        """Wait a while for a copy that is only behind (a replica); a log that stays so was truncated or restored.

        So was one that has been empty, or ends with a row that is newer than the last look: nothing waits for it then.
        """
        if self._behind_since is None or now < self._behind_since:
            self._behind_since = now
        is_new = self._is_empty or (self._moodle.row_time(top) or 0) > self._whole_at
        if is_new or now - self._behind_since >= BEHIND_S:
            self._behind_since, self._is_empty = None, False
            return self._rewind(position, top, now)
        return position

    def _check_newest(self, position: Position, top: int, now: float) -> Position:
        """Compare the newest checkpoint that is still there with the log: one that is gone says nothing."""
        for log_id, seconds in reversed(self._checkpoints):
            found = self._moodle.row_time(log_id)
            if found is not None:
                return position if found == seconds else self._rewind(position, top, now)
        return position

    def _rewind(self, position: Position, top: int, now: float) -> Position:
        """Go back to the newest checkpoint where the log is still the one that was read, to read on from there.

        What was recorded already has the same event id, and changes nothing; what is new is recorded.
        """
        kept = [(log_id, seconds) for log_id, seconds in self._checkpoints if self._moodle.row_time(log_id) == seconds]
        state = {STATE_KEY: json.dumps(kept)}
        if kept:
            high = kept[-1][0]
        else:
            started_at = int(self._outbox.state("started_at") or 0)
            first = self._moodle.first_since(started_at)
            high = first - 1 if first else top
            # A row that is stamped in the future may stand before years of history.
            state |= History(last_id=top, before=started_at).state()
        after = Position(high=high, gaps=tuple(gap for gap in position.gaps if gap.high <= high))
        self._outbox.accept(Batch(before=position, after=after, state=state), now)
        self._checkpoints = kept
        self._log.error(
            "log.rewound",
            cursor=position.high,
            log_end=top,
            read_again_from=high + 1,
            hint="The log was truncated or restored from a backup. Relay reads on from the last place that is "
            "unchanged; relay sync fills what the log has lost.",
        )
        return after

    def remember(self, rows: Sequence[LogRow]) -> dict[str, str]:
        """Make the newest of these rows a checkpoint, thin out the older ones; return the state to keep."""
        # Not of history that a restore copied in: Moodle's clean-up deletes it by its old times.
        own = [row for row in rows if row.origin is not None]
        if not own:
            return {}
        checkpoint = (own[-1].id, own[-1].created_at)
        if self._checkpoints and abs(checkpoint[1] - self._checkpoints[-1][1]) < CHECKPOINT_EVERY_S:
            return {}
        self._checkpoints.append(checkpoint)
        if len(self._checkpoints) > CHECKPOINTS:
            half = CHECKPOINTS // 2
            self._checkpoints = self._checkpoints[:half:2] + self._checkpoints[half:]
        return {STATE_KEY: json.dumps(self._checkpoints)}
