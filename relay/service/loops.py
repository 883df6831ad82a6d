"""A relay whose passes run in loops, each in a thread of its own; and what is said of databases that are away."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from relay.errors import MoodleError, OutboxUnavailable
from relay.service.daemon import Loop, Watch, supervise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.model import Log
    from relay.service.daemon import Signals, Systemd
    from relay.service.exporter import Exporter
    from relay.service.lease import Opened
    from relay.service.relay import Relay
    from relay.service.report import Reporter

#: Beyond the backend's timeout, how long a stop waits for what is under way, in seconds.
STOP_GRACE_S = 2.0
#: For so long the first look at the log has the process for itself, in seconds: where Moodle does not answer,
#: delivering begins without it.
FIRST_LOOK_S = 0.5
#: How often a stop looks whether all has come back, in seconds.
STOP_LOOK_S = 0.01


class Daemon:
    """A relay whose passes run in loops, each in a thread of its own."""

    def __init__(self, relay: Relay, opened: Opened, before: Daemon | None = None) -> None:
        """Take the daemon before this one: what that said of outages is not said again, but their end is."""
        self.relay = relay
        self._opened = opened
        self._machine = opened.machine
        self.outages: Outages = Outages(relay.log, {} if before is None else before.outages.away)
        self._capturing = self._loop("capture", relay.capture_pass)
        self._dispatching = self._loop("dispatch", relay.dispatch_pass)
        self._purging = self._loop("purge", relay.purge_pass)
        self._reconciling = self._loop("reconcile", relay.reconcile_pass)
        self._leasing = self._loop("lease", relay.lease_pass)
        self._reporting = Loop("report", self._report, self.outages.watch("report"), monotonic=self._machine.monotonic)
        self.loops = [self._capturing, self._dispatching, self._purging, self._reconciling, self._reporting]
        self._reporter: Reporter | None = None
        self._exporter: Exporter | None = None
        if relay.config.metrics.listen is not None:
            from relay.service.exporter import Exporter  # noqa: PLC0415 -- few have it; it brings a server of HTTP

            self._exporter = Exporter(relay.config.metrics.listen, self._figures, relay.log)
            self._exporting = Loop(
                "metrics", self._exporter.run_once, self.outages.watch("metrics"), monotonic=self._machine.monotonic
            )
            self.loops.append(self._exporting)
        if opened.outbox.is_shared:
            self.loops.append(self._leasing)
        relay.wake_capture = self._capturing.wake
        relay.wake_dispatch = relay.dispatch.wake = self._dispatching.wake

    def _loop(self, name: str, run_pass: Callable[[float], float]) -> Loop:
        def run() -> float:
            return run_pass(self._opened.now())

        is_down = name in self.outages.away
        return Loop(name, run, self.outages.watch(name), monotonic=self._machine.monotonic, is_down=is_down)

    def start(self) -> None:
        """Start reading and delivering. Raises RelayError where the backend cannot be reached with what is there.

        What is still to be loaded is loaded behind the first look at the log, which would have to share a core with it.
        """
        prepare, first = self.relay.prepare, [self._capturing, self._leasing]
        started = [loop for loop in self.loops if prepare is not None and loop in first]
        for loop in started:
            loop.start()
        if prepare is not None:
            self._capturing.wait_for_first(FIRST_LOOK_S)
            try:
                prepare()
            except BaseException:
                self._break_off(started)
                raise
        if self._exporter is not None:
            # Who is told that relay is ready may ask for the figures.
            self._exporter.open()
        for loop in self.loops:
            if loop not in started:
                loop.start()

    @staticmethod
    def _break_off(started: Sequence[Loop]) -> None:
        """End what has been started; what does not end in time ends with the process."""
        for loop in started:
            loop.stop()
        for loop in started:
            loop.join(STOP_GRACE_S)

    def supervise(self, signals: Signals, systemd: Systemd) -> BaseException | None:
        """Wait for a signal that asks for the end or a reload; return what ended a loop, if one ended by itself."""
        return supervise(self.loops, signals, systemd, self._machine.monotonic, self.describe)

    def describe(self) -> str:
        """Return one line that says how it is at this moment."""
        return "Starting" if self._reporter is None else self._reporter.said

    def _figures(self) -> str:
        return "" if self._reporter is None else self._reporter.figures

    def _report(self) -> float:
        if self._reporter is None:
            from relay.service.report import Reporter  # noqa: PLC0415 -- behind the first look: see `start`

            self._reporter = Reporter(self.relay, self._opened)
        return self._reporter.run_once()

    def stop(self) -> None:
        """Stop reading, let what is under way come back and be recorded, and stop delivering: the process ends.

        What does not end in time ends with the process.
        """
        self.stop_reading()
        self.stop_delivering()
        for loop in self.loops:
            loop.join(STOP_GRACE_S)
        self.close(has_ended=True)

    def stop_reading(self) -> None:
        """Let the loops that read end after the pass that is under way; delivering goes on."""
        self._capturing.stop()
        self._purging.stop()
        self._reconciling.stop()

    def stop_delivering(self) -> None:
        """Let what is under way come back and be recorded, for the length of an attempt, and break off the rest."""
        relay, dispatch = self.relay, self.relay.dispatch
        dispatch.stop()
        self._dispatching.wake()
        ends_at = self._machine.monotonic() + relay.config.backend.timeout + STOP_GRACE_S
        while dispatch.under_way and self._machine.monotonic() < ends_at and self._dispatching.error is None:
            self._machine.sleep(STOP_LOOK_S)
        self._dispatching.stop()
        self._reporting.stop()
        if self._exporter is not None:
            self._exporting.stop()
        # Not before: what was under way was ours as long as the lease was.
        self._leasing.stop()
        relay.sender.abort()

    def has_ended(self, *, reading: bool = False) -> bool:
        """Say whether all loops have ended, or those that read; a loop that hangs has not."""
        loops = [self._capturing, self._purging, self._reconciling] if reading else self.loops
        return all(loop.join(0) for loop in loops)

    def longest_stop_s(self) -> float:
        """Return how long `stop` may take, in seconds."""
        return self.relay.config.backend.timeout + STOP_GRACE_S * (2 + len(self.loops))

    def close(self, *, has_ended: bool = False) -> None:
        """Close the relay's connections, save for one that a loop still uses; `has_ended`: the process ends."""
        if self._reporter is not None and self._reporting.join(0):
            self._reporter.close(has_ended=has_ended)
        if self._exporter is not None and self._exporting.join(0):
            self._exporter.close()
        if self._capturing.join(0):
            self.relay.capture.forget()
        if self._reconciling.join(0):
            self.relay.tables.close()
        self.relay.close()


class Outages:
    """Says once that a database is away, whichever loop finds it first, and once that it is back for all of them."""

    def __init__(self, log: Log, away: Mapping[str, str]) -> None:
        """Take which database each loop waits for, where it does (moodle or outbox): that has been said."""
        self._log = log
        self._lock = threading.Lock()
        self.away = dict(away)

    def watch(self, loop: str) -> Watch:
        """Return what the loop of this name tells when its pass begins to fail, and when it works again."""
        return Watch(
            heals=(MoodleError, OutboxUnavailable),
            down=lambda error: self._down(loop, error),
            up=lambda: self._up(loop),
        )

    def _down(self, loop: str, error: BaseException) -> None:
        subject = "moodle" if isinstance(error, MoodleError) else "outbox"
        with self._lock:
            is_first = subject not in self.away.values()
            self.away[loop] = subject
        if is_first:
            slug = "moodle.unreachable" if subject == "moodle" else "outbox.unavailable"
            self._log.error(slug, error=str(error), hint=getattr(error, "hint", ""))

    def _up(self, loop: str) -> None:
        with self._lock:
            subject = self.away.pop(loop)
            is_last = subject not in self.away.values()
        if is_last:
            self._log.warning("moodle.recovered" if subject == "moodle" else "outbox.recovered")
