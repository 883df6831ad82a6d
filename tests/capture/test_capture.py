"""What can happen to Moodle's log, on a real database: late commits, ids that never come, restored and emptied logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pymysql
import pytest
from stepped import AT, Captured

from relay import config
from relay.demo.moodle import College
from relay.events.catalogue import KINDS
from relay.outbox.values import Selector
from relay.rules import cursor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import Relay

    from relay.demo.mariadb import MariaDB


@pytest.fixture
def second(mariadb: MariaDB, college: College) -> Iterator[College]:
    """Another process of Moodle, whose transaction stays open until it commits."""
    assert college.connection.open
    with mariadb.connect("moodle", autocommit=False) as connection:
        yield College(connection)


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("late_s", [1, 30, 600, 7200])
def test_a_row_that_commits_late_is_delivered_once(
    late_s: int, is_restarted: bool, captured: Captured, college: College, second: College
) -> None:
    late = second.sign_up("Late", "Comer", AT)
    college.sign_up("Early", "Bird", AT + 1)
    assert captured.read() == 1
    for _ in range(5):
        assert captured.read() == 0
    second.connection.commit()
    if is_restarted:
        captured.restart()
    found = sum(captured.read(late_s / 20) for _ in range(20))
    assert found == 1
    assert captured.log.fields("event.captured")["event_type"] == "user_created"
    assert len(captured.outbox.select(Selector(user_id=late))) == 1
    assert captured.gaps() == 0


def test_rows_that_are_rolled_back_are_not_waited_for_beyond_a_day(
    captured: Captured, college: College, second: College
) -> None:
    second.sign_up("Never", "Was", AT)
    college.sign_up("Early", "Bird", AT + 1)
    second.connection.rollback()
    captured.read()
    assert captured.gaps() == 1
    captured.read(cursor.LIFETIME_S + 1)
    assert captured.gaps() == 0
    assert "gap.expired" in captured.log.slugs()


def test_a_transaction_that_was_open_at_the_first_start_is_seen(
    relay: Relay, college: College, second: College
) -> None:
    relay.set("moodle.start_from", "now")
    for i in range(3):
        college.sign_up("Old", f"Hand{i}", AT)
    late = second.sign_up("Late", "Comer", AT)
    college.sign_up("Early", "Bird", AT + 1)
    captured = Captured(config.load(relay.write()))
    assert captured.read() == 0
    second.connection.commit()
    assert captured.read() == 1
    assert len(captured.outbox.select(Selector(user_id=late))) == 1
    captured.moodle.close()
    captured.outbox.close()


def test_a_million_missing_ids_cost_next_to_nothing(captured: Captured, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    captured.read()
    college.run("ALTER TABLE {p}logstore_standard_log AUTO_INCREMENT = 1000001")
    college.sign_up("Grace", "Hopper", AT + 1)
    assert captured.read() == 1
    position = captured.outbox.position()
    assert position is not None
    assert len(position.gaps) == 1
    college.log("user_updated", 1, user=1, at=AT + 2, id=500_000)
    assert captured.read() == 1
    position = captured.outbox.position()
    assert position is not None
    assert len(position.gaps) == 2
    before = college.rows("SHOW GLOBAL STATUS LIKE 'Questions'")
    for _ in range(50):
        captured.read(60)
    after = college.rows("SHOW GLOBAL STATUS LIKE 'Questions'")
    assert int(after[0][1]) - int(before[0][1]) < 50 * 8


def test_a_cluster_that_leaves_out_two_ids_of_three(captured: Captured, mariadb: MariaDB) -> None:
    with mariadb.connect("moodle") as connection, connection.cursor() as statement:
        statement.execute("SET SESSION auto_increment_increment = 3")
        cluster = College(connection)
        seen = 0
        for round_ in range(20):
            for i in range(50):
                cluster.sign_up("Ada", f"Number{round_}x{i}", AT + round_)
            seen += captured.read(30)
        assert seen == 1000
        position = captured.outbox.position()
        assert position is not None
        assert len(position.gaps) <= 20
        late = cluster.log("user_updated", 1, user=1, at=AT + 50, id=position.high - 1)
        assert late == position.high - 1
        assert sum(captured.read(20) for _ in range(5)) == 1


def test_ids_far_apart_and_late_ones_among_many_are_all_found(captured: Captured, college: College) -> None:
    """Rows come in any order of their ids: what is there in the end is accounted for, once."""
    ada = college.sign_up("Ada", "Lovelace", AT)
    captured.read()
    import random  # noqa: PLC0415

    ids = list(range(10, 3000, 7)) + list(range(50_000, 400_000, 9_999))
    random.Random(7).shuffle(ids)
    for i in range(0, len(ids), 40):
        for log_id in ids[i : i + 40]:
            college.log("user_updated", ada, user=ada, at=AT + log_id % 50, id=log_id)
        captured.read(5)
    for _ in range(10):
        captured.read(20)
    counts = captured.outbox.counts()
    assert counts.captured == len(ids) + 1
    assert counts.seen_holds


def test_what_was_ignored_late_is_counted_once(captured: Captured, college: College, second: College) -> None:
    second.log("user_updated", 1, user=1, at=AT, origin=None)
    college.sign_up("Early", "Bird", AT + 1)
    captured.read()
    second.connection.commit()
    captured.read()
    captured.read()
    assert dict(captured.outbox.counts().ignored) == {"restored": 1}


def test_a_log_store_that_is_switched_off_is_said_once(captured: Captured, college: College) -> None:
    captured.read()
    college.run("UPDATE {p}config_plugins SET value = '' WHERE name = 'enabled_stores'")
    captured.read(120)
    captured.read(120)
    assert captured.log.slugs().count("log_store.disabled") == 1
    college.run("UPDATE {p}config_plugins SET value = 'logstore_standard' WHERE name = 'enabled_stores'")
    captured.read(120)
    assert "log_store.enabled" in captured.log.slugs()


def test_a_log_that_was_truncated_starts_again_at_one(captured: Captured, college: College) -> None:
    for i in range(5):
        college.sign_up("Ada", f"Number{i}", AT + i)
    captured.read()
    college.run("TRUNCATE {p}logstore_standard_log")
    captured.read()
    assert "log.emptied" in captured.log.slugs()
    grace = college.sign_up("Grace", "Hopper", AT + 50)
    assert captured.read() == 1
    assert "log.rewound" in captured.log.slugs()
    assert len(captured.outbox.select(Selector(user_id=grace))) == 1


def test_a_restored_log_is_read_on_from_where_it_is_unchanged(captured: Captured, college: College) -> None:
    people = [college.sign_up("Ada", f"Number{i}", AT + 100 * i) for i in range(10)]
    for _ in people:
        captured.read()
    college.run("DELETE FROM {p}logstore_standard_log WHERE id > 6")
    college.run("ALTER TABLE {p}logstore_standard_log AUTO_INCREMENT = 7")
    newcomers = [college.sign_up("Grace", f"Number{i}", AT + 5000 + i) for i in range(3)]
    captured.read()
    assert "log.rewound" in captured.log.slugs()
    for user in newcomers:
        assert len(captured.outbox.select(Selector(user_id=user))) == 1


def test_a_restored_log_that_has_grown_past_the_cursor_is_noticed_at_a_restart(
    captured: Captured, college: College
) -> None:
    for i in range(5):
        college.sign_up("Ada", f"Number{i}", AT + 100 * i)
    captured.read()
    college.run("TRUNCATE {p}logstore_standard_log")
    newcomers = [college.sign_up("Grace", f"Number{i}", AT + 9000 + i) for i in range(8)]
    captured.capture.forget()
    captured.read()
    assert "log.rewound" in captured.log.slugs()
    for user in newcomers:
        assert len(captured.outbox.select(Selector(user_id=user))) == 1


def test_a_row_whose_id_belonged_to_one_that_a_crash_took_back_is_seen(captured: Captured, college: College) -> None:
    """A server that crashes may lose a commit that was seen already, and give its id to the next row."""
    ada, bob = college.sign_up("Ada", "Lovelace", AT), college.sign_up("Bob", "Builder", AT)
    college.log("user_updated", ada, user=ada, at=AT + 1)
    assert captured.read() == 3
    college.run("DELETE FROM {p}logstore_standard_log WHERE id = 3")
    college.log("user_updated", bob, user=bob, at=AT + 1, id=3)
    college.log("user_updated", ada, user=ada, at=AT + 3, origin=None)
    captured.capture.forget()
    captured.read()
    assert [fields["log_id"] for slug, fields in captured.log.lines if slug == "event.captured"] == [1, 2, 3, 3]
    captured.capture.forget()
    captured.read()
    counts = captured.outbox.counts()
    assert (counts.captured, counts.seen, dict(counts.ignored)) == (4, 5, {"restored": 1})


def test_rows_that_moodle_deleted_before_they_were_read_are_said(captured: Captured, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    captured.read()
    for i in range(5):
        college.sign_up("Grace", f"Number{i}", AT + i)
    college.run("DELETE FROM {p}logstore_standard_log WHERE id < 5")
    captured.capture.forget()
    captured.read()
    assert captured.log.fields("log.purged")["first_id"] == 5


@pytest.mark.parametrize(
    ("start", "count"), [("beginning", 4), ("now", 0), ("2026-02-02T02:40:01Z", 3), ("3", 2), ("5", 0)]
)
def test_where_to_start(start: str, count: int, relay: Relay, college: College) -> None:
    for i in range(4):
        college.sign_up("Ada", f"Number{i}", AT + i)
    captured = Captured(config.with_start(config.load(relay.write()), start))
    assert captured.read() == count
    captured.moodle.close()
    captured.outbox.close()


def test_a_start_beyond_the_end_of_the_log_is_refused(relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    finished = relay.once("--from", "99", expect=2)
    assert finished.stderr.startswith("relay: The log ends at id 1: it cannot be read from id 99 on.")
    relay.once("--from", "1")


def test_rows_that_nothing_can_be_made_of_are_skipped_and_stop_nothing(captured: Captured, college: College) -> None:
    course = college.course("Computing", "C1")
    engine = college.assignment(course, "Engine")
    ada = college.sign_up("Ada", "Lovelace", AT)
    grade = college.grade(ada, engine, 70, AT, comment="<p>" + "x" * 1_000_000 + "</p>")
    # Gone, never there, another user's, another course's, and no object at all.
    for object_id, user, course_id in ((999, ada, course), (-31337, ada, course), (None, ada, course)):
        college.log("grade_updated", object_id, user=user, at=AT, courseid=course_id)
    college.log("grade_updated", grade, user=ada + 1, at=AT, courseid=course)
    college.log("grade_updated", grade, user=ada, at=AT, courseid=course + 1)
    enrolment = college.enrol(ada, course, AT)
    college.run("DELETE FROM {p}enrol")
    college.log("user_updated", ada, user=ada, at=99_999_999_999_999)
    college.log("user_updated", ada, user=ada, at=AT + 9)
    captured.read()
    found = {fields["reason"].split(":")[0] for slug, fields in captured.log.lines if slug == "event.skipped"}
    assert found == {
        "the row is gone",
        "the row does not match the log row",
        "its time lies outside of the calendar",
    }
    counts = captured.outbox.counts()
    assert enrolment
    assert (counts.captured, counts.seen) == (3, 10)
    assert counts.seen_holds


def test_invalid_text_and_nulls_are_sent_without_what_is_invalid(captured: Captured, college: College) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    for name, kind in (
        ("firstname", "VARBINARY(100) NULL"),
        ("city", "VARCHAR(120) NULL"),
        ("country", "CHAR(2) NULL"),
    ):
        college.run(f"ALTER TABLE {{p}}user MODIFY {name} {kind}")
    college.run("UPDATE {p}user SET firstname = 0x41C3286461, city = NULL, country = NULL WHERE id = %s", ada)
    assert captured.read() == 1
    (row,) = captured.outbox.claim(captured.now, 1, lease_s=60, types=frozenset(KINDS))
    assert b'"firstname": "A(da"' in row.body
    assert b'"city": "", "country": ""' in row.body


def test_an_actor_that_is_ignored_and_a_type_that_is_off_are_counted(relay: Relay, college: College) -> None:
    relay.set("events.ignore_actors", [77])
    relay.set("events.user_updated", {"enabled": False})
    captured = Captured(config.load(relay.write()))
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.update(ada, AT + 1, city="London")
    college.log("user_created", ada, user=ada, at=AT + 2, userid=77)
    assert captured.read() == 1
    assert dict(captured.outbox.counts().ignored) == {"actor": 1, "disabled": 1}
    captured.moodle.close()
    captured.outbox.close()


def test_a_type_that_is_switched_on_again_sends_nothing_old_and_says_what_is_missing(
    relay: Relay, college: College
) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    relay.set("events.user_updated", {"enabled": False})
    college.update(ada, AT + 1, city="London")
    assert "events.disabled" in relay.once().slugs()
    relay.set("events.user_updated", {"enabled": True})
    (said,) = [line for line in relay.once().log if line["event"] == "events.uncovered"]
    assert said["event_type"] == "user_updated"
    assert said["hint"].endswith(f"relay sync users --since {said['since']}")
    assert relay.statuses() == {"success": 1}
    assert "events.uncovered" not in relay.once().slugs()


def test_the_actual_role_is_waited_for(relay: Relay, college: College) -> None:
    relay.set("events.enrollment_created", {"role": "actual"})
    captured = Captured(config.load(relay.write()))
    course = college.course("Computing", "C1")
    ada = college.sign_up("Ada", "Lovelace", AT)
    captured.read()
    young = int(captured.now) + 1
    enrolment = college.enrol(ada, course, young, role=3)
    college.run("DELETE FROM {p}role_assignments")
    assert captured.read() == 0
    ((context,),) = college.rows("SELECT id FROM {p}context WHERE instanceid = %s", course)
    college.insert("role_assignments", roleid=4, contextid=context, userid=ada)
    assert captured.read() == 1
    row = captured.outbox.claim(captured.now, 5, lease_s=60, types=frozenset(KINDS))[-1]
    assert f'"enrollmentid": {enrolment}'.encode() in row.body
    assert b'"roleid": 4' in row.body
    captured.moodle.close()
    captured.outbox.close()


def test_reading_takes_no_lock_and_writes_nothing(captured: Captured, college: College, mariadb: MariaDB) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    captured.read()
    with mariadb.connect("moodle", autocommit=False, read_timeout=10) as connection, connection.cursor() as statement:
        statement.execute("SELECT * FROM mdl_user FOR UPDATE")
        statement.execute("LOCK TABLES mdl_logstore_standard_log READ, mdl_user READ")
        college.rows("SELECT 1")
        assert captured.read() == 0
        statement.execute("UNLOCK TABLES")
    with pytest.raises(pymysql.err.OperationalError, match="READ ONLY"):
        captured.moodle._query("UPDATE mdl_user SET city = ''")


def test_names_in_another_case_are_other_events(captured: Captured, college: College) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    name = KINDS["user_created"].moodle_event.upper()
    college.log("user_created", ada, user=ada, at=AT, eventname=name)
    assert captured.read() == 1


def test_the_prefix_may_be_another(relay: Relay, college: College, mariadb: MariaDB, tmp_path: Path) -> None:
    assert college.connection.open
    with mariadb.connect("moodle") as connection:
        other = College(connection, prefix="x_")
        other.build()
        other.sign_up("Ada", "Lovelace", AT)
    relay.set("moodle.database.prefix", "x_")
    relay.set("outbox.prefix", "y_")
    relay.once()
    assert relay.rows("SELECT status FROM y_mb_zoho_event_log") == [("success",)]
    assert tmp_path.exists()


def test_a_page_holds_a_hundred_grades_at_most_and_the_pages_leave_nothing_out(
    captured: Captured, college: College
) -> None:
    engine = college.assignment(college.course("Computing", "C1"), "Engine")
    users = [college.sign_up("Ada", f"Number{i}", AT) for i in range(130)]
    for user in users:
        college.grade(user, engine, 50, AT)
    after, top = 0, captured.moodle.max_id()
    pages = []
    while (page := captured.moodle.page(after, top)) is not None:
        assert page.first == after + 1
        after = page.last
        pages.append(page)
    assert [sum(row.event_type == "grade_updated" for row in page.rows) for page in pages] == [100, 30]
    assert [row.id for page in pages for row in page.rows] == list(range(1, 261))
    assert captured.read() == 260


def test_a_page_ends_where_the_comments_of_its_grades_are_large_together(
    captured: Captured, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.moodle.log.BYTES_AT_ONCE", 100)
    engine = college.assignment(college.course("Computing", "C1"), "Engine")
    for size in (10, 90, 1, 500, 3, None, 97):
        ada = college.sign_up("Ada", "Lovelace", AT)
        college.grade(ada, engine, 50, AT, None if size is None else "x" * size)
    after, top = 0, captured.moodle.max_id()
    pages = []
    while (page := captured.moodle.page(after, top)) is not None:
        after = page.last
        pages.append([row.id for row in page.rows])
    # Each student signs up with an odd id, and is graded with an even one.
    assert pages == [[1, 2, 3, 4, 5], [6, 7], [8], [9, 10, 11, 12, 13, 14]]
    assert captured.read() == 14


def test_a_late_row_is_found_though_another_row_of_its_gap_was_deleted(
    captured: Captured, college: College, second: College
) -> None:
    """As many rows are there as were seen: only their ids tell."""
    first = college.sign_up("Ada", "One", AT)
    late = second.sign_up("Late", "Comer", AT)  # id 2, not visible yet
    college.sign_up("Ada", "Two", AT)
    late_too = second.sign_up("Later", "Comer", AT)  # id 4
    college.sign_up("Ada", "Three", AT)
    assert captured.read() == 3
    college.run("DELETE FROM {p}logstore_standard_log WHERE id = 3")
    assert captured.read() == 0, "what was deleted is nothing new"
    second.connection.commit()
    assert captured.read() == 2
    assert captured.gaps() == 0
    for user in (first, late, late_too):
        assert len(captured.outbox.select(Selector(user_id=user))) == 1


def test_a_copy_that_is_a_little_behind_is_no_restored_log(captured: Captured, college: College) -> None:
    for i in range(10):
        college.sign_up("Ada", f"Number{i}", AT + i)
    assert captured.read() == 10
    college.run("CREATE TABLE {p}later SELECT * FROM {p}logstore_standard_log WHERE id > 5")
    college.run("DELETE FROM {p}logstore_standard_log WHERE id > 5")
    for _ in range(3):
        assert captured.read() == 0
    college.run("INSERT INTO {p}logstore_standard_log SELECT * FROM {p}later")
    grace = college.sign_up("Grace", "Hopper", AT + 20)
    assert captured.read() == 1
    assert "log.rewound" not in captured.log.slugs()
    assert len(captured.outbox.select(Selector(user_id=grace))) == 1


def test_a_log_that_stays_behind_was_restored_and_is_read_on_from_there(captured: Captured, college: College) -> None:
    for i in range(10):
        college.sign_up("Ada", f"Number{i}", AT + i)
    captured.read()
    college.run("DELETE FROM {p}logstore_standard_log WHERE id > 5")
    captured.read()
    assert "log.rewound" not in captured.log.slugs()
    captured.read(11)
    assert "log.rewound" in captured.log.slugs()


def test_deleting_history_that_a_restore_copied_in_is_no_rewound_log(captured: Captured, college: College) -> None:
    """Moodle's clean-up deletes by time: rows that were copied in go first, whatever their ids."""
    college.sign_up("Ada", "Lovelace", AT)
    captured.read()
    for i in range(5):
        college.log("user_updated", 1, user=1, at=AT + 500 + 100 * i, origin=None)
        captured.read()
    college.run("DELETE FROM {p}logstore_standard_log WHERE origin IS NULL AND id > 1")
    college.sign_up("Grace", "Hopper", AT + 5000)
    captured.restart()
    assert captured.read() == 1
    assert "log.rewound" not in captured.log.slugs()


def test_the_log_of_an_object_is_read_by_its_time_and_not_from_its_beginning(
    captured: Captured, college: College
) -> None:
    college.run(
        "INSERT INTO {p}logstore_standard_log (eventname, component, action, target, crud, edulevel, contextid, "
        "contextlevel, contextinstanceid, objectid, userid, timecreated, origin) "
        "SELECT 'viewed', 'core', 'viewed', 'course', 'r', 2, 1, 50, 1, 0, 2, %s + seq, 'web' FROM seq_1_to_100000",
        AT,
    )
    at = AT + 95_000
    ada = college.sign_up("Ada", "Lovelace", at)

    def read() -> int:
        return sum(int(row["Value"]) for row in captured.moodle.select("SHOW SESSION STATUS LIKE 'Handler_read%%'"))

    before = read()
    kinds = [kind for kind in captured.moodle.kinds if kind.id_field == "userid"]
    (row,) = captured.moodle.log_of(kinds, ada, course=None, times=[at])
    assert row.object_id == ada
    assert read() - before < 20_000
