"""The commands that capture or deliver once, and end: `run --once`, `--dry-run`, `--replay`, and `sync`."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

from relay.errors import OutboxInUse, RelayError
from relay.operations import replay as replaying
from relay.service import lease, parts
from relay.service.logs import make_log, say_migrated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.capture.sync import Progress, Syncing, Wanted
    from relay.config import Config
    from relay.model import Event, Skip
    from relay.outbox.values import Selector
    from relay.service.daemon import Signals
    from relay.service.lease import Opened
    from relay.service.relay import Relay

#: How long a sync without a daemon waits for retries, in seconds.
SYNC_WAIT_S = 60.0


def run_once(config: Config, signals: Signals, timeout_s: float, *, stream: TextIO = sys.stdout) -> int:
    """Capture what is there, deliver what is due, wait for retries up to `timeout_s`.

    Returns how many events are undelivered then. Raises RelayError.
    """
    machine = parts.REAL
    log = make_log(config.log, stream, machine.now)
    with parts.opened(config, machine, create=True) as opened:
        outbox = opened.outbox
        say_migrated(log, outbox.migrated)
        outbox.hold(opened.now())
        with lease.kept(opened):
            relay = parts.make_relay(config, opened, log)
            is_leading = lease.wait_for_lead(outbox, signals)
            if not is_leading:
                log.info("lead.elsewhere", hint="Another relay reads the log: this one delivers only.")
            while is_leading and not signals.stop.is_set() and relay.capture.run_once(opened.now()).is_more:
                pass
            if config.enabled:
                deliver(relay, opened, signals, timeout_s)
        return outbox.count_undelivered()


def deliver(relay: Relay, opened: Opened, signals: Signals, timeout_s: float) -> None:
    """Deliver until nothing is left, nothing more can be due within `timeout_s`, or a signal asks for the end."""
    ends_at = opened.now() + timeout_s
    woken = threading.Event()
    dispatch = relay.dispatch
    dispatch.wake = woken.set
    while True:
        woken.clear()
        delay = relay.dispatch_pass(opened.now())
        if not dispatch.under_way:
            # A due event may wait behind one of its user that is not due: then only the timeout ends this loop.
            if signals.stop.is_set() or max(relay.next_try(), opened.now()) >= ends_at:
                break
        elif signals.stop.is_set() or opened.now() > ends_at:
            dispatch.stop()
        woken.wait(delay)
    dispatch.close()
    relay.sender.close()


def preview(config: Config) -> Iterator[Event | Skip]:
    """Yield what a run would record, and record nothing. Raises RelayError."""
    machine = parts.REAL
    log = make_log(config.log, sys.stderr, machine.now)
    with parts.opened_to_look(config, machine) as opened:
        capture = parts.make_capture(config, parts.make_moodle(config), opened.outbox, log)
        yield from capture.preview(opened.now())


def replay(config: Config, selector: Selector, signals: Signals, *, stream: TextIO = sys.stdout) -> replaying.Replayed:
    """Send again what the selector means, beside a running daemon or not. Raises RelayError."""
    machine = parts.REAL
    log = make_log(config.log, stream, machine.now)
    with parts.opened(config, machine) as opened, parts.sending(config, machine) as sender:
        dispatch = parts.make_dispatch(config, opened, sender, log)
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
                return replaying.replay(opened.outbox, dispatch, selector, opened.now, wait)
        finally:
            dispatch.close()


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
        syncing = parts.make_sync(config, moodle, opened.outbox, wanted)
        progress = _record(syncing, triggered_by, opened, signals, tell)
        try:
            lease.hold_alone(opened)
        except OutboxInUse:
            return Synced(progress=progress, has_ended=not signals.stop.is_set(), undelivered=None)
        if config.enabled:
            with lease.kept(opened):
                deliver(parts.make_relay(config, opened, log), opened, signals, SYNC_WAIT_S)
        undelivered = opened.outbox.count_undelivered()
        return Synced(progress=progress, has_ended=not signals.stop.is_set(), undelivered=undelivered)


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


def preview_sync(config: Config, wanted: Wanted) -> Iterator[Event]:
    """Yield the events of current rows, and record nothing. Raises RelayError."""
    with parts.temporary_outbox() as outbox, parts.reading(config) as moodle:
        yield from parts.make_sync(config, moodle, outbox, wanted).preview()
