"""One relay: its parts, and a pass of each of its jobs as a function of the time. No pass starts a thread or waits."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.errors import MoodleError, OutboxUnavailable
from relay.operations.purge import REST_S, Purge
from relay.outbox.contract import RENEW_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.capture.daily import Daily
    from relay.capture.log import Capture
    from relay.config import Config
    from relay.delivery.dispatch import Dispatch
    from relay.delivery.sender import Sender
    from relay.model import Log
    from relay.moodle.contract import Moodle
    from relay.operations.status import MoodleLog
    from relay.outbox.contract import Outbox

DAY_S = 86400.0
#: How often it is looked whether a day has passed, in seconds: less than makes a loop count as stuck.
PURGE_LOOK_S = 30.0
#: For how many times as long as a step of the purge took the outbox is left to others.
PURGE_REST = 3
#: Where something came, more is to be expected: the log is read so many times as soon.
SOONER = 2
#: Where nothing came for so many seconds, half as often; but at least every so many, unless the config wants less.
QUIET_AFTER_S, QUIET_MOST_S = 10.0, 0.2
#: Where Moodle's server is slow, it is left alone for so many times as long as it took to say that nothing is new; up
#: to so many seconds.
SLOW_REST, SLOW_REST_MAX_S = 10, 5.0


@dataclass(slots=True, kw_only=True)
class Relay:
    """A relay made of its parts, for one config.

    Each pass takes the time (unix seconds, by the outbox's clock) and returns after how many seconds the next one is
    wanted. A pass raises RelayError, and the same pass may be tried again after that: MoodleError and OutboxUnavailable
    can go away by themselves.
    """

    config: Config
    outbox: Outbox
    capture: Capture
    #: The connection that the daily passes over Moodle's tables have for themselves, and these passes.
    tables: Moodle
    daily: Daily
    sender: Sender
    dispatch: Dispatch
    log: Log
    #: Gives seconds that never go back.
    monotonic: Callable[[], float]
    #: Holds, at a time in unix seconds, what an older relay has recorded and Moodle may keep back. Raises OutboxError.
    hold_recorded: Callable[[float], object]
    #: Holds, at such a time, what was recorded and never sent, and Moodle keeps back by now. Raises RelayError.
    hold_hidden: Callable[[float], object]
    #: Makes what the first delivery needs and the first look at the log does not; None where that is there. Raises
    #: RelayError.
    prepare: Callable[[], None] | None = None
    #: Let the next pass of dispatch, or of capture, begin at once; whoever runs the passes sets them.
    wake_dispatch: Callable[[], None] = field(default=lambda: None)
    wake_capture: Callable[[], None] = field(default=lambda: None)
    #: When this relay last completed a pass of capture and of delivery, in unix seconds; 0.0 before the first one.
    captured_at: float = 0.0
    dispatched_at: float = 0.0
    #: Why Moodle could not be read at the last try; '' where it could.
    moodle_error: str = ""
    #: When the log was last found to hold something new, or was first looked at, by the monotonic clock.
    _came_at: float | None = None
    _was_leading: bool = False
    _has_held: bool = False
    _has_looked: bool = False
    _holding: threading.Lock = field(default_factory=threading.Lock)
    _purge: Purge | None = None

    def capture_pass(self, now: float) -> float:
        """Read what is new in Moodle's log into the outbox, where this relay leads."""
        if not self.outbox.leads():
            # Another relay reads the log; who takes over from it begins where that one was. What this one has seen of
            # the log is old from now on.
            self.capture.forget()
            self.captured_at, self.moodle_error = 0.0, ""
            return self.config.moodle.poll_interval
        # Before anything is added to what an older relay has recorded.
        self._hold_recorded(now)
        began_at = self.monotonic()
        try:
            progress = self.capture.run_once(now)
        except (MoodleError, OutboxUnavailable) as error:
            self.moodle_error = str(error) if isinstance(error, MoodleError) else ""
            # A commit without an answer may have moved the position.
            self.capture.forget()
            raise
        self.captured_at, self.moodle_error = now, ""
        if progress.is_more:
            wait = 0.0
        elif progress.accepted:
            wait = self.config.moodle.poll_interval / SOONER
        else:
            took = self.monotonic() - began_at
            wait = max(self._quiet_s(began_at), min(took * SLOW_REST, SLOW_REST_MAX_S))
        if progress.accepted or self._came_at is None:
            self._came_at = began_at
        if progress.accepted:
            self.wake_dispatch()
        return min(wait, self.capture.next_look_in(now))

    def _quiet_s(self, now: float) -> float:
        """Return the time between two looks that find nothing new, in seconds; `now` by the monotonic clock."""
        usual = self.config.moodle.poll_interval
        is_quiet = self._came_at is not None and now - self._came_at > QUIET_AFTER_S
        return max(usual, min(2 * usual, QUIET_MOST_S)) if is_quiet else usual

    def dispatch_pass(self, now: float) -> float:
        """Record what has come back from the backend, and hand to the senders what is due."""
        self._hold_recorded(now)
        self._look_first(now)
        delay = self.dispatch.run_once(now)
        self.dispatched_at = now
        return delay

    def _hold_recorded(self, now: float) -> None:
        """Hold what is to be looked at first, once; the loops that read and deliver begin at one time."""
        if self._has_held:
            return
        with self._holding:
            if not self._has_held:
                self.hold_recorded(now)
                self._has_held = True

    def _look_first(self, now: float) -> None:
        """Look, once, at what was recorded before this start: from then on the passes of capture do so.

        Where Moodle is away, nothing can be asked, and what is recorded goes out.
        """
        if not self._has_looked and self.config.enabled:
            with contextlib.suppress(MoodleError):
                self.hold_hidden(now)
            self._has_looked = True

    def log_seen(self) -> MoodleLog:
        """Return what the passes over Moodle's log have found."""
        from relay.operations.status import MoodleLog  # noqa: PLC0415 -- who asks has read it; a start needs it not

        if self.moodle_error:
            return MoodleLog(error=self.moodle_error)
        if not self.captured_at:
            return MoodleLog()
        seen = self.capture.seen
        return MoodleLog(end=seen.end, unread_since=seen.unread_since, is_on=not seen.is_store_off)

    def purge_pass(self, now: float) -> float:
        """Delete what is older than the retention, once a day, where this relay leads; a step in each pass."""
        if not self.outbox.leads():
            self._purge = None
            return PURGE_LOOK_S
        if self._purge is None and abs(now - float(self.outbox.state("purged_at") or 0)) >= DAY_S:
            self._purge = Purge(self.outbox, now - self.config.outbox.retention)
        if self._purge is None:
            return PURGE_LOOK_S
        began_at = self.monotonic()
        if self._purge.step():
            # Whoever records or claims an event waits for one step at the most, and finds the outbox free mostly.
            return max(REST_S, PURGE_REST * (self.monotonic() - began_at))
        self.outbox.set_state("purged_at", str(int(now)), now)
        if self._purge.count:
            self.log.info("outbox.purged", events=self._purge.count)
        self._purge = None
        return PURGE_LOOK_S

    def reconcile_pass(self, now: float) -> float:
        """Compare a chunk of Moodle's tables with what was sent of it, where this relay leads and it is time to."""
        if not self.outbox.leads():
            self.daily.forget()
            self.tables.close()
            return PURGE_LOOK_S
        try:
            delay = self.daily.run_once(now)
        except (MoodleError, OutboxUnavailable):
            self.daily.forget()
            raise
        if delay >= PURGE_LOOK_S:
            self.tables.close()
        self.wake_dispatch()
        return delay

    def lease_pass(self, now: float) -> float:
        """Renew this relay's lease on a shared outbox, and say when it begins or ceases to lead."""
        self.outbox.renew(now)
        is_leading = self.outbox.leads()
        if is_leading and not self._was_leading:
            self.log.info("lead.taken")
            self.wake_capture()
        elif self._was_leading and not is_leading:
            self.log.warning("lead.lost", hint="Another relay reads the log now; this one goes on delivering.")
        self._was_leading = is_leading
        return RENEW_S

    def next_try(self, now: float) -> float:
        """Return at `now` when something can be sent next, in unix seconds; infinity where nothing waits."""
        breaker = self.dispatch.breaker
        due_at = self.outbox.next_due(self.dispatch.types, now)
        if due_at is None:
            return float("inf")
        if breaker.backend is not None:
            return breaker.backend.probe_at
        return min([due_at, *(path.probe_at for path in breaker.paths.values())])

    def close(self) -> None:
        """End the workers, and close the connections to the backend; call it when nothing is under way any more."""
        self.dispatch.close()
        self.sender.close()
