"""Events of the config's own: what is sent of them, what is read for them, and what `relay check` says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from harness import Relay
from receiver import Receiver

from relay.demo.moodle import College

AT = 1_770_000_000
ATTEMPT = r"\mod_quiz\event\attempt_submitted"


@pytest.fixture
def quiz(relay: Relay) -> Relay:
    """A relay with an event of its own."""
    relay.set("events.custom", [{"type": "quiz_attempted", "eventname": ATTEMPT, "fields": ["quizid", "more"]}])
    return relay


def attempt(college: College, other: bytes | str | None, at: int = AT, user: int | None = 7, actor: int = 2) -> int:
    columns = {"eventname": ATTEMPT, "objecttable": "quiz_attempts", "userid": actor, "courseid": 4, "other": other}
    return college.log("user_created", 33, user=user, at=at, **columns)


def test_it_sends_what_its_log_row_says_and_what_is_listed(quiz: Relay, college: College, backend: Receiver) -> None:
    said = {"quizid": "12", "more": {"name": "<b>x</b>\0", "of": [1, 2.5, None, True]}, "secret": "canary"}
    log_id = attempt(college, json.dumps(said))
    quiz.once()
    (post,) = backend.posts
    assert post.path == "/v1/events/moodle/quiz_attempted"
    assert list(post.envelope["data"].items()) == [
        ("logid", log_id),
        ("eventname", ATTEMPT),
        ("objecttable", "quiz_attempts"),
        ("objectid", 33),
        ("userid", 7),
        ("actor", 2),
        ("courseid", 4),
        ("timecreated", AT),
        ("quizid", "12"),
        ("more", {"name": "x", "of": [1, 2.5, None, True]}),
    ]
    assert b"canary" not in post.body
    assert quiz.status()["conservation"]["holds"]
    assert quiz.rows("SELECT user_id FROM {log}") == [(7,)]


def test_the_actor_stands_for_a_user_who_is_not_named(quiz: Relay, college: College, backend: Receiver) -> None:
    attempt(college, "N;", user=None, actor=9)
    attempt(college, "N;", user=None, actor=-1)
    quiz.once()
    found = {post.envelope["data"]["userid"]: post.envelope["data"] for post in backend.posts}
    assert found.keys() == {9, -1}
    assert all(data["quizid"] is None for data in found.values())
    assert sorted(quiz.rows("SELECT user_id FROM {log}")) == [(-4,), (9,)], "where there is nobody, by course"


def test_grants_have_the_columns_of_the_log_that_it_needs(quiz: Relay, relay: Relay) -> None:
    granted = quiz.run("grants").stdout
    assert "`objecttable`, `other`) ON `moodle`.`mdl_logstore_standard_log`" in granted
    relay.set("events.custom", [])
    assert "objecttable" not in relay.run("grants").stdout


def test_check_warns_of_what_never_occurs(quiz: Relay, college: College) -> None:
    def said() -> list[str]:
        checks = json.loads(quiz.run("check", "--json", expect=None).stdout)
        return [f"{one['verdict']}: {one['found']}" for one in checks if one["name"] == "custom events"]

    assert said() == [f"warn: quiz_attempted: Moodle's log has no recent row of {ATTEMPT}"]
    attempt(college, '{"quizid": 1, "submitterid": 2}')
    assert said() == ["warn: quiz_attempted: more never occurs in the newest 1 log rows of its event"]
    attempt(college, '{"more": 1}')
    assert said() == ["ok: quiz_attempted: Moodle's log has such rows, with all that is listed"]


def test_what_is_in_the_config_later_sends_nothing_of_the_past_and_says_so(
    relay: Relay, college: College, backend: Receiver
) -> None:
    attempt(college, "N;")
    relay.once()
    own = [{"type": "quiz_attempted", "eventname": ATTEMPT}]
    relay.set("events.custom", own)
    (line,) = [line for line in relay.once().log if line["event"] == "events.uncovered"]
    assert line["event_type"] == "quiz_attempted"
    before = datetime.now(UTC).isoformat(timespec="seconds")
    relay.set("events.custom", [])
    (off,) = [line for line in relay.once().log if line["event"] == "events.disabled"]
    assert off["event_type"] == "quiz_attempted"
    attempt(college, "N;")
    assert "events.disabled" not in relay.once().slugs()
    relay.set("events.custom", own)
    (line,) = [line for line in relay.once().log if line["event"] == "events.uncovered"]
    assert line["since"] >= before[:19], "since it was taken out"
    assert backend.posts == []
    attempt(college, "N;")
    relay.once()
    assert len(backend.posts) == 1


def test_an_event_of_a_type_that_is_no_longer_in_the_config_is_kept(
    quiz: Relay, college: College, backend: Receiver
) -> None:
    attempt(college, "N;")
    quiz.set("enabled", False)
    quiz.once(expect=1)
    quiz.set("enabled", True)
    own = quiz.config["events"].pop("custom")
    quiz.once(expect=1)
    assert quiz.statuses() == {"pending": 1}
    quiz.set("events.custom", own)
    quiz.once()
    assert len(backend.posts) == 1
    assert quiz.run("run", "--replay", "type=quiz_attempted").code == 0
    assert len(backend.posts) == 2
