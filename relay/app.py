"""What each command does with the parts: the daemon, one pass, replay, sync, and so on."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from relay import __version__, parts, repair, retry
from relay import explain as explaining
from relay.daemon import Loop, Watch, supervise
from relay.errors import ConfigError, MoodleError, OutboxInUse, OutboxUnavailable, RelayError
from relay.explain import Explainer
from relay.outbox.sqlite import SqliteOutbox
from relay.parts import make_capture, make_dispatch, make_log, make_moodle, make_options, make_outbox, make_sender
from relay.sync import Syncing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.config import Config
    from relay.daemon import Signals, Systemd
    from relay.explain import Story
    from relay.model import Event, Log, Skip
    from relay.outbox.base import Outbox, Selector
    from relay.sync import Progress, Wanted

#: Beyond the backend's timeout, how long a stop waits for what is under way, in seconds.
STOP_GRACE_S = 2.0

DAY_S = 86400.0
#: How long a sync without a daemon waits for retries, in seconds.
SYNC_WAIT_S = 60.0
#: How often it is looked whether a day has passed, in seconds: less than makes a loop count as stuck.
PURGE_LOOK_S = 30.0


def clock() -> float:
    """Return the time, in unix seconds."""
    return parts.clock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What came of a sync."""

    progress: Progress
    #: No signal broke it off.
    has_ended: bool
    #: How many events are undelivered; None where a daemon delivers them.
    undelivered: int | None


class Relay:
    """A relay made of its parts, for one config."""

    def __init__(self, config: Config, outbox: Outbox, log: Log) -> None:
        self.config = config
        self.outbox = outbox
        self.log = log
        self.sender = make_sender(config)
        self.dispatch = make_dispatch(config, outbox, self.sender, log)
        self.capture = make_capture(config, make_moodle(config), outbox, log)
        #: Which database each loop waits for, where it does.
        self._away: dict[str, str] = {}
        self._lock = threading.Lock()
        self._capturing = Loop("capture", self._capture_pass, self._watch("capture"))
        self._dispatching = Loop("dispatch", lambda: self.dispatch.run_once(clock()), self._watch("dispatch"))
        self.dispatch.wake = self._dispatching.wake
        self._purging = Loop("purge", self._purge_pass, self._watch("purge"))
        self.loops = [self._capturing, self._dispatching, self._purging]

    def start(self) -> None:
        """Start reading and delivering."""
        for loop in self.loops:
            loop.start()

    def stop(self) -> None:
        """Stop reading, let what is under way come back and be recorded, and stop delivering."""
        self._capturing.stop()
        self.dispatch.stop()
        self._dispatching.wake()
        ends_at = time.monotonic() + self.config.backend.timeout + STOP_GRACE_S
        while self.dispatch.under_way and time.monotonic() < ends_at and self._dispatching.error is None:
            time.sleep(0.01)
        self._dispatching.stop()
        self._purging.stop()
        self.sender.abort()
        for loop in self.loops:
            loop.join(STOP_GRACE_S)
        self.dispatch.close()
        self.sender.close()

    def _capture_pass(self) -> float:
        try:
            progress = self.capture.run_once(clock())
        except MoodleError:
            self.capture.forget()
            raise
        if progress.accepted:
            self._dispatching.wake()
        return 0.0 if progress.is_more else self.config.moodle.poll_interval

    def _purge_pass(self) -> float:
        """Purge what is older than the retention, once a day."""
        now = clock()
        if abs(now - float(self.outbox.state("purged_at") or 0)) >= DAY_S:
            purged = repair.purge(self.outbox, now - self.config.outbox.retention)
            self.outbox.set_state("purged_at", str(int(now)), now)
            if purged:
                self.log.info("outbox.purged", events=purged)
        return PURGE_LOOK_S

    def _watch(self, loop: str) -> Watch:
        """Say once that a database is away, whichever loop finds it, and once that it is back for all of them."""

        def down(error: BaseException) -> None:
            subject = "moodle" if isinstance(error, MoodleError) else "outbox"
            with self._lock:
                is_first = subject not in self._away.values()
                self._away[loop] = subject
            if is_first:
                slug = "moodle.unreachable" if subject == "moodle" else "outbox.unavailable"
                self.log.error(slug, error=str(error), hint=getattr(error, "hint", ""))

        def up() -> None:
            with self._lock:
                subject = self._away.pop(loop)
                is_last = subject not in self._away.values()
            if is_last:
                self.log.warning("moodle.recovered" if subject == "moodle" else "outbox.recovered")

        return Watch(heals=(MoodleError, OutboxUnavailable), down=down, up=up)


def run(load: Callable[[], Config], signals: Signals, systemd: Systemd, *, stream: TextIO = sys.stdout) -> int:
    """Run the daemon until a signal ends it; `load` reads the config, again at each SIGHUP. Returns the exit code."""
    config = load()
    log = make_log(config, stream)
    outbox = make_outbox(config, create=True)
    try:
        outbox.hold(clock())
        relay = Relay(config, outbox, log)
        relay.start()
        _say_started(relay, systemd)
        while (error := supervise(relay.loops, signals, systemd)) is None and not signals.stop.is_set():
            signals.reload.clear()
            relay = _reload(load, relay, systemd)
        systemd.notify("STOPPING=1")
        relay.stop()
        if error is not None:
            return _say_died(log, error)
        log.info("relay.stopped", signal=signals.number)
        return 0
    finally:
        outbox.close()


def _say_started(relay: Relay, systemd: Systemd) -> None:
    config = relay.config
    if getattr(relay.outbox, "created", False):
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


def _reload(load: Callable[[], Config], relay: Relay, systemd: Systemd) -> Relay:
    """Put a relay with the new config in the place of the old one, or keep that and say why."""
    systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        config = load()
        if config.outbox != relay.config.outbox:
            raise ConfigError(
                "outbox: another outbox needs a restart.", hint="systemctl restart relay, when it suits you."
            )
        # A mistake that only shows when the parts are made leaves the old ones running.
        fresh = Relay(config, relay.outbox, make_log(config, sys.stdout))
    except RelayError as error:
        fields = {"mistakes": list(error.mistakes)} if isinstance(error, ConfigError) else {}
        hint = error.hint or "Relay goes on with the old one."
        relay.log.error("config.rejected", error=str(error), hint=hint, **fields)  # noqa: TRY400 -- no traceback
    else:
        relay.stop()
        relay = fresh
        relay.start()
        relay.log.info("config.reloaded", config=str(config.source))
    systemd.notify("READY=1", f"STATUS=Delivering to {relay.config.backend.url}")
    return relay


def run_once(config: Config, signals: Signals, timeout_s: float, *, stream: TextIO = sys.stdout) -> int:
    """Capture what is there, deliver what is due, wait for retries up to `timeout_s`.

    Returns how many events are undelivered then. Raises RelayError.
    """
    log = make_log(config, stream)
    outbox = make_outbox(config, create=True)
    try:
        outbox.hold(clock())
        relay = Relay(config, outbox, log)
        while not signals.stop.is_set() and relay.capture.run_once(clock()).is_more:
            pass
        if config.enabled:
            _drain(relay, signals, clock() + timeout_s)
        return outbox.count_undelivered()
    finally:
        outbox.close()


def _drain(relay: Relay, signals: Signals, ends_at: float) -> None:
    """Deliver until nothing is left, nothing more can be due in time, or a signal asks for the end."""
    woken = threading.Event()
    dispatch = relay.dispatch
    dispatch.wake = woken.set
    while True:
        woken.clear()
        delay = dispatch.run_once(clock())
        if not dispatch.under_way:
            # What is due may wait for an earlier event of its user that is not: the time alone ends this then.
            if signals.stop.is_set() or max(_next_try(relay), clock()) >= ends_at:
                break
        elif signals.stop.is_set() or clock() > ends_at:
            dispatch.stop()
        woken.wait(delay)
    dispatch.close()
    relay.sender.close()


def _next_try(relay: Relay) -> float:
    """Return when something can be sent next, in unix seconds; infinity where nothing waits."""
    breaker = relay.dispatch.breaker
    due_at = relay.outbox.next_due(frozenset())
    if due_at is None:
        return float("inf")
    if breaker.whole is not None:
        return breaker.whole.probe_at
    return min([due_at, *(path.probe_at for path in breaker.paths.values())])


def preview(config: Config) -> Iterator[Event | Skip]:
    """Yield what a run would record, and record nothing. Raises RelayError."""
    log = make_log(config, sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        path = config.outbox.sqlite_path
        # Where there is no outbox yet, an empty one stands for it, and goes again.
        is_new = path is not None and not path.exists()
        outbox = SqliteOutbox(Path(folder, "outbox.db")) if is_new else make_outbox(config, create=False)
        try:
            yield from make_capture(config, make_moodle(config), outbox, log).preview(clock())
        finally:
            outbox.close()


def replay(config: Config, selector: Selector, signals: Signals, *, stream: TextIO = sys.stdout) -> repair.Replayed:
    """Send again what the selector means, beside a running daemon or not. Raises RelayError."""
    log = make_log(config, stream)
    outbox = make_outbox(config, create=False)
    sender = make_sender(config)
    dispatch = make_dispatch(config, outbox, sender, log)
    woken = threading.Event()
    dispatch.wake = woken.set

    def wait(seconds: float) -> None:
        if signals.stop.is_set():
            dispatch.stop()
        woken.wait(seconds)
        woken.clear()

    try:
        return repair.replay(outbox, dispatch, selector, clock, wait)
    finally:
        dispatch.close()
        sender.close()
        outbox.close()


def sync(
    config: Config, wanted: Wanted, triggered_by: int | None, signals: Signals, tell: Callable[[Progress], None]
) -> Synced:
    """Record current rows as events, and deliver them where no daemon runs that does. Raises RelayError."""
    # Beside a progress bar, only what is not well.
    log = make_log(replace(config, log=replace(config.log, level="warning")), sys.stderr)
    outbox = make_outbox(config, create=True)
    moodle = make_moodle(config)
    try:
        syncing = Syncing(moodle=moodle, outbox=outbox, wanted=wanted, options=make_options(config))
        progress = syncing.begin(triggered_by, clock())
        try:
            while not signals.stop.is_set() and (step := syncing.step(progress, clock())) is not None:
                progress = step
                tell(progress)
        except RelayError as error:
            syncing.fail(progress, str(error), clock())
            raise
        try:
            outbox.hold(clock())
        except OutboxInUse:
            return Synced(progress=progress, has_ended=not signals.stop.is_set(), undelivered=None)
        if config.enabled:
            _drain(Relay(config, outbox, log), signals, clock() + SYNC_WAIT_S)
        undelivered = outbox.count_undelivered()
        return Synced(progress=progress, has_ended=not signals.stop.is_set(), undelivered=undelivered)
    finally:
        moodle.close()
        outbox.close()


def preview_sync(config: Config, wanted: Wanted) -> Iterator[Event]:
    """Yield the events of current rows, and record nothing. Raises RelayError."""
    with tempfile.TemporaryDirectory() as folder:
        outbox = SqliteOutbox(Path(folder, "outbox.db"))
        try:
            syncing = Syncing(moodle=make_moodle(config), outbox=outbox, wanted=wanted, options=make_options(config))
            yield from syncing.preview()
        finally:
            outbox.close()


def explain(config: Config, what: str) -> Story:
    """Tell the story of an event, a log row, a user, a grade or an enrolment. Raises RelayError."""
    outbox = make_outbox(config, create=False)
    moodle = make_moodle(config)
    try:
        explainer = Explainer(
            outbox=outbox,
            moodle=moodle,
            breaker=retry.decode(json.loads(outbox.state("circuit") or "{}")),
            rules=explaining.Rules(
                is_paused=not config.enabled,
                disabled=config.events.disabled,
                ignore_actors=frozenset(config.events.ignore_actors),
            ),
            now=clock(),
        )
        return explainer.explain(what)
    finally:
        moodle.close()
        outbox.close()


def purge(config: Config) -> int:
    """Delete delivered events that are older than the retention; return how many. Raises RelayError."""
    outbox = make_outbox(config, create=False)
    try:
        return repair.purge(outbox, clock() - config.outbox.retention)
    finally:
        outbox.close()
