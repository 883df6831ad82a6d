"""What a running relay says of itself: in the outbox that it runs; to systemd how it is; to Prometheus its figures."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from relay import __version__
from relay.errors import OutboxError
from relay.operations import health, metrics, status
from relay.outbox import owners
from relay.rules.histogram import BEGINNING
from relay.service import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from relay.delivery.dispatch import Dispatch
    from relay.operations.status import Counted, Report
    from relay.outbox.contract import Outbox
    from relay.service.lease import Opened
    from relay.service.relay import Relay

#: How often it is written down that the relay runs, and looked how it is, in seconds.
BEAT_S = 5.0
#: What takes a while to count is counted again after so many times as long: one percent of the time goes into it.
COUNT_REST = 100


class Reporter:
    """Writes down that a relay runs, and tells how it is. For one thread, which is none of those that deliver."""

    def __init__(self, relay: Relay, opened: Opened) -> None:
        self._relay = relay
        self._opened = opened
        self._settings = parts.make_settings(relay.config)
        #: The process, for those who look whether it is gone; and when it began, in unix seconds.
        self._name = owners.new()
        self._since = 0.0
        #: An outbox of its own: what is counted here holds up no delivery.
        self._looking: Outbox | None = None
        self._counted: Counted | None = None
        self._count_again_at = 0.0
        #: One line that says how it is.
        self.said = "Starting"
        self._is_away = False
        self._textfile_error = ""
        #: The figures as Prometheus text; '' before the first pass.
        self.figures = ""

    def run_once(self) -> float:
        """Do one pass; return after how many seconds the next one is wanted. Raises no OutboxError."""
        machine = self._opened.machine
        figures: Mapping[str, int] = {}
        try:
            now = self._opened.now()
            self.note(now)
            report, figures = self._gather(now)
            self._is_away = False
        except OutboxError as error:
            self._is_away = True
            self._forget_outbox()
            free = parts.disk_free(self._relay.config)
            report = status.without_outbox(str(error), self._settings, machine.now(), free)
        self._tell(report, figures)
        return BEAT_S

    def note(self, now: float, state: Mapping[str, str] | None = None) -> None:
        """Write down when passes were completed, and what has been counted. Raises OutboxError."""
        # What the one before has left may be later, where the clock was set back since.
        begins = {} if self._since else {status.ENDED_AT: "0"}
        self._since = self._since or now
        # Before the first pass, it has just begun: that is no reason to say that none runs.
        delivered_at = self._relay.dispatched_at or self._since
        noted = {status.DELIVERED_AT: f"{int(delivered_at)} {int(self._since)} {self._name}", **begins, **(state or {})}
        if self._relay.captured_at:
            noted[status.CAPTURED_AT] = str(int(self._relay.captured_at))
        skew_s = self._relay.sender.clock_skew_s()
        if skew_s is not None:
            noted[status.CLOCK_SKEW] = str(round(skew_s))
        write_down(self._relay.dispatch, self._opened.outbox, now, noted)

    def close(self, *, has_ended: bool) -> None:
        """Write down what is left, and that the process ends, where it does; what cannot be written is let go."""
        # An end does not wait for an outbox that was away a moment ago.
        if not self._is_away:
            with contextlib.suppress(OutboxError):
                now = self._opened.now()
                self.note(now, {status.ENDED_AT: str(int(now))} if has_ended else None)
                if has_ended:
                    self._tell(*self._gather(now))
        self._forget_outbox()

    def _gather(self, now: float) -> tuple[Report, Mapping[str, int]]:
        if self._looking is None:
            self._looking = parts.make_outbox(self._relay.config, create=False)
        monotonic: Callable[[], float] = self._opened.machine.monotonic
        began_at = monotonic()
        if self._counted is None or began_at >= self._count_again_at:
            self._counted = status.count(self._looking)
            self._count_again_at = monotonic() + COUNT_REST * (monotonic() - began_at)
        report = status.gather(
            self._looking,
            lambda _position: self._relay.log_seen(),
            self._settings,
            now,
            disk_free=parts.disk_free(self._relay.config),
            counted=self._counted,
        )
        return report, self._looking.numbers(BEGINNING)

    def _tell(self, report: Report, figures: Mapping[str, int]) -> None:
        problems = health.judge(report)
        settings = self._relay.config.metrics
        if settings.textfile is not None or settings.listen is not None:
            self.figures = metrics.text(report, problems, figures, __version__)
        if settings.textfile is not None:
            self._write(settings.textfile)
        self.said = health.sentence(report, problems, self._relay.config.backend.url)

    def _write(self, path: Path) -> None:
        """Write the figures into a file, whole; say once where that cannot be done."""
        try:
            write_whole(path, self.figures)
        except OSError as error:
            if self._textfile_error != str(error.strerror):
                self._textfile_error = str(error.strerror)
                hint = f"Make the folder {path.parent} for the user that relay runs as, or mend metrics.textfile."
                self._relay.log.warning("metrics.failed", error=f"{path}: {error.strerror}", hint=hint)
        else:
            self._textfile_error = ""

    def _forget_outbox(self) -> None:
        if self._looking is not None:
            self._looking.close()
            self._looking = None


def write_down(dispatch: Dispatch, outbox: Outbox, now: float, state: Mapping[str, str] | None = None) -> None:
    """Keep what delivery has counted, and further state, at `now` (unix seconds). Raises OutboxError."""
    taken = dispatch.tally.take()
    noted = dict(state or {})
    if dispatch.tally.taken_at:
        noted[status.TAKEN_AT] = str(int(dispatch.tally.taken_at))
    try:
        outbox.note(noted, taken, now)
    except BaseException:
        dispatch.tally.give_back(taken)
        raise


def write_whole(path: Path, text: str) -> None:
    """Put a text in the place of a file, which everybody may read. Raises OSError; the old file is there then."""
    # Not under a name that a collector reads.
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o644)  # whatever the umask says
        file.write(text)
    new.rename(path)
