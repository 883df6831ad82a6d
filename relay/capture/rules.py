"""What the config says about capture: where to begin, and what is not sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.events.kind import EventKind, Options


class Rules(NamedTuple):
    """What the config says about capture."""

    #: All kinds by name: those of the catalogue, and the config's own.
    kinds: Mapping[str, EventKind]
    #: Makes the payload options, given Moodle's siteidentifier.
    options: Callable[[str], Options]
    #: Where to start where there is no position: now, beginning, a time (unix seconds, as a float) or a log id.
    start_from: str | float | int = "now"
    #: The names of those that are not sent.
    disabled: frozenset[str] = frozenset()
    ignore_actors: frozenset[int] = frozenset()
