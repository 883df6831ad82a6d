"""Reconcile finds what Moodle never logged, sends it once, and nothing that the log has told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness import Relay
    from receiver import Receiver

    from relay.demo.moodle import College

AT = 1_770_000_000


@pytest.fixture(params=["relay", "other"])
def learned(request: pytest.FixtureRequest, college: College) -> Relay:
    """A relay of each kind of outbox that has learned a small college, and captured nothing of it."""
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.sign_up("Bob", "Byte", AT)
    course = college.course("Computing", "C1")
    college.enrol(ada, course, AT)
    college.grade(ada, college.assignment(course, "Essay"), 61, AT, "<p>Good</p>")
    relay: Relay = request.getfixturevalue(request.param)
    relay.once("--from", "now")
    relay.run("reconcile")
    return relay


def differing(relay: Relay, *arguments: str, expect: int = 1) -> list[tuple[str, int, str, str | None]]:
    found = json.loads(relay.run("reconcile", "--grace", "0s", "--json", *arguments, expect=expect).stdout)
    return [(one["table"], one["id"], one["kind"], one["event_type"]) for one in found]


def sent(backend: Receiver) -> list[tuple[str, dict[str, Any]]]:
    return [(post.envelope["event_type"], post.envelope["data"]) for post in backend.posts]


def test_the_first_pass_learns_and_the_next_one_finds_nothing(learned: Relay, backend: Receiver) -> None:
    assert differing(learned, expect=0) == []
    assert backend.posts == []


CHANGES = [
    ("UPDATE {p}user SET email = 'sql@college.example' WHERE id = 1", "users", "user_updated", "email"),
    ("UPDATE {p}user_enrolments SET status = 1", "enrolments", "enrollment_created", "status"),
    ("UPDATE {p}course SET fullname = 'Ceramics'", "enrolments", "enrollment_created", "coursename"),
    ("UPDATE {p}assign_grades SET grade = 31", "grades", "grade_updated", "score"),
    ("UPDATE {p}assign SET grade = 80", "grades", "grade_updated", "score"),
    ("UPDATE {p}assignfeedback_comments SET commenttext = 'Fine'", "grades", "grade_updated", "feedback"),
]


@pytest.mark.parametrize(("change", "table", "event_type", "field"), CHANGES)
def test_a_change_without_a_log_row_is_found_and_sent_once(
    learned: Relay, college: College, backend: Receiver, change: str, table: str, event_type: str, field: str
) -> None:
    college.run(change)
    assert (table, 1, "changed", event_type) in differing(learned)
    assert (table, 1, "changed", event_type) in differing(learned), "it is found again until it is sent"
    learned.run("reconcile", table, "--fix", "--grace", "0s")
    learned.run("reconcile", table, "--fix", "--grace", "0s")
    assert [one for one, _ in sent(backend)] == [event_type]
    assert sent(backend)[0][1][field] not in (None, "")
    assert differing(learned, table, expect=0) == []
    assert learned.status()["conservation"]["reconciled"] == 1
    assert learned.status()["conservation"]["holds"]
