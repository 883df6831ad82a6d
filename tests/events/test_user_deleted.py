"""The fifth kind: who was deleted, as the log row remembers them; off unless the config switches it on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness import Relay
    from receiver import Receiver

    from relay.demo.moodle import College

AT = 1_770_000_000
BEFORE = {"username": "ada.l", "email": "ada@college.example", "idnumber": "S-17", "picture": "0", "mnethostid": "1"}


def delete(college: College, user: int, at: int, other: bytes | str | None) -> None:
    """Delete a user as Moodle does: the row is written over, and the log row has what was there."""
    college.run(
        "UPDATE {p}user SET deleted = 1, username = %s, email = %s, idnumber = '', timemodified = %s WHERE id = %s",
        f"ada@college.example.{at}",
        "0123456789abcdef0123456789abcdef",
        at,
        user,
    )
    college.log("user_deleted", user, user=user, at=at, other=other)


def data_of(backend: Receiver) -> list[dict[str, Any]]:
    return [post.envelope["data"] for post in backend.posts if post.envelope["event_type"] == "user_deleted"]


@pytest.fixture
def ada(college: College) -> int:
    return college.sign_up("Ada", "Lovelace", AT, username="ada.l", idnumber="S-17")


def test_it_says_who_was_deleted(relay: Relay, college: College, backend: Receiver, ada: int) -> None:
    relay.set("events.user_deleted", {"enabled": True})
    delete(college, ada, AT + 5, json.dumps(BEFORE))
    relay.once()
    (data,) = data_of(backend)
    assert list(data.items()) == [
        ("userid", ada),
        ("username", "ada.l"),
        ("email", "ada@college.example"),
        ("idnumber", "S-17"),
        ("deleted", True),
        ("timemodified", AT + 5),
    ]
    assert backend.posts[-1].path == "/v1/events/moodle/user_deleted"
    assert relay.status()["conservation"]["holds"]


def test_phps_serialisation_says_the_same(relay: Relay, college: College, backend: Receiver, ada: int) -> None:
    relay.set("events.user_deleted", {"enabled": True})
    delete(college, ada, AT + 5, b'a:2:{s:8:"username";s:5:"ada.l";s:5:"email";s:19:"ada@college.example";}')
    relay.once()
    (data,) = data_of(backend)
    assert (data["username"], data["email"], data["idnumber"]) == ("ada.l", "ada@college.example", None)


def test_what_is_not_known_is_null(relay: Relay, college: College, backend: Receiver, ada: int) -> None:
    """The row is gone, and the log row remembers nothing: the deletion itself is still sent."""
    relay.set("events.user_deleted", {"enabled": True})
    college.log("user_deleted", ada + 100, user=ada + 100, at=AT + 5, other="N;")
    relay.once()
    assert data_of(backend) == [
        {"userid": ada + 100, **dict.fromkeys(list(BEFORE)[:3]), "deleted": None, "timemodified": None}
    ]


def test_a_log_row_without_a_user_is_skipped(relay: Relay, college: College, backend: Receiver) -> None:
    relay.set("events.user_deleted", {"enabled": True})
    college.log("user_deleted", None, user=1, at=AT, other="N;")
    relay.once()
    assert backend.posts == []
    ((error,),) = relay.rows("SELECT last_error FROM {log} WHERE status = 'skipped'")
    assert json.loads(error) == {"reason": "the log row names no user"}


def test_it_comes_after_what_happened_to_the_user_before(
    relay: Relay, college: College, backend: Receiver, ada: int
) -> None:
    relay.set("events.user_deleted", {"enabled": True})
    college.update(ada, AT + 3, city="London")
    delete(college, ada, AT + 5, json.dumps(BEFORE))
    relay.once()
    assert [post.envelope["event_type"] for post in backend.posts] == ["user_created", "user_updated", "user_deleted"]


def test_it_is_off_by_default_and_asks_for_no_right(
    relay: Relay, college: College, backend: Receiver, ada: int
) -> None:
    delete(college, ada, AT + 5, json.dumps(BEFORE))
    relay.once()
    assert data_of(backend) == []
    sums = relay.status()["conservation"]
    assert (sums["seen"], sums["ignored_by_reason"]) == (1, {})
    assert "`other`" not in relay.run("grants").stdout
    relay.set("events.user_deleted", {"enabled": True})
    assert "`other`" in relay.run("grants").stdout


def test_switched_on_it_sends_nothing_of_the_past_and_says_so(
    relay: Relay, college: College, backend: Receiver, ada: int
) -> None:
    delete(college, ada, AT + 5, json.dumps(BEFORE))
    relay.once()
    relay.set("events.user_deleted", {"enabled": True})
    said = relay.once().log
    assert data_of(backend) == []
    (uncovered,) = [line for line in said if line["event"] == "events.uncovered"]
    assert uncovered["event_type"] == "user_deleted"
    assert "events.uncovered" not in relay.once().slugs()
    bob = college.sign_up("Bob", "Ross", AT + 10)
    delete(college, bob, AT + 11, json.dumps(BEFORE))
    relay.once()
    assert [data["userid"] for data in data_of(backend)] == [bob]


def test_switched_off_again_it_is_said_once(relay: Relay) -> None:
    relay.set("events.user_deleted", {"enabled": True})
    relay.once()
    relay.set("events.user_deleted", {"enabled": False})
    assert relay.once().slugs().count("events.disabled") == 1
    assert "events.disabled" not in relay.once().slugs()


def test_explain_tells_of_it(relay: Relay, college: College, ada: int) -> None:
    delete(college, ada, AT + 5, json.dumps(BEFORE))
    relay.once()
    ((log_id,),) = college.rows("SELECT MAX(id) FROM {p}logstore_standard_log")
    off = relay.run("explain", f"log:{log_id}").stdout
    assert "only where the config switches it on" in off
    relay.set("events.user_deleted", {"enabled": True})
    relay.once()
    bob = college.sign_up("Bob", "Ross", AT + 10)
    delete(college, bob, AT + 11, json.dumps(BEFORE))
    relay.once()
    assert "The backend took user_deleted" in relay.run("explain", f"user:{bob}").stdout
