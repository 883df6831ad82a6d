"""What an outbox can never keep: it is recorded as skipped, or kept in another way, and all else flows."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
from harness import Relay
from receiver import Receiver
from test_outbox import NOW, OPTIONS, Place, accept, claim, event, remembered, settle, skip
from world import Proxy

from relay.demo.moodle import College
from relay.errors import OutboxError, OutboxRefused, OutboxUnavailable
from relay.events import envelope
from relay.model import Delivery, Event, Outcome, Position, Status
from relay.outbox import mysql_errors, sizes
from relay.outbox.contract import Outbox
from relay.outbox.mysql import MysqlOutbox
from relay.outbox.values import Batch, Settled
from relay.rules import retry
from relay.rules.server import Address

AT = 1_770_000_000
PACKET = 1024 * 1024
COMMENT = '<p class="x">"well" \\ done é</p>\n'


def graded(number: int, size: int) -> Event:
    """Return an event with a comment of so many characters, which take more bytes in a statement."""
    comment = (COMMENT * (size // len(COMMENT) + 1))[:size]
    event_id = envelope.derive_id("site", number)
    return envelope.make_event(
        event_id, "grade_updated", number, number, 1_700_000_000 + number, {"feedback": comment}, OPTIONS
    )


def outcome_of(deliveries: list[Delivery], outcome: Outcome) -> list[Settled]:
    return [
        Settled(
            delivery=one,
            outcome=outcome,
            decision=retry.decide(one, outcome, retry.Policy(), now=NOW, jitter=0.0, is_outage=False),
            started_at=NOW,
        )
        for one in deliveries
    ]


@contextlib.contextmanager
def packets(address: Address, size: int) -> Iterator[None]:
    """Let new connections to the server take so many bytes at once."""

    def ask(statement: str) -> Any:
        with pymysql.connect(**address.options(), autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    ((before,),) = ask("SELECT @@GLOBAL.max_allowed_packet")
    ask(f"SET GLOBAL max_allowed_packet = {size}")
    try:
        yield
    finally:
        ask(f"SET GLOBAL max_allowed_packet = {before}")


@pytest.fixture
def small(tmp_path: Path, outbox_address: Address) -> Iterator[Outbox]:
    """An outbox on a server that takes 1 MiB at once."""
    place = Place(tmp_path, outbox_address)
    with packets(outbox_address, PACKET):
        outbox = place.open()
        outbox.hold(NOW)
        yield outbox
        place.close()


def test_an_event_that_the_server_never_takes_is_skipped_and_the_others_flow(small: Outbox) -> None:
    large = graded(2, 750_000)
    batch = Batch(events=[event(1), large, event(3)], skips=[skip(4)], ignored={"actor": 2}, after=Position(high=9))
    accepted = small.accept(batch, NOW)
    assert list(accepted) == [event(1).event_id, event(3).event_id, skip(4).event_id]
    (unfit,) = accepted.unfit
    assert (unfit.event_id, unfit.log_id, unfit.event_type) == (large.event_id, 2, "grade_updated")
    assert unfit.reason.startswith("it cannot be kept: it takes ")
    assert unfit.reason.endswith("at once (max_allowed_packet)")
    assert small.position() == Position(high=9)
    assert [one.log_id for one in claim(small)] == [1, 3]
    (recorded,) = small.recorded(NOW, log_id=2)
    assert (recorded.status, recorded.last_error) == (Status.SKIPPED, {"reason": unfit.reason})
    counts = small.counts()
    assert (counts.seen, counts.captured, counts.of(Status.SKIPPED)) == (6, 2, 2)
    assert counts.seen_holds
    assert counts.captured_holds
    page = next(iter(small.dump("mb_zoho_event_log", 10)))
    assert {row["log_id"] for row in page if not row["body"]} == {2, 4}


def test_what_was_skipped_as_unfit_is_not_new_again(small: Outbox) -> None:
    batch = Batch(events=[graded(2, 750_000)], after=Position(high=2))
    small.accept(batch, NOW)
    again = small.accept(batch._replace(before=Position(high=2)), NOW)
    assert (list(again), again.unfit) == ([], [])
    assert small.counts().seen == 1


def test_what_was_skipped_as_unfit_is_recorded_once_the_server_takes_more(
    small: Outbox, tmp_path: Path, outbox_address: Address
) -> None:
    """Whichever way it comes again: of the log, or of a sync."""
    some = [graded(2, 750_000), graded(3, 750_000)._replace(log_id=None)]
    small.accept(Batch(events=[event(1), some[0]], after=Position(high=2)), NOW)
    small.accept(Batch(events=some[1:]), NOW)
    counts = small.counts()
    assert (counts.seen, counts.captured, counts.synced, counts.of(Status.SKIPPED)) == (3, 1, 0, 2)
    again = small.accept(Batch(events=some[1:]), NOW)
    assert (list(again), again.unfit) == ([], [])
    assert [one.event_id for one in again.still_unfit] == [some[1].event_id]
    small.close()
    with packets(outbox_address, 16 * PACKET):
        place = Place(tmp_path, outbox_address)
        larger = place.open()
        larger.hold(NOW)
        read = Batch(events=some[:1], before=Position(high=2), after=Position(high=2))
        assert list(larger.accept(read, NOW + 1)) == [some[0].event_id]
        assert list(larger.accept(Batch(events=some[1:]), NOW + 1)) == [some[1].event_id]
        assert [one.body for one in claim(larger, NOW + 1)] == [event(1).body, *(one.body for one in some)]
        counts = larger.counts()
        assert (counts.seen, counts.captured, counts.synced, counts.of(Status.SKIPPED)) == (2, 2, 1, 0)
        assert counts.seen_holds
        assert counts.captured_holds
        place.close()


def test_an_unfit_event_of_a_sync_leaves_the_sums_as_they_hold(small: Outbox) -> None:
    accepted = small.accept(Batch(events=[graded(1, 750_000)._replace(log_id=None), event(2)]), NOW)
    assert (len(accepted), len(accepted.unfit)) == (1, 1)
    counts = small.counts()
    assert (counts.synced, counts.of(Status.SKIPPED)) == (1, 1)
    assert counts.seen_holds
    assert counts.captured_holds


def test_an_event_that_fits_in_two_statements_is_kept_whole(small: Outbox) -> None:
    large = graded(2, 600_000)
    size = sizes.written(large.body.decode())
    assert size < PACKET - 20_000 < sizes.written(large.data) + size
    accept(small, event(1), large, event(3))
    assert [(one.log_id, one.body) for one in claim(small)] == [
        (1, event(1).body),
        (2, large.body),
        (3, event(3).body),
    ]
    page = next(iter(small.dump("mb_zoho_event_log", 10)))
    assert [row["event_data"] for row in page] == [event(1).data, large.data, event(3).data]


def test_events_that_are_too_much_together_are_kept_each(small: Outbox) -> None:
    some = [graded(number, 200_000) for number in range(1, 9)]
    accept(small, *some)
    assert [one.body for one in claim(small)] == [one.body for one in some]


def test_what_many_answers_say_is_recorded_though_it_is_more_than_a_statement_takes(small: Outbox) -> None:
    accept(small, *(event(number, user=number) for number in range(1, 301)))
    claimed = claim(small, limit=300)
    answer = "\0\N{ARABIC LETTER MEEM}" * 1000
    small.settle(outcome_of(claimed, Outcome(http_code=500, answer=answer)), NOW)
    assert small.counts().by_type == {"grade_updated": {"failed": 300}}
    assert small.recorded(NOW, log_id=300)[0].last_error["answer"] == answer
    assert small.recorded(NOW, log_id=300)[0].attempts[0].outcome == "failed"


def test_a_list_of_very_many_ids_is_no_larger_than_a_statement(small: Outbox) -> None:
    accept(small, event(1))
    assert small.count_undelivered(range(1, 300_000)) == 1
    assert len(small.remembered("user", range(300_000))) == 0


def test_a_claim_looks_at_no_more_events_than_a_statement_takes(small: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(small, MysqlOutbox)
    asked: list[int] = []

    def candidates(_wanted: object, most: int) -> dict[int, int]:
        asked.append(most)
        return dict.fromkeys(range(10**18, 10**18 + most), 1)

    monkeypatch.setattr(small, "_candidates", candidates)
    assert claim(small, limit=1024) == []
    assert asked == [1024, 20 * 1024, asked[-1]]
    assert asked[-1] * 44 < PACKET < asked[-1] * 60


def test_a_server_that_takes_too_little_for_anything_is_refused(tmp_path: Path, outbox_address: Address) -> None:
    with packets(outbox_address, 65536), pytest.raises(OutboxError, match="takes 65536 bytes at once") as caught:
        Place(tmp_path, outbox_address).open()
    assert not isinstance(caught.value, OutboxUnavailable)


def test_a_row_that_the_new_outbox_cannot_keep_is_named_and_the_move_ends(small: Outbox) -> None:
    """It may be undelivered: nothing is left out."""
    row = {"id": 7, "event_id": "an-id", "event_data": "{}", "body": b"x" * PACKET}
    with pytest.raises(OutboxRefused, match=r"The event an-id cannot be kept: it takes \d+ bytes"):
        small.load("mb_zoho_event_log", [row])


# -- as the operator sees it


def graded_class(college: College, comment: str) -> int:
    """Let two users be made and graded, one with this comment; return the log row of that."""
    work = college.assignment(college.course("Computing", "C1"), "Essay")
    ada, grace = (college.sign_up(*name, AT) for name in (("Ada", "Lovelace"), ("Grace", "Hopper")))
    college.grade(ada, work, 70, AT + 1, comment=comment)
    ((log_id,),) = college.rows("SELECT MAX(id) FROM {p}logstore_standard_log")
    college.grade(grace, work, 80, AT + 2, comment="Well done")
    return int(log_id)


@pytest.mark.parametrize(("packet", "size"), [(PACKET, 750_000), (16 * PACKET, 6_000_000)])
def test_of_four_events_the_one_that_cannot_be_kept_is_said_and_three_are_delivered(
    packet: int, size: int, other: Relay, outbox_address: Address, college: College, backend: Receiver
) -> None:
    log_id = graded_class(college, '"' * size)
    with packets(outbox_address, packet):
        finished = other.once()
        status = other.status()
        explained = other.run("explain", f"log:{log_id}").stdout
    assert len(backend.posts) == 3
    (line,) = [one for one in finished.log if one["event"] == "event.skipped"]
    assert line["event_type"] == "grade_updated"
    assert line["log_id"] == log_id
    assert len(line["event_id"]) == 36
    assert "max_allowed_packet" in line["reason"]
    assert line["reason"] in explained
    assert other.statuses() == {"success": 3, "skipped": 1}
    assert status["conservation"]["holds"]
    assert not [one for one in finished.log if one["level"] == "error"]


def test_a_large_comment_that_fits_is_delivered_whole(
    other: Relay, outbox_address: Address, college: College, backend: Receiver
) -> None:
    graded_class(college, "w" * 750_000)
    with packets(outbox_address, PACKET):
        other.once()
    assert {len(post.envelope["data"].get("feedback", "")) for post in backend.posts} == {0, 9, 750_000}
    assert other.statuses() == {"success": 4}


def test_a_sync_says_what_the_outbox_cannot_keep_and_sends_the_others(
    other: Relay, outbox_address: Address, college: College, backend: Receiver
) -> None:
    graded_class(college, '"' * 750_000)
    with packets(outbox_address, PACKET):
        other.once("--from", "now")
        finished = other.run("sync", "grades")
        status = other.status()
    assert [post.envelope["data"]["feedback"] for post in backend.posts] == ["Well done"]
    assert "1 rows read, 1 new events recorded, 1 rows skipped" in finished.stdout
    (line,) = [json.loads(one) for one in finished.stderr.splitlines() if one.startswith("{")]
    assert (line["event"], line["event_type"], line["log_id"]) == ("event.skipped", "grade_updated", None)
    assert "max_allowed_packet" in line["reason"]
    assert other.statuses() == {"success": 1, "skipped": 1}
    assert status["conservation"]["holds"]


def test_a_sync_after_the_server_takes_more_sends_what_it_could_not_keep(
    other: Relay, outbox_address: Address, college: College, backend: Receiver
) -> None:
    graded_class(college, '"' * 750_000)
    with packets(outbox_address, PACKET):
        other.once("--from", "now")
        other.run("sync", "grades")
        again = other.run("sync", "grades")
    assert "1 rows read, 0 new events recorded, 1 rows skipped" in again.stdout
    (line,) = [json.loads(one) for one in again.stderr.splitlines() if one.startswith("{")]
    assert line["event"] == "event.skipped"
    with packets(outbox_address, 16 * PACKET):
        finished = other.run("sync", "grades")
        status = other.status()
    assert "2 rows read, 1 new events recorded" in finished.stdout
    assert sorted(len(post.envelope["data"]["feedback"]) for post in backend.posts) == [9, 750_000]
    assert other.statuses() == {"success": 2}
    assert status["conservation"]["holds"]


# -- what is found out by trying


@pytest.fixture(params=["sqlite", "mysql"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    address = request.getfixturevalue("outbox_address") if request.param == "mysql" else None
    place = Place(tmp_path, address)
    opened = place.open()
    opened.hold(NOW)
    yield opened
    place.close()


UNFIT: dict[str, dict[str, Any]] = {
    "a number that no column takes": {"row_table": "user", "row_id": 2**64},
    "half a character": {"data": '{"a": "\ud800"}', "body": b'{"data": {"a": "?"}}'},
}


@pytest.mark.parametrize("what", UNFIT)
def test_the_one_event_that_is_refused_is_found_and_skipped(what: str, outbox: Outbox) -> None:
    some = [event(number, user=number)._replace(row_table="user", row_id=number) for number in range(1, 12)]
    some[6] = some[6]._replace(**UNFIT[what])
    accepted = outbox.accept(Batch(events=some, after=Position(high=11)), NOW)
    assert len(accepted) == 10
    assert [one.log_id for one in accepted.unfit] == [7]
    assert "\ud800" not in accepted.unfit[0].reason
    assert [one.log_id for one in claim(outbox)] == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert outbox.position() == Position(high=11)
    assert outbox.remembered("user", [6, 7, 8]) == {6: remembered(some[5]), 8: remembered(some[7])}
    assert outbox.counts().seen_holds
    assert outbox.counts().captured_holds


@pytest.mark.parametrize("what", UNFIT)
@pytest.mark.parametrize("log_id", [1, None])
def test_what_was_refused_is_tried_anew_and_recorded_once_it_is_taken(
    what: str, log_id: int | None, outbox: Outbox
) -> None:
    good = event(1)._replace(row_table="user", row_id=7, log_id=log_id)
    bad = good._replace(**UNFIT[what])
    place = None if log_id is None else Position(high=1)
    first = outbox.accept(Batch(events=[bad], after=place), NOW)
    again = outbox.accept(Batch(events=[bad], before=place, after=place), NOW)
    assert [one.event_id for one in first.unfit] == [one.event_id for one in again.still_unfit] == [good.event_id]
    assert (list(first.still_unfit), list(again), list(again.unfit)) == ([], [], [])
    assert "\ud800" not in again.still_unfit[0].reason
    assert outbox.counts().of(Status.SKIPPED) == outbox.counts().seen == 1
    then = outbox.accept(Batch(events=[good], before=place, after=place), NOW)
    assert (list(then), list(then.unfit), list(then.still_unfit)) == ([good.event_id], [], [])
    assert [(one.event_id, one.body) for one in claim(outbox)] == [(good.event_id, good.body)]
    assert outbox.remembered("user", [7]) == {7: remembered(good)}
    counts = outbox.counts()
    assert (counts.seen, counts.captured, counts.synced) == ((0, 0, 1) if log_id is None else (1, 1, 0))
    assert counts.seen_holds
    assert counts.captured_holds


def test_what_was_skipped_for_another_reason_stays_so(outbox: Outbox) -> None:
    """Else what gave way to a later event would be sent behind it, as soon as the log is read again."""
    outbox.accept(Batch(skips=[skip(1)._replace(event_id=event(1).event_id)], after=Position(high=1)), NOW)
    again = outbox.accept(Batch(events=[event(1)], before=Position(high=1), after=Position(high=1)), NOW)
    assert (list(again), list(again.still_unfit)) == ([], [])
    assert outbox.counts().by_type == {"user_created": {"skipped": 1}}


def test_what_the_server_finds_too_large_is_found_by_trying(small: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, or closes the connection while relay still writes."""
    assert isinstance(small, MysqlOutbox)
    monkeypatch.setattr(small, "_too_large", lambda _: None)
    accepted = small.accept(Batch(events=[event(1), graded(2, 750_000), event(3)], after=Position(high=3)), NOW)
    assert (len(accepted), [one.log_id for one in accepted.unfit]) == (2, [2])
    assert "max_allowed_packet" in accepted.unfit[0].reason


@pytest.fixture
def proxied(tmp_path: Path, outbox_address: Address) -> Iterator[tuple[Outbox, Proxy]]:
    """An outbox, and the way to its server."""
    proxy = Proxy(outbox_address.port)
    place = Place(tmp_path, replace(outbox_address, port=proxy.port))
    outbox = place.open()
    outbox.hold(NOW)
    yield outbox, proxy
    place.close()
    proxy.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port)).close()


def test_what_something_on_the_way_finds_too_large_is_skipped_though_nothing_says_so(
    proxied: tuple[Outbox, Proxy],
) -> None:
    outbox, proxy = proxied
    proxy.refuse(300_000)
    some = [graded(number, 60_000) for number in range(1, 9)]
    some[4] = graded(5, 400_000)
    accepted = outbox.accept(Batch(events=some, after=Position(high=8)), NOW)
    assert (len(accepted), [one.log_id for one in accepted.unfit]) == (7, [5])
    assert "bytes at once" in accepted.unfit[0].reason
    assert outbox.position() == Position(high=8)
    assert [one.body for one in claim(outbox)] == [one.body for one in some if one is not some[4]]


def test_a_connection_that_breaks_while_much_is_written_is_an_outage(proxied: tuple[Outbox, Proxy]) -> None:
    """Asked anew, the server takes as much: it was restarted."""
    outbox, proxy = proxied
    proxy.refuse(300_000, times=1)
    batch = Batch(events=[graded(1, 400_000)], after=Position(high=1))
    with pytest.raises(OutboxUnavailable, match="cannot be reached or broke off"):
        outbox.accept(batch, NOW)
    assert outbox.position() is None
    assert len(outbox.accept(batch, NOW)) == 1


def test_a_server_that_is_gone_when_it_is_asked_anew_is_an_outage(
    proxied: tuple[Outbox, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, proxy = proxied
    proxy.refuse(300_000)
    told = mysql_errors.may_be_too_large

    def then_gone(error: Exception) -> bool:
        proxy.close()
        return told(error)

    monkeypatch.setattr(mysql_errors, "may_be_too_large", then_gone)
    with pytest.raises(OutboxUnavailable, match="nobody listens there"):
        outbox.accept(Batch(events=[graded(1, 400_000)], after=Position(high=1)), NOW)


def test_what_not_even_a_skip_can_be_made_of_is_refused_and_no_outage(outbox: Outbox) -> None:
    broken = event(2)._replace(user_id=2**64)
    with pytest.raises(OutboxRefused) as caught:
        outbox.accept(Batch(events=[event(1), broken], after=Position(high=5)), NOW)
    assert str(2**64) not in str(caught.value)
    assert outbox.position() is None
    assert outbox.counts().by_type == {}


def test_an_answer_of_half_a_character_is_kept_without_it(outbox: Outbox) -> None:
    accept(outbox, event(1))
    outcome = Outcome(http_code=None, error="\udc80" * 5000, answer="a\ud800b", error_kind="protocol")
    outbox.settle(outcome_of(claim(outbox), outcome), NOW)
    (found,) = outbox.recorded(NOW, log_id=1)
    assert found.last_error["answer"] == "a?b"
    assert found.attempts[0].error == "?" * 1000
    assert found.status is Status.FAILED


def test_what_came_of_an_event_is_recorded_without_the_words_that_are_refused(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(outbox, event(1))
    assert isinstance(outbox, MysqlOutbox) or not outbox.is_shared
    settle_once = outbox._settle  # type: ignore[attr-defined]

    def refuse(settled: Any, now: float, state: Any) -> None:
        if any(one.outcome.answer for one in settled):
            raise OutboxRefused("not this")
        settle_once(settled, now, state)

    monkeypatch.setattr(outbox, "_settle", refuse)
    outbox.settle(outcome_of(claim(outbox), Outcome(http_code=500, answer="so")), NOW)
    (found,) = outbox.recorded(NOW, log_id=1)
    assert (found.status, found.last_error.get("answer")) == (Status.FAILED, None)
    (again,) = claim(outbox, NOW + 10)
    settle(outbox, again, 200)


# -- how large something is, and what an error means


def test_a_value_is_never_larger_in_a_statement_than_was_reckoned(small: Outbox) -> None:
    assert isinstance(small, MysqlOutbox)
    with small._database._connection() as connection, connection.cursor() as cursor:
        for text in ["", "abc", "é\N{GRINNING FACE}", "\0\n\r\x1a\"'\\", "a'b" * 1000]:
            for value in (text, text.encode()):
                size = len(cursor.mogrify("%s", (value,)).encode("utf-8", "surrogateescape"))
                assert size <= sizes.written(value) <= max(size, 2 * len(value)) + sizes.AROUND


def test_pieces_keep_the_order_and_the_bounds() -> None:
    found = list(sizes.pieces([5, 5, 20, 1, 1, 1, 9], lambda size: size, most=3, most_bytes=10))
    assert found == [[5, 5], [20], [1, 1, 1], [9]]


ADDRESS = Address(host="db", port=3306, name="o", user="relay", password="", prefix="", title="The outbox's database")


@pytest.mark.parametrize(
    ("code", "kind", "sentence"),
    [
        (1153, OutboxRefused, "refuses what is to be written: it is larger than max_allowed_packet (error 1153)"),
        (1366, OutboxRefused, "characters that its column does not take"),
        (1665, OutboxError, "its binlog_format is STATEMENT"),
        (1130, OutboxError, "no account may log in from this machine"),
        (1290, OutboxUnavailable, "it is read-only"),
        (1114, OutboxUnavailable, "has no room"),
        (1045, OutboxError, "the user 'relay' or the password is wrong"),
        (2013, OutboxUnavailable, "cannot be reached or broke off"),
    ],
)
def test_an_error_of_the_server_is_said_as_what_it_is(code: int, kind: type[OutboxError], sentence: str) -> None:
    found = mysql_errors.explained(pymysql.Error(code, "near 'Ada Lovelace' at line 1"), ADDRESS)
    assert type(found) is kind
    assert sentence in str(found)
    assert "Ada" not in f"{found}{found.hint}"


@pytest.mark.parametrize(
    ("error", "may_be"),
    [
        (pymysql.OperationalError(1153, "Got a packet bigger than 'max_allowed_packet' bytes"), True),
        (pymysql.OperationalError(2006, "MySQL server has gone away (BrokenPipeError(32, 'Broken pipe'))"), True),
        (pymysql.OperationalError(2013, "Lost connection to MySQL server during query"), True),
        (pymysql.InternalError("Packet sequence number wrong - got 2 expected 1"), True),
        (ConnectionResetError(104, "Connection reset by peer"), True),
        (pymysql.OperationalError(2006, "MySQL server has gone away (TimeoutError('timed out'))"), False),
        (pymysql.OperationalError(2013, "Lost connection to MySQL server during query (timed out)"), False),
        (pymysql.OperationalError(1205, "Lock wait timeout exceeded; try restarting transaction"), False),
        (pymysql.OperationalError(1114, "The table 'x' is full"), False),
    ],
)
def test_of_a_closed_connection_the_size_may_be_the_reason_and_of_silence_it_is_none(
    error: Exception, may_be: bool
) -> None:
    assert mysql_errors.may_be_too_large(error) is may_be
