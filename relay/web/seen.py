"""How it is: the status and its problems, as the command line has them, with what the first screen shows besides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.errors import OutboxError
from relay.operations import health
from relay.service import judging, parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.config import Config
    from relay.operations.health import Problem
    from relay.operations.status import Report
    from relay.outbox.looking import Bucket
    from relay.outbox.values import Listed

HOUR_S, QUARTER_S = 3600.0, 6 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How it was at a moment."""

    report: Report
    problems: Sequence[Problem]
    #: The undelivered event that was recorded first.
    oldest: Listed | None = None
    #: By the hours of the last day, and by quarters of the days of the last week.
    day: Sequence[Bucket] = ()
    week: Sequence[Bucket] = ()


def see(config: Config) -> Seen:
    """Return how it is now; an outbox that is away is a problem, too."""
    now = parts.REAL.now()
    try:
        report = judging.status(config)
        with parts.opened(config, parts.REAL) as opened:
            return Seen(
                report=report,
                problems=health.judge(report),
                oldest=opened.outbox.oldest_undelivered(),
                day=opened.outbox.trend(_edges(now, HOUR_S, 24)),
                week=opened.outbox.trend(_edges(now, QUARTER_S, 28)),
            )
    except OutboxError as error:
        report = judging.without_outbox(config, error)
        return Seen(report=report, problems=health.judge(report))


def _edges(now: float, each_s: float, count: int) -> list[float]:
    """Return so many stretches of time, the last of which ends behind now: where each begins, and where that ends."""
    end = now // each_s * each_s + each_s
    return [end - each_s * back for back in range(count, -1, -1)]
