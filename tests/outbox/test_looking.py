"""What the page asks of an outbox, in a file and in a schema: lists and figures at a cost that has a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness import shared_outbox

from relay.events import envelope
from relay.events.kind import Options
from relay.model import Event, Outcome, Position, Status
from relay.outbox import sql_looking
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.values import Batch, Selector, Settled, Sync
from relay.rules import retry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from relay.outbox.contract import Outbox

OPTIONS = Options(site="site", moodle_url="https://moodle.example", tenant_id="default")
NOW = 1_800_000_000.0
KINDS = frozenset({"user_created", "grade_updated"})


def event(number: int, *, user: int = 1, kind: str = "grade_updated", name: str = "Zoë") -> Event:
    made_id = envelope.derive_id("site", number)
    return envelope.make_event(
        made_id, kind, number, user, int(NOW) - 1000 + number, {"name": name, "gradeid": number}, OPTIONS
    )


@pytest.fixture(params=["file", "schema"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    """An empty outbox of either kind."""
    if request.param == "file":
        made: Outbox = SqliteOutbox(tmp_path / "outbox.db")
    else:
        made = shared_outbox(request.getfixturevalue("outbox_address"))
    made.hold(NOW)
    yield made
    made.close()


def accept(outbox: Outbox, *events: Event) -> None:
    high = 1 + (outbox.position() or Position(high=0)).high
    outbox.accept(Batch(events=events, before=outbox.position(), after=Position(high=high)), NOW)


def deliver(outbox: Outbox, at: float, code: int = 200, limit: int = 1000) -> None:
    found = outbox.claim(at, limit, lease_s=60, types=KINDS)
    settled = []
    for one in found:
        outcome = Outcome(http_code=code, duration_ms=7, answer="it says <b>")
        decision = retry.decide(one, outcome, retry.Policy(), now=at, jitter=0.0, is_outage=False)
        settled.append(Settled(delivery=one, outcome=outcome, decision=decision, started_at=at))
    outbox.settle(settled, at)


def ids(outbox: Outbox, selector: Selector, *, text: str = "", limit: int = 50) -> list[int]:
    """Return what is found by going through all leaves, by the log rows."""
    found: list[int] = []
    before = None
    while True:
        leaf = outbox.leaf(selector, limit, text=text, before=before)
        assert len(leaf.events) <= limit
        found += [one.log_id or 0 for one in leaf.events]
        if leaf.before is None:
            return found
        assert before is None or leaf.before < before, "each leaf begins behind the one before"
        before = leaf.before


@pytest.mark.parametrize(("limit", "many"), [(1, 100), (3, 100), (3, 9), (50, 100), (50, 9)])
def test_the_leaves_have_each_event_once(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, limit: int, many: int
) -> None:
    """Each user has ten events: so many are found one by one, or `many` are too many for that."""
    monkeypatch.setattr(sql_looking, "LOOK", 4)
    monkeypatch.setattr(sql_looking, "MANY", many)
    accept(outbox, *(event(n, user=1 + n % 2, kind="user_created" if n % 3 else "grade_updated") for n in range(1, 21)))
    every = list(range(20, 0, -1))
    assert ids(outbox, Selector(), limit=limit) == every
    assert ids(outbox, Selector(user_id=1), limit=limit) == [n for n in every if n % 2 == 0]
    assert ids(outbox, Selector(event_type="grade_updated"), limit=limit) == [n for n in every if n % 3 == 0]
    assert ids(outbox, Selector(status=Status.PENDING), limit=limit) == every
    assert ids(outbox, Selector(status=Status.SUCCESS), limit=limit) == []
    assert ids(outbox, Selector(event_id=event(7).event_id), limit=limit) == [7]
    assert ids(outbox, Selector(since=NOW - 1000 + 5, until=NOW - 1000 + 8), limit=limit) == [8, 7, 6, 5]
    chosen = Selector(status=Status.PENDING, event_type="grade_updated", user_id=1)
    assert ids(outbox, chosen, limit=limit) == [n for n in every if n % 2 == 0 and n % 3 == 0]


@pytest.mark.parametrize(
    ("text", "found"), [("zoë", [3]), ("100%", [2]), ("%", [2]), ("a_b", [4]), ('"q"', [5]), ("x", [])]
)
def test_a_text_is_found_as_it_stands(outbox: Outbox, text: str, found: list[int]) -> None:
    names = {1: "Ada", 2: "100% Bob", 3: "Zoë", 4: "a_b", 5: 'a "q"'}
    accept(outbox, *(event(n, name=name) for n, name in names.items()))
    assert ids(outbox, Selector(), text=text) == found


def test_an_error_is_found_and_what_is_held_is_not(outbox: Outbox) -> None:
    accept(outbox, event(1), event(2, user=2))
    deliver(outbox, NOW, 422)
    assert ids(outbox, Selector(), text="it says <b>") == [2, 1]
    accept(outbox, event(3, user=3, name="SECRET"))
    outbox.hold_undelivered("grade_updated", "assign_grades", "gradeid", NOW)
    assert [one.status for one in outbox.leaf(Selector(event_id=event(3).event_id), 1).events] == [Status.HELD]
    assert ids(outbox, Selector(), text="SECRET") == []


def test_events_of_a_type_that_nobody_knows_are_found(outbox: Outbox) -> None:
    accept(outbox, event(1, kind="of_another_version"), event(2, user=2), event(3, user=3, kind="zz"))
    assert ids(outbox, Selector(status=Status.PENDING)) == [3, 2, 1]
    oldest = outbox.oldest_undelivered()
    assert oldest is not None
    assert oldest.log_id == 1


@pytest.mark.parametrize(("look", "size"), [(4, 1_000_000), (1000, 100)])
def test_it_is_said_how_far_was_looked(outbox: Outbox, monkeypatch: pytest.MonkeyPatch, look: int, size: int) -> None:
    """So many events are looked through, and of so many bytes."""
    monkeypatch.setattr(sql_looking, "LOOK", look)
    monkeypatch.setattr(sql_looking, "SIZED", 2)
    monkeypatch.setattr(sql_looking, "BYTES", size)
    accept(outbox, *(event(n) for n in range(1, 11)))
    leaf = outbox.leaf(Selector(), 50, text="nobody")
    assert leaf.events == []
    assert leaf.before is not None
    assert leaf.looked_back_to == int(NOW)


def test_the_oldest_undelivered_event_is_the_first_recorded(outbox: Outbox) -> None:
    assert outbox.oldest_undelivered() is None
    accept(outbox, event(1), event(2, user=2, kind="user_created"))
    found = outbox.oldest_undelivered()
    assert found is not None
    assert found.log_id == 1
    deliver(outbox, NOW)
    assert outbox.oldest_undelivered() is None


@pytest.mark.parametrize("sample", [80, 8])
def test_the_trend_counts_what_was_delivered_and_how_long_it_took(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, sample: int
) -> None:
    monkeypatch.setattr(sql_looking, "SAMPLE", sample)
    accept(outbox, *(event(n, user=n) for n in range(1, 61)))
    deliver(outbox, NOW, limit=20)
    deliver(outbox, NOW + 3600, limit=40)
    accept(outbox, event(61, user=61))
    deliver(outbox, NOW + 7200, 503)
    edges = [NOW - 3600, NOW, NOW + 3600, NOW + 7200, NOW + 10800]
    buckets = outbox.trend(edges)
    assert [one.delivered for one in buckets] == [0, 20, 40, 0]
    assert [one.is_estimated for one in buckets] == [False, sample < 20, sample < 40, False]
    first, second = buckets[1], buckets[2]
    assert first.median_s is not None
    assert second.median_s is not None
    assert 980 <= first.median_s <= 1000
    assert second.median_s > 4000
    assert buckets[0].median_s is None
    assert buckets[3].slow_s is None


def test_an_empty_outbox_has_a_trend_of_nothing(outbox: Outbox) -> None:
    assert [one.delivered for one in outbox.trend([NOW - 100, NOW])] == [0]


def test_the_history_has_the_last_lines(outbox: Outbox) -> None:
    first = outbox.begin_sync("users", "all", 42, NOW)
    outbox.note_sync(Sync(id=first, processed=3, failed=1, status="failed", error="away"), NOW + 5)
    second = outbox.begin_sync("replay", "failed", None, NOW)
    newest, before = outbox.history(5)
    assert (newest.id, newest.status, newest.completed_at) == (second, "running", None)
    assert (before.processed, before.failed, before.error, before.triggered_by) == (3, 1, "away", 42)
    assert [one.id for one in outbox.history(1)] == [second]
