"""What a running relay says of itself: in the outbox that it runs, and to systemd how it is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from relay.errors import OutboxError
from relay.operations import health, status
from relay.outbox import owners
from relay.service import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.delivery.dispatch import Dispatch
    from relay.operations.health import Problem
    from relay.operations.status import Counted, Report
    from relay.outbox.contract import Outbox
    from relay.service.daemon import Systemd
    from relay.service.lease import Opened
    from relay.service.relay import Relay

#: How often it is written down that the relay runs, and looked how it is, in seconds.
BEAT_S = 5.0
#: What takes a while to count is counted again after so many times as long: one percent of the time goes into it.
COUNT_REST = 100


class Reporter:
    """Writes down that a relay runs, and tells how it is. For one thread, which is none of those that deliver."""

    def __init__(self, relay: Relay, opened: Opened, systemd: Systemd) -> None:
        self._relay = relay
        self._opened = opened
        self._systemd = systemd
        self._settings = parts.make_settings(relay.config)
        #: The process, for those who look whether it is gone; and when it began, in unix seconds.
        self._name = owners.new()
        self._since = opened.machine.now()
        #: An outbox of its own: what is counted here holds up no delivery.
        self._looking: Outbox | None = None
        self._counted: Counted | None = None
        self._count_again_at = 0.0
        self._said = ""

    def run_once(self) -> float:
        """Do one pass; return after how many seconds the next one is wanted. Raises no OutboxError."""
        machine = self._opened.machine
        try:
            now = self._opened.now()
            self.note(now)
            report = self._gather(now)
        except OutboxError as error:
            self._forget_outbox()
            report = status.without_outbox(str(error), self._settings, machine.now())
        self._tell(report, health.judge(report))
        return BEAT_S

    def note(self, now: float, state: Mapping[str, str] | None = None) -> None:
        """Write down when passes were completed, and what has been counted. Raises OutboxError."""
        noted = dict(state or {})
        if self._relay.dispatched_at:
            noted[status.DELIVERED_AT] = f"{self._relay.dispatched_at} {self._since} {self._name}"
        if self._relay.captured_at:
            noted[status.CAPTURED_AT] = str(self._relay.captured_at)
        write_down(self._relay.dispatch, self._opened.outbox, now, noted)

    def close(self, *, has_ended: bool) -> None:
        """Write down what is left, and that the process ends, where it does; what cannot be written is let go."""
        with contextlib.suppress(OutboxError):
            now = self._opened.now()
            self.note(now, {status.ENDED_AT: str(now)} if has_ended else None)
        self._forget_outbox()

    def _gather(self, now: float) -> Report:
        if self._looking is None:
            self._looking = parts.make_outbox(self._relay.config, create=False)
        monotonic: Callable[[], float] = self._opened.machine.monotonic
        began_at = monotonic()
        if self._counted is None or began_at >= self._count_again_at:
            self._counted = status.count(self._looking)
            self._count_again_at = monotonic() + COUNT_REST * (monotonic() - began_at)
        return status.gather(
            self._looking,
            lambda _position: self._relay.log_seen(),
            self._settings,
            now,
            disk_free=parts.disk_free(self._relay.config),
            counted=self._counted,
        )

    def _tell(self, report: Report, problems: Sequence[Problem]) -> None:
        said = health.sentence(report, problems, self._relay.config.backend.url)
        if said != self._said:
            self._said = said
            self._systemd.notify(f"STATUS={said}")

    def _forget_outbox(self) -> None:
        if self._looking is not None:
            self._looking.close()
            self._looking = None


def write_down(dispatch: Dispatch, outbox: Outbox, now: float, state: Mapping[str, str] | None = None) -> None:
    """Keep what delivery has counted, and further state, at `now` (unix seconds). Raises OutboxError."""
    taken = dispatch.tally.take()
    try:
        outbox.note(state or {}, taken, now)
    except BaseException:
        dispatch.tally.give_back(taken)
        raise
