"""A reload of the config (SIGHUP): the daemon of the new config takes the place of the old one, or that goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.errors import ConfigError, OutboxUnavailable, RelayError
from relay.service import parts
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
#: How long after an outbox that is away is asked again, in seconds.
AGAIN_S = 1.0


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
        monotonic_us = int(self.opened.machine.monotonic() * 1e6)
        self.systemd.notify("RELOADING=1", f"MONOTONIC_USEC={monotonic_us}")
        # A loop that hangs for longer than it may is not waited for: systemd starts relay again then.
        with self.systemd.kept_alive(old.relay.config.backend.timeout + STOP_GRACE_S + STUCK_S):
            fresh = self._make(old)
            daemon = old if fresh is None else self._replace(old, fresh)
        if daemon is not old:
            daemon.relay.log.info("config.reloaded", config=str(daemon.relay.config.source))
        self.systemd.notify("READY=1", f"STATUS={daemon.describe()}")
        return daemon

    def _make(self, old: Daemon) -> Relay | None:
        """Return the parts of the new config; where they can't be made, say why and return None: the old ones stay."""
        log, hint = old.relay.log, "Relay goes on with the old one."
        try:
            return self._relay(self._read(old.relay.config))
        except RelayError as error:
            fields = {"mistakes": list(error.mistakes)} if isinstance(error, ConfigError) else {}
            log.error("config.rejected", error=str(error), hint=error.hint or hint, **fields)  # noqa: TRY400
        except Exception as error:  # noqa: BLE001 -- whatever it is, what runs is better than nothing
            # Only the error's kind: its text could hold what stands in the config.
            log.error("config.rejected", error=type(error).__name__, hint=f"{hint} Please report it.")  # noqa: TRY400
        return None

    def _read(self, old: Config) -> Config:
        config = self.load()
        if config.outbox != old.outbox:
            raise ConfigError(
                "outbox: another outbox needs a restart.", hint="systemctl restart relay, when it suits you."
            )
        return config

    def _relay(self, config: Config) -> Relay:
        return parts.make_relay(config, self.opened, make_log(config.log, self.lines, self.opened.machine.now))

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
        if old.relay.dispatch.under_way and self.opened.outbox.is_shared:
            self._hold_anew(fresh)
        daemon = Daemon(self._made_anew(fresh), self.opened)
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

    def _hold_anew(self, fresh: Relay) -> None:
        """Take another lease, so that what could not be recorded stays under the old one, which ends by itself."""
        is_away = False
        while not self.signals.stop.is_set():
            try:
                self.opened.outbox.hold(self.opened.now())
            except OutboxUnavailable as error:
                if not is_away:
                    fresh.log.error("outbox.unavailable", error=str(error), hint=error.hint)  # noqa: TRY400
                is_away = True
                self.signals.stop.wait(AGAIN_S)
            else:
                if is_away:
                    fresh.log.warning("outbox.recovered")
                return

    def _made_anew(self, fresh: Relay) -> Relay:
        """Return the parts made once more: they begin with what the old ones have left in the outbox."""
        try:
            made = self._relay(fresh.config)
        except Exception:  # noqa: BLE001 -- those that were made a moment ago are as good, save for the circuits
            return fresh
        fresh.close()
        return made
