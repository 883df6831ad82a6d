"""What the config says about capture: where to begin, and what is not sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.events.kind import EventKind, Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the config says about capture."""

    #: Where to start where there is no position: now, beginning, a time (unix seconds, as a float) or a log id.
    start_from: str | float | int = "now"
    #: All kinds by name: those of the catalogue, and the config's own.
    kinds: Mapping[str, EventKind]
    #: The names of those that are not sent.
    disabled: frozenset[str] = frozenset()
    ignore_actors: frozenset[int] = frozenset()
    #: Makes the payload options, given Moodle's siteidentifier.
    options: Callable[[str], Options]
