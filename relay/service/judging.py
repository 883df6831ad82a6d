"""The state of the relay, as `status`, `metrics` and the page ask for it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from relay import __version__
from relay.errors import OutboxError
from relay.operations import health, metrics
from relay.operations import status as state
from relay.rules.histogram import BEGINNING
from relay.service import parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.config import Config
    from relay.operations.status import Report
    from relay.outbox.contract import Outbox


def status(config: Config) -> Report:
    """Return the state of the relay. Raises OutboxError."""
    return _look(config)[0]


def figures(config: Config) -> tuple[str, OutboxError | None]:
    """Return the figures of the relay as Prometheus text, and why the outbox has given none, where that is away."""
    try:
        report, numbers = _look(config)
    except OutboxError as error:
        report = without_outbox(config, error)
        return metrics.text(report, health.judge(report), {}, __version__), error
    return metrics.text(report, health.judge(report), numbers, __version__), None


def without_outbox(config: Config, error: OutboxError) -> Report:
    """Return what is known of the relay where its outbox cannot be used."""
    free, settings = parts.disk_free(config), parts.make_settings(config)
    return state.without_outbox(str(error), settings, parts.REAL.now(), free)


def _look(config: Config) -> tuple[Report, Mapping[str, int]]:
    """Return the state of the relay, and the numbers that are kept. Raises OutboxError."""
    with parts.opened(config, parts.REAL) as opened, parts.reading(config) as moodle:
        _try_writing(config, opened.outbox)
        report = state.gather(
            opened.outbox,
            partial(state.ask, moodle),
            parts.make_settings(config),
            opened.now(),
            disk_free=parts.disk_free(config),
        )
        return report, opened.outbox.numbers(BEGINNING)


def _try_writing(config: Config, outbox: Outbox) -> None:
    """Raise OutboxError where the outbox can be read and not written: that holds up the relay that runs, too.

    A user whose file it is not, such as a monitor's, may well be one who is only to read it.
    """
    path = config.outbox.sqlite_path
    if path is None or os.geteuid() in (0, path.stat().st_uid):
        outbox.probe_write()
