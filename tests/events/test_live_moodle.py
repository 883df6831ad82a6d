"""What a live Moodle showed its students, step by step: each grade is held or not as Moodle itself shows it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import Relay
from pymysql.constants import CLIENT

from relay import config
from relay.events import envelope
from relay.events.grades import GRADE_UPDATED
from relay.service import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from receiver import Receiver

    from relay.demo.mariadb import MariaDB

LIVE = Path(__file__).parents[3] / "shared" / "moodle"
DUMP, TRUTH, VISIBLE = LIVE / "moodle-live-4.4.sql.gz", LIVE / "truth-4.4.jsonl.gz", LIVE / "visible-4.4.json"
#: What Moodle keeps the student from, and relay does not: a hidden course or activity, an enrolment that has ended.
OUT_OF_REACH = ("course hidden", "activity hidden", "no active enrolment")
NOT_SHOWN = "no grade in the gradebook"


@pytest.fixture(scope="module")
def truth() -> list[dict[str, Any]]:
    """What became of each log row of a grade."""
    if not TRUTH.exists():
        pytest.skip(f"what a live Moodle did is not here: {TRUTH.name}")
    lines = [json.loads(line) for line in gzip.decompress(TRUTH.read_bytes()).splitlines()]
    return [one for one in lines if one.get("eventname") == GRADE_UPDATED.moodle_event]


@pytest.fixture
def live(tmp_path: Path, mariadb: MariaDB, truth: list[dict[str, Any]], backend: Receiver) -> Iterator[Relay]:
    """A relay beside that Moodle; what it hid until a time is hidden still."""
    assert truth
    with mariadb.connect(client_flag=CLIENT.MULTI_STATEMENTS) as connection, connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS moodle; CREATE DATABASE moodle CHARACTER SET utf8mb4; USE moodle")
        while cursor.nextset():
            pass
        cursor.execute(gzip.decompress(DUMP.read_bytes()).decode())
        while cursor.nextset():
            pass
        for table in ("grade_items", "grade_grades"):
            # The end of the log is the moment at which Moodle was asked.
            cursor.execute("SELECT MAX(timecreated) FROM mdl_logstore_standard_log")
            ((end,),) = cursor.fetchall()
            cursor.execute(f"UPDATE mdl_{table} SET hidden = UNIX_TIMESTAMP() + 86400 WHERE hidden > %s", (end,))
        yield Relay(tmp_path, mariadb, backend.url)


def is_held(because: Sequence[str] | None) -> bool:
    """Say whether the contract holds what Moodle keeps back for these reasons."""
    reasons = [one for one in because or () if not one.startswith(OUT_OF_REACH)]
    return any("hidden" in one or one.startswith(NOT_SHOWN) for one in reasons)


def test_each_log_row_of_a_grade_ends_as_moodle_says(
    live: Relay, backend: Receiver, truth: list[dict[str, Any]]
) -> None:
    live.once()
    ended = dict(live.rows("SELECT log_id, status FROM {log} WHERE event_type = 'grade_updated'"))
    sent = {post.event_id: post.envelope["data"] for post in backend.posts}
    ids = dict(live.rows("SELECT log_id, event_id FROM {log} WHERE event_type = 'grade_updated'"))
    expected, data = {}, {}
    for one in truth:
        log_id, outcome = one["log_id"], one["outcome"]
        if outcome == "ignore":
            continue
        if outcome == "skip":
            expected[log_id] = "skipped"
            continue
        data[log_id] = one["send"][0]["data"]
        is_graded = data[log_id]["score"] is not None
        expected[log_id] = "held" if is_graded and is_held(one["grade"]["kept_because"]) else "success"
    assert ended == expected
    assert {log_id: sent[ids[log_id]] for log_id, end in expected.items() if end == "success"} == {
        log_id: data[log_id] for log_id, end in expected.items() if end == "success"
    }
    assert list(ended.values()).count("held") >= 15
    assert live.status()["conservation"]["holds"]


#: The newest grade of a student in an assignment, and whether course and activity can be got at.
NEWEST = """
SELECT g.id, g.grade >= 0 AND a.grade <> 0 AS is_graded, c.visible AND m.visible AS is_reachable
FROM {p}assign a JOIN {p}course c ON c.id = a.course
JOIN {p}course_modules m ON m.instance = a.id AND m.module = (SELECT id FROM {p}modules WHERE name = 'assign')
LEFT JOIN {p}assign_grades g ON g.assignment = a.id AND g.userid = %s
WHERE a.id = %s ORDER BY g.attemptnumber DESC
"""


def test_each_student_and_assignment_is_held_or_not_as_moodle_shows_it(live: Relay) -> None:
    """By Moodle's own word, of the page and of the report."""
    loaded = config.load(live.write())
    options = parts.make_options(loaded)("")
    pairs = json.loads(VISIBLE.read_text())
    wrong: list[Any] = []
    nothing_to_hold, out_of_reach = [], []
    with parts.reading(loaded) as moodle:
        for pair in pairs:
            row = moodle.select(NEWEST, pair["userid"], pair["assignment"])[0]
            facts = moodle.current(GRADE_UPDATED, [row["id"] or 0], options)
            is_kept = envelope.kept_now(GRADE_UPDATED, row["id"] or 0, facts, options) is not None
            is_shown = bool(pair.get("page_grade")) or str(pair.get("report")).replace(".", "").isdecimal()
            if not row["is_graded"]:
                nothing_to_hold.append((pair["assign"], is_kept))
            elif not row["is_reachable"]:
                out_of_reach.append((pair["assign"], is_kept))
            elif is_kept is is_shown:
                wrong.append((pair, row))
    assert wrong == []
    # A hidden course or activity holds nothing: nobody gets at it for another reason than its marking.
    assert [name for name, is_kept in out_of_reach if not is_kept] == [
        "a_cm_hidden",
        "hid1_points",
        "hid1_blind",
        "hid1_points",
    ]
    assert not any(is_kept for _, is_kept in nothing_to_hold)
    assert len(pairs) - len(out_of_reach) - len(nothing_to_hold) >= 70
