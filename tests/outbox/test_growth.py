"""What each pass does in the outbox costs no more where a hundred thousand events are behind it than where none is.

The work is counted, not timed: steps of SQLite's machine, and rows that MariaDB reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from harness import shared_outbox
from test_held_events import hold
from test_outbox import NOW, TYPES, claim, event, skip

from relay.model import Outcome, Position, Status
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.values import Batch, Judged, Selector, Settled
from relay.rules import retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay.outbox.contract import Outbox

#: How many events of each state there are before; and the most that the work may grow by for each of the others.
FEW, MANY = 50, 500
GROWTH = 0.5


class Counted:
    """An outbox, and how much its database has done."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        #: The last log row that was recorded.
        self.last = 0
        self._steps = 0
        self._database: Any = outbox._database  # type: ignore[attr-defined]

    def _step(self) -> None:
        self._steps += 1

    def work(self) -> int:
        if isinstance(self.outbox, SqliteOutbox):
            return self._steps
        rows = self._database.rows("SHOW GLOBAL STATUS LIKE 'Handler_read%'")
        return sum(int(count) for _, count in rows)

    def fill(self, count: int) -> None:
        """Record so many of each: delivered, skipped and held ones, each of a user of its own."""
        numbers = range(self.last + 1, self.last + count + 1)
        self.accept(events=[event(number, user=number) for number in numbers])
        self.deliver(count)
        self.accept(skips=[skip(number) for number in range(self.last + 1, self.last + count + 1)])
        self.accept(holds=[hold(number, row_id=number) for number in range(self.last + 1, self.last + count + 1)])

    def accept(self, **made: Any) -> None:
        """Record what log rows give, and the position behind them."""
        self.last = max([self.last, *(one.log_id for every in made.values() for one in every)])
        batch = Batch(**made, before=self.outbox.position(), after=Position(high=self.last))
        self.outbox.accept(batch, NOW)

    def deliver(self, count: int) -> None:
        """Let so many of what waits be taken."""
        outcome = Outcome(http_code=200, duration_ms=7)
        settled = [
            Settled(
                delivery=one,
                outcome=outcome,
                decision=retry.decide(one, outcome, retry.Policy(), now=NOW, jitter=0.0, is_outage=False),
                started_at=NOW,
            )
            for one in claim(self.outbox, limit=count)
        ]
        assert len(settled) == count
        self.outbox.settle(settled, NOW)

    def spent(self, do: Callable[[], object]) -> int:
        """Return how much work it is to do something."""
        before = self.work()
        # It takes long, and so it counts nothing of what is made before.
        if isinstance(self.outbox, SqliteOutbox):
            self._database._connection.set_progress_handler(self._step, 1)
        do()
        if isinstance(self.outbox, SqliteOutbox):
            self._database._connection.set_progress_handler(None, 0)
        return self.work() - before


@pytest.fixture(params=["sqlite", "mysql"])
def counted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Counted]:
    if request.param == "sqlite":
        outbox: Outbox = SqliteOutbox(tmp_path / "outbox.db")
    else:
        outbox = shared_outbox(request.getfixturevalue("outbox_address"))
    outbox.hold(NOW)
    yield Counted(outbox)
    outbox.close()


def one_of_each(counted: Counted) -> None:
    """Record an event, a skip and a hold, and skips that are tried anew."""
    new = counted.last + 1
    counted.accept(
        events=[event(new, user=new)],
        skips=[skip(new + 1)],
        holds=[hold(new + 2, row_id=new + 2)],
    )


def judge(counted: Counted) -> None:
    """Look at what is held: one stays so, one is released, one is skipped."""
    first, second, third = counted.outbox.held(0, 3)
    counted.outbox.judge(
        Judged(kept=[first], released=[(second, event(second.log_id or 0))], skipped=[(third, "")]), NOW
    )


def hold_again(counted: Counted) -> None:
    """Hold what waits of one row of Moodle."""
    new = counted.last + 1
    counted.accept(events=[event(new, user=new)])
    counted.outbox.hold_undelivered("grade_updated", "assign_grades", "number", NOW, only={new: new})


def deliver(counted: Counted) -> None:
    """Record an event, and let it be taken."""
    counted.accept(events=[event(counted.last + 1)])
    counted.deliver(1)


PASSES: dict[str, Callable[[Counted], object]] = {
    "accept": one_of_each,
    "deliver": deliver,
    "look for what is due": lambda counted: counted.outbox.next_due(TYPES, NOW),
    "judge": judge,
    "hold again": hold_again,
    "purge": lambda counted: counted.outbox.purge(NOW + 1, 0, 20),
    "tell of one": lambda counted: counted.outbox.recorded(NOW, event_id=event(1).event_id),
}


#: What is asked of an outbox in a file, by people and monitors, so often that it is no more work either.
QUESTIONS: dict[str, Callable[[Counted], object]] = {
    "count": lambda counted: counted.outbox.counts(),
    "count what waits": lambda counted: counted.outbox.waiting(),
    "list the last": lambda counted: counted.outbox.listed(Selector(), 10),
    "list the last of a type that is rare": lambda counted: counted.outbox.listed(Selector(event_type="none"), 10),
    "list the last of a state": lambda counted: counted.outbox.listed(Selector(status=Status.SKIPPED), 10),
    "list what is delivered": lambda counted: counted.outbox.listed(Selector(status=Status.SUCCESS), 10),
    "list those of a time": lambda counted: counted.outbox.listed(Selector(since=4e9), 10),
    "tell of a row of a user": lambda counted: counted.outbox.recorded(NOW, user_id=7, data=("number", 7)),
    "list those of a user": lambda counted: counted.outbox.listed(Selector(user_id=7), 10),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_does_not_look_at_what_it_is_not_about(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.outbox.sql_lists.NEAR", 10)
    counted = Counted(SqliteOutbox(tmp_path / "outbox.db"))
    counted.outbox.hold(NOW)
    found = []
    for count in (FEW, MANY):
        counted.fill(count)
        counted.accept(events=[event(n, user=n) for n in range(counted.last + 1, counted.last + count + 1)])
        found.append(counted.spent(lambda: QUESTIONS[name](counted)))
    assert found[1] <= found[0] + GROWTH * MANY, f"{found} for {FEW} and {MANY + FEW} of each"
    counted.outbox.close()


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_does_not_look_at_what_is_behind_it(name: str, counted: Counted) -> None:
    found = []
    for count in (FEW, MANY):
        counted.fill(count)
        if name != "purge":
            # What a statement costs the first time is no part of it.
            PASSES[name](counted)
        found.append(counted.spent(lambda: PASSES[name](counted)))
    assert found[1] <= found[0] + GROWTH * MANY, f"{found} for {FEW} and {MANY + FEW} of each"
