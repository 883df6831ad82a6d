"""A purge goes in small steps, and what it has deleted is not new when the log is read again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from test_outbox import NOW, TYPES, Place, accept, claim, event, of_row, purge, remembered, settle

from relay.events import envelope
from relay.model import Event, Gap, Position
from relay.operations.purge import REST_S, ROWS, Purge
from relay.outbox import sql_admin, sqlite_database
from relay.outbox.contract import Outbox
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.values import Batch, Selector
from relay.service.relay import PURGE_LOOK_S, PURGE_REST, Relay

if TYPE_CHECKING:
    import harness
    from receiver import Receiver

    from relay.demo.moodle import College

AT = 1_770_000_000


@pytest.fixture(params=["sqlite", "mysql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, request.getfixturevalue("outbox_address") if request.param == "mysql" else None)
    yield made
    made.close()


@pytest.fixture
def outbox(place: Place) -> Outbox:
    opened = place.open()
    opened.hold(NOW)
    return opened


def deliver(outbox: Outbox, *events: Event) -> None:
    """Accept events and let them be delivered, at NOW."""
    accept(outbox, *events)
    for one in claim(outbox, limit=1000):
        settle(outbox, one, 200)


# -- what was purged is not new


def test_purged_events_that_are_read_again_are_not_new(outbox: Outbox) -> None:
    some = [event(number, user=number) for number in range(1, 7)]
    deliver(outbox, *some)
    before = outbox.counts()
    assert purge(outbox, NOW + 1) == 6
    position = outbox.position()
    again = outbox.accept(Batch(events=some, before=position, after=position), NOW)
    assert list(again) == []
    counts = outbox.counts()
    assert (counts.seen, counts.captured, counts.purged) == (before.seen, before.captured, 6) == (6, 6, 6)
    assert counts.by_type == {}
    assert counts.captured_holds
    assert claim(outbox) == []


def test_the_same_holds_where_the_log_is_read_again_from_far_below(outbox: Outbox) -> None:
    """It was restored from a backup: the position goes back, and moves over the same rows once more."""
    some = [event(number, user=number) for number in range(1, 7)]
    deliver(outbox, *some)
    purge(outbox, NOW + 1)
    back, end = Position(high=0), Position(high=6)
    outbox.accept(Batch(before=outbox.position(), after=back), NOW)
    assert list(outbox.accept(Batch(events=some, before=back, after=end), NOW)) == []
    assert outbox.position() == end
    assert outbox.counts().seen == 6


def test_a_log_id_that_is_given_to_another_row_is_new(outbox: Outbox) -> None:
    deliver(outbox, event(1), event(2, user=2))
    purge(outbox, NOW + 1)
    other = event(2, user=2)._replace(event_id=envelope.derive_id("site", 2, "another time"))
    accept(outbox, event(1), other)
    assert [one.event_id for one in claim(outbox)] == [other.event_id]


def test_a_row_that_turns_up_late_below_what_was_purged_is_new(outbox: Outbox) -> None:
    before = Position(high=100, gaps=(Gap(low=3, high=3, opened_at=NOW),))
    some = [event(number, user=number) for number in (1, 2, 4, 5)]
    outbox.accept(Batch(events=some, after=before), NOW)
    for one in claim(outbox):
        settle(outbox, one, 200)
    assert purge(outbox, NOW + 1) == 4
    outbox.accept(Batch(events=[event(3, user=3)], before=before, after=Position(high=100)), NOW)
    assert [one.log_id for one in claim(outbox)] == [3]


def test_several_events_of_one_log_row_are_told_apart(outbox: Outbox) -> None:
    one, two = event(1), event(1)._replace(event_id=envelope.derive_id("site", "of the same row"))
    deliver(outbox, one)
    purge(outbox, NOW + 1)
    accept(outbox, one, two)
    assert [found.event_id for found in claim(outbox)] == [two.event_id]


def test_a_purged_event_of_a_sync_is_sent_again_when_somebody_asks(outbox: Outbox) -> None:
    synced = event(1)._replace(log_id=None)
    outbox.accept(Batch(events=[synced]), NOW)
    settle(outbox, claim(outbox)[0], 200)
    assert purge(outbox, NOW + 1) == 1
    assert list(outbox.accept(Batch(events=[synced]), NOW)) == [synced.event_id]


def test_a_purged_event_is_not_taken_for_the_newest_of_its_row(outbox: Outbox) -> None:
    deliver(outbox, of_row(1, 7))
    deliver(outbox, of_row(2, 7))
    purge(outbox, NOW + 1)
    accept(outbox, of_row(1, 7))
    assert outbox.remembered("user", [7]) == {7: remembered(of_row(2, 7))}


def test_what_is_too_far_below_the_position_to_be_read_again_is_forgotten(
    outbox: Outbox, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_admin, "PURGED_IDS", 20)
    kept = "SELECT log_id FROM mdl_mb_zoho_purged ORDER BY log_id"
    deliver(outbox, event(70), event(85, user=2), event(90, user=3))
    purge(outbox, NOW + 1)
    assert place.rows(kept) == [(85,), (90,)]
    outbox.accept(Batch(before=Position(high=100), after=Position(high=108)), NOW)
    outbox.accept(Batch(events=[event(107)], before=Position(high=108), after=Position(high=108)), NOW)
    settle(outbox, claim(outbox)[0], 200)
    purge(outbox, NOW + 1)
    assert place.rows(kept) == [(90,), (107,)]


def test_what_was_purged_is_moved_along(outbox: Outbox, tmp_path: Path) -> None:
    deliver(outbox, event(1), event(2, user=2), event(3, user=3))
    deliver(outbox, event(3, user=3)._replace(event_id="another-of-3"))
    purge(outbox, NOW + 1)
    pages = list(outbox.dump("mb_zoho_purged", 2))
    assert [[row["log_id"] for row in page] for page in pages] == [[1, 2], [3, 3]]
    target = SqliteOutbox(tmp_path / "target.db")
    for page in pages:
        target.load("mb_zoho_purged", page)
    assert target.sizes()["mb_zoho_purged"] == outbox.sizes()["mb_zoho_purged"] == 4
    assert list(target.accept(Batch(events=[event(2)], after=Position(high=3)), NOW)) == []
    target.clear()
    assert target.sizes()["mb_zoho_purged"] == 0
    target.close()


def test_with_a_retention_of_an_hour_nothing_is_sent_twice(
    relay: harness.Relay, college: College, backend: Receiver
) -> None:
    relay.set("outbox.retention", "1h")
    for i in range(6):
        college.sign_up("Ada", f"Number{i}", AT + i)
    relay.once()
    connection = sqlite3.connect(relay.outbox)
    connection.execute("UPDATE mdl_mb_zoho_event_log SET processed_at = processed_at - 3601")
    connection.commit()
    connection.close()
    assert relay.run("purge").stdout == "relay: 6 delivered events purged.\n"
    college.sign_up("Grace", "Hopper", AT + 60)
    relay.once()
    assert len(backend.posts) == 7
    sums = relay.status()["conservation"]
    assert (sums["seen"], sums["captured"], sums["purged"], sums["holds"]) == (7, 7, 6, True)


# -- in small steps


def test_a_step_looks_at_so_many_rows_and_the_purge_goes_over_all(outbox: Outbox) -> None:
    deliver(outbox, *(event(number, user=number) for number in range(1, 61)))
    accept(outbox, event(99))
    first = outbox.purge(NOW + 1, 0, 25)
    assert (first.count, first.looked_at) == (25, 25)
    assert outbox.purge(NOW + 1, 25, 25).count == 25
    last = outbox.purge(NOW + 1, 50, 25)
    assert last.count == 10
    assert last.looked_at is not None
    assert outbox.purge(NOW + 1, last.looked_at, 25).looked_at is None
    # What is too young, or not delivered, stays.
    deliver(outbox, event(100, user=5))
    assert purge(outbox, NOW) == 0
    assert outbox.counts().purged == 60


def test_an_event_that_is_being_sent_again_is_not_purged_meanwhile(outbox: Outbox) -> None:
    deliver(outbox, event(1), event(2, user=2))
    ids = outbox.select(Selector(user_id=1))
    (again,) = outbox.claim_again(ids, NOW, lease_s=60, types=TYPES)
    assert purge(outbox, NOW + 1) == 1
    settle(outbox, again, 200)
    assert purge(outbox, NOW + 1) == 1


def test_between_two_steps_others_write(outbox: Outbox) -> None:
    """Nothing is held: what is recorded meanwhile is there before the purge has ended."""
    deliver(outbox, *(event(number, user=number) for number in range(1, 601)))
    purging = Purge(outbox, NOW + 1)
    steps = 0
    while purging.step():
        steps += 1
        accept(outbox, event(1000 + steps, user=1000 + steps))
    assert steps >= 600 // ROWS
    assert purging.count == 600
    assert outbox.counts().by_type == {"grade_updated": {"pending": steps}}


def test_the_room_of_purged_events_is_given_back_in_steps_of_so_many_pages(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    outbox = SqliteOutbox(path)
    outbox.hold(NOW)
    deliver(outbox, *(event(number, user=number) for number in range(1, 3001)))
    for one in claim(outbox, limit=5000):
        settle(outbox, one, 200)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE mdl_mb_zoho_event_log SET status = 'success', due_at = NULL, processed_at = 1")
    connection.execute("UPDATE mdl_mb_zoho_event_log SET leased_by = NULL, leased_until = NULL")
    connection.commit()
    looked_at: int | None = 0
    while looked_at is not None:
        looked_at = outbox.purge(NOW, looked_at, 1000).looked_at

    def free() -> int:
        (count,) = connection.execute("PRAGMA freelist_count").fetchone()
        return int(count)

    before = free()
    assert before > 2 * sqlite_database.PAGES
    assert outbox.shrink()
    assert free() == before - sqlite_database.PAGES
    while outbox.shrink():
        pass
    assert free() == 0
    connection.close()
    outbox.close()


def test_the_room_is_given_back_beside_one_who_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads the file keeps its log from being cut: nobody waits for that, and holds the lock meanwhile."""
    monkeypatch.setattr(sqlite_database, "BUSY_MS", 60_000)
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    deliver(outbox, event(1))
    connection = sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT COUNT(*) FROM mdl_mb_zoho_event_log").fetchone()
    accept(outbox, event(2, user=2))
    while outbox.shrink():
        pass
    assert outbox._rows("PRAGMA busy_timeout") == [(60_000,)]
    connection.close()
    outbox.close()


def test_a_pass_of_the_daemon_is_one_step_so_that_the_watchdog_is_fed(outbox: Outbox) -> None:
    deliver(outbox, *(event(number, user=number) for number in range(1, 601)))
    config: Any = SimpleNamespace(outbox=SimpleNamespace(retention=3600.0))
    said: list[tuple[str, dict[str, Any]]] = []
    log: Any = SimpleNamespace(info=lambda slug, **fields: said.append((slug, fields)))
    nothing = cast("Any", None)
    parts = dict.fromkeys(("capture", "tables", "daily", "sender", "dispatch", "hold_recorded", "hold_hidden"), nothing)
    seconds = [0.0]
    relay = Relay(config=config, outbox=outbox, log=log, monotonic=lambda: sum(seconds), **parts)
    later = NOW + 7200
    assert outbox.state("purged_at") is None
    outbox.renew(later)
    assert relay.purge_pass(later) == REST_S

    def slow() -> float:
        seconds.append(0.1)
        return sum(seconds)

    quick, relay.monotonic = relay.monotonic, slow
    assert round(relay.purge_pass(later), 6) == round(PURGE_REST * 0.1, 6)
    relay.monotonic = quick
    assert 0 < outbox.counts().purged < 600
    passes = 2
    while relay.purge_pass(later) == REST_S:
        passes += 1
    assert passes >= 600 // ROWS
    assert said == [("outbox.purged", {"events": 600})]
    assert outbox.state("purged_at") == str(int(later))
    assert relay.purge_pass(later + 60) == PURGE_LOOK_S
