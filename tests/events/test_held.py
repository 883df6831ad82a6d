"""Which grades Moodle keeps from the student: each line of the rule (contract, section 2), as a table."""

from __future__ import annotations

from decimal import Decimal

import pytest

from relay import times
from relay.events.held import kept_back

NOW = 1_770_000_000
SHOWN = Decimal("55.00000")


@pytest.mark.parametrize(
    ("finalgrade", "item", "grade", "is_held", "until"),
    [
        (SHOWN, 0, 0, False, None),
        (Decimal(0), 0, 0, False, None),
        (SHOWN, None, None, False, None),
        (None, 0, 0, True, None),
        (None, NOW + 60, 0, True, None),
        (SHOWN, 1, 0, True, None),
        (SHOWN, 0, 1, True, None),
        (SHOWN, NOW + 60, 0, True, NOW + 60),
        (SHOWN, 0, NOW + 60, True, NOW + 60),
        (SHOWN, NOW + 60, NOW + 90, True, NOW + 90),
        (SHOWN, NOW + 90, 1, True, None),
        (SHOWN, NOW, NOW - 1, False, None),
        (SHOWN, -1, 2, False, None),
    ],
)
def test_the_gradebook_alone_says_what_is_kept_back(
    finalgrade: Decimal | None, item: int | None, grade: int | None, is_held: bool, until: int | None
) -> None:
    held = kept_back(finalgrade, item, grade, NOW)
    assert (held is not None) == is_held
    if held is not None:
        assert held.until == until
        assert "55" not in held.reason
        assert str(held) == held.reason


@pytest.mark.parametrize(
    ("finalgrade", "item", "grade", "reason"),
    [
        (
            None,
            0,
            0,
            "Moodle's gradebook has no grade for the student: it is not released, or still marked anonymously",
        ),
        (SHOWN, 1, NOW + 60, "the grade item is hidden in Moodle's gradebook"),
        (SHOWN, NOW + 60, 1, "the student's grade is hidden in Moodle's gradebook"),
        (SHOWN, NOW + 90, NOW + 60, f"the grade item is hidden in Moodle's gradebook until {times.show(NOW + 90)}"),
        (SHOWN, 0, NOW + 60, f"the student's grade is hidden in Moodle's gradebook until {times.show(NOW + 60)}"),
    ],
)
def test_the_reason_says_what_keeps_a_grade_back(
    finalgrade: Decimal | None, item: int, grade: int, reason: str
) -> None:
    held = kept_back(finalgrade, item, grade, NOW)
    assert held is not None
    assert held.reason == reason


@pytest.mark.parametrize(
    ("finalgrade", "item", "grade", "is_absent"),
    [(None, None, None, True), (None, 0, None, True), (None, 0, 0, False), (None, 1, 1, False), (SHOWN, 1, 0, False)],
)
def test_it_is_known_whether_the_gradebook_has_a_row_at_all(
    finalgrade: Decimal | None, item: int | None, grade: int | None, is_absent: bool
) -> None:
    held = kept_back(finalgrade, item, grade, NOW)
    assert held is not None
    assert held.is_absent is is_absent
