"""The daemon (`relay run`): a relay's passes in loops, from its start through reloads of the config to its end."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, TextIO

from relay import __version__
from relay.errors import ConfigError, MoodleError, OutboxUnavailable, RelayError
from relay.service import parts
from relay.service.daemon import Loop, Watch, supervise
from relay.service.logs import make_log, say_migrated

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.config import Config
    from relay.model import Log
    from relay.service.daemon import Signals, Systemd
    from relay.service.lease import Opened
    from relay.service.relay import Relay

#: Beyond the backend's timeout, how long a stop waits for what is under way, in seconds.
STOP_GRACE_S = 2.0
#: How often a stop looks whether all has come back, in seconds.
STOP_LOOK_S = 0.01


class Daemon:
    """A relay whose passes run in loops, each in a thread of its own."""

    def __init__(self, relay: Relay, opened: Opened) -> None:
        self.relay = relay
        self._opened = opened
        self._machine = opened.machine
        self._outages = Outages(relay.log)
        self._capturing = self._loop("capture", relay.capture_pass)
        self._dispatching = self._loop("dispatch", relay.dispatch_pass)
        self._purging = self._loop("purge", relay.purge_pass)
        self._leasing = self._loop("lease", relay.lease_pass)
        self.loops = [self._capturing, self._dispatching, self._purging]
        if opened.outbox.is_shared:
            self.loops.append(self._leasing)
        relay.wake_capture = self._capturing.wake
        relay.wake_dispatch = relay.dispatch.wake = self._dispatching.wake

    def _loop(self, name: str, run_pass: Callable[[float], float]) -> Loop:
        def run() -> float:
            return run_pass(self._opened.now())

        return Loop(name, run, self._outages.watch(name), monotonic=self._machine.monotonic)

    def start(self) -> None:
        """Start reading and delivering."""
        for loop in self.loops:
            loop.start()

    def supervise(self, signals: Signals, systemd: Systemd) -> BaseException | None:
        """Wait for a signal that asks for the end or a reload; return what ended a loop, if one ended by itself."""
        return supervise(self.loops, signals, systemd, self._machine.monotonic)

    def stop(self) -> None:
        """Stop reading, let what is under way come back and be recorded, and stop delivering."""
        relay, dispatch = self.relay, self.relay.dispatch
        self._capturing.stop()
        dispatch.stop()
        self._dispatching.wake()
        ends_at = self._machine.monotonic() + relay.config.backend.timeout + STOP_GRACE_S
        while dispatch.under_way and self._machine.monotonic() < ends_at and self._dispatching.error is None:
            self._machine.sleep(STOP_LOOK_S)
        self._dispatching.stop()
        self._purging.stop()
        # Not before: what was under way was ours as long as the lease was.
        self._leasing.stop()
        relay.sender.abort()
        for loop in self.loops:
            loop.join(STOP_GRACE_S)
        dispatch.close()
        relay.sender.close()


class Outages:
    """Says once that a database is away, whichever loop finds it first, and once that it is back for all of them."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        #: Which database each loop waits for, where it does: moodle or outbox.
        self._away: dict[str, str] = {}

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
            is_first = subject not in self._away.values()
            self._away[loop] = subject
        if is_first:
            slug = "moodle.unreachable" if subject == "moodle" else "outbox.unavailable"
            self._log.error(slug, error=str(error), hint=getattr(error, "hint", ""))

    def _up(self, loop: str) -> None:
        with self._lock:
            subject = self._away.pop(loop)
            is_last = subject not in self._away.values()
        if is_last:
            self._log.warning("moodle.recovered" if subject == "moodle" else "outbox.recovered")


def run(load: Callable[[], Config], signals: Signals, systemd: Systemd, *, stream: TextIO = sys.stdout) -> int:
    """Run the daemon until a signal ends it; return the exit code.

    `load` reads the config, again at each SIGHUP. Raises RelayError where relay cannot start.
    """
    machine = parts.REAL
    config = load()
    log = make_log(config.log, stream, machine.now)
    with parts.opened(config, machine, create=True) as opened:
        say_migrated(log, opened.outbox.migrated)
        opened.outbox.hold(opened.now())
        daemon = Daemon(parts.make_relay(config, opened, log), opened)
        daemon.start()
        _say_started(daemon.relay, systemd)
        while (error := daemon.supervise(signals, systemd)) is None and not signals.stop.is_set():
            signals.reload.clear()
            daemon = _reload(load, daemon, opened, systemd, stream)
        systemd.notify("STOPPING=1")
        daemon.stop()
        if error is not None:
            return _say_died(log, error)
        log.info("relay.stopped", signal=signals.number)
        return 0


def _say_started(relay: Relay, systemd: Systemd) -> None:
    config = relay.config
    if relay.outbox.created:
        relay.log.info("outbox.created", url=config.outbox.url)
    relay.log.info(
        "relay.started",
        version=__version__,
        config=str(config.source),
        backend=config.backend.url,
        moodle=config.moodle.url,
        sending=config.enabled,
    )
    systemd.notify("READY=1", f"STATUS=Delivering to {config.backend.url}")


def _say_died(log: Log, error: BaseException) -> int:
    if isinstance(error, RelayError):
        log.error("relay.failed", error=str(error), hint=error.hint)
        return error.exit_code
    # Only the error's kind: its text could hold what stands in a row.
    log.error("relay.failed", error=type(error).__name__, hint="This is a fault in relay: please report it.")
    raise error


def _reload(load: Callable[[], Config], old: Daemon, opened: Opened, systemd: Systemd, stream: TextIO) -> Daemon:
    """Put a daemon with the new config in the place of the old one, or keep that and say why; return which runs."""
    machine, log = opened.machine, old.relay.log
    systemd.notify("RELOADING=1", f"MONOTONIC_USEC={int(machine.monotonic() * 1e6)}")
    daemon = old
    try:
        config = load()
        if config.outbox != old.relay.config.outbox:
            raise ConfigError(
                "outbox: another outbox needs a restart.", hint="systemctl restart relay, when it suits you."
            )
        # A mistake that only shows when the parts are made leaves the old ones running.
        fresh = parts.make_relay(config, opened, make_log(config.log, stream, machine.now))
    except RelayError as error:
        fields = {"mistakes": list(error.mistakes)} if isinstance(error, ConfigError) else {}
        hint = error.hint or "Relay goes on with the old one."
        log.error("config.rejected", error=str(error), hint=hint, **fields)  # noqa: TRY400 -- no traceback
    else:
        daemon = _replace(old, fresh, opened)
        daemon.relay.log.info("config.reloaded", config=str(config.source))
    systemd.notify("READY=1", f"STATUS=Delivering to {daemon.relay.config.backend.url}")
    return daemon


def _replace(old: Daemon, fresh: Relay, opened: Opened) -> Daemon:
    """Stop a daemon, and start one with these parts; return that."""
    old.stop()
    if old.relay.dispatch.under_way and opened.outbox.is_shared:
        # What could not be recorded stays under the lease that ends by itself, not under one that is renewed.
        opened.outbox.hold(opened.now())
    daemon = Daemon(fresh, opened)
    daemon.start()
    return daemon
