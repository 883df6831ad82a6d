"""The commands that look at a relay and change nothing. They load neither what captures nor what delivers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import OutboxMissing
from relay.outbox.pausing import paused_by
from relay.rules import circuit
from relay.service import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.config import Config
    from relay.moodle.contract import Moodle
    from relay.operations.explain import Explainer
    from relay.operations.story import Story
    from relay.outbox.values import Listed, Selector
    from relay.service.lease import Opened


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
