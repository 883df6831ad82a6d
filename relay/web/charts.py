"""Charts as SVG: what was delivered, and how long that took. Pure; what stands in them are numbers and times alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.outbox.looking import Bucket

#: The size of the drawing, in its own units; it is as wide as its place.
WIDTH, HEIGHT, BASE = 600.0, 140.0, 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar, in the drawing's units."""

    x: float
    y: float
    width: float
    height: float
    bucket: Bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart: a bar for each stretch of time."""

    bars: Sequence[Bar]
    #: What the highest bar stands for.
    most: float


def throughput(buckets: Sequence[Bucket]) -> Chart:
    """Return the chart of how many events were delivered."""
    return _chart(buckets, [float(one.delivered) for one in buckets])


def latency(buckets: Sequence[Bucket]) -> Chart:
    """Return the chart of how long the slowest twentieth took at the least, in seconds."""
    return _chart(buckets, [one.slow_s or 0.0 for one in buckets])


def _chart(buckets: Sequence[Bucket], values: Sequence[float]) -> Chart:
    most = max(values, default=0.0)
    width = WIDTH / max(1, len(buckets))
    bars = []
    for index, (bucket, value) in enumerate(zip(buckets, values, strict=True)):
        # What is not nothing is seen.
        height = 0.0 if value <= 0 or most <= 0 else max(2.0, value / most * (BASE - 10))
        bars.append(
            Bar(
                x=round(index * width + 1, 2),
                y=round(BASE - height, 2),
                width=round(width - 2, 2),
                height=round(height, 2),
                bucket=bucket,
            )
        )
    return Chart(bars=bars, most=most)
