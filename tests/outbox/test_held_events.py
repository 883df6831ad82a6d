"""Held events in an outbox of either kind: never sent, released with the id they had, and counted all the while."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from harness import shared_outbox

from relay.errors import OutboxFenced
from relay.events import envelope
from relay.events.kind import Options
from relay.model import Event, Hold, Outcome, Position, Status
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.values import Batch, HeldEvent, Judged, Selector, Settled
from relay.rules import retry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from relay.outbox.contract import Outbox

OPTIONS = Options(site="site", moodle_url="https://moodle.example", tenant_id="default")
NOW = 1_800_000_000.0
KIND, TABLE = "grade_updated", "assign_grades"
TYPES = frozenset({KIND})


@pytest.fixture(params=["sqlite", "mysql"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    made: Outbox
    if request.param == "sqlite":
        made = SqliteOutbox(tmp_path / "outbox.db")
    else:
        made = shared_outbox(request.getfixturevalue("outbox_address"))
    made.hold(NOW)
    yield made
    made.close()


def hold(number: int, row_id: int = 7) -> Hold:
    return Hold(
        event_id=envelope.derive_id("site", number),
        event_type=KIND,
        log_id=number,
        user_id=1,
        occurred_at=1_700_000_000 + number,
        reason="it is hidden",
        until=None,
        row_table=TABLE,
        row_id=row_id,
    )


def event(number: int, text: str = "Zoë 😀", *, log_id: int | None = None) -> Event:
    data = {"gradeid": 7, "feedback": text}
    event_id, at = envelope.derive_id("site", number), 1_700_000_000 + number
    return envelope.make_event(event_id, KIND, log_id or number, 1, at, data, OPTIONS, row_of=(TABLE, 7))


def accept(outbox: Outbox, *holds: Hold, events: tuple[Event, ...] = ()) -> list[HeldEvent]:
    outbox.accept(Batch(holds=holds, events=events, before=outbox.position(), after=Position(high=9)), NOW)
    return list(outbox.held(0, 99))


def counts(outbox: Outbox) -> dict[str, int]:
    found = outbox.counts()
    assert found.seen_holds
    assert found.captured_holds
    return dict(found.by_type[KIND])


def claimed(outbox: Outbox) -> list[bytes]:
    return [one.body for one in outbox.claim(NOW, 9, lease_s=60, types=TYPES)]


def test_a_held_event_is_kept_once_and_never_claimed(outbox: Outbox) -> None:
    (one,) = accept(outbox, hold(1))
    assert (one.event_id, one.row_id, one.reason, one.is_built) == (hold(1).event_id, 7, "it is hidden", False)
    assert accept(outbox, hold(1)) == [one]
    assert counts(outbox) == {"held": 1}
    assert claimed(outbox) == []
    assert outbox.next_due(TYPES, NOW) is None
    assert outbox.waiting().count == outbox.count_undelivered() == 0
    assert outbox.remembered(TABLE, [7]) == {}
    assert outbox.select(Selector()) == []
    assert outbox.count_held(Selector(user_id=1)) == 1
    assert outbox.count_held(Selector(user_id=2)) == 0
    (told,) = outbox.recorded(NOW, event_id=one.event_id)
    assert (told.status, told.due_at, told.last_error) == (Status.HELD, None, {"reason": "it is hidden"})


def test_a_released_event_is_due_at_once_with_its_bytes_and_remembered(outbox: Outbox) -> None:
    (one,) = accept(outbox, hold(1))
    done = outbox.judge(Judged(released=[(one, event(1))]), NOW)
    assert done.released == [(one, event(1))]
    assert outbox.held(0, 9) == []
    assert counts(outbox) == {"pending": 1}
    assert claimed(outbox) == [event(1).body]
    assert outbox.remembered(TABLE, [7])[7].event_id == one.event_id
    assert outbox.judge(Judged(released=[(one, event(1))]), NOW).released == [], "it was held no more"


def test_among_what_waits_it_comes_where_it_happened(outbox: Outbox) -> None:
    (one,) = accept(outbox, hold(1), events=(event(2),))
    outbox.judge(Judged(released=[(one, event(1))]), NOW)
    assert claimed(outbox) == [event(1).body, event(2).body]


def test_a_skipped_event_is_captured_no_more(outbox: Outbox) -> None:
    first, second = accept(outbox, hold(1), hold(2))
    assert outbox.held_of(TABLE, [7, 8]) == [first, second]
    outbox.judge(Judged(skipped=[(first, "it is gone")], kept=[second._replace(absent_since=5)]), NOW)
    assert counts(outbox) == {"held": 1, "skipped": 1}
    assert outbox.held(0, 9) == [second._replace(absent_since=5)]
    assert outbox.recorded(NOW, event_id=first.event_id)[0].last_error == {"reason": "it is gone"}


def test_pieces_follow_each_other(outbox: Outbox) -> None:
    held = accept(outbox, *(hold(number) for number in range(1, 6)))
    assert [*outbox.held(0, 2), *outbox.held(held[1].id, 2), *outbox.held(held[3].id, 2)] == held


def test_what_was_recorded_and_not_sent_can_be_held_and_keeps_its_bytes(outbox: Outbox) -> None:
    accept(outbox, events=(event(1), event(2)))
    assert len(outbox.hold_undelivered(KIND, TABLE, "gradeid", NOW)) == 2
    first, second = outbox.held(0, 9)
    assert (first.is_built, first.row_id) == (True, 7)
    assert claimed(outbox) == []
    outbox.judge(Judged(sent=[first], kept=[second]), NOW)
    assert claimed(outbox) == [event(1).body]
    assert [one.is_built for one in outbox.held(0, 9)] == [False]
    assert outbox.remembered(TABLE, [7]) == {}, "a digest of a score could be guessed"
    assert counts(outbox) == {"pending": 1, "held": 1}
    assert outbox.row_ids([first.id, second.id], KIND, "gradeid") == {first.id: 7}


def test_of_named_rows_only_what_never_left_is_held(outbox: Outbox) -> None:
    accept(outbox, events=(event(1), event(2), event(3)))
    (first,) = outbox.claim(NOW, 1, lease_s=60, types=TYPES)
    assert outbox.hold_undelivered(KIND, TABLE, "gradeid", NOW, only={8: 1}) == []
    assert outbox.hold_undelivered(KIND, TABLE, "gradeid", NOW, only={7: 2}) == []
    others = [event(number).event_id for number in (2, 3)]
    assert outbox.hold_undelivered(KIND, TABLE, "gradeid", NOW, only={7: 1}) == others, "one is under way"
    outcome = Outcome(http_code=503, duration_ms=7)
    decision = retry.decide(first, outcome, retry.Policy(), now=NOW, jitter=0.0, is_outage=False)
    outbox.settle([Settled(delivery=first, outcome=outcome, decision=decision, started_at=NOW)], NOW)
    assert outbox.hold_undelivered(KIND, TABLE, "gradeid", NOW, only={7: 1}) == [], "the backend may have it"


def unsent(outbox: Outbox, *, before: float = NOW, limit: int = 9) -> list[tuple[str, int, int]]:
    found = outbox.unsent(KIND, "gradeid", NOW, before=before, limit=limit)
    return [(one.event_id, one.row_id, one.user_id) for one in found]


def test_what_waits_for_its_first_attempt_is_found(outbox: Outbox) -> None:
    accept(outbox, hold(9), events=(event(1), event(2), event(3)))
    every = [(event(number).event_id, 7, 1) for number in (1, 2, 3)]
    assert unsent(outbox) == every
    assert unsent(outbox, before=NOW - 1) == []
    assert unsent(outbox, limit=2) == every[:2]
    (first,) = outbox.unsent(KIND, "gradeid", NOW, before=NOW, limit=1)
    rest = outbox.unsent(KIND, "gradeid", NOW, before=NOW, limit=9, after=first)
    assert [one.event_id for one in rest] == [one for one, *_ in every[1:]]
    assert outbox.unsent(KIND, "gradeid", NOW, before=NOW, limit=9, after=rest[-1]) == []
    assert (first.log_id, first.event_type) == (1, KIND)
    (claimed_one,) = outbox.claim(NOW, 1, lease_s=60, types=TYPES)
    assert unsent(outbox) == every[1:], "one is under way"
    outbox.release([claimed_one])
    assert unsent(outbox) == every, "it never left"
    assert outbox.unsent("user_created", "gradeid", NOW, before=NOW, limit=9) == []


def test_what_is_held_after_it_was_chosen_is_not_claimed(outbox: Outbox) -> None:
    """A replay has chosen it, or a claim on a shared outbox has looked at it, when it becomes held."""
    accept(outbox, events=(event(1),))
    chosen = outbox.select(Selector())
    outbox.hold_undelivered(KIND, TABLE, "gradeid", NOW, only={7: 1})
    assert outbox.claim_again(chosen, NOW, lease_s=60, types=TYPES) == ()
    assert counts(outbox) == {"held": 1}


def test_a_claim_and_a_hold_at_once_never_both_have_an_event(outbox: Outbox) -> None:
    """Whoever comes first: what is held is not sent, and what is claimed is not held."""
    if isinstance(outbox, SqliteOutbox):
        pytest.skip("a file has one writer at a time")
    for number in range(1, 41):
        accept(outbox, events=(event(number),))
        (row,) = outbox.unsent(KIND, "gradeid", NOW, before=NOW, limit=9)
        held: list[str] = []
        holding = threading.Thread(
            target=lambda held=held: held.extend(outbox.hold_undelivered(KIND, TABLE, "gradeid", NOW, only={7: 1}))
        )
        holding.start()
        sent = outbox.claim(NOW, 9, lease_s=60, types=TYPES)
        holding.join()
        assert [*held, *(one.event_id for one in sent)] == [row.event_id]
        for one in sent:
            outcome = Outcome(http_code=200, duration_ms=7)
            decision = retry.decide(one, outcome, retry.Policy(), now=NOW, jitter=0.0, is_outage=False)
            outbox.settle([Settled(delivery=one, outcome=outcome, decision=decision, started_at=NOW)], NOW)
        outbox.judge(Judged(skipped=[(one, "it is over") for one in outbox.held(0, 99)]), NOW)


def test_one_that_the_outbox_cannot_keep_is_skipped_and_the_others_are_released(outbox: Outbox) -> None:
    first, second = accept(outbox, hold(1), hold(2))
    if isinstance(outbox, SqliteOutbox):
        pytest.skip("a file keeps whatever is sent")
    large = event(1, "x" * 40_000_000)
    done = outbox.judge(Judged(released=[(first, large), (second, event(2))]), NOW)
    assert [held for held, _ in done.released] == [second]
    assert [(held, reason.split(":")[0]) for held, reason in done.skipped] == [(first, "it cannot be kept")]
    assert counts(outbox) == {"pending": 1, "skipped": 1}


def test_a_relay_that_does_not_lead_releases_nothing(outbox: Outbox) -> None:
    (one,) = accept(outbox, hold(1))
    if not outbox.is_shared:
        pytest.skip("a file has one relay")
    outbox.let_go()
    with pytest.raises(OutboxFenced):
        outbox.judge(Judged(released=[(one, event(1))]), NOW)
    assert counts(outbox) == {"held": 1}


def test_a_move_takes_what_is_held(outbox: Outbox) -> None:
    accept(outbox, hold(1))
    assert outbox.sizes()["mb_zoho_held"] == 1
    pages = [list(page) for page in outbox.dump("mb_zoho_held", 9)]
    assert pages == [[{"id": 1, "row_table": TABLE, "row_id": 7, "absent_since": None}]]
