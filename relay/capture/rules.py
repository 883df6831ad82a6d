"""What the config says about capture: where to begin, and what is not sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.events.kind import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the config says about capture."""

    #: Where to start where there is no position: now, beginning, a time (unix seconds, as a float) or a log id.
    start_from: str | float | int = "now"
    #: The names of the kinds that are not sent.
    disabled: frozenset[str] = frozenset()
    ignore_actors: frozenset[int] = frozenset()
    #: Makes the payload options, given Moodle's siteidentifier.
    options: Callable[[str], Options]
