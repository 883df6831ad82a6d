"""What becomes of each answer: the contract's table, seen from outside on a real relay and a real backend."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest
from receiver import Receiver, Reply, Request, receiver

from relay.demo.mariadb import free_port

if TYPE_CHECKING:
    from harness import Relay

    from relay.demo.moodle import College

AT = 1_770_000_000


def attempts(relay: Relay) -> list[tuple[object, ...]]:
    return [tuple(row) for row in relay.rows("SELECT attempt, http_code, outcome FROM {attempt} ORDER BY id")]


@pytest.mark.parametrize("code", [200, 201, 202, 204])
def test_a_2xx_is_taken(code: int, relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    backend.answer = lambda _: Reply(code=code, body=b"")
    relay.once()
    assert relay.statuses() == {"success": 1}
    assert attempts(relay) == [(1, code, "success")]


def test_a_duplicate_is_taken_and_noted(relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    backend.answer = lambda _: Reply(body=b'{"status": "duplicate", "id": 5}')
    relay.once()
    assert relay.statuses() == {"success": 1}
    assert attempts(relay) == [(1, 200, "duplicate")]


@pytest.mark.parametrize("code", [400, 413, 415, 422])
def test_a_refused_event_ends_at_once_and_keeps_the_answer(
    code: int, relay: Relay, college: College, backend: Receiver
) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.update(ada, AT + 1, city="London")
    backend.answer = lambda request: (
        Reply(code=code, body=b"no such country") if request.path.endswith("created") else Reply()
    )
    relay.once(expect=1)
    assert relay.statuses() == {"failed_all_retries": 1, "success": 1}
    assert attempts(relay) == [(1, code, "refused"), (1, 200, "success")]
    ((error,),) = relay.rows("SELECT last_error FROM {log} WHERE status = 'failed_all_retries'")
    assert json.loads(error)["http_code"] == code
    assert json.loads(error)["answer"] == "no such country"


@pytest.mark.parametrize("code", [401, 403])
def test_an_unknown_caller_opens_the_circuit_and_uses_nothing_up(
    code: int, relay: Relay, college: College, backend: Receiver
) -> None:
    for i in range(6):
        college.sign_up("Ada", f"Number{i}", AT + i)
    relay.set("retry.max_attempts", 2)
    relay.set("backend.concurrency", 1)
    relay.set("retry.first_delay", "20ms")
    heals = {"after": 6}

    def answer(_: Request) -> Reply:
        heals["after"] -= 1
        return Reply(code=code) if heals["after"] >= 0 else Reply()

    backend.answer = answer
    log = relay.once().log
    assert relay.statuses() == {"success": 6}
    assert [line["event"] for line in log].count("circuit.opened") == 1
    assert [line["event"] for line in log].count("circuit.closed") == 1
    assert relay.rows("SELECT MAX(retry_count) FROM {log}") == [(0,)]


@pytest.mark.parametrize("code", [404, 405, 410])
def test_a_path_that_is_not_there_holds_up_only_itself(
    code: int, relay: Relay, college: College, backend: Receiver
) -> None:
    course = college.course("Computing", "C1")
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.enrol(ada, course, AT + 1)
    college.grade(ada, college.assignment(course, "Engine"), 70, AT + 2)
    backend.answer = lambda request: Reply(code=code) if "enrollment" in request.path else Reply()
    finished = relay.once("--timeout", "1s", expect=1)
    assert relay.statuses() == {"failed": 1, "success": 2}
    assert relay.rows("SELECT event_type, retry_count FROM {log} WHERE status = 'failed'") == [
        ("enrollment_created", 0)
    ]
    opened = [line for line in finished.log if line["event"] == "circuit.opened"]
    assert [line["event_type"] for line in opened] == ["enrollment_created"]
    backend.answer = lambda _: Reply()
    relay.once()
    assert relay.statuses() == {"success": 3}


@pytest.mark.parametrize("code", [302, 408, 409, 418, 425, 429, 500, 502, 503, 504, 599])
def test_any_other_answer_is_tried_again(code: int, relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    codes = iter([code, code, 200])
    backend.answer = lambda _: Reply(code=next(codes), headers={"Location": "/elsewhere"})
    relay.once()
    assert attempts(relay) == [(1, code, "failed"), (2, code, "failed"), (3, 200, "success")]
    assert len({(post.event_id, post.body) for post in backend.posts}) == 1
    assert {post.path for post in backend.requests} == {"/v1/events/moodle/user_created"}


def test_after_max_attempts_an_event_is_given_up(relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.set("retry.max_attempts", 3)
    backend.answer = lambda _: Reply(code=500)
    finished = relay.once(expect=1)
    assert relay.statuses() == {"failed_all_retries": 1}
    assert relay.rows("SELECT retry_count FROM {log}") == [(3,)]
    assert finished.slugs().count("delivery.gave_up") == 1


def test_without_retries_there_is_one_attempt(relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.set("retry.enabled", False)
    backend.answer = lambda _: Reply(code=500)
    relay.once(expect=1)
    assert len(backend.posts) == 1
    assert relay.statuses() == {"failed_all_retries": 1}


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_a_floor(form: str, relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    arrived: list[float] = []

    def answer(_: Request) -> Reply:
        arrived.append(time.time())
        if len(arrived) > 1:
            return Reply()
        # A date has no fractions of a second: three ahead are more than two.
        value = "2" if form == "seconds" else formatdate(time.time() + 3, usegmt=True)
        return Reply(code=503, headers={"Retry-After": value})

    backend.answer = answer
    relay.once()
    assert arrived[1] - arrived[0] >= 2


def test_a_pause_captures_and_sends_nothing(relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.set("enabled", False)
    relay.once(expect=1)
    assert backend.posts == []
    assert relay.statuses() == {"pending": 1}
    relay.set("enabled", True)
    relay.once()
    assert relay.statuses() == {"success": 1}


def test_an_outage_uses_up_nobodys_attempts_and_all_arrives_in_order(relay: Relay, college: College) -> None:
    course = college.course("Computing", "C1")
    engine = college.assignment(course, "Engine")
    people = [college.sign_up("Ada", f"Number{i}", AT) for i in range(12)]
    for user in people:
        college.enrol(user, course, AT + 1)
        for i in range(3):
            college.grade(user, engine, 50 + i, AT + 2 + i)
    relay.set("retry.max_attempts", 3)
    relay.set("retry.first_delay", "20ms")
    port = free_port()
    relay.set("backend.url", f"http://127.0.0.1:{port}")
    relay.once("--timeout", "3s", expect=1)
    assert set(relay.statuses()) <= {"pending", "failed"}
    with receiver(port=port) as back:
        relay.once()
        posts = back.posts
    assert relay.statuses() == {"success": 60}
    for user in people:
        times = [p.envelope["timestamp"] for p in posts if p.envelope["data"]["userid"] == user]
        assert times == sorted(times)
        assert len(times) == 5
    assert relay.rows("SELECT COUNT(*) FROM {attempt} WHERE outcome = 'unknown'") == [(0,)]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("status=success", 3),
        ("type=grade_updated", 1),
        ("user={user}", 3),
        ("user={user},type=user_created", 1),
        ("since=1770000001", 2),
        ("until=2026-02-02T02:40:01Z", 2),
        ("{event_id}", 1),
    ],
)
def test_replay_sends_the_same_id_and_bytes_and_adds_an_attempt_row(
    selector: str, expected: int, relay: Relay, college: College, backend: Receiver
) -> None:
    course = college.course("Computing", "C1")
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.enrol(ada, course, AT + 1)
    college.grade(ada, college.assignment(course, "Engine"), 70, AT + 2)
    relay.once()
    first = {post.event_id: post.body for post in backend.posts}
    backend.forget()
    relay.run("run", "--replay", selector.format(user=ada, event_id=next(iter(first))))
    again = {post.event_id: post.body for post in backend.posts}
    assert len(again) == len(backend.posts) == expected
    assert again.items() <= first.items()
    counts = dict(relay.rows("SELECT event_id, COUNT(*) FROM {attempt} GROUP BY event_id"))
    assert counts == {event_id: 2 if event_id in again else 1 for event_id in first}
    assert relay.statuses() == {"success": 3}


def test_replay_failed_sends_what_was_given_up(relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    backend.answer = lambda _: Reply(code=422)
    relay.once(expect=1)
    backend.answer = lambda _: Reply()
    relay.run("run", "--replay", "failed")
    assert relay.statuses() == {"success": 1}
    assert attempts(relay) == [(1, 422, "refused"), (2, 200, "success")]
    assert relay.status()["conservation"]["holds"]


@pytest.mark.parametrize("selector", ["status=lost", "kind=grade", "user=ada", "since=yesterday", "type=a,type=b"])
def test_a_selector_that_makes_no_sense_is_refused(selector: str, relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    finished = relay.run("run", "--replay", selector, expect=2)
    assert finished.stderr.startswith("relay: --replay")
