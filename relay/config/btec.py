"""The BTEC grades of the config: names that are free to choose, each with the least score that gives it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from relay.config.values import ValueType

if TYPE_CHECKING:
    from relay.config.reader import Section
    from relay.events.marks import Bands


@dataclass(frozen=True, slots=True, kw_only=True)
class BtecConfig:
    """The BTEC grades: the least score (percent) of each, from the highest to the lowest."""

    bands: Bands


def written(bands: Bands) -> str:
    """Return grades as they would be written in the file."""
    return "{" + ", ".join(f"{grade}: {least}" for least, grade in bands) + "}"


def bands() -> ValueType:
    """Return the type of a mapping of grades to their least scores, one of them 0."""
    return ValueType(name="mapping", read=_read)


def _read(parent: Section, name: str, default: str) -> BtecConfig:
    section = parent.section(name, default)
    found = []
    for grade, value in section.items():
        try:
            least = Decimal(value)
        except ArithmeticError:
            least = Decimal(-1)
        if least.is_finite() and 0 <= least <= 100:
            found.append((least, grade))
        else:
            section.wrong(grade, "must be a score from 0 to 100 (percent): the least that gives this grade")
    found.sort(reverse=True)
    if found and found[-1][0] != 0:
        section.wrong(found[-1][1], "must be 0: the lowest grade is what every lower score gives")
    if len({least for least, _ in found}) < len(found):
        section.wrong(found[-1][1], "two grades have the same least score")
    return BtecConfig(bands=tuple(found))
