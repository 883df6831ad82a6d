"""Figures with their spread, the targets they are held against, and the rows of the table."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEADER = "| no. | what | figure: median (least..most) | target | |\n| --- | --- | --- | --- | --- |"


@dataclass(frozen=True, slots=True)
class Sample:
    """The same thing measured several times."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def over(self, other: Sample) -> Sample:
        """Return the ratios to another sample that was measured alternately with this one, round by round."""
        return Sample([one / another for one, another in zip(self.values, other.values, strict=True)])

    def times(self, factor: float) -> Sample:
        """Return the sample in another unit."""
        return Sample([value * factor for value in self.values])

    def shown(self, digits: int = 0, unit: str = "") -> str:
        """Return the median with its spread."""
        low, high = min(self.values), max(self.values)
        spread = "" if len(self.values) == 1 else f" ({low:,.{digits}f}..{high:,.{digits}f})"
        return f"{self.median:,.{digits}f}{unit}{spread}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least value that `share` (0 to 1) of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is to reach."""

    text: str
    is_met: Callable[[float], bool]


def at_least(bound: float, unit: str = "") -> Target:
    """Return the target of reaching a bound."""
    return Target(f"≥ {bound:g}{unit}", lambda value: value >= bound)


def at_most(bound: float, unit: str = "") -> Target:
    """Return the target of staying within a bound."""
    return Target(f"≤ {bound:g}{unit}", lambda value: value <= bound)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    section: int
    what: str
    figure: str
    target: str = ""
    verdict: str = ""

    def __str__(self) -> str:
        return f"| {self.section} | {self.what} | {self.figure} | {self.target} | {self.verdict} |"


def plain(section: int, what: str, sample: Sample, digits: int = 0, unit: str = "") -> Row:
    """Return a row without a target."""
    return Row(section, what, sample.shown(digits, unit))


def judged(
    section: int, what: str, sample: Sample, *targets: Target, digits: int = 2, unit: str = "", note: str = ""
) -> Row:
    """Return a row whose median is held against targets, all of which must be met."""
    verdict = "met" if all(target.is_met(sample.median) for target in targets) else "**not met**"
    bounds = ", ".join(target.text for target in targets)
    return Row(section, what, sample.shown(digits, unit) + note, bounds, verdict)
