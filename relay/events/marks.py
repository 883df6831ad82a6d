"""What a grade of an assignment is worth: score and BTEC grade (contract, section 2, "data of grade_updated")."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

#: From high to low: the score (percent) from which a BTEC grade is given, and its name.
Bands = tuple[tuple[Decimal, str], ...]

BTEC: Bands = ((Decimal(70), "Distinction"), (Decimal(60), "Merit"), (Decimal(40), "Pass"), (Decimal(0), "Refer"))
#: The items of a scale that name a BTEC grade, in lower case.
BTEC_ITEMS = frozenset({"distinction", "merit", "pass", "refer", "d", "m", "p", "r"})
CENT = Decimal("0.01")
HUNDRED = Decimal(100)


def mark(
    grade: Decimal | None, maximum: int | None, scale: str | None, bands: Bands = BTEC
) -> tuple[float | None, str | None]:
    """Return score (percent, two decimals, half up) and BTEC grade of an assign_grades row; None, None if ungraded.

    `maximum` is assign.grade: the points to be had, 0 for none, or minus the id of the scale whose list is `scale`.
    """
    if grade is None or grade < 0 or not maximum:
        return None, None
    if maximum < 0:
        return _mark_on_scale(Decimal(grade), scale or "", bands)
    percent = Decimal(grade) * HUNDRED / Decimal(maximum)
    return _rounded(percent), _band(percent, bands)


def _mark_on_scale(grade: Decimal, scale: str, bands: Bands) -> tuple[float | None, str | None]:
    """Return what a position (from 1) in a comma-separated scale is worth; None, None outside of it."""
    items = [item.strip() for item in scale.split(",")]
    position = int(grade)
    if not scale.strip() or position != grade or not 1 <= position <= len(items):
        return None, None
    percent = HUNDRED if len(items) == 1 else Decimal(position - 1) * HUNDRED / Decimal(len(items) - 1)
    item = items[position - 1]
    names_btec = item.casefold() in BTEC_ITEMS or any(item.casefold() == name.casefold() for _, name in bands)
    return _rounded(percent), item if names_btec else _band(percent, bands)


def _rounded(percent: Decimal) -> float:
    return float(percent.quantize(CENT, ROUND_HALF_UP))


def _band(percent: Decimal, bands: Bands) -> str:
    clamped = min(HUNDRED, max(Decimal(0), percent))
    return next(name for threshold, name in bands if clamped >= threshold)
