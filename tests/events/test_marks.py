"""What a grade is worth where Moodle takes something off for lateness, and where names hold what nobody sees."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from harness import with_password

from relay.events.marks import mark

if TYPE_CHECKING:
    from harness import Relay
    from receiver import Receiver

    from relay.demo.moodle import College

AT = 1_770_000_000


@pytest.mark.parametrize(
    ("grade", "maximum", "penalty", "expected"),
    [
        ("80", 100, "12.5", (70.0, "Distinction")),
        ("80", 100, None, (80.0, "Distinction")),
        ("80", 100, "0", (80.0, "Distinction")),
        ("80", 100, "12.51", (69.99, "Merit")),
        ("80", 100, "100", (0.0, "Refer")),
        ("80", 100, "150", (0.0, "Refer")),  # no grade is below nothing
        ("80", 100, "-5", (80.0, "Distinction")),
        ("7", 9, "33.333", (51.85, "Pass")),
        ("2", -1, "50", (50.0, "Pass")),  # nothing is taken off a scale: position 2 of 3
    ],
)
def test_a_late_penalty_is_taken_off(
    grade: str, maximum: int, penalty: str | None, expected: tuple[float, str]
) -> None:
    found = mark(Decimal(grade), maximum, "a, b, c", penalty=None if penalty is None else Decimal(penalty))
    assert found == expected


@pytest.mark.parametrize(
    "character", ["\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2069", "\ufeff"]
)
def test_what_nobody_sees_makes_no_other_name(character: str) -> None:
    """A right-to-left mark behind "Pass" made it 33.33 and Refer."""
    scale = f"Refer,Pass{character},Merit,{character} Distinction"
    assert mark(Decimal(2), -1, scale) == (33.33, "Pass")
    assert mark(Decimal(4), -1, scale) == (100.0, "Distinction")
    bands = ((Decimal(50), f"{character}Gold"), (Decimal(0), "Tin"))
    assert mark(Decimal(1), -1, "gold,b", bands) == (0.0, "gold")


def test_the_penalty_is_read_where_moodle_has_it(relay: Relay, college: College, backend: Receiver) -> None:
    college.run("ALTER TABLE {p}assign_grades ADD COLUMN penalty DECIMAL(10,5) NOT NULL DEFAULT 0")
    ada = college.sign_up("Ada", "Lovelace", AT)
    work = college.assignment(college.course("Computing", "C1"), "Essay")
    grade = college.grade(ada, work, 80, AT + 1)
    college.run("UPDATE {p}assign_grades SET penalty = 12.5 WHERE id = %s", grade)
    relay.once()
    assert backend.posts[-1].envelope["data"]["score"] == 70.0


def grant(relay: Relay, college: College) -> None:
    """Give relay the user that `relay grants` makes, by its SQL as printed.

    The name is for these tests: a `least` of localhost would be taken for the one that other tests let in by address.
    """
    college.run("DROP USER IF EXISTS 'marks'@'localhost'")
    for line in relay.run("grants", "--user", "marks").stdout.splitlines():
        college.run(with_password(line).replace("%", "%%"))
    relay.set("moodle.database.user", "marks")
    relay.set("moodle.database.password", "made-up")


def test_a_moodle_without_penalties_asks_for_no_right_to_read_them(
    relay: Relay, college: College, backend: Receiver
) -> None:
    grant(relay, college)
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.grade(ada, college.assignment(college.course("Computing", "C1"), "Essay"), 80, AT + 1)
    relay.once()
    assert backend.posts[-1].envelope["data"]["score"] == 80.0


def test_the_printed_rights_include_penalties_where_they_are(relay: Relay, college: College, backend: Receiver) -> None:
    college.run("ALTER TABLE {p}assign_grades ADD COLUMN penalty DECIMAL(10,5) NOT NULL DEFAULT 12.5")
    grant(relay, college)
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.grade(ada, college.assignment(college.course("Computing", "C1"), "Essay"), 80, AT + 1)
    relay.once()
    assert backend.posts[-1].envelope["data"]["score"] == 70.0


def test_a_penalty_that_may_not_be_read_is_no_penalty_of_nothing(
    relay: Relay, college: College, backend: Receiver
) -> None:
    """Moodle was updated to 5.1, the rights were not: no grade is sent as if nothing had been taken off."""
    grant(relay, college)
    college.run("ALTER TABLE {p}assign_grades ADD COLUMN penalty DECIMAL(10,5) NOT NULL DEFAULT 12.5")
    college.run("UPDATE {p}config SET value = '2025100600.02' WHERE name = 'version'")
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.grade(ada, college.assignment(college.course("Computing", "C1"), "Essay"), 80, AT + 1)
    done = relay.once(expect=3)
    assert "penalty" in done.stderr
    assert "relay grants" in done.stderr
    assert backend.posts == []


def test_sync_sends_the_latest_attempt_alone(relay: Relay, college: College, backend: Receiver) -> None:
    """The backend's last word was Refer of the first attempt, where Distinction of the second is true."""
    ada = college.sign_up("Ada", "Lovelace", AT)
    work = college.assignment(college.course("Computing", "C1"), "Essay")
    times = {"timecreated": AT, "timemodified": AT}
    latest = college.insert("assign_grades", assignment=work, userid=ada, grade=80, attemptnumber=1, **times)
    college.insert("assign_grades", assignment=work, userid=ada, grade=30, attemptnumber=0, **times)
    college.release(ada, work, 80)
    relay.once("--from", "now")
    for filters in ((), ("--user", str(ada))):
        backend.forget()
        relay.run("sync", "grades", *filters)
        assert [post.envelope["data"]["gradeid"] for post in backend.posts] == ([] if filters else [latest])


def test_sync_takes_the_guest_account_for_no_person(relay: Relay, college: College, backend: Receiver) -> None:
    guest = college.sign_up("Guest", "User", AT)
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.insert("config", name="siteguest", value=str(guest))
    relay.once("--from", "now")
    relay.run("sync", "users")
    assert [post.envelope["data"]["userid"] for post in backend.posts] == [ada]
