"""The daemon (`relay run`): a relay's passes in loops, from its start through reloads of the config to its end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from relay import __version__
from relay.errors import RelayError
from relay.service import parts, wiring
from relay.service.logs import make_log
from relay.service.loops import Daemon
from relay.service.reload import Reloading

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.config import Config
    from relay.model import Log
    from relay.service.daemon import Signals, Systemd
    from relay.service.lines import Lines
    from relay.service.relay import Relay

#: How long systemd waits at the most, in seconds, until the outbox is open.
OPENING_S = 3600.0


def run(load: Callable[[], Config], signals: Signals, systemd: Systemd, lines: Lines) -> int:
    """Run the daemon until a signal ends it; return the exit code.

    `load` reads the config, again at each SIGHUP; the log is written to `lines`. Raises RelayError where relay cannot
    start.
    """
    machine = parts.REAL
    config = load()
    log = make_log(config.log, lines, machine.now)
    with contextlib.ExitStack() as stack:
        # The tables of a large outbox may be brought to another version, after it was copied.
        with systemd.kept_alive(OPENING_S):
            opened = stack.enter_context(parts.opened(config, machine, create=True, log=log))
        opened.outbox.hold(opened.now())
        daemon = Daemon(wiring.make_relay(config, opened, log, late=True), opened)
        _say_started(daemon.relay)
        daemon.start()
        systemd.notify("READY=1", f"STATUS={daemon.describe()}")
        reloading = Reloading(load=load, opened=opened, signals=signals, systemd=systemd, lines=lines)
        while (error := daemon.supervise(signals, systemd)) is None and not signals.stop.is_set():
            signals.reload.clear()
            daemon = reloading.reload(daemon)
        systemd.notify("STOPPING=1")
        with systemd.kept_alive(daemon.longest_stop_s()):
            daemon.stop()
        if error is not None:
            return _say_died(daemon.relay.log, error)
        dropped = {"log_lines_dropped": lines.dropped} if lines.dropped else {}
        daemon.relay.log.info("relay.stopped", signal=signals.number, **dropped)
        return 0


def _say_started(relay: Relay) -> None:
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


def _say_died(log: Log, error: BaseException) -> int:
    if isinstance(error, RelayError):
        log.error("relay.failed", error=str(error), hint=error.hint)
        return error.exit_code
    # Only the error's kind: its text could hold what stands in a row.
    log.error("relay.failed", error=type(error).__name__, hint="This is a fault in relay: please report it.")
    raise error
