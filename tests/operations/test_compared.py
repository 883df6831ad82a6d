"""When a comparison of Moodle's tables is overdue: one that never came to its end, too."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from relay.operations import compared
from relay.operations.compared import Compared
from relay.outbox.sqlite import SqliteOutbox

if TYPE_CHECKING:
    from pathlib import Path

NOW, DAY_S = 1_770_000_000.0, 86400.0
TABLES = ("users", "grades")


@pytest.mark.parametrize(
    ("ended", "begun", "since"),
    [
        ({}, {}, None),
        ({"users": 1, "grades": 1}, {}, None),
        ({"users": 3, "grades": 1}, {}, 3),
        ({"users": 1}, {"grades": 1}, None),
        ({"users": 1}, {"grades": 5}, 5),
        ({"users": 1, "grades": 1, "enrolments": 9}, {"users": 5}, None),
    ],
)
def test_it_is_overdue_once_twice_its_interval_has_passed(
    tmp_path: Path, ended: dict[str, int], begun: dict[str, int], since: int | None
) -> None:
    """Given how many days ago each table's comparison ended, and was begun."""
    found = {name: Compared(at=NOW - days * DAY_S, rows=1, differed=0, sent=0) for name, days in ended.items()}
    with contextlib.closing(SqliteOutbox(tmp_path / "outbox.db")) as outbox:
        for name, days in begun.items():
            outbox.set_state(f"reconcile.{name}.begun", str(NOW - days * DAY_S), NOW)
        overdue = compared.overdue(outbox, found, TABLES, DAY_S, NOW)
    assert overdue == (None if since is None else NOW - since * DAY_S)
