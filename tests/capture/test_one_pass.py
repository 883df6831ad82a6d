"""One pass of capture, to the letter: what it says, what it counts, and what it keeps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from stepped import AT, Captured

from relay import config
from relay.capture.log import Progress, Seen
from relay.events import envelope
from relay.events.catalogue import KINDS
from relay.model import Position
from relay.rules import cursor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness import Relay

    from relay.demo.moodle import College


def lines(captured: Captured, slug: str) -> list[dict[str, Any]]:
    return [fields for name, fields in captured.log.lines if name == slug]


def identifier(captured: Captured, log_id: int, event_type: str, row_id: int, at: int = AT) -> str:
    """Return the id of the event of a log row, by the row's id, its kind, what it points to and its time."""
    site, event = captured.moodle.site().identifier, KINDS[event_type].moodle_event
    return envelope.derive_id(site, "log", log_id, event, row_id, at)


def far_apart(captured: Captured, college: College, ids: Sequence[int] = (100, 300, 500)) -> int:
    """Let rows come so far apart, by ids and time, that each gap stands for itself; return whom they are about."""
    ada = college.sign_up("Ada", "Lovelace", AT)
    captured.read()
    for log_id in ids:
        college.log("user_updated", ada, user=ada, at=AT, id=log_id)
        captured.read(cursor.NEARBY_S + 1)
    return ada


# -- what is said


def test_where_a_first_start_begins_is_said(captured: Captured, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    captured.loaded = config.with_start(captured.loaded, "now")
    captured.restart()
    captured.read()
    assert lines(captured, "capture.began") == [{"cursor": 1, "start_from": "now"}]
    captured.restart()
    captured.read()
    assert len(lines(captured, "capture.began")) == 1


def test_gaps_that_are_too_old_are_said_from_the_first_id_to_the_last(captured: Captured, college: College) -> None:
    far_apart(captured, college)
    captured.read(cursor.LIFETIME_S + 1)
    assert lines(captured, "gap.expired") == [{"gaps": 3, "first_id": 2, "last_id": 499}]
    assert lines(captured, "gap.given_up") == []
    captured.read()
    assert len(lines(captured, "gap.expired")) == 1


def test_gaps_that_are_too_many_are_given_up_and_it_is_said_what_to_do(
    captured: Captured, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    far_apart(captured, college)
    monkeypatch.setattr(cursor, "MAX_GAPS", 1)
    captured.read()
    assert lines(captured, "gap.given_up") == [
        {
            "gaps": 2,
            "first_id": 2,
            "hint": "Too many stretches of log ids are missing; rows that still turn up there are not seen. Relay "
            "sync finds what they were about.",
        }
    ]
    assert lines(captured, "gap.expired") == []
    assert [gap.low for gap in position(captured).gaps] == [301]


def position(captured: Captured) -> Position:
    """Return the position as it is recorded."""
    found = captured.outbox.position()
    assert found is not None
    return found


def test_an_event_is_said_with_whom_it_is_about_and_whether_it_was_late(captured: Captured, college: College) -> None:
    ada = far_apart(captured, college, ids=(3,))
    college.log("user_updated", ada, user=ada, at=AT, id=2)
    captured.read(60)
    assert lines(captured, "event.captured") == [
        {
            "event_id": identifier(captured, log_id, name, ada),
            "event_type": name,
            "log_id": log_id,
            "user_id": ada,
            **late,
        }
        for log_id, name, late in (
            (1, "user_created", {}),
            (3, "user_updated", {}),
            (2, "user_updated", {"late": True}),
        )
    ]


def test_an_event_of_a_course_is_said_with_it(captured: Captured, college: College) -> None:
    course = college.course("Computing", "C1")
    ada = college.sign_up("Ada", "Lovelace", AT)
    enrolment = college.enrol(ada, course, AT)
    captured.read()
    assert lines(captured, "event.captured")[1] == {
        "event_id": identifier(captured, 2, "enrollment_created", enrolment),
        "event_type": "enrollment_created",
        "log_id": 2,
        "user_id": ada,
        "course_id": course,
    }


def test_what_is_skipped_and_what_is_ignored_is_said_once(captured: Captured, college: College) -> None:
    college.log("user_updated", 999, user=999, at=AT)
    college.log("user_updated", 1, user=1, at=AT, origin=None)
    assert captured.read() == 1
    event_id = identifier(captured, 1, "user_updated", 999)
    said = {"event_id": event_id, "event_type": "user_updated", "log_id": 1, "user_id": 999}
    reason = "the row is gone: there is no user.id 999"
    assert lines(captured, "event.skipped") == [{**said, "reason": reason}]
    assert lines(captured, "events.ignored") == [{"restored": 1}]
    captured.restart()
    assert captured.read() == 0
    assert len(lines(captured, "event.skipped")) == len(lines(captured, "events.ignored")) == 1


def test_what_the_outbox_refuses_is_said_as_skipped_and_counts_as_new(captured: Captured, college: College) -> None:
    """Here a trigger refuses it; what a real outbox refuses: tests/outbox/test_unfit.py."""
    trigger = (
        "CREATE TRIGGER full BEFORE INSERT ON mdl_mb_zoho_event_log WHEN NEW.log_id = 2 AND NEW.status <> 'skipped' "
        "BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    captured.outbox._do(lambda run: run(trigger, {}))  # type: ignore[attr-defined]
    users = [college.sign_up("Ada", f"Number{i}", AT) for i in range(3)]
    assert captured.capture.run_once(captured.now) == Progress(accepted=3)
    (said,) = lines(captured, "event.skipped")
    assert said.pop("reason")
    event_id = identifier(captured, 2, "user_created", users[1])
    assert said == {"event_id": event_id, "event_type": "user_created", "log_id": 2, "user_id": users[1]}
    assert [fields["log_id"] for fields in lines(captured, "event.captured")] == [1, 3]


# -- what a pass has done and seen


def test_a_pass_says_what_is_new_whether_there_is_more_and_since_when(captured: Captured, college: College) -> None:
    engine = college.assignment(college.course("Computing", "C1"), "Engine")
    users = [college.sign_up("Ada", f"Number{i}", AT) for i in range(101)]
    for i, user in enumerate(users):
        college.grade(user, engine, 50, AT + i)
    assert captured.capture.seen == Seen()
    # A page has a hundred grades at the most.
    assert captured.capture.run_once(captured.now) == Progress(accepted=201, is_more=True)
    assert captured.capture.seen == Seen(end=202, unread_since=AT + 99)
    assert captured.capture.run_once(captured.now) == Progress(accepted=1)
    assert captured.capture.seen == Seen(end=202)
    assert captured.capture.run_once(captured.now) == Progress()
    college.run("UPDATE {p}config_plugins SET value = '' WHERE name = 'enabled_stores'")
    captured.read(120)
    assert captured.capture.seen == Seen(end=202, is_store_off=True)


def test_what_is_released_counts_as_new(captured: Captured, college: College) -> None:
    course = college.course("Computing", "C1")
    essay = college.assignment(course, "Essay")
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.enrol(ada, course, AT)
    grade = college.grade(ada, essay, 50, AT, is_released=False)
    assert captured.capture.run_once(captured.now) == Progress(accepted=3)
    (said,) = lines(captured, "event.held")
    assert said.pop("reason")
    event_id = identifier(captured, 3, "grade_updated", grade)
    assert said == {"event_id": event_id, "event_type": "grade_updated", "log_id": 3, "user_id": ada}
    assert captured.capture.next_look_in(captured.now) > 0
    college.release(ada, essay, 50)
    college.log("grade_updated", grade, user=ada, at=AT + 1, courseid=course)
    captured.now += 1
    assert captured.capture.run_once(captured.now) == Progress(accepted=2)


# -- a preview


def test_a_preview_yields_each_row_once_in_the_order_of_the_log_and_records_nothing(
    captured: Captured, college: College
) -> None:
    course = college.course("Computing", "C1")
    engine = college.assignment(course, "Engine")
    users = [college.sign_up("Ada", f"Number{i}", AT) for i in range(3)]
    college.log("user_updated", 999, user=999, at=AT)
    college.log("user_created", users[0], user=users[0], at=AT)
    for user in [users[0]] * 101:
        college.grade(user, engine, 50, AT)
    found = [one.log_id for one in captured.capture.preview(captured.now)]
    assert found == list(range(1, 107))
    assert captured.outbox.position() is None
    # After a start: what comes behind the position.
    captured.read()
    assert list(captured.capture.preview(captured.now)) == []
    college.sign_up("Grace", "Hopper", AT)
    assert [one.log_id for one in captured.capture.preview(captured.now)] == [107]


# -- a restart


def test_after_a_restart_the_newest_rows_are_read_again(
    captured: Captured, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.capture.log.READ_AGAIN", 2)
    ada = college.sign_up("Ada", "Lovelace", AT)
    for _ in range(4):
        college.log("user_updated", ada, user=ada, at=AT)
    captured.read()
    before = position(captured)
    # As if a crash had given each id to another row.
    college.run("UPDATE {p}logstore_standard_log SET eventname = %s", KINDS["user_created"].moodle_event)
    captured.restart()
    captured.log.lines.clear()
    assert captured.read() == 0
    assert [fields["log_id"] for fields in lines(captured, "event.captured")] == [4, 5]
    assert position(captured) == before
    assert captured.capture.waiting == 0


def test_after_a_restart_old_history_is_still_not_waited_for(captured: Captured, college: College) -> None:
    """A first start keeps below which id nothing is waited for."""
    college.sign_up("Ada", "Lovelace", AT)
    captured.read()
    captured.outbox.set_state("watch_from", "200", captured.now)
    captured.restart()
    college.log("user_updated", 1, user=1, at=AT, id=300)
    captured.read()
    assert [(gap.low, gap.high) for gap in position(captured).gaps] == [(200, 299)]


def test_what_was_read_by_other_rules_is_not_read_again(relay: Relay, college: College) -> None:
    captured = Captured(config.load(relay.write()))
    ada = college.sign_up("Ada", "Lovelace", AT)
    captured.read()
    captured.close()
    relay.set("events.ignore_actors", [77])
    college.run("UPDATE {p}logstore_standard_log SET eventname = %s", KINDS["user_updated"].moodle_event)
    captured = Captured(config.load(relay.write()))
    assert captured.read() == 0
    assert captured.outbox.state("rules_since") == "1"
    assert (position(captured), lines(captured, "event.captured")) == (Position(high=1), [])
    college.log("user_updated", ada, user=ada, at=AT)
    assert captured.read() == 1
    captured.close()


def test_what_is_read_again_may_wait_for_what_it_points_to(captured: Captured, college: College) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.log("user_updated", ada, user=ada, at=int(captured.now))
    captured.read()
    # Of the same time as before: else the log counts as a restored one, and is read from there on.
    college.run("UPDATE {p}logstore_standard_log SET objectid = 77 WHERE id = 2")
    captured.restart()
    captured.read(0)
    assert captured.capture.waiting == 1
    assert json.loads(captured.outbox.state("deferred") or "") == {"2": captured.now}
    assert lines(captured, "event.skipped") == []


def test_what_is_read_again_may_be_skipped_or_held(captured: Captured, college: College) -> None:
    course = college.course("Computing", "C1")
    essay = college.assignment(course, "Essay")
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.enrol(ada, course, AT)
    for _ in range(2):
        college.log("user_updated", ada, user=ada, at=AT)
    captured.read()
    college.run("UPDATE {p}logstore_standard_log SET objectid = 77 WHERE id = 3")
    college.run("DELETE FROM {p}logstore_standard_log WHERE id = 4")
    college.grade(ada, essay, 50, AT)
    college.run("UPDATE {p}grade_items SET hidden = UNIX_TIMESTAMP() + 500")
    college.run("UPDATE {p}logstore_standard_log SET id = 4 WHERE id = 5")
    before = captured.outbox.counts()
    captured.restart()
    captured.read()
    assert [one["log_id"] for slug in ("event.skipped", "event.held") for one in lines(captured, slug)] == [3, 4]
    counts = captured.outbox.counts()
    assert counts.by_type["user_updated"]["skipped"] == counts.by_type["grade_updated"]["held"] == 1
    assert counts.ignored == before.ignored


def test_what_is_read_again_may_release_what_is_held(captured: Captured, college: College) -> None:
    course = college.course("Computing", "C1")
    essay = college.assignment(course, "Essay")
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.enrol(ada, course, AT)
    college.grade(ada, essay, 50, AT, is_released=False)
    captured.read()
    (held,) = lines(captured, "event.held")
    college.release(ada, essay, 50)
    college.run("UPDATE {p}logstore_standard_log SET timecreated = timecreated + 9 WHERE id = 3")
    captured.restart()
    captured.read()
    assert captured.outbox.counts().by_type["grade_updated"] == {"pending": 2}
    assert held["event_id"] in [one["event_id"] for one in lines(captured, "event.released")]


def test_what_was_recorded_and_not_sent_is_held_with_a_later_one_of_its_row(
    captured: Captured, college: College
) -> None:
    course = college.course("Computing", "C1")
    essay = college.assignment(course, "Essay")
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.enrol(ada, course, AT)
    grade = college.grade(ada, essay, 50, AT)
    captured.read()
    college.run("UPDATE {p}grade_items SET hidden = 1")
    college.log("grade_updated", grade, user=ada, at=AT + 1)
    captured.read()
    assert captured.outbox.counts().by_type["grade_updated"] == {"held": 2}
    assert [one["log_id"] for one in lines(captured, "event.held")] == [4]


def test_what_waits_still_waits_after_a_restart(captured: Captured, college: College) -> None:
    college.log("user_updated", 77, user=77, at=int(captured.now))
    captured.read()
    assert captured.capture.waiting == 1
    assert json.loads(captured.outbox.state("deferred") or "") == {"1": captured.now}
    captured.restart()
    captured.read(0)
    assert captured.capture.waiting == 1
    assert captured.read(61) == 1
    assert lines(captured, "event.skipped")[0]["log_id"] == 1


def test_another_database_is_asked_anew(captured: Captured, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    captured.read()
    college.run("UPDATE {p}config SET value = 'another-site' WHERE name = 'siteidentifier'")
    captured.capture.forget()
    captured.read()
    grace = college.sign_up("Grace", "Hopper", AT)
    captured.read()
    assert captured.moodle.site().identifier == "another-site"
    assert lines(captured, "event.captured")[-1]["event_id"] == identifier(captured, 2, "user_created", grace)


def test_a_gap_of_which_a_row_is_gone_is_looked_into_once(
    captured: Captured, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    for log_id in (1, 3, 5):
        college.log("user_updated", 1, user=1, at=AT, id=log_id)
    captured.read()
    college.run("DELETE FROM {p}logstore_standard_log WHERE id = 3")
    asked: list[tuple[int, int, int]] = []
    ids = captured.moodle.ids

    def noting(low: int, high: int, limit: int) -> Any:
        asked.append((low, high, limit))
        return ids(low, high, limit)

    monkeypatch.setattr(captured.moodle, "ids", noting)
    for _ in range(3):
        assert captured.read(60) == 0
    assert asked == [(2, 4, cursor.WINDOW)]


def test_each_gap_is_looked_into_by_the_first_pass_after_a_start(captured: Captured, college: College) -> None:
    ada = far_apart(captured, college)
    college.log("user_updated", ada, user=ada, at=AT, id=200)
    captured.restart()
    assert captured.read(0) == 1
    assert lines(captured, "event.captured")[-1]["log_id"] == 200


def test_each_gap_is_looked_into_though_nothing_is_new_in_the_one_before(captured: Captured, college: College) -> None:
    ada = far_apart(captured, college)
    college.log("user_updated", ada, user=ada, at=AT, id=400)
    captured.read(60)
    assert lines(captured, "event.captured")[-1]["log_id"] == 400


def test_what_the_config_passes_over_is_remembered_so_that_reconcile_does_not_send_it(
    relay: Relay, college: College
) -> None:
    relay.set("events.user_created", {"enabled": False})
    captured = Captured(config.load(relay.write()))
    ada = college.sign_up("Ada", "Lovelace", AT)
    assert captured.read() == 0
    (told,) = captured.outbox.remembered("user", [ada]).values()
    assert told.event_id == identifier(captured, 1, "user_created", ada)
    captured.close()


def test_the_settings_of_a_pass_are_those_that_it_was_given(relay: Relay, college: College) -> None:
    relay.set("events.user_updated", {"enabled": False})
    captured = Captured(config.load(relay.write()))
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.log("user_updated", ada, user=ada, at=AT)
    assert captured.read() == 1
    assert lines(captured, "events.ignored") == [{"disabled": 1}]
    assert captured.capture.seen.end == 2
    captured.close()


def test_what_is_on_from_the_first_start_is_not_said_to_have_been_off(relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.set("events.user_deleted", {"enabled": True})
    captured = Captured(config.load(relay.write()))
    captured.read()
    assert lines(captured, "events.uncovered") == []
    captured.outbox.close()
    relay.set("events.course_created", {"enabled": True})
    captured = Captured(config.load(relay.write()))
    captured.read()
    assert [one["event_type"] for one in lines(captured, "events.uncovered")] == ["course_created"]
    captured.close()
