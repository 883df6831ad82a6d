"""relay explain by the names that people see in Moodle: e-mail, username, short name; nothing of it is guessed."""

from __future__ import annotations

import pytest
from harness import Relay

from relay.demo.moodle import College

AT = 1_770_000_000


@pytest.fixture
def taught(relay: Relay, college: College) -> tuple[int, int, int]:
    """Two students in a course, one of them graded twice there; return the first one, and the ids of the grades."""
    ada = college.sign_up("Ada", "Lovelace", AT, username="ada.l", email="ada@college.example")
    grace = college.sign_up("Grace", "Hopper", AT, username="grace", email="grace@college.example")
    course = college.course("Computing", "CS@101")
    other = college.course("Mathematics", "M1")
    for user in (ada, grace):
        college.enrol(user, course, AT + 1)
        college.enrol(user, other, AT + 1)
    first, second = (college.assignment(course, name) for name in ("Engine", "Notes"))
    college.grade(grace, first, 50, AT + 2)
    engine, notes = (college.grade(ada, one, 61, AT + 3) for one in (first, second))
    college.grade(ada, college.assignment(other, "Sums"), 70, AT + 4)
    relay.once()
    return ada, engine, notes


@pytest.mark.parametrize("name", ["ada@college.example", "ada.l", "ADA@College.example"])
def test_a_user_is_known_by_email_and_username(relay: Relay, taught: tuple[int, int, int], name: str) -> None:
    ada = taught[0]
    by_id = relay.run("explain", f"user:{ada}").stdout
    assert relay.run("explain", f"user:{name}").stdout == f"== user:{ada}\n{by_id}"


@pytest.mark.parametrize("name", ["ada@college.example@CS@101", "ada.l@CS@101", "{ada}@CS@101", "{ada}@{course}"])
def test_the_grades_of_a_user_in_a_course(
    relay: Relay, college: College, taught: tuple[int, int, int], name: str
) -> None:
    ada, *grades = taught
    ((course,),) = college.rows("SELECT id FROM {p}course WHERE shortname = 'CS@101'")
    shown = relay.run("explain", f"grade:{name.format(ada=ada, course=course)}").stdout
    assert [line for line in shown.splitlines() if line.startswith("==")] == [f"== grade:{one}" for one in grades]
    assert shown.count("The backend took grade_updated") == 2


def test_the_enrolment_of_a_user_in_a_course(relay: Relay, taught: tuple[int, int, int]) -> None:
    shown = relay.run("explain", "enrolment:grace@M1").stdout
    assert shown.startswith("== enrolment:4\n")
    assert "The backend took enrollment_created" in shown
    assert relay.run("explain", "enrollment:grace@M1").stdout == shown
    assert taught


def test_two_users_of_one_address_are_both_told(relay: Relay, college: College, taught: tuple[int, int, int]) -> None:
    other = college.sign_up("Ada", "Byron", AT, username="ada.b", email="ada@college.example")
    relay.once()
    shown = relay.run("explain", "user:ada@college.example").stdout
    assert [line for line in shown.splitlines() if line[:2] == "=="] == [f"== user:{taught[0]}", f"== user:{other}"]


def test_an_enrolment_that_is_gone_is_told_from_the_outbox(
    relay: Relay, college: College, taught: tuple[int, int, int]
) -> None:
    college.run("DELETE FROM {p}user_enrolments WHERE userid = %s", taught[0])
    shown = relay.run("explain", f"enrolment:{taught[0]}@M1").stdout
    assert "The backend took enrollment_created" in shown


@pytest.mark.parametrize("what", ["user:nobody@college.example", "grade:ada.l@nowhere", "enrolment:nobody@M1"])
def test_a_name_of_nothing_is_said_to_be_unknown(relay: Relay, taught: tuple[int, int, int], what: str) -> None:
    assert "Moodle has nothing by these names" in relay.run("explain", what, expect=1).stdout
    assert taught


@pytest.mark.parametrize("what", ["grade:ada", "course:C1@x", "log:ada@college.example", "user:", "grade:@"])
def test_what_cannot_be_asked_for_is_refused(relay: Relay, taught: tuple[int, int, int], what: str) -> None:
    assert relay.run("explain", what, expect=None).code in (1, 2)
    assert taught
