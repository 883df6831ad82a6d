"""Makes what compares Moodle's tables, for the daemon and for those who ask. It serves `service.wiring`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from relay.capture.daily import Daily
from relay.capture.reconcile import GRACE_S, Reconciling, way_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.config import Config
    from relay.events.kind import Options
    from relay.model import Log
    from relay.moodle.contract import Moodle
    from relay.service.lease import Opened

    #: Makes the passes over a table, given its name; None where the config sends nothing of it. Raises MoodleError.
    Start = Callable[[str], Reconciling | None]


class Asked(NamedTuple):
    """What a person asks for."""

    tables: Sequence[str]
    is_fixing: bool
    #: How long a row must differ, in seconds.
    grace_s: float
    #: Who asks: a Moodle user id.
    triggered_by: int | None = None


def starting(
    config: Config,
    moodle: Moodle,
    opened: Opened,
    log: Log,
    options: Callable[[str], Options],
    asked: Asked | None,
) -> Start:
    """Return what makes the passes over a table; `asked`: those of a person, else the daemon's own, which send."""

    def start(name: str) -> Reconciling | None:
        is_fixing, grace_s = (True, GRACE_S) if asked is None else (asked.is_fixing, asked.grace_s)
        way = way_of(name, config.events.disabled, is_fixing=is_fixing, grace_s=grace_s)
        if way is None:
            return None
        return Reconciling(
            name,
            moodle=moodle,
            outbox=opened.outbox,
            way=way,
            options=options(moodle.site().identifier),
            log=log,
            monotonic=opened.machine.monotonic,
            asked=asked is not None,
        )

    return start


def daily(config: Config, opened: Opened, start: Start) -> Daily:
    """Return the daemon's own passes."""
    return Daily(
        outbox=opened.outbox,
        tables=config.reconcile.tables,
        interval_s=config.reconcile.interval,
        share=config.reconcile.share,
        start=start,
        monotonic=opened.machine.monotonic,
    )
