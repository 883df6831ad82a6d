"""What is counted without a look at all events is always what such a look would find, whoever has written them."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from typing import TYPE_CHECKING

import pytest
from test_held_events import hold
from test_migrations import TO_6
from test_outbox import NOW, TYPES, accept, claim, event, purge, settle, skip

from relay.errors import OutboxRefused
from relay.model import UNDELIVERED, Status
from relay.outbox import sql_lists
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.values import Batch, Judged, Selector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from relay.outbox.contract import Outbox

BY_HAND = "SELECT event_type, status, COUNT(*) FROM mdl_mb_zoho_event_log GROUP BY event_type, status"


class Checked:
    """An outbox in a file, and its file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outbox: Outbox = SqliteOutbox(path)
        self.outbox.hold(NOW)

    def run(self, statement: str) -> list[tuple[str, str, int]]:
        """Run a statement as one who knows nothing of relay, or as an older one."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(statement).fetchall()

    def check(self) -> dict[str, dict[str, int]]:
        """Compare what is counted with what is there; return it."""
        found: dict[str, dict[str, int]] = {}
        for name, status, count in self.run(BY_HAND):
            found.setdefault(name, {})[status] = count
        assert self.outbox.counts().by_type == found
        waiting = sum(states.get(status, 0) for states in found.values() for status in UNDELIVERED)
        assert self.outbox.waiting().count == waiting
        return found


@pytest.fixture
def checked(tmp_path: Path) -> Iterator[Checked]:
    made = Checked(tmp_path / "outbox.db")
    yield made
    made.outbox.close()


def test_the_counts_are_those_of_the_events_after_whatever_is_done(checked: Checked) -> None:
    outbox = checked.outbox
    accept(outbox, *(event(number, user=number) for number in range(1, 9)), event(9, user=9, kind="user_created"))
    outbox.accept(Batch(skips=[skip(20)], holds=[hold(21), hold(22, row_id=8), hold(23, row_id=9)]), NOW)
    assert checked.check() == {
        "grade_updated": {"pending": 8, "held": 3},
        "user_created": {"pending": 1, "skipped": 1},
    }
    for delivery, code in zip(claim(outbox), (200, 200, 200, 422, 422, 503, 503, None), strict=False):
        settle(outbox, delivery, code)
    checked.check()
    first, second, third = outbox.held(0, 9)
    outbox.judge(Judged(released=[(first, event(21))], skipped=[(second, "it is gone")], kept=[third]), NOW)
    checked.check()
    assert outbox.hold_undelivered("grade_updated", "assign_grades", "number", NOW)
    checked.check()
    outbox.claim_again(outbox.select(Selector(status=Status.GAVE_UP))[:1], NOW, lease_s=9, types=TYPES)
    outbox.forget(4, NOW, 9, undelivered=True)
    checked.check()
    assert purge(outbox, NOW + 1) > 0
    found = checked.check()
    assert "success" not in found["grade_updated"]
    outbox.clear()
    assert checked.check() == {}


def test_what_is_rolled_back_is_not_counted(checked: Checked) -> None:
    accept(checked.outbox, event(1))
    broken = event(3)._replace(user_id=None)  # type: ignore[arg-type] # the column takes no NULL
    with pytest.raises(OutboxRefused):
        checked.outbox.accept(Batch(events=[event(2), broken]), NOW)
    assert checked.check() == {"grade_updated": {"pending": 1}}


def test_what_an_older_relay_or_a_person_writes_beside_it_is_counted(checked: Checked) -> None:
    accept(checked.outbox, *(event(number) for number in range(1, 5)))
    log = "mdl_mb_zoho_event_log"
    checked.run(f"UPDATE {log} SET status = 'success', due_at = NULL WHERE id < 3")
    checked.check()
    checked.run(f"UPDATE {log} SET event_type = 'of_old' WHERE id = 3")
    checked.check()
    checked.run(f"DELETE FROM {log} WHERE id = 1")
    assert checked.check() == {"grade_updated": {"success": 1, "pending": 1}, "of_old": {"pending": 1}}


def test_an_outbox_of_before_is_counted_when_it_is_opened(checked: Checked) -> None:
    accept(checked.outbox, *(event(number) for number in range(1, 5)))
    settle(checked.outbox, claim(checked.outbox)[0], 200)
    before = checked.check()
    checked.outbox.close()
    for statement in TO_6:
        checked.run(statement)
    checked.outbox = SqliteOutbox(checked.path)
    assert checked.check() == before


LISTS = [
    Selector(status=status, event_type=kind, user_id=user, since=since, until=until)
    for status, kind, user, since, until in itertools.product(
        (None, Status.PENDING, Status.SUCCESS, Status.HELD),
        (None, "grade_updated", "user_created"),
        (None, 2),
        (None, 1_700_000_005),
        (None, 1_700_000_009),
    )
]


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("near", [2, 1000])
def test_a_list_has_the_last_events_that_are_meant_however_they_are_found(
    near: int, few: int, checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_lists, "NEAR", near)
    monkeypatch.setattr(sql_lists, "FEW", few)
    outbox = checked.outbox
    kinds = ("grade_updated", "user_created")
    # Their own times are not in the order in which they were recorded.
    accept(
        outbox,
        *(event(n, user=n % 3, kind=kinds[n % 2], at=1_700_000_000 + n * 7 % 13) for n in range(1, 25)),
    )
    outbox.accept(Batch(holds=[hold(31), hold(32)], skips=[skip(33)]), NOW)
    for delivery in claim(outbox, limit=9):
        settle(outbox, delivery, 200)
    for selector in LISTS:
        given = sql_lists.terms_of(selector)
        where = " AND ".join(["1 = 1", *given])
        for limit in (1, 3, 50):
            statement = f"SELECT event_id FROM {{p}}mb_zoho_event_log WHERE {where} ORDER BY id DESC LIMIT ?"
            wanted = [row[0] for row in outbox._rows(statement, (*given.values(), limit))]  # type: ignore[attr-defined]
            assert [one.event_id for one in outbox.listed(selector, limit)] == wanted, (selector, limit)
