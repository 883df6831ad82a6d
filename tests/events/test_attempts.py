"""`events.grade_updated.attempt: true` says which attempt was graded, and whether it is the latest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness import Relay
from receiver import Receiver

from relay.demo.moodle import College

AT = 1_770_000_000


@pytest.fixture
def grades(college: College, relay: Relay) -> list[int]:
    """Two attempts of one student at one assignment, both graded; the gradebook is not asked."""
    relay.set("events.grade_updated.unreleased", "send")
    ada = college.sign_up("Ada", "Lovelace", AT)
    course = college.course("Computing", "C1")
    assignment = college.assignment(course, "Essay")
    made = []
    for number in (0, 1):
        row = {"assignment": assignment, "userid": ada, "attemptnumber": number, "grade": 50 + number, "grader": 2}
        made.append(college.insert("assign_grades", **row))
        college.log("grade_updated", made[-1], user=ada, at=AT + number, courseid=course)
    return made


def attempts(data: list[dict[str, Any]]) -> dict[int, tuple[Any, Any, list[str]]]:
    return {one["gradeid"]: (one.get("attemptnumber"), one.get("latest"), list(one)[-3:]) for one in data}


def test_it_is_told_behind_the_time_of_the_last_change(relay: Relay, backend: Receiver, grades: list[int]) -> None:
    relay.set("events.grade_updated.attempt", True)
    relay.once()
    data = [post.envelope["data"] for post in backend.posts if post.envelope["event_type"] == "grade_updated"]
    last = ["timemodified", "attemptnumber", "latest"]
    assert attempts(data) == {grades[0]: (0, False, last), grades[1]: (1, True, last)}


def test_sync_tells_it_of_the_latest_alone(relay: Relay, grades: list[int]) -> None:
    relay.set("events.grade_updated.attempt", True)
    shown = relay.run("sync", "grades", "--dry-run").stdout
    data = [json.loads(line)["data"] for line in shown.splitlines()]
    assert attempts(data) == {grades[1]: (1, True, ["timemodified", "attemptnumber", "latest"])}


def test_without_it_nothing_is_added(relay: Relay, backend: Receiver, grades: list[int]) -> None:
    relay.once()
    data = [post.envelope["data"] for post in backend.posts if post.envelope["event_type"] == "grade_updated"]
    assert attempts(data) == dict.fromkeys(grades, (None, None, ["grader", "timecreated", "timemodified"]))
