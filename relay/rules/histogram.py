"""Histograms that are kept as numbers by key, so that they can be added up by several processes. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What the keys of all kept numbers begin with, in the outbox's state.
BEGINNING = "figure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How long something takes, sorted into buckets."""

    #: Its name within the keys.
    name: str
    #: The upper bounds of the buckets, in seconds; one without a bound comes behind them.
    bounds: Sequence[float]

    def add(self, counts: dict[str, int], seconds: float) -> None:
        """Add one observation to numbers by key."""
        bucket = f"{BEGINNING}.{self.name}.{bisect_left(self.bounds, seconds)}"
        counts[bucket] = counts.get(bucket, 0) + 1
        total = f"{BEGINNING}.{self.name}.ms"
        counts[total] = counts.get(total, 0) + round(seconds * 1000)

    def read(self, kept: Mapping[str, int]) -> tuple[Sequence[int], float]:
        """Return how many observations there are up to each bound and in all, and their sum in seconds.

        `kept`: numbers by key, without BEGINNING.
        """
        up_to, total = [], 0
        for bucket in range(len(self.bounds) + 1):
            total += kept.get(f"{self.name}.{bucket}", 0)
            up_to.append(total)
        return up_to, kept.get(f"{self.name}.ms", 0) / 1000


#: How long an attempt takes, from the name's resolution to the end of the answer.
ATTEMPT = Histogram(name="attempt", bounds=(0.025, 0.1, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0))
#: From the time that Moodle's log row names, in whole seconds, until the backend has taken the event.
DELIVERY = Histogram(name="delivery", bounds=(1.0, 2.5, 5.0, 30.0, 60.0, 300.0, 3600.0, 21600.0))
