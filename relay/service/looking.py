"""The commands that look at a relay and change nothing. They load neither what captures nor what delivers."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from relay import __version__
from relay.errors import OutboxError, OutboxMissing
from relay.operations import health, metrics
from relay.operations import status as state
from relay.outbox.pausing import paused_by
from relay.rules import circuit
from relay.rules.histogram import BEGINNING
from relay.service import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from relay.config import Config
    from relay.moodle.contract import Moodle
    from relay.operations.explain import Explainer
    from relay.operations.status import Report
    from relay.operations.story import Story
    from relay.outbox.contract import Outbox
    from relay.outbox.values import Listed, Selector
    from relay.service.lease import Opened


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


def cursor(config: Config) -> int | None:
    """Return up to which id the log is read; None where it has not been read yet. Raises OutboxError."""
    try:
        with parts.opened(config, parts.REAL) as opened:
            position = opened.outbox.position()
    except OutboxMissing:
        return None
    return None if position is None else position.high


def events(config: Config, selector: Selector, limit: int) -> Sequence[Listed]:
    """Return the recorded events that are meant, the last recorded first: so many at most. Raises OutboxError."""
    with parts.opened(config, parts.REAL) as opened:
        return opened.outbox.listed(selector, limit)


def again_and_again(seconds: float) -> Iterator[None]:
    """Yield at once, and again each time that so many seconds have passed."""
    while True:
        yield
        parts.REAL.sleep(seconds)


def explain(config: Config, what: str) -> Sequence[tuple[str, Story]]:
    """Tell the stories of what is named, as `operations.explain` knows it, each with its id. Raises RelayError."""
    with parts.opened(config, parts.REAL) as opened, parts.reading(config) as moodle:
        return _make_explainer(config, moodle, opened).explain_all(what)


def _make_explainer(config: Config, moodle: Moodle, opened: Opened) -> Explainer:
    """Return what tells the story of an event. Raises OutboxError."""
    from relay.operations.explain import Explainer  # noqa: PLC0415 -- for a command
    from relay.operations.unrecorded import Rules as ExplainRules  # noqa: PLC0415 -- as above

    return Explainer(
        outbox=opened.outbox,
        moodle=moodle,
        kept=parts.make_kept(config, moodle, opened),
        breaker=circuit.load(opened.outbox.state(circuit.STATE)),
        rules=ExplainRules(
            is_paused=not config.enabled,
            is_told_to_pause=bool(paused_by(opened.outbox)),
            kinds=config.events.kinds,
            disabled=config.events.disabled,
            ignore_actors=frozenset(config.events.ignore_actors),
        ),
        now=opened.now(),
    )
