"""A reload of the config (SIGHUP): the daemon of the new config takes the place of the old one, or that goes on."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.errors import ConfigError, OutboxError, RelayError
from relay.service import wiring
from relay.service.asking import Answer, Asker
from relay.service.daemon import STUCK_S
from relay.service.logs import make_log
from relay.service.loops import STOP_GRACE_S, Daemon

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.config import Config
    from relay.service.daemon import Signals, Systemd
    from relay.service.lease import Opened
    from relay.service.lines import Lines
    from relay.service.relay import Relay

#: How often it is looked whether the old loops have ended, in seconds.
LOOK_S = 0.05
#: What is said to who asked where relay has been told to end meanwhile.
ENDING = Answer(is_accepted=False, lines=("Relay ends: a signal asked for that.",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloading:
    """What a reload needs. A signal that asks for the end breaks it off."""

    #: Reads the config. Raises RelayError.
    load: Callable[[], Config]
    opened: Opened
    signals: Signals
    systemd: Systemd
    lines: Lines

    def reload(self, old: Daemon) -> Daemon:
        """Put a daemon with the new config in the place of the old one, or keep that and say why; return which runs."""
        asker = Asker()
        monotonic_us = int(self.opened.machine.monotonic() * 1e6)
        self.systemd.notify("RELOADING=1", f"MONOTONIC_USEC={monotonic_us}")
        # A loop that hangs for longer than it may is not waited for: systemd starts relay again then.
        with self.systemd.kept_alive(old.relay.config.backend.timeout + STOP_GRACE_S + STUCK_S):
            made = self._make(old)
            daemon = old if isinstance(made, Answer) else self._replace(old, made)
        if daemon is not old:
            made = Answer(is_accepted=True)
            daemon.relay.log.info("config.reloaded", config=str(daemon.relay.config.source))
        self.systemd.notify("READY=1", f"STATUS={daemon.describe()}")
        asker.answer(made if isinstance(made, Answer) else ENDING)
        return daemon

    def _make(self, old: Daemon) -> Relay | Answer:
        """Return the parts of the new config; where they can't be made, say why, and return that: the old ones stay."""
        log, hint = old.relay.log, "Relay goes on with the old one."
        try:
            config = self._read(old.relay.config)
            return wiring.make_relay(config, self.opened, make_log(config.log, self.lines, self.opened.machine.now))
        except RelayError as error:
            fields = {"mistakes": list(error.mistakes)} if isinstance(error, ConfigError) else {}
            log.error("config.rejected", error=str(error), hint=error.hint or hint, **fields)  # noqa: TRY400
            lines = [str(error), *fields.get("mistakes", ()), error.hint]
        except Exception as error:  # noqa: BLE001 -- whatever it is, what runs is better than nothing
            # Only the error's kind: its text could hold what stands in the config.
            log.error("config.rejected", error=type(error).__name__, hint=f"{hint} Please report it.")  # noqa: TRY400
            lines = [f"A fault in relay: {type(error).__name__}.", "Please report it."]
        return Answer(is_accepted=False, lines=tuple(line for line in lines if line))

    def _read(self, old: Config) -> Config:
        config = self.load()
        if config.outbox != old.outbox:
            raise ConfigError(
                "outbox: another outbox needs a restart.", hint="systemctl restart relay, when it suits you."
            )
        return config

    def _replace(self, old: Daemon, fresh: Relay) -> Daemon:
        """Stop a daemon, and start one with these parts; return that, or the stopped one where relay is to end.

        A loop that has not ended is not replaced: two of them would read the same rows, and count them twice. While one
        that reads is waited for, what is there is delivered.
        """
        old.stop_reading()
        self._wait_for(old, reading=True)
        if not self.signals.stop.is_set():
            old.stop_delivering()
            self._wait_for(old)
        if self.signals.stop.is_set():
            fresh.close()
            return old
        old.close()
        if old.relay.dispatch.under_way:
            # What could not be recorded stays under a lease that ends, not under one that is renewed.
            self.opened.outbox.let_go()
            with contextlib.suppress(OutboxError):  # the new loops wait for it, or say what is wrong
                self.opened.outbox.renew(self.opened.now())
        # Its parts have read nothing yet: they begin with what the old ones have left in the outbox.
        daemon = Daemon(fresh, self.opened, old)
        daemon.start()
        return daemon

    def _wait_for(self, old: Daemon, *, reading: bool = False) -> None:
        """Wait until loops have ended, or a signal asks for the end of all; say so where it takes a while."""
        monotonic = self.opened.machine.monotonic
        said_at = monotonic() + STOP_GRACE_S
        while not old.has_ended(reading=reading) and not self.signals.stop.wait(LOOK_S):
            if monotonic() > said_at:
                said_at = float("inf")
                hint = "The new config is taken when what was asked of a database has been answered, or is given up."
                old.relay.log.warning("config.waiting", hint=hint)
