"""Large comments: whoever reads many grades reads so many bytes of them at once as memory is meant to hold, no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from stepped import AT, Captured

from relay.capture import held as releasing
from relay.capture.sync import Syncing, Wanted
from relay.events.catalogue import KINDS
from relay.moodle.database import Database
from relay.operations.kept import Kept
from relay.service import parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciled import Reconciled

    from relay.demo.moodle import College
    from relay.outbox.values import Accepted, Batch

pytestmark = pytest.mark.by_turns("reconciled")
#: What may be read at once here, how large a comment is, and how many there are.
MOST, COMMENT, GRADES = 40_000, 9000, 30
#: What else is read with so many rows.
BESIDE = 6000


class Measured:
    """How many bytes of text each statement to Moodle has given, and each batch to the outbox has taken."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.recorded: list[int] = []

    def check(self) -> None:
        """All was read, and in parts."""
        assert sum(self.read) > GRADES * COMMENT
        assert max(self.read) <= MOST + BESIDE
        assert max(self.recorded, default=0) <= MOST + BESIDE


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    made = Measured()
    select = Database.select

    def measure(self: Database, statement: str, *values: Any) -> Sequence[Any]:
        rows = select(self, statement, *values)
        made.read.append(sum(len(value) for row in rows for value in row.values() if isinstance(value, bytes)))
        return rows

    monkeypatch.setattr(Database, "select", measure)
    for module in ("moodle.log", "moodle.sizes", "capture.compare"):
        monkeypatch.setattr(f"relay.{module}.BYTES_AT_ONCE", MOST)
    return made


def fill(college: College, *, is_released: bool = True) -> None:
    """Let many students be graded at length."""
    course = college.course("Computing", "C1")
    essay = college.assignment(course, "Essay")
    for number in range(GRADES):
        ada = college.sign_up("Ada", f"Number{number}", AT)
        college.enrol(ada, course, AT)
        college.grade(ada, essay, 61, AT, f"<p>{'x' * COMMENT}</p>", is_released=is_released)


def test_the_log_is_read_so(college: College, captured: Captured, measured: Measured) -> None:
    fill(college)
    assert captured.read() == 3 * GRADES
    measured.check()


def test_what_is_held_is_looked_at_so(college: College, captured: Captured, measured: Measured) -> None:
    fill(college, is_released=False)
    captured.read()
    college.run("UPDATE {p}grade_grades SET finalgrade = 61")
    measured.read.clear()
    assert captured.read(releasing.LOOK_EVERY_S + 1) == GRADES
    measured.check()
    assert len(captured.data("grade_updated")) == GRADES


def test_what_waits_is_looked_at_so(college: College, captured: Captured, measured: Measured) -> None:
    fill(college)
    captured.read()
    college.run("UPDATE {p}grade_grades SET hidden = 1")
    measured.read.clear()
    captured.read(releasing.LOOK_EVERY_S + 1)
    measured.check()
    assert captured.log.slugs().count("event.held") == GRADES


def test_a_replay_asks_so(college: College, captured: Captured, measured: Measured) -> None:
    fill(college)
    captured.read()
    measured.read.clear()
    options = parts.make_options(captured.loaded)(captured.moodle.site().identifier)
    kept = Kept(outbox=captured.outbox, moodle=captured.moodle, options=options)
    ids = [row["id"] for row in captured.moodle.select("SELECT id FROM {p}assign_grades ORDER BY id")]
    assert kept.rows(KINDS["grade_updated"], ids) == {}
    measured.check()


def test_sync_reads_so(college: College, captured: Captured, measured: Measured) -> None:
    fill(college)
    syncing = Syncing(
        moodle=captured.moodle,
        outbox=captured.outbox,
        wanted=Wanted(kind="grades"),
        options=parts.make_options(captured.loaded),
        log=captured.log,
    )
    progress = syncing.begin(None, captured.now)
    asked = 0
    while (after := syncing.step(progress, captured.now)) is not None:
        progress, asked = after, asked + 1
    assert progress.processed == GRADES
    assert asked > 1
    measured.check()


def test_reconcile_reads_so_and_records_so(
    college: College, reconciled: Reconciled, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(college)
    college.run("DELETE FROM {p}logstore_standard_log")
    reconciled.read()
    accept = reconciled.outbox.accept

    def recorded(batch: Batch, now: float) -> Accepted:
        measured.recorded.append(sum(len(event.body) for event in batch.events))
        return accept(batch, now)

    monkeypatch.setattr(reconciled.outbox, "accept", recorded)
    assert len(reconciled.run("grades", asked=True)) == GRADES
    assert [data["score"] for _, data in reconciled.sent()] == [61.0] * GRADES
    measured.check()
    assert sum(measured.recorded) > GRADES * COMMENT
