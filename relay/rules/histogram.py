"""Histograms that are kept as numbers by key, so that they can be added up by several processes. Pure."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What the keys of all kept numbers begin with, in the outbox's state.
BEGINNING = "figure"


class Histogram:
    """How long something takes, sorted into buckets."""

    def __init__(self, name: str, bounds: Sequence[float]) -> None:
        """Take its name within the keys, and the upper bounds of the buckets in seconds."""
        self.name = name
        self.bounds = bounds
        # Made once: each attempt is counted. One without a bound comes behind the others.
        self._buckets = [f"{BEGINNING}.{name}.{number}" for number in range(len(bounds) + 1)]
        self._sum = f"{BEGINNING}.{name}.ms"

    def add(self, counts: dict[str, int], milliseconds: int) -> None:
        """Add one observation to numbers by key."""
        bucket = self._buckets[bisect_left(self.bounds, milliseconds / 1000)]
        counts[bucket] = counts.get(bucket, 0) + 1
        counts[self._sum] = counts.get(self._sum, 0) + milliseconds

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
ATTEMPT = Histogram("attempt", (0.025, 0.1, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0))
#: From the time that Moodle's log row names, in whole seconds, until the backend has taken the event.
DELIVERY = Histogram("delivery", (1.0, 2.5, 5.0, 30.0, 60.0, 300.0, 3600.0, 21600.0))
