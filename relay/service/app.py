"""What each command does with the parts: the daemon, one pass, replay, sync, and so on."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from relay import __version__
from relay.capture.sync import Syncing
from relay.errors import ConfigError, MoodleError, OutboxInUse, OutboxMissing, OutboxUnavailable, RelayError
from relay.operations import explain as explaining
from relay.operations import replay as replaying
from relay.operations.explain import Explainer
from relay.operations.move import Move
from relay.outbox.contract import RENEW_S
from relay.outbox.sqlite import SqliteOutbox
from relay.rules import retry
from relay.service import parts
from relay.service.daemon import Loop, Watch, supervise
from relay.service.parts import (
    make_capture,
    make_dispatch,
    make_log,
    make_moodle,
    make_options,
    make_outbox,
    make_sender,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.capture.sync import Progress, Wanted
    from relay.config import Config
    from relay.model import Event, Log, Skip
    from relay.operations.explain import Story
    from relay.outbox.contract import Outbox, Selector
    from relay.service.daemon import Signals, Systemd

#: Beyond the backend's timeout, how long a stop waits for what is under way, in seconds.
STOP_GRACE_S = 2.0

DAY_S = 86400.0
#: How often it is looked who reads the log, in seconds.
LEAD_LOOK_S = 0.25
#: How long a sync without a daemon waits for retries, in seconds.
SYNC_WAIT_S = 60.0
#: How often it is looked whether a day has passed, in seconds: less than makes a loop count as stuck.
PURGE_LOOK_S = 30.0


def clock(outbox: Outbox) -> float:
    """Return the time in unix seconds, by the clock that all who use the outbox share."""
    return outbox.time(parts.clock())


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
        self._is_leading = False
        self._capturing = Loop("capture", self._capture_pass, self._watch("capture"))
        self._dispatching = Loop("dispatch", lambda: self.dispatch.run_once(clock(outbox)), self._watch("dispatch"))
        self.dispatch.wake = self._dispatching.wake
        self._purging = Loop("purge", self._purge_pass, self._watch("purge"))
        self._leasing = Loop("lease", self._lease_pass, self._watch("lease"))
        self.loops = [self._capturing, self._dispatching, self._purging]
        if outbox.is_shared:
            self.loops.append(self._leasing)

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
        # Until now: what was under way was ours as long as the lease was.
        self._leasing.stop()
        self.sender.abort()
        for loop in self.loops:
            loop.join(STOP_GRACE_S)
        self.dispatch.close()
        self.sender.close()

    def _capture_pass(self) -> float:
        if not self.outbox.leads():
            # Another relay reads the log; who takes over from it begins where that one was.
            self.capture.forget()
            return self.config.moodle.poll_interval
        try:
            progress = self.capture.run_once(clock(self.outbox))
        except (MoodleError, OutboxUnavailable):
            # A commit without an answer may have moved the position.
            self.capture.forget()
            raise
        if progress.accepted:
            self._dispatching.wake()
        return 0.0 if progress.is_more else self.config.moodle.poll_interval

    def _purge_pass(self) -> float:
        """Purge what is older than the retention, once a day."""
        now = clock(self.outbox)
        if not self.outbox.leads():
            return PURGE_LOOK_S
        if abs(now - float(self.outbox.state("purged_at") or 0)) >= DAY_S:
            purged = replaying.purge(self.outbox, now - self.config.outbox.retention)
            self.outbox.set_state("purged_at", str(int(now)), now)
            if purged:
                self.log.info("outbox.purged", events=purged)
        return PURGE_LOOK_S

    def _lease_pass(self) -> float:
        """Keep this relay's part in a shared outbox alive, and say when it begins or ceases to read the log."""
        before = self._is_leading
        self.outbox.renew(clock(self.outbox))
        self._is_leading = self.outbox.leads()
        if self._is_leading and not before:
            self.log.info("lead.taken")
            self._capturing.wake()
        elif before and not self._is_leading:
            self.log.warning("lead.lost", hint="Another relay reads the log now; this one goes on delivering.")
        return RENEW_S

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
        outbox.hold(clock(outbox))
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
        if relay.dispatch.under_way and relay.outbox.is_shared:
            # What could not be recorded stays under the lease that ends by itself, not under one that is renewed.
            relay.outbox.hold(clock(relay.outbox))
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
        outbox.hold(clock(outbox))
        with _lease_kept(outbox):
            relay = Relay(config, outbox, log)
            is_leading = _wait_for_lead(outbox, signals)
            if not is_leading:
                log.info("lead.elsewhere", hint="Another relay reads the log: this one delivers only.")
            while is_leading and not signals.stop.is_set() and relay.capture.run_once(clock(outbox)).is_more:
                pass
            if config.enabled:
                _drain(relay, signals, clock(outbox) + timeout_s)
        return outbox.count_undelivered()
    finally:
        outbox.close()


@contextlib.contextmanager
def _lease_kept(outbox: Outbox) -> Iterator[None]:
    """Renew this relay's lease on a shared outbox as long as a command takes."""

    def renew() -> float:
        outbox.renew(clock(outbox))
        return RENEW_S

    # Whoever uses the outbox meanwhile says what is wrong with it.
    silent = Watch(heals=(OutboxUnavailable,), down=lambda _error: None, up=lambda: None)
    leasing = Loop("lease", renew, silent)
    if outbox.is_shared:
        leasing.start()
    try:
        yield
    finally:
        leasing.stop()
        if outbox.is_shared:
            leasing.join(STOP_GRACE_S)


def _hold_alone(outbox: Outbox) -> None:
    """Claim an outbox that no other relay uses; the lease of a dead one is waited for. Raises OutboxInUse."""
    first = {member.name: member.expires_at for member in outbox.members()}
    while True:
        try:
            outbox.hold(clock(outbox), alone=True)
        except OutboxInUse:
            renewed = [one for one in outbox.members() if one.expires_at > first.get(one.name, 0.0)]
            if renewed or not outbox.is_shared:
                raise
            time.sleep(LEAD_LOOK_S)
        else:
            return


def _wait_for_lead(outbox: Outbox, signals: Signals) -> bool:
    """Wait until this relay reads the log, or one that does has shown that it is alive; say which."""
    first = _lead_until(outbox)
    while not outbox.leads() and not signals.stop.wait(LEAD_LOOK_S):
        until = _lead_until(outbox)
        if first is not None and until is not None and until > first:
            return False
    return outbox.leads()


def _lead_until(outbox: Outbox) -> float | None:
    """Return until when the lease of the relay that reads the log lasts, in unix seconds."""
    return next((member.expires_at for member in outbox.members() if member.leads), None)


def _drain(relay: Relay, signals: Signals, ends_at: float) -> None:
    """Deliver until nothing is left, nothing more can be due in time, or a signal asks for the end."""
    woken = threading.Event()
    dispatch = relay.dispatch
    dispatch.wake = woken.set
    while True:
        woken.clear()
        delay = dispatch.run_once(clock(relay.outbox))
        if not dispatch.under_way:
            # What is due may wait for an earlier event of its user that is not: the time alone ends this then.
            if signals.stop.is_set() or max(_next_try(relay), clock(relay.outbox)) >= ends_at:
                break
        elif signals.stop.is_set() or clock(relay.outbox) > ends_at:
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
        try:
            outbox = make_outbox(config, create=False)
        except OutboxMissing:
            # An empty one stands for it, and goes again.
            outbox = SqliteOutbox(Path(folder, "outbox.db"))
        try:
            yield from make_capture(config, make_moodle(config), outbox, log).preview(clock(outbox))
        finally:
            outbox.close()


def replay(config: Config, selector: Selector, signals: Signals, *, stream: TextIO = sys.stdout) -> replaying.Replayed:
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
        outbox.join(clock(outbox))
        with _lease_kept(outbox):
            return replaying.replay(outbox, dispatch, selector, lambda: clock(outbox), wait)
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
        progress = syncing.begin(triggered_by, clock(outbox))
        try:
            while not signals.stop.is_set() and (step := syncing.step(progress, clock(outbox))) is not None:
                progress = step
                tell(progress)
        except RelayError as error:
            syncing.fail(progress, str(error), clock(outbox))
            raise
        try:
            _hold_alone(outbox)
        except OutboxInUse:
            return Synced(progress=progress, has_ended=not signals.stop.is_set(), undelivered=None)
        if config.enabled:
            with _lease_kept(outbox):
                _drain(Relay(config, outbox, log), signals, clock(outbox) + SYNC_WAIT_S)
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
            now=clock(outbox),
        )
        return explainer.explain(what)
    finally:
        moodle.close()
        outbox.close()


def move(config: Config, target: Config, tell: Callable[[int], None]) -> int:
    """Move the outbox of one config into that of the other; return how many rows there are. Raises RelayError."""
    with contextlib.ExitStack() as stack:
        source = make_outbox(config, create=False, for_move=True)
        stack.callback(source.close)
        _hold_alone(source)
        other = make_outbox(target, create=True, for_move=True)
        stack.callback(other.close)
        moving = Move(source=source, source_url=config.outbox.url, target=other, target_url=target.outbox.url)
        moving.check()
        _hold_alone(other)
        for outbox in (source, other):
            stack.enter_context(_lease_kept(outbox))
        return moving.run(clock(source), tell)


def purge(config: Config) -> int:
    """Delete delivered events that are older than the retention; return how many. Raises RelayError."""
    outbox = make_outbox(config, create=False)
    try:
        return replaying.purge(outbox, clock(outbox) - config.outbox.retention)
    finally:
        outbox.close()
