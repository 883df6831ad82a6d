"""What a grade of an assignment is worth: score and BTEC grade (contract, section 2, "data of grade_updated")."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

#: From high to low: the score (percent) from which a BTEC grade is given, and its name.
Bands = tuple[tuple[Decimal, str], ...]

BTEC: Bands = ((Decimal(70), "Distinction"), (Decimal(60), "Merit"), (Decimal(40), "Pass"), (Decimal(0), "Refer"))
#: The items of a scale that name a BTEC grade, in lower case.
BTEC_ITEMS = frozenset({"distinction", "merit", "pass", "refer", "d", "m", "p", "r"})
#: Characters that say how text is laid out and are never seen: marks and embeddings of direction, byte order mark.
FORMAT_CHARACTERS = dict.fromkeys((0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF))
CENT = Decimal("0.01")
HUNDRED = Decimal(100)


def mark(
    grade: Decimal | None,
    maximum: int | None,
    scale: str | None,
    bands: Bands = BTEC,
    *,
    penalty: Decimal | None = None,
) -> tuple[float | None, str | None]:
    """Return score (percent, two decimals, half up) and BTEC grade of an assign_grades row; None, None if ungraded.

    `maximum` is assign.grade: the points to be had, 0 for none, or minus the id of the scale whose list is `scale`.
    `penalty` is what Moodle takes off for lateness, in percent of the grade (assign_grades.penalty).
    """
    if grade is None or grade < 0 or not maximum:
        return None, None
    if maximum < 0:
        return _mark_on_scale(Decimal(grade), scale or "", bands)
    # Moodle takes nothing off a scale.
    left = HUNDRED - min(HUNDRED, max(Decimal(0), penalty or Decimal(0)))
    percent = Decimal(grade) * left / Decimal(maximum)
    return _rounded(percent), _band(percent, bands)


def _mark_on_scale(grade: Decimal, scale: str, bands: Bands) -> tuple[float | None, str | None]:
    """Return what a position (from 1) in a comma-separated scale is worth; None, None outside of it."""
    items = [item.strip() for item in scale.translate(FORMAT_CHARACTERS).split(",")]
    position = int(grade)
    if not scale.strip() or position != grade or not 1 <= position <= len(items):
        return None, None
    percent = HUNDRED if len(items) == 1 else Decimal(position - 1) * HUNDRED / Decimal(len(items) - 1)
    item = items[position - 1]
    names = BTEC_ITEMS | {name.translate(FORMAT_CHARACTERS).casefold() for _, name in bands}
    return _rounded(percent), item if item.casefold() in names else _band(percent, bands)


def _rounded(percent: Decimal) -> float:
    return float(percent.quantize(CENT, ROUND_HALF_UP))


def _band(percent: Decimal, bands: Bands) -> str:
    clamped = min(HUNDRED, max(Decimal(0), percent))
    return next(name for threshold, name in bands if clamped >= threshold)
