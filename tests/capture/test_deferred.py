"""A log row that is visible before what it points to is waited for, holds up nothing, and is judged in the end."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from stepped import AT, Captured

from relay import config
from relay.events.catalogue import KINDS
from relay.outbox.values import Selector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness import Relay

    from relay.demo.mariadb import MariaDB
    from relay.demo.moodle import College
    from relay.model import Delivery

YEARS = 10 * 365 * 86400


def log_user(college: College, user: int, at: float) -> int:
    """Let the log row of a sign-up be visible before the user is."""
    return college.log("user_created", user, user=user, at=int(at))


def insert_user(college: College, user: int, city: str = "London") -> None:
    names = {"username": f"ada{user}", "firstname": "Ada", "lastname": "Lovelace", "city": city}
    college.insert("user", id=user, timecreated=AT, timemodified=AT, **names)


def claimed(captured: Captured) -> Sequence[Delivery]:
    return captured.outbox.claim(captured.now, 50, lease_s=60, types=frozenset(KINDS))


def data_of(delivery: Delivery) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(delivery.body)["data"]
    return data


def skipped(captured: Captured) -> int:
    return sum(states.get("skipped", 0) for states in captured.outbox.counts().by_type.values())


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_row_that_comes_two_seconds_late_is_sent(captured: Captured, college: College, *, is_restarted: bool) -> None:
    log_user(college, 77, captured.now)
    other = college.sign_up("Grace", "Hopper", int(captured.now))
    assert captured.read() == 1, "the other user's event is not held up"
    assert [data_of(one)["userid"] for one in claimed(captured)] == [other]
    assert captured.capture.waiting == 1
    if is_restarted:
        captured.restart()
    insert_user(college, 77)
    assert captured.read(2) == 1
    assert captured.capture.waiting == 0
    assert [data_of(one)["userid"] for one in claimed(captured)] == [77]
    counts = captured.outbox.counts()
    assert (counts.seen, counts.captured, counts.seen_holds) == (2, 2, True)


def test_a_row_that_is_not_there_after_a_minute_is_recorded_as_skipped(captured: Captured, college: College) -> None:
    log_user(college, 77, captured.now)
    for _ in range(5):
        assert captured.read(11) == 0
    assert skipped(captured) == 0
    assert captured.read(11) == 1
    assert skipped(captured) == 1
    assert captured.log.fields("event.skipped")["reason"] == "the row is gone: there is no user.id 77"
    assert captured.outbox.counts().seen_holds


def test_a_row_that_was_old_when_it_was_read_is_judged_at_once(captured: Captured, college: College) -> None:
    log_user(college, 77, captured.now - 61)
    assert captured.read() == 1
    assert skipped(captured) == 1


@pytest.mark.parametrize(("ahead_s", "waits_s"), [(30, 60), (61, 0), (YEARS, 0)])
def test_a_row_that_is_stamped_in_the_future_is_no_missing_row(
    ahead_s: int, waits_s: int, relay: Relay, college: College
) -> None:
    """Its age is negative: by as much as two clocks differ it is young, else it is judged as an old one is."""
    relay.set("events.enrollment_created", {"role": "actual"})
    captured = Captured(config.load(relay.write()))
    course, ada = college.course("Computing", "C1"), college.sign_up("Ada", "Lovelace", AT)
    captured.read()
    college.enrol(ada, course, int(captured.now) + ahead_s)
    college.run("DELETE FROM {p}role_assignments")
    assert captured.read() == (0 if waits_s else 1)
    assert captured.gaps() == 0, "what is deferred is not missing"
    captured.read(waits_s + 1)
    (enrolled,) = captured.data("enrollment_created")
    assert enrolled["roleid"] == 5
    assert captured.outbox.counts().seen_holds
    captured.close()


def test_the_clock_set_back_makes_nothing_wait_longer(captured: Captured, college: College) -> None:
    log_user(college, 77, captured.now)
    captured.read()
    captured.read(-3600)
    assert captured.capture.waiting == 1
    for _ in range(3):
        captured.read(20)
    assert skipped(captured) == 1


def test_a_log_row_that_is_deleted_meanwhile_is_waited_for_no_longer(captured: Captured, college: College) -> None:
    log_user(college, 77, captured.now)
    captured.read()
    college.run("DELETE FROM {p}logstore_standard_log")
    captured.read()
    assert captured.capture.waiting == 0


def test_a_dry_run_judges_at_once(relay: Relay, college: College, captured: Captured) -> None:
    log_user(college, 77, captured.now)
    (made,) = list(captured.capture.preview(captured.now))
    assert made.log_id == 1
    assert relay.statuses() == {}


def test_log_rows_and_what_they_point_to_are_read_at_one_moment(
    captured: Captured, college: College, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change between the two reads is not in the event: its own log row will tell of it."""
    ada = college.sign_up("Ada", "Lovelace", AT, city="London")
    captured.read()
    college.update(ada, AT + 1, city="Paris")
    real = captured.moodle.facts

    def facts(*arguments: Any) -> Any:
        with mariadb.connect("moodle") as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE mdl_user SET city = 'Rome'")
        return real(*arguments)

    monkeypatch.setattr(captured.moodle, "facts", facts)
    assert captured.read() == 1
    assert [data_of(one)["city"] for one in claimed(captured)] == ["London", "Paris"]


def test_what_waits_is_in_no_order_with_what_comes(captured: Captured, college: College) -> None:
    """A later event of the same user is not held up by a row that waits."""
    ada = college.sign_up("Ada", "Lovelace", AT)
    captured.read()
    college.log("grade_updated", 4711, user=ada, at=int(captured.now), courseid=1)
    college.update(ada, int(captured.now), city="Paris")
    assert captured.read() == 1
    assert len(captured.outbox.select(Selector(user_id=ada))) == 2


def test_explain_says_that_a_row_is_waited_for(relay: Relay, college: College) -> None:
    at = int(time.time())
    log_user(college, 77, at)
    relay.once("--timeout", "1ms", expect=None)
    assert "what it points to was not there yet" in relay.run("explain", "log:1").stdout
