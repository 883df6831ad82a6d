"""The daemon's own passes of reconcile: when one is due, and how much of the time it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import MoodleTooSlow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.capture.reconcile import Progress, Reconciling
    from relay.outbox.contract import Outbox

#: How often the daemon looks whether a pass is due, in seconds: less than makes a loop count as stuck.
LOOK_S = 30.0
#: With so many undelivered events the daemon's passes wait, and look again after so many seconds.
CROWD, CROWDED_S = 2000, 5.0


class Daily:
    """The daemon's own passes: one table after the other, each begun anew when the interval is over."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        tables: Sequence[str],
        interval_s: float,
        share: float,
        start: Callable[[str], Reconciling | None],
        monotonic: Callable[[], float],
        crowd: int = CROWD,
    ) -> None:
        """Take which share of the time may be used, 0 to 1, and what makes the passes of a table.

        `start` connects to Moodle, and returns None where the config sends nothing of the table.
        """
        self._outbox = outbox
        self._tables = tuple(tables)
        self._interval_s = interval_s
        self._share = share
        self._start = start
        self._monotonic = monotonic
        self._crowd = crowd
        #: What is under way, by table.
        self._running: dict[str, tuple[Reconciling, Progress]] = {}

    def run_once(self, now: float) -> float:
        """Take one step of what is due; return after how many seconds the next one is wanted.

        Raises MoodleError and OutboxError: the next call goes on from what is in the outbox.
        """
        waits = [LOOK_S]
        began_at = self._monotonic()
        for name in self._tables:
            running = self._running.get(name) or self._begin(name, now)
            if running is None:
                continue
            reconciling, progress = running
            ready_at = reconciling.ready_at(progress, now)
            if ready_at > now:
                waits.append(min(ready_at - now, LOOK_S))
                continue
            if self._is_crowded():
                return CROWDED_S
            self._running.pop(name, None)
            try:
                progress, _ = reconciling.step(progress, now)
            except MoodleTooSlow:
                # It answers, and has too much to do: there is time.
                return LOOK_S
            if not progress.is_done:
                self._running[name] = (reconciling, progress)
            took = self._monotonic() - began_at
            return min(took * (1 / self._share - 1), LOOK_S)
        return min(waits)

    def forget(self) -> None:
        """Go on from what is in the outbox: another relay may have, or a database was away."""
        self._running.clear()

    def _begin(self, name: str, now: float) -> tuple[Reconciling, Progress] | None:
        """Return the pass of a table that has not ended, or that is due; None where neither is."""
        begun = float(self._outbox.state(f"reconcile.{name}.begun") or 0)
        is_running = self._outbox.state(f"reconcile.{name}") not in (None, "{}")
        if not is_running and 0 <= now - begun < self._interval_s:
            return None
        reconciling = self._start(name)
        if reconciling is None:
            return None
        progress = reconciling.resumed()
        if progress is None:
            progress = reconciling.begin(now)
            self._outbox.set_state(f"reconcile.{name}.begun", str(now), now)
        self._running[name] = (reconciling, progress)
        return self._running[name]

    def _is_crowded(self) -> bool:
        return self._outbox.waiting().count >= self._crowd
