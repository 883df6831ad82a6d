"""The outbox's contract: every dialect keeps it (one suite over all of them)."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pymysql
import pytest
from harness import shared_outbox

from relay.errors import OutboxCorrupt, OutboxError, OutboxFenced, OutboxInUse, OutboxUnavailable
from relay.events import envelope
from relay.events.kind import Options
from relay.model import Delivery, Event, Gap, Outcome, Position, Skip, Status
from relay.operations import purge as purging
from relay.outbox import migrations
from relay.outbox.contract import CLAIM_BYTES, LEASE_S, Outbox
from relay.outbox.mysql import MysqlOutbox
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.values import DIGEST_BYTES, Batch, Remembered, Selector, Settled, digest
from relay.rules import retry
from relay.rules.retry import Decision, Verdict
from relay.rules.server import Address

OPTIONS = Options(site="site", moodle_url="https://moodle.example", tenant_id="default")
NOW = 1_800_000_000.0
#: The types of event that may be sent.
TYPES = frozenset({"user_created", "user_updated", "enrollment_created", "grade_updated"})


def event(number: int, *, user: int = 1, kind: str = "grade_updated", at: int | None = None) -> Event:
    event_id = envelope.derive_id("site", number)
    occurred_at = 1_700_000_000 + number if at is None else at
    return envelope.make_event(event_id, kind, number, user, occurred_at, {"number": number, "name": "Zoë 😀"}, OPTIONS)


def purge(outbox: Outbox, before: float) -> int:
    return purging.purge(outbox, before, lambda _: None)


def skip(number: int) -> Skip:
    return Skip(
        event_id=envelope.derive_id("site", number),
        event_type="user_created",
        log_id=number,
        user_id=1,
        occurred_at=1_700_000_000,
        reason="the row is gone",
    )


def accept(outbox: Outbox, *events: Event) -> None:
    outbox.accept(Batch(events=events, before=outbox.position(), after=Position(high=100)), NOW)


def claim(outbox: Outbox, now: float = NOW, limit: int = 100, **options: object) -> list[Delivery]:
    wanted: dict[str, Any] = {"types": TYPES, **options}
    return list(outbox.claim(now, limit, lease_s=60, **wanted))


def settle(outbox: Outbox, delivery: Delivery, code: int | None, now: float = NOW, *, holds_user: bool = True) -> None:
    outcome = Outcome(http_code=code, error="" if code else "timed out", duration_ms=7, answer="so it is")
    decision = retry.decide(delivery, outcome, retry.Policy(), now=now, jitter=0.0, is_outage=False)
    settled = Settled(delivery=delivery, outcome=outcome, decision=decision, started_at=now, holds_user=holds_user)
    outbox.settle([settled], now)


class Place:
    """Where an outbox is: it can be opened again, and asked as an outsider does."""

    def __init__(self, folder: Path, address: Address | None) -> None:
        self.path = folder / "outbox.db"
        self._address = address
        self._opened: list[Outbox] = []

    def open(self) -> Outbox:
        opened = SqliteOutbox(self.path) if self._address is None else shared_outbox(self._address)
        self._opened.append(opened)
        return opened

    def kill(self, outbox: Outbox) -> None:
        """Leave the outbox as a kill would: nothing is settled, and no lease is given back."""
        if isinstance(outbox, MysqlOutbox):
            outbox._lease.name = ""
        elif isinstance(outbox, SqliteOutbox):
            outbox._has_leased = False
        outbox.close()

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        if self._address is None:
            with contextlib.closing(sqlite3.connect(self.path)) as connection:
                return connection.execute(statement).fetchall()
        with pymysql.connect(**self._address.options(), autocommit=True) as other, other.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def close(self) -> None:
        for outbox in self._opened:
            outbox.close()


@pytest.fixture(params=["sqlite", "mysql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    address = request.getfixturevalue("outbox_address") if request.param == "mysql" else None
    made = Place(tmp_path, address)
    yield made
    made.close()


@pytest.fixture
def outbox(place: Place) -> Outbox:
    opened = place.open()
    opened.hold(NOW)
    return opened


@pytest.fixture
def rows(place: Place) -> Callable[[str], list[tuple[object, ...]]]:
    """Read the tables as an outsider does."""
    return place.rows


@pytest.fixture
def in_a_file(tmp_path: Path) -> Iterator[Outbox]:
    """The outbox of the tests that are about its file."""
    made = Place(tmp_path, None)
    opened = made.open()
    opened.hold(NOW)
    yield opened
    made.close()


def test_an_event_is_recorded_once_however_often_it_is_accepted(outbox: Outbox) -> None:
    assert len(outbox.accept(Batch(events=[event(1), event(2)], after=Position(high=2)), NOW)) == 2
    again = Batch(events=[event(2)], before=Position(high=2), after=Position(high=2))
    assert list(outbox.accept(again, NOW)) == []
    counts = outbox.counts()
    assert (counts.seen, counts.captured) == (2, 2)
    assert counts.seen_holds
    assert counts.captured_holds


def test_the_bytes_come_back_as_they_were_at_every_attempt(outbox: Outbox) -> None:
    accept(outbox, event(1))
    (first,) = claim(outbox)
    settle(outbox, first, 500)
    (second,) = claim(outbox, NOW + 5)
    assert first.body == second.body == event(1).body
    assert (first.attempt, second.attempt, second.failures) == (1, 2, 1)


def test_many_events_come_back_each_with_its_own_bytes_and_attempt(
    outbox: Outbox, rows: Callable[[str], list[tuple[object, ...]]]
) -> None:
    texts = ["", "\x1e", "\0\n\x7f", '"}', "\u2028 \U0001f600"]
    events = [
        envelope.make_event(
            envelope.derive_id("site", i), "user_updated", i, i, 1_700_000_000 - i, {"name": text}, OPTIONS
        )
        for i, text in enumerate(texts, 1)
    ]
    accept(outbox, *events)
    claimed = claim(outbox)
    # The other way round: in the order they happened.
    assert [(one.event_id, one.body) for one in claimed] == [(one.event_id, one.body) for one in reversed(events)]
    assert [(one.attempt_id, one.event_id) for one in sorted(claimed, key=lambda one: one.attempt_id)] == rows(
        "SELECT id, event_id FROM mdl_mb_zoho_event_attempt ORDER BY id"
    )


def test_a_batch_of_different_outcomes_is_settled_each_as_it_is(
    outbox: Outbox, rows: Callable[[str], list[tuple[object, ...]]]
) -> None:
    accept(outbox, *(event(i, user=i) for i in range(1, 5)))
    outcomes = [
        Outcome(http_code=200, duration_ms=3),
        Outcome(http_code=503, duration_ms=5, retry_after_s=900.5),
        Outcome(http_code=422, duration_ms=7, answer="no"),
        Outcome(http_code=202, duration_ms=9, duplicate=True),
    ]
    settled = [
        Settled(
            delivery=one,
            outcome=outcome,
            decision=retry.decide(one, outcome, retry.Policy(), now=NOW, jitter=0.0, is_outage=False),
            started_at=NOW - 1,
        )
        for one, outcome in zip(claim(outbox), outcomes, strict=True)
    ]
    outbox.settle(settled, NOW)
    assert rows(
        "SELECT status, retry_count, last_error IS NULL, processed_at, due_at FROM mdl_mb_zoho_event_log ORDER BY id"
    ) == [
        ("success", 0, 1, int(NOW), None),
        ("failed", 1, 0, None, NOW + 900.5),
        ("failed_all_retries", 0, 0, int(NOW), None),
        ("success", 0, 1, int(NOW), None),
    ]
    assert rows("SELECT started_at, duration_ms, http_code, outcome FROM mdl_mb_zoho_event_attempt") == [
        (int(NOW) - 1, 3, 200, "success"),
        (int(NOW) - 1, 5, 503, "failed"),
        (int(NOW) - 1, 7, 422, "refused"),
        (int(NOW) - 1, 9, 202, "duplicate"),
    ]
    assert rows("SELECT COUNT(*) FROM mdl_mb_zoho_event_log WHERE leased_by IS NOT NULL") == [(0,)]


def test_a_delivered_event_whose_replay_fails_stays_delivered_and_keeps_the_error(
    outbox: Outbox, rows: Callable[[str], list[tuple[object, ...]]]
) -> None:
    accept(outbox, event(1))
    (one,) = claim(outbox)
    settle(outbox, one, 200)
    (again,) = outbox.claim_again([one.id], NOW, lease_s=60, types=TYPES)
    outcome = Outcome(http_code=500)
    decision = Decision(status=Status.SUCCESS, due_at=None, failures=0, verdict=Verdict.NOT_NOW)
    outbox.settle([Settled(delivery=again, outcome=outcome, decision=decision, started_at=NOW)], NOW)
    ((status, error),) = rows("SELECT status, last_error FROM mdl_mb_zoho_event_log")
    assert status == "success"
    assert json.loads(str(error))["http_code"] == 500
    assert rows("SELECT attempt, outcome FROM mdl_mb_zoho_event_attempt") == [(1, "success"), (2, "failed")]


def test_what_is_under_way_is_not_claimed_again(outbox: Outbox) -> None:
    accept(outbox, event(1), event(2, user=2))
    first, second = claim(outbox)
    outbox.release([second])
    assert [one.id for one in outbox.claim_again([first.id, second.id], NOW, lease_s=60, types=TYPES)] == [second.id]
    assert outbox.claim_again([], NOW, lease_s=60, types=TYPES) == ()


def test_events_and_position_are_kept_together_and_survive(outbox: Outbox, place: Place) -> None:
    gaps = (Gap(low=3, high=9, seen=0b101, opened_at=12.5), Gap(low=50, high=10**12, opened_at=1.0))
    before = Position(high=10**12 + 5, gaps=gaps)
    outbox.accept(Batch(events=[event(1)], after=before, state={"started_at": "12"}), NOW)
    after = Position(high=10**12 + 6, gaps=gaps[1:])
    outbox.accept(Batch(before=before, after=after), NOW)
    again = place.open()
    assert again.position() == after
    assert again.state("started_at") == "12"


def test_a_batch_that_fails_leaves_nothing_behind(outbox: Outbox) -> None:
    broken = event(2)._replace(user_id=None)  # type: ignore[arg-type] # the column takes no NULL
    with pytest.raises(OutboxError):
        outbox.accept(Batch(events=[event(1), broken], after=Position(high=5)), NOW)
    assert outbox.position() is None
    assert outbox.counts().captured == 0


def test_an_attempt_has_its_row_before_it_is_sent(
    outbox: Outbox, rows: Callable[[str], list[tuple[object, ...]]]
) -> None:
    accept(outbox, event(1))
    (one,) = claim(outbox)
    statement = "SELECT event_id, attempt, outcome, http_code, duration_ms FROM mdl_mb_zoho_event_attempt"
    assert rows(statement) == [(one.event_id, 1, "unknown", None, None)]
    settle(outbox, one, 200)
    assert rows(statement) == [(one.event_id, 1, "success", 200, 7)]


def test_the_plugins_columns_say_what_happened(outbox: Outbox, rows: Callable[[str], list[tuple[object, ...]]]) -> None:
    accept(outbox, event(1), event(2, user=2))
    first, second = claim(outbox)
    settle(outbox, first, 422)
    settle(outbox, second, None)
    (gave_up, failed) = rows(
        "SELECT status, retry_count, last_error, processed_at, event_data FROM mdl_mb_zoho_event_log ORDER BY id"
    )
    assert (gave_up[0], gave_up[3]) == ("failed_all_retries", int(NOW))
    assert json.loads(str(gave_up[2]))["answer"] == "so it is"
    assert failed[:2] == ("failed", 1)
    assert failed[3] is None
    assert json.loads(str(failed[4])) == {"number": 2, "name": "Zoë 😀"}


def test_a_later_event_of_a_user_waits_for_an_earlier_one_that_is_retried(outbox: Outbox) -> None:
    accept(outbox, event(1), event(2), event(3, user=2))
    one, two, three = claim(outbox)
    assert [one.log_id, two.log_id, three.log_id] == [1, 2, 3]
    settle(outbox, one, 500)
    outbox.release([two])
    settle(outbox, three, 200)
    assert claim(outbox, NOW + 4) == []
    assert [d.log_id for d in claim(outbox, NOW + 6)] == [1, 2]


def test_a_later_event_does_not_wait_for_one_that_ended(outbox: Outbox) -> None:
    accept(outbox, event(1), event(2))
    (one,) = claim(outbox, limit=1)
    assert claim(outbox) == []  # the second waits for the first, which is under way
    settle(outbox, one, 400)
    assert [d.log_id for d in claim(outbox)] == [2]


def test_an_earlier_event_that_turns_up_late_is_not_sent_beside_a_later_one(outbox: Outbox) -> None:
    accept(outbox, event(5))
    (later,) = claim(outbox)
    accept(outbox, event(4))
    assert claim(outbox) == []
    settle(outbox, later, 500)
    assert [d.log_id for d in claim(outbox)] == [4]


def test_a_blocked_type_neither_goes_nor_holds_up_its_user(outbox: Outbox) -> None:
    accept(outbox, event(1), event(2, kind="user_updated"), event(3))
    types = TYPES - {"grade_updated"}
    assert [d.log_id for d in claim(outbox, types=types)] == [2]
    assert outbox.next_due(types, NOW) is None


def test_an_event_of_an_unknown_type_is_kept_and_holds_nothing_up(outbox: Outbox) -> None:
    accept(outbox, event(1, kind="comet_seen"), event(2), event(3, kind="comet_seen", user=2))
    (one,) = claim(outbox)
    assert one.log_id == 2
    settle(outbox, one, 200)
    assert claim(outbox, NOW + 9) == claim(outbox, NOW + 9, probe=True) == []
    assert outbox.next_due(TYPES, NOW) is None
    ids = outbox.select(Selector(event_type="comet_seen"))
    assert len(ids) == 2
    assert outbox.claim_again(ids, NOW, lease_s=60, types=TYPES) == ()
    assert outbox.counts().by_type["comet_seen"] == {"pending": 2}
    assert (outbox.waiting().count, outbox.count_undelivered()) == (2, 2)
    # A relay that knows it sends it.
    assert [d.log_id for d in claim(outbox, types=TYPES | {"comet_seen"})] == [1, 3]


def test_one_type_is_claimed_alone_and_still_in_order(outbox: Outbox) -> None:
    """So the path of one type is probed: an earlier event of the user, of a type that may be sent, comes first."""
    accept(outbox, event(1), event(2, kind="user_updated"), event(3, kind="user_updated", user=2))
    assert [d.log_id for d in claim(outbox, only="user_updated", probe=True)] == [3]
    assert claim(outbox, only="user_updated") == claim(outbox, only="user_created") == []
    assert [d.log_id for d in claim(outbox, only="user_updated", types=frozenset({"user_updated"}))] == [2]


def test_many_that_are_claimed_at_once_come_in_the_order_they_happened(outbox: Outbox) -> None:
    """More than are read at once; the first one was recorded last, and sending one again has the same order."""
    accept(outbox, *(event(number, user=number % 7, at=1000 - number) for number in range(1, 251)))
    claimed = claim(outbox, limit=250)
    assert [d.log_id for d in claimed] == list(range(250, 0, -1))
    assert [d.body for d in claimed] == [event(n, user=n % 7, at=1000 - n).body for n in range(250, 0, -1)]
    outbox.release(claimed)
    again = outbox.claim_again([d.id for d in claimed[::-1]], NOW, lease_s=60.0, types=TYPES)
    assert [d.log_id for d in again] == list(range(250, 0, -1))


def test_an_event_waits_for_an_earlier_one_of_a_type_that_may_be_sent(outbox: Outbox) -> None:
    accept(outbox, event(1, kind="comet_seen"), event(2))
    assert [one.waits_for for one in outbox.recorded(NOW, log_id=2, types=TYPES)] == [None]
    assert [one.waits_for for one in outbox.recorded(NOW, log_id=2)] == [event(1).event_id]


# -- the memory of Moodle's rows


def of_row(number: int, row_id: int, table: str = "user") -> Event:
    return event(number)._replace(row_table=table, row_id=row_id)


def remembered(event: Event) -> Remembered:
    return Remembered(digest=digest(event.data), event_id=event.event_id, log_id=event.log_id)


def test_the_newest_event_of_each_row_is_remembered_whole(outbox: Outbox) -> None:
    old, new, other, elsewhere = of_row(1, 7), of_row(2, 7), of_row(3, 8), of_row(4, 7, "assign_grades")
    accept(outbox, old, other, elsewhere, event(5))
    accept(outbox, new)
    assert outbox.remembered("user", [7, 8, 9]) == {7: remembered(new), 8: remembered(other)}
    assert outbox.remembered("assign_grades", [7]) == {7: remembered(elsewhere)}
    assert outbox.remembered("user", []) == outbox.remembered("course", [7]) == {}
    assert len(digest(new.data)) == DIGEST_BYTES
    assert outbox.sizes()["mb_zoho_row"] == 3


def test_of_a_batch_the_last_event_of_a_row_is_remembered(outbox: Outbox) -> None:
    accept(outbox, *(of_row(number, number % 150) for number in range(1, 501)))
    found = outbox.remembered("user", range(150))
    assert {row_id: one.event_id for row_id, one in found.items()} == {
        number % 150: event(number).event_id for number in range(351, 501)
    }


def test_an_event_that_is_accepted_again_is_not_taken_for_the_newest(outbox: Outbox) -> None:
    accept(outbox, of_row(1, 7))
    accept(outbox, of_row(2, 7))
    accept(outbox, of_row(1, 7))
    assert outbox.remembered("user", [7]) == {7: remembered(of_row(2, 7))}


def test_of_a_row_it_is_known_whether_its_newest_event_came_from_the_log(outbox: Outbox) -> None:
    accept(outbox, of_row(1, 7))
    outbox.accept(Batch(events=[of_row(2, 7)._replace(log_id=None)]), NOW)
    assert outbox.remembered("user", [7])[7].log_id is None
    accept(outbox, of_row(3, 7))
    assert outbox.remembered("user", [7])[7].log_id == 3


def test_what_is_remembered_outlives_a_purge_and_a_new_start(outbox: Outbox, place: Place) -> None:
    accept(outbox, of_row(1, 7))
    (one,) = claim(outbox)
    settle(outbox, one, 200)
    assert purge(outbox, NOW + 1) == 1
    assert outbox.recorded(NOW, event_id=one.event_id) == []
    assert place.open().remembered("user", [7]) == {7: remembered(of_row(1, 7))}


def test_a_batch_that_fails_is_not_remembered(outbox: Outbox) -> None:
    broken = event(2)._replace(user_id=None)  # type: ignore[arg-type] # the column takes no NULL
    with pytest.raises(OutboxError):
        accept(outbox, of_row(1, 7), broken)
    assert outbox.remembered("user", [7]) == {}


def test_a_probe_takes_one_event_though_it_is_not_due(outbox: Outbox) -> None:
    accept(outbox, event(1), event(2), event(3, user=2))
    for one in claim(outbox):
        if one.log_id != 2:
            settle(outbox, one, 500)
        else:
            outbox.release([one])
    assert claim(outbox) == []
    assert [d.log_id for d in claim(outbox, probe=True)] == [1]


def test_a_probe_keeps_the_time_that_the_backend_asked_for(outbox: Outbox) -> None:
    accept(outbox, event(1))
    (one,) = claim(outbox)
    outcome = Outcome(http_code=429, retry_after_s=900.0)
    decision = retry.decide(one, outcome, retry.Policy(), now=NOW, jitter=0.0, is_outage=False)
    outbox.settle([Settled(delivery=one, outcome=outcome, decision=decision, started_at=NOW)], NOW)
    outbox.all_due(NOW + 1)
    assert claim(outbox, NOW + 899, probe=True) == []
    assert len(claim(outbox, NOW + 900)) == 1


def test_users_whose_first_event_waits_do_not_hide_the_others(outbox: Outbox) -> None:
    accept(outbox, *(event(n, user=1) for n in range(1, 60)), event(99, user=2))
    (first,) = claim(outbox, limit=1)
    assert [d.log_id for d in claim(outbox, limit=5)] == [99]
    assert first.log_id == 1


def test_when_the_circuit_closes_all_is_due_at_once(outbox: Outbox) -> None:
    accept(outbox, event(1), event(2, user=2))
    for one in claim(outbox):
        settle(outbox, one, 503)
    assert claim(outbox, NOW + 1) == []
    outbox.all_due(NOW + 1)
    assert len(claim(outbox, NOW + 1)) == 2


def test_a_clock_set_back_makes_nobody_wait_twice(outbox: Outbox) -> None:
    accept(outbox, event(1))
    (one,) = claim(outbox)
    settle(outbox, one, 503)
    outbox.set_back(3600.0)
    assert len(claim(outbox, NOW - 3595)) == 1


def test_a_released_claim_leaves_no_trace(outbox: Outbox, rows: Callable[[str], list[tuple[object, ...]]]) -> None:
    accept(outbox, event(1))
    outbox.release(claim(outbox))
    assert rows("SELECT * FROM mdl_mb_zoho_event_attempt") == []
    assert claim(outbox)[0].attempt == 1


def test_what_a_killed_relay_had_under_way_is_free_again_and_its_attempt_unknown(
    outbox: Outbox, place: Place, rows: Callable[[str], list[tuple[object, ...]]]
) -> None:
    accept(outbox, event(1))
    claim(outbox)
    place.kill(outbox)
    again = place.open()
    again.join(NOW + 1)
    assert claim(again) == []
    again.hold(NOW + 2 * LEASE_S)
    (second,) = claim(again)
    assert second.attempt == 2
    assert rows("SELECT attempt, outcome FROM mdl_mb_zoho_event_attempt") == [(1, "unknown"), (2, "unknown")]


def test_replay_leases_what_has_ended_but_not_what_is_under_way(outbox: Outbox) -> None:
    accept(outbox, event(1), event(2, user=2))
    one, _two = claim(outbox)
    settle(outbox, one, 200)
    again = outbox.claim_again(outbox.select(Selector()), NOW, lease_s=60, types=TYPES)
    assert [(d.log_id, d.attempt, d.status) for d in again] == [(1, 2, Status.SUCCESS)]


@pytest.mark.parametrize(
    ("selector", "logs"),
    [
        (Selector(), [1, 2, 3]),
        (Selector(status=Status.GAVE_UP), [1]),
        (Selector(event_id=event(2).event_id), [2]),
        (Selector(event_type="user_updated"), [3]),
        (Selector(user_id=2), [2]),
        (Selector(since=1_700_000_002), [2, 3]),
        (Selector(since=1_700_000_002, until=1_700_000_002), [2]),
        (Selector(user_id=2, status=Status.GAVE_UP), []),
    ],
)
def test_a_selector_means_what_all_its_terms_say(
    outbox: Outbox, rows: Callable[[str], list[tuple[object, ...]]], selector: Selector, logs: list[int]
) -> None:
    accept(outbox, event(1), event(2, user=2), event(3, kind="user_updated"))
    outbox.accept(Batch(skips=[skip(4)], before=Position(high=100), after=Position(high=100)), NOW)
    settle(outbox, claim(outbox)[0], 400)
    found = outbox.select(selector)
    by_id = {row[0]: row[1] for row in rows("SELECT id, log_id FROM mdl_mb_zoho_event_log")}
    assert [by_id[row_id] for row_id in found] == logs


def test_the_sums_hold_with_skips_ignored_rows_and_synced_events(outbox: Outbox) -> None:
    batch = Batch(events=[event(1), event(2)], skips=[skip(3)], ignored={"restored": 4}, after=Position(high=9))
    outbox.accept(batch, NOW)
    outbox.accept(Batch(events=[event(8)]), NOW)
    settle(outbox, claim(outbox)[0], 200)
    counts = outbox.counts()
    assert (counts.seen, counts.captured, counts.synced, counts.of(Status.SKIPPED)) == (7, 2, 1, 1)
    assert counts.seen_holds
    assert counts.captured_holds
    assert outbox.count_undelivered() == 2


def test_what_is_claimed_at_once_fits_into_memory(outbox: Outbox) -> None:
    large = {"comment": "x" * 500_000}
    events = [
        envelope.make_event(envelope.derive_id("site", n), "grade_updated", n, n, 1_700_000_000 + n, large, OPTIONS)
        for n in range(1, 7)
    ]
    accept(outbox, *events)
    first = claim(outbox, most_bytes=CLAIM_BYTES // 10)
    assert [one.log_id for one in first] == [1, 2, 3]
    assert [one.body for one in first] == [one.body for one in events[:3]]
    assert [one.log_id for one in claim(outbox, most_bytes=CLAIM_BYTES // 10)] == [4, 5, 6]


# -- several relays on one outbox


@pytest.fixture
def shared(tmp_path: Path, outbox_address: Address) -> Iterator[Place]:
    made = Place(tmp_path, outbox_address)
    yield made
    made.close()


@pytest.fixture
def pair(shared: Place) -> tuple[Outbox, Outbox]:
    """Two running relays; the first one reads the log."""
    first, second = shared.open(), shared.open()
    first.hold(NOW)
    second.hold(NOW)
    return first, second


def test_one_relay_reads_the_log_and_the_others_stand_by(pair: tuple[Outbox, Outbox]) -> None:
    first, second = pair
    assert (first.leads(), second.leads()) == (True, False)
    assert [member.leads for member in first.members()].count(True) == 1
    with pytest.raises(OutboxFenced):
        accept(second, event(1))
    assert first.position() is None


def test_when_the_one_that_leads_ends_well_another_takes_over_at_once(pair: tuple[Outbox, Outbox]) -> None:
    first, second = pair
    first.close()
    second.renew(NOW + 1)
    assert second.leads()


def test_a_relay_that_was_stopped_past_its_lease_cannot_write(
    pair: tuple[Outbox, Outbox],
) -> None:
    stopped, other = pair
    accept(stopped, event(1), event(2, user=2))
    one, two = claim(stopped)
    late = NOW + 2 * LEASE_S
    other.renew(late)
    assert other.leads()
    (again, _) = claim(other, late)
    # Now it goes on, and has not noticed yet.
    with pytest.raises(OutboxFenced):
        accept(stopped, event(3))
    with pytest.raises(OutboxFenced):
        claim(stopped, late)
    settle(stopped, one, 500, late)
    stopped.release([two])
    assert (again.event_id, again.attempt) == (one.event_id, 2)
    settle(other, again, 200, late)
    assert other.counts().of(Status.SUCCESS) == 1
    stopped.renew(late)
    assert not stopped.leads()
    assert not stopped.may_send(one)


def test_a_relay_that_was_taken_for_dead_tells_its_old_claims_from_its_new_ones(pair: tuple[Outbox, Outbox]) -> None:
    """It joins again, and claims the same event: what still comes of the first claim is not taken for the second's."""
    stopped, other = pair
    accept(stopped, event(1), event(2))
    one, two = claim(stopped)
    late = NOW + 2 * LEASE_S
    other.renew(late)
    stopped.renew(late)
    one_again, two_again = claim(stopped, late)
    assert [stopped.may_send(each) for each in (one, two, one_again, two_again)] == [False, False, True, True]
    settle(stopped, one, 500, late)
    stopped.release([two])
    assert [stopped.may_send(each) for each in (one_again, two_again)] == [True, True]
    assert claim(other, late + 3600) == []
    settle(stopped, one_again, 200, late)
    # What failed under the old claim holds nothing up.
    settle(stopped, one, 500, late)
    settle(stopped, two_again, 200, late)
    assert other.counts().of(Status.SUCCESS) == 2


def test_what_failed_under_a_lease_that_has_ended_holds_nothing_up(pair: tuple[Outbox, Outbox]) -> None:
    stopped, other = pair
    accept(stopped, event(1), event(2))
    (one,) = claim(stopped, limit=1)
    late = NOW + 2 * LEASE_S
    other.renew(late)
    stopped.renew(late)
    (again,) = claim(other, late, limit=1)
    settle(other, again, 200, late)
    settle(stopped, one, 500, late)
    assert [found.log_id for found in claim(other, late)] == [2]


def test_a_lease_counts_from_before_the_server_was_asked(
    pair: tuple[Outbox, Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow its answers are: the relay counts itself as dead no later than the others do."""
    first, _ = pair
    assert isinstance(first, MysqlOutbox)
    seconds = [time.clock_gettime(time.CLOCK_BOOTTIME)]
    monkeypatch.setattr(first._lease, "_elapsed", lambda: seconds[0])

    def ask_slowly() -> None:
        seconds[0] += LEASE_S - 1

    monkeypatch.setattr(first._lease, "_ask_time", ask_slowly)
    first.renew(NOW)
    assert first.leads()
    seconds[0] += 1
    assert not first.leads()


def test_a_lease_of_before_the_clock_was_set_back_does_not_outlive_its_relay(shared: Place) -> None:
    """The database failed over to a machine whose clock is an hour behind, and the relay that leads died with it."""
    dead = shared.open()
    dead.hold(NOW + 3600)
    accept(dead, event(1))
    claim(dead, NOW + 3600)
    shared.kill(dead)
    other = shared.open()
    other.hold(NOW)
    assert other.leads()
    assert [one.attempt for one in claim(other, NOW + 3600)] == [2]


def test_relays_that_make_the_tables_at_once_make_one_outbox(shared: Place) -> None:
    opened: list[Outbox] = []
    begin = threading.Barrier(3)

    def work() -> None:
        begin.wait()
        opened.append(shared.open())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outbox.state("schema_version") for outbox in opened] == [str(migrations.NEWEST)] * 3


def test_a_log_position_that_went_back_is_not_written_over(pair: tuple[Outbox, Outbox], shared: Place) -> None:
    """The database failed over to a copy that lacks its last commits: what they held is read again."""
    leader, _ = pair
    leader.accept(Batch(events=[event(1)], after=Position(high=1)), NOW)
    leader.accept(Batch(events=[event(2)], before=Position(high=1), after=Position(high=2)), NOW)
    shared.rows("DELETE FROM mdl_mb_zoho_event_log WHERE log_id = 2")
    shared.rows("UPDATE mdl_mb_zoho_config SET config_value = '1' WHERE config_key = 'cursor'")
    with pytest.raises(OutboxFenced):
        leader.accept(Batch(events=[event(3)], before=Position(high=2), after=Position(high=3)), NOW)
    assert leader.position() == Position(high=1)


def test_the_time_that_all_share_does_not_know_summer(pair: tuple[Outbox, Outbox]) -> None:
    """In the hour that comes twice, a local time would say which second it is with an hour's doubt."""
    first, _ = pair
    assert isinstance(first, MysqlOutbox)
    assert first._rows("SELECT @@SESSION.time_zone") == [("+00:00",)]


def test_what_another_relay_has_put_off_meanwhile_is_waited_for(
    pair: tuple[Outbox, Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a look at what is due and the lock on the user, another relay has tried the first event, in vain."""
    first, second = pair
    accept(first, event(1), event(2))
    assert isinstance(second, MysqlOutbox)
    look = second._candidates

    def look_too_early(*arguments: Any) -> Mapping[int, int]:
        found = look(*arguments)
        (one,) = claim(first, limit=1)
        settle(first, one, 404, holds_user=False)
        return found

    monkeypatch.setattr(second, "_candidates", look_too_early)
    assert claim(second) == []


def test_what_is_under_way_on_one_relay_is_not_claimed_by_another(pair: tuple[Outbox, Outbox]) -> None:
    first, second = pair
    accept(first, event(1), event(2), event(3, user=2))
    assert [d.log_id for d in claim(first, limit=1)] == [1]
    assert [d.log_id for d in claim(second)] == [3]


def test_a_user_of_whom_a_relay_is_about_to_claim_is_passed_over_by_the_others(
    pair: tuple[Outbox, Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its choice and its commit: else they could claim a later event of the user, chosen before that."""
    first, second = pair
    accept(first, event(1), event(2), event(3, user=2))
    assert isinstance(second, MysqlOutbox)
    lease = second._lease_rows
    by_first: list[Delivery] = []

    def lease_later(*arguments: Any) -> Sequence[Delivery]:
        by_first.extend(claim(first))
        return lease(*arguments)

    monkeypatch.setattr(second, "_lease_rows", lease_later)
    by_second = claim(second, limit=1)
    assert ([one.log_id for one in by_first], [one.log_id for one in by_second]) == ([3], [1])


def test_two_relays_that_claim_at_once_share_the_users_between_them(shared: Place) -> None:
    """Whatever the moment: no event is claimed twice, and no user's events by both."""
    relays = [shared.open() for _ in range(3)]
    for one in relays:
        one.hold(NOW)
    accept(relays[0], *(event(n, user=n % 40) for n in range(200)))
    found: list[list[Delivery]] = [[] for _ in relays]
    begin = threading.Barrier(len(relays))

    def work(index: int) -> None:
        begin.wait()
        for _ in range(20):
            found[index] += claim(relays[index], limit=10)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(relays))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claimed = [one.event_id for some in found for one in some]
    assert len(claimed) == len(set(claimed))
    users = [{one.user_id for one in some} for some in found]
    assert sum(len(some) for some in users) == len(set().union(*users)) == 40


def test_a_claim_whose_commit_had_no_answer_is_found_again(
    pair: tuple[Outbox, Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = pair
    accept(first, event(1))
    assert isinstance(first, MysqlOutbox)
    do = first._do

    def answerless(work: Callable[..., object]) -> object:
        do(work)
        raise OutboxUnavailable("the connection broke after the commit")

    monkeypatch.setattr(first, "_do", answerless)
    with pytest.raises(OutboxUnavailable):
        claim(first)
    monkeypatch.undo()
    assert [(d.log_id, d.attempt) for d in claim(first)] == [(1, 2)]


def test_a_state_is_swapped_by_one_relay_only(pair: tuple[Outbox, Outbox]) -> None:
    first, second = pair
    first.set_state("circuit", "open", NOW)
    assert first.swap_state("circuit", "open", "probing", NOW)
    assert not second.swap_state("circuit", "open", "probing", NOW)
    assert second.state("circuit") == "probing"
    assert second.swap_state("circuit", "probing", "probing", NOW), "it is there, though nothing changes"


def test_a_relay_that_must_be_alone_is_told_of_the_others(pair: tuple[Outbox, Outbox], shared: Place) -> None:
    assert pair
    with pytest.raises(OutboxInUse, match="Another relay runs"):
        shared.open().hold(NOW, alone=True)


def test_queries_written_for_the_plugin_run_as_they_are(pair: tuple[Outbox, Outbox], shared: Place) -> None:
    first, _ = pair
    accept(first, event(1), event(2, user=2))
    one, two = claim(first)
    settle(first, one, 500)
    settle(first, two, 200)
    first.begin_sync("users", "all", 2, time.time())
    (failed,) = shared.rows(
        "SELECT * FROM mdl_mb_zoho_event_log WHERE status = 'failed' AND retry_count < 3 ORDER BY created_at ASC;"
    )
    assert one.event_id in failed
    (begun,) = shared.rows(
        "SELECT * FROM mdl_mb_zoho_sync_history WHERE started_at > UNIX_TIMESTAMP(DATE_SUB(NOW(), INTERVAL 30 DAY)) "
        "ORDER BY started_at DESC;"
    )
    assert "users" in begun
    counts = shared.rows(
        "SELECT event_type, status, COUNT(*) AS count, AVG(retry_count) AS avg_retries FROM mdl_mb_zoho_event_log "
        "GROUP BY event_type, status;"
    )
    assert {row[:3] for row in counts} == {("grade_updated", "failed", 1), ("grade_updated", "success", 1)}


def test_another_ones_tables_are_not_written_into(shared: Place) -> None:
    shared.rows("CREATE TABLE mdl_mb_zoho_event_log (id BIGINT PRIMARY KEY, event_data LONGTEXT)")
    with pytest.raises(OutboxCorrupt, match="is no relay's"):
        shared.open()
    assert shared.rows("SHOW TABLES") == [("mdl_mb_zoho_event_log",)]


def test_every_table_has_a_primary_key_and_bytes_are_bytes(shared: Place) -> None:
    shared.open()
    tables = shared.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'outbox'")
    keys = shared.rows(
        "SELECT table_name FROM information_schema.table_constraints WHERE table_schema = 'outbox' "
        "AND constraint_type = 'PRIMARY KEY'"
    )
    assert sorted(tables) == sorted(keys)
    kinds = "SELECT data_type FROM information_schema.columns WHERE table_schema = 'outbox' AND column_name = 'body'"
    assert shared.rows(kinds) == [("longblob",)]


# -- the file of an outbox


def test_the_file_is_for_its_owner_only(in_a_file: Outbox, tmp_path: Path) -> None:
    accept(in_a_file, event(1))
    for name in ("outbox.db", "outbox.db-wal", "outbox.db.lock"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    inner = SqliteOutbox(tmp_path / "made" / "outbox.db")
    inner.close()
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o750


def _hold(path: Path, answer: multiprocessing.queues.Queue[str]) -> None:
    try:
        SqliteOutbox(path).hold(NOW)
        answer.put("held")
    except OutboxInUse as error:
        answer.put(str(error))


def test_a_second_relay_on_one_outbox_is_told_so(in_a_file: Outbox, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=_hold, args=(tmp_path / "outbox.db", answer))
    process.start()
    assert "Another relay runs" in answer.get(timeout=60)
    process.join()
    assert in_a_file.position() is None


def test_a_damaged_file_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(b"this is no database, and it is long enough to be read as one" * 20)
    before = path.read_bytes()
    with pytest.raises(OutboxCorrupt, match="damaged"):
        SqliteOutbox(path)
    assert path.read_bytes() == before


def test_an_empty_file_is_not_taken_for_a_new_outbox(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").touch()
    with pytest.raises(OutboxCorrupt, match="empty file"):
        SqliteOutbox(tmp_path / "outbox.db")


def test_another_database_is_not_written_into(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE theirs (id)")
    connection.close()
    with pytest.raises(OutboxCorrupt, match="no outbox with the prefix"):
        SqliteOutbox(tmp_path / "other.db")


def test_a_left_over_log_of_a_deleted_outbox_is_not_replayed_into_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    first = SqliteOutbox(path)
    accept(first, event(1))
    wal = path.with_name("outbox.db-wal").read_bytes()
    first.close()
    path.unlink()
    path.with_name("outbox.db-wal").write_bytes(wal)
    second = SqliteOutbox(path)
    assert second.counts().captured == 0
    second.close()


def test_a_missing_outbox_is_made_only_where_that_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(OutboxUnavailable, match="no outbox"):
        SqliteOutbox(tmp_path / "outbox.db", create=False)
    assert list(tmp_path.iterdir()) == []
