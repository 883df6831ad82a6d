"""The commands that capture or deliver once, and end: `run --once`, `--dry-run`, `--replay`, and `sync`."""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

from relay.errors import MoodleError, OutboxError, OutboxInUse, RelayError, UsageError
from relay.model import Event, Hold, Status
from relay.operations import replay as replaying
from relay.outbox.pausing import paused_by
from relay.service import lease, parts, wiring
from relay.service.logs import make_log
from relay.service.report import Reporter, write_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.capture.sync import Progress, Syncing, Wanted
    from relay.config import Config
    from relay.events.held import Held
    from relay.model import Event, Hold, Log, Skip
    from relay.outbox.values import Selector
    from relay.service.daemon import Signals
    from relay.service.lease import Opened
    from relay.service.lines import Lines
    from relay.service.relay import Relay

#: How long a sync without a daemon waits for retries, in seconds.
SYNC_WAIT_S = 60.0
#: How often it is looked for what late log rows point to, in seconds.
LATE_S = 1.0
#: A pause between two requests that the backend takes too few of; a longer one, which it asked for, is waited for like
#: a retry, within the time. In seconds.
PACE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a run has left."""

    #: How many events are undelivered.
    undelivered: int
    #: How many log rows wait for what they point to, and were not recorded: the next run reads them again.
    waiting: int
    #: How many events are held, as Moodle keeps from the student what they say: nothing is wrong with them.
    held: int


def run_once(config: Config, signals: Signals, timeout_s: float, *, stream: TextIO | Lines | None = sys.stdout) -> Done:
    """Capture what is there, try all that is due, wait for retries and for late rows up to `timeout_s`.

    Raises RelayError.
    """
    machine = parts.REAL
    log = make_log(config.log, stream, machine.now)
    with parts.opened(config, machine, create=True, log=log) as opened:
        outbox = opened.outbox
        outbox.hold(opened.now())
        with lease.kept(opened), closing(wiring.make_relay(config, opened, log)) as relay:
            is_leading = lease.wait_for_lead(outbox, signals)
            if not is_leading:
                log.info("lead.elsewhere", hint="Another relay reads the log: this one delivers only.")
            while is_leading and not signals.stop.is_set() and relay.capture_pass(opened.now()) == 0.0:
                pass
            _Working(relay, opened, signals, timeout_s, is_reading=is_leading).work()
            Reporter(relay, opened).close(has_ended=True)
            held = outbox.counts().of(Status.HELD)
            return Done(undelivered=outbox.count_undelivered(), waiting=relay.capture.waiting, held=held)


@contextlib.contextmanager
def closing(relay: Relay) -> Iterator[Relay]:
    """Close the connections of a relay at the end."""
    try:
        yield relay
    finally:
        relay.close()
        relay.capture.forget()
        relay.tables.close()


class _Working:
    """Delivers, and reads late rows of the log, until all that is due has been tried and the time for waiting is over.

    The time bounds the waiting alone: what is due by its end is tried however long that takes.
    """

    def __init__(
        self, relay: Relay, opened: Opened, signals: Signals, timeout_s: float, *, is_reading: bool = False
    ) -> None:
        """Take how long to wait, in seconds; `is_reading`: late rows are waited for too."""
        self._relay = relay
        self._opened = opened
        self._signals = signals
        #: Late rows are still waited for.
        self._is_reading = is_reading
        #: When waiting ends, and when the log is read next, in unix seconds.
        self._ends_at = opened.now() + timeout_s
        self._read_at = min(opened.now() + LATE_S, self._ends_at)
        #: For how long the backend took no more when the last pass began, in seconds.
        self._paced_s = 0.0
        self._failed: MoodleError | None = None
        self._woken = threading.Event()
        relay.dispatch.wake = self._woken.set

    def work(self) -> None:
        """Work until the end, or until a signal asks for it. Raises RelayError."""
        dispatch = self._relay.dispatch
        while True:
            self._woken.clear()
            self._read_late_rows()
            now = self._opened.now()
            self._paced_s = dispatch.pace_wait_s
            # What is under way is waited for; what falls due behind the end is not begun.
            delay = dispatch.settle(now) if self._is_over(now) else self._relay.dispatch_pass(now)
            if self._signals.stop.is_set():
                dispatch.stop()
            if not dispatch.under_way and (self._signals.stop.is_set() or self._is_idle_until_the_end()):
                break
            self._woken.wait(min(delay, self._read_at - now) if self._waits_for_rows() else delay)
        if self._failed is not None:
            raise self._failed

    def _is_over(self, now: float) -> bool:
        """Say whether the time is over, and all that was due in it has been begun."""
        return now > self._ends_at and self._next_try() > self._ends_at

    def _is_idle_until_the_end(self) -> bool:
        """Say, where nothing is under way, whether nothing can be begun before the time is over."""
        if self._waits_for_rows():
            return False
        next_at = self._next_try()
        if 0 < max(self._paced_s, self._relay.dispatch.pace_wait_s) <= PACE_S:
            # What is due is tried, at the rate that the backend takes: a pause may have ended just after the pass.
            return next_at > self._ends_at
        # What is due and was not begun waits for an earlier event of its user: the time alone ends this then.
        return max(next_at, self._opened.now()) >= self._ends_at

    def _next_try(self) -> float:
        now = self._opened.now()
        return float("inf") if self._relay.dispatch.is_paused(now) else self._relay.next_try(now)

    def _waits_for_rows(self) -> bool:
        return self._is_reading and self._relay.capture.waiting > 0

    def _read_late_rows(self) -> None:
        """Read once more, now and then and at the end, while there are log rows whose own rows may still come."""
        now = self._opened.now()
        if not self._waits_for_rows() or now < self._read_at:
            return
        self._is_reading = now < self._ends_at
        self._read_at = min(now + LATE_S, self._ends_at)
        # What is found now is due now.
        self._ends_at = max(self._ends_at, now)
        try:
            while not self._signals.stop.is_set() and self._relay.capture.run_once(now).is_more:
                pass
        except MoodleError as error:
            # Not before what is under way has come back.
            self._is_reading, self._failed = False, error


def preview(config: Config) -> Iterator[Event | Hold | Skip]:
    """Yield what a run would record, and record nothing. Raises RelayError."""
    machine = parts.REAL
    log = make_log(config.log, sys.stderr, machine.now)
    with parts.opened_to_look(config, machine) as opened, parts.reading(config) as moodle:
        yield from wiring.make_capture(config, moodle, opened.outbox, log).preview(opened.now())


def replay(
    config: Config,
    selector: Selector,
    signals: Signals,
    *,
    stream: TextIO | Lines | None = sys.stdout,
    tell: Callable[[int, int], object] = lambda _done, _of: None,
) -> replaying.Replayed:
    """Send again what is meant, beside a daemon or not; `tell` hears how many of how many. Raises RelayError."""
    if not config.enabled:
        raise UsageError(
            f"Nothing is sent: `enabled: false` in {config.source} is a pause.",
            hint="Set enabled: true, and try again.",
        )
    machine = parts.REAL
    log = make_log(config.log, stream, machine.now)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(parts.opened(config, machine, log=log))
        _refuse_paused(opened)
        moodle = stack.enter_context(parts.reading(config))
        sender = stack.enter_context(wiring.sending(config, machine))
        dispatch = wiring.make_dispatch(config, opened, sender, log)
        woken = threading.Event()
        dispatch.wake = woken.set

        def wait(seconds: float) -> None:
            if signals.stop.is_set():
                dispatch.stop()
            woken.wait(seconds)
            woken.clear()

        try:
            opened.outbox.join(opened.now())
            with lease.kept(opened):
                kept = parts.make_kept(config, moodle, opened)
                return replaying.replay(opened.outbox, kept, dispatch, selector, opened.now, wait, tell)
        finally:
            dispatch.close()
            with contextlib.suppress(OutboxError):
                write_down(dispatch, opened.outbox, opened.now())


def _refuse_paused(opened: Opened) -> None:
    """Raise UsageError where somebody has paused delivery."""
    if by := paused_by(opened.outbox):
        raise UsageError(f"Nothing is sent: {by} has paused delivery.", hint="`relay web resume`, and try again.")


@contextlib.contextmanager
def previewed_replay(config: Config, selector: Selector) -> Iterator[replaying.Preview]:
    """Say within what a replay would send; nothing is sent or recorded. Raises RelayError."""
    with parts.opened(config, parts.REAL) as opened, parts.reading(config) as moodle:
        kept = parts.make_kept(config, moodle, opened)
        yield replaying.preview(opened.outbox, kept, selector, config.events.kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What came of a sync."""

    progress: Progress
    #: No signal broke it off.
    has_ended: bool
    #: How many events are undelivered; None where a daemon delivers them.
    undelivered: int | None


def sync(
    config: Config, wanted: Wanted, triggered_by: int | None, signals: Signals, tell: Callable[[Progress], None]
) -> Synced:
    """Record current rows as events, and deliver them where no daemon runs that does. Raises RelayError."""
    machine = parts.REAL
    # Beside a progress bar, only what is not well.
    log = make_log(replace(config.log, level="warning"), sys.stderr, machine.now)
    with parts.opened(config, machine, create=True) as opened, parts.reading(config) as moodle:
        syncing = wiring.make_sync(config, moodle, opened.outbox, wanted, log)
        opened.outbox.join(opened.now())
        with lease.kept(opened):
            progress = _record(syncing, triggered_by, opened, signals, tell)
        undelivered = deliver(config, opened, log, signals)
        has_ended = not signals.stop.is_set()
        if has_ended and undelivered:
            syncing.note_undelivered(progress, undelivered, opened.now())
        return Synced(progress=progress, has_ended=has_ended, undelivered=undelivered)


def deliver(config: Config, opened: Opened, log: Log, signals: Signals) -> int | None:
    """Deliver what is due where no daemon does; return how many events are undelivered, None where one does.

    Raises RelayError.
    """
    try:
        lease.hold_alone(opened)
    except OutboxInUse:
        return None
    if config.enabled:
        with lease.kept(opened), closing(wiring.make_relay(config, opened, log)) as relay:
            _Working(relay, opened, signals, SYNC_WAIT_S).work()
            write_down(relay.dispatch, opened.outbox, opened.now())
    return opened.outbox.count_undelivered()


def _record(
    syncing: Syncing, triggered_by: int | None, opened: Opened, signals: Signals, tell: Callable[[Progress], None]
) -> Progress:
    """Take the steps of a sync until its end or a signal; return how far it came."""
    progress = syncing.begin(triggered_by, opened.now())
    try:
        while not signals.stop.is_set() and (step := syncing.step(progress, opened.now())) is not None:
            progress = step
            tell(progress)
    except RelayError as error:
        syncing.fail(progress, str(error), opened.now())
        raise
    return progress


def preview_sync(config: Config, wanted: Wanted) -> Iterator[Event | Held]:
    """Yield the events of current rows, or why one is held, and record nothing. Raises RelayError."""
    log = make_log(config.log, sys.stderr, parts.REAL.now)
    with parts.temporary_outbox() as outbox, parts.reading(config) as moodle:
        yield from wiring.make_sync(config, moodle, outbox, wanted, log).preview()
