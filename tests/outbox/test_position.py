"""The log is read once: who reads it from a position that is not the outbox's any more is told so, in both dialects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_outbox import NOW, Place, event

from relay.errors import OutboxFenced
from relay.model import Gap, Position
from relay.outbox.contract import Outbox
from relay.outbox.values import Batch


@pytest.fixture(params=["sqlite", "mysql"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    place = Place(tmp_path, request.getfixturevalue("outbox_address") if request.param == "mysql" else None)
    opened = place.open()
    opened.hold(NOW)
    yield opened
    place.close()


START = Position(high=0)
GAPS = tuple(Gap(low=low, high=low + 2, opened_at=NOW + 0.1 * low) for low in (10, 20, 30))


def test_two_captures_that_read_the_same_rows_count_them_once(outbox: Outbox) -> None:
    outbox.accept(Batch(after=START), NOW)
    batch = Batch(events=[event(1), event(2)], ignored={"actor": 7}, before=START, after=Position(high=9))
    outbox.accept(batch, NOW)
    with pytest.raises(OutboxFenced, match="read from 0, but the outbox says 9"):
        outbox.accept(batch, NOW)
    counts = outbox.counts()
    assert (counts.seen, counts.captured, counts.ignored) == (9, 2, {"actor": 7})


def test_two_captures_that_find_the_same_late_rows_count_them_once(outbox: Outbox) -> None:
    before = Position(high=90, gaps=GAPS)
    outbox.accept(Batch(after=before), NOW)
    part = Gap(low=20, high=22, seen=0b010, opened_at=GAPS[1].opened_at)
    after = Position(high=90, gaps=(GAPS[0], part, GAPS[2]))
    batch = Batch(ignored={"restored": 1}, before=before, after=after)
    outbox.accept(batch, NOW)
    with pytest.raises(OutboxFenced, match="gaps of it have been filled meanwhile"):
        outbox.accept(batch, NOW)
    assert outbox.counts().ignored == {"restored": 1}
    assert outbox.position() == after
    # The other one has closed another gap, and knows nothing of the first: what it does is its own.
    outbox.accept(Batch(ignored={"restored": 1}, before=before, after=Position(high=90, gaps=GAPS[:2])), NOW)
    assert outbox.counts().ignored == {"restored": 2}
    assert outbox.position() == Position(high=90, gaps=(GAPS[0], part))


def test_a_gap_that_was_closed_meanwhile_is_not_opened_again(outbox: Outbox) -> None:
    before = Position(high=90, gaps=GAPS)
    outbox.accept(Batch(after=before), NOW)
    outbox.accept(Batch(before=before, after=Position(high=90, gaps=GAPS[1:])), NOW)
    part = Gap(low=11, high=12, opened_at=GAPS[0].opened_at)
    with pytest.raises(OutboxFenced):
        outbox.accept(Batch(before=before, after=Position(high=90, gaps=(part, *GAPS[1:]))), NOW)
    assert outbox.position() == Position(high=90, gaps=GAPS[1:])


def test_a_second_first_start_does_not_set_the_position_back(outbox: Outbox) -> None:
    outbox.accept(Batch(after=START), NOW)
    outbox.accept(Batch(events=[event(1)], before=START, after=Position(high=500)), NOW)
    with pytest.raises(OutboxFenced, match="read from its start, but the outbox says 500"):
        outbox.accept(Batch(after=START), NOW)
    assert outbox.position() == Position(high=500)


def test_what_a_sync_records_asks_for_no_position(outbox: Outbox) -> None:
    outbox.accept(Batch(after=Position(high=500)), NOW)
    assert len(outbox.accept(Batch(events=[event(1)]), NOW)) == 1
