"""relay forget: a user's data is gone from the outbox's bytes, the record of what was delivered stays, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from harness import Relay, shared_outbox
from receiver import Receiver, Reply, Request

from relay.demo.moodle import College
from relay.model import Status
from relay.rules.server import Address

AT = 1_770_000_000
CANARY = "Zebedee-Canary"


def in_files(relay: Relay, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in relay.folder.glob("outbox.db*"))


def refuses(user: int) -> Callable[[Request], Reply]:
    """Return a backend that refuses what is about a user, and repeats it."""

    def answer(request: Request) -> Reply:
        return Reply(code=422, body=request.body) if request.envelope["data"]["userid"] == user else Reply()

    return answer


def test_nothing_of_a_forgotten_user_is_left_in_the_file(relay: Relay, college: College) -> None:
    ada = college.sign_up(CANARY, "Lovelace", AT)
    grace = college.sign_up("Grace", "Hopper", AT)
    course = college.course("Computing", "C1")
    # A comment that is longer than a page of the file.
    college.grade(ada, college.assignment(course, "Engine"), 61, AT + 1, comment=f"{CANARY} " * 5000)
    relay.once()
    before = relay.rows("SELECT event_id, event_type, status, attempts, processed_at FROM {log} ORDER BY id")
    assert in_files(relay, CANARY)
    assert relay.run("forget", str(ada)).stdout == f"relay: 2 events of user {ada} have no personal data any more.\n"
    assert not in_files(relay, CANARY)
    assert in_files(relay, "Hopper")
    assert relay.rows("SELECT event_id, event_type, status, attempts, processed_at FROM {log} ORDER BY id") == before
    status = relay.status()
    assert status["forgotten"] == 2
    assert status["conservation"]["holds"]
    assert "2 events have no personal data any more" in relay.run("status").stdout
    assert relay.run("forget", str(ada)).stdout.startswith("relay: 0 events")
    assert relay.rows("SELECT COUNT(*) FROM {log} WHERE user_id = ? AND event_data IS NOT NULL", grace) == [(1,)]


def test_what_was_forgotten_is_not_sent_again_and_says_so(relay: Relay, college: College, backend: Receiver) -> None:
    ada = college.sign_up(CANARY, "Lovelace", AT)
    grace = college.sign_up("Grace", "Hopper", AT)
    relay.once()
    relay.run("forget", str(ada))
    ((event_id,),) = relay.rows("SELECT event_id FROM {log} WHERE user_id = ?", ada)
    backend.requests.clear()
    assert "1 more were forgotten" in relay.run("run", "--replay", event_id, expect=1).stderr
    assert backend.requests == []
    assert "1 more were forgotten" in relay.run("run", "--replay", "status=success", expect=1).stderr
    assert [request.envelope["data"]["userid"] for request in backend.posts] == [grace]
    story = relay.run("explain", event_id).stdout
    assert "was forgotten (relay forget): the backend took it before. It cannot be sent again." in story


def test_what_is_undelivered_is_asked_for(relay: Relay, college: College, backend: Receiver) -> None:
    ada = college.sign_up(CANARY, "Lovelace", AT)
    backend.answer = refuses(ada)
    relay.once(expect=1)
    finished = relay.run("forget", str(ada), expect=1)
    assert finished.stdout.startswith("relay: 0 events")
    assert "1 events of user 1 are not delivered, and keep their data" in finished.stderr
    assert in_files(relay, CANARY)
    assert relay.run("status", "--check", expect=1).stderr
    done = relay.run("forget", str(ada), "--undelivered").stdout
    assert "1 of them had not been delivered, and never will be" in done
    assert not in_files(relay, CANARY)
    ((status, error),) = relay.rows("SELECT status, last_error FROM {log}")
    assert status == Status.GAVE_UP
    assert json.loads(error) == {
        "http_code": 422,
        "error": "the backend answered 422",
        "forgotten": 1,
        "reason": "its data was forgotten before it was delivered",
    }
    assert "given up" not in relay.run("status", "--check", expect=1).stderr
    relay.once()
    assert relay.status()["conservation"]["holds"]
    assert "it was not delivered before. It cannot be sent again." in relay.run("explain", f"user:{ada}").stdout


def test_a_later_event_of_the_user_goes_on(relay: Relay, college: College, backend: Receiver) -> None:
    ada = college.sign_up(CANARY, "Lovelace", AT)
    backend.answer = lambda _: Reply(code=503)
    relay.once("--timeout", "1s", expect=1)
    relay.run("forget", str(ada), "--undelivered")
    backend.answer = lambda _: Reply()
    college.update(ada, AT + 1, city="London")
    relay.once()
    assert relay.statuses() == {"failed_all_retries": 1, "success": 1}


@pytest.mark.by_turns("which")
@pytest.mark.parametrize("which", ["relay", "other"])
def test_what_is_held_is_undelivered_and_is_never_released_once_forgotten(
    which: str, relay: Relay, other: Relay, college: College, backend: Receiver
) -> None:
    used = {"relay": relay, "other": other}[which]
    ada, course = college.sign_up("Ada", "Lovelace", AT), college.course("Computing", "C1")
    work = college.assignment(course, "Engine")
    college.grade(ada, work, 61.37, AT + 1, is_released=False)
    used.once()
    finished = used.run("forget", str(ada), expect=1)
    assert "1 events of user 1 are not delivered, and keep their data" in finished.stderr
    assert used.statuses() == {"held": 1, "success": 1}
    done = used.run("forget", str(ada), "--undelivered").stdout
    assert "1 of them had not been delivered, and never will be" in done
    assert used.statuses() == {"failed_all_retries": 1, "success": 1}
    assert used.rows("SELECT COUNT(*) FROM mdl_mb_zoho_held")[0][0] == 0
    ((event_id,),) = used.rows("SELECT event_id FROM {log} WHERE status = 'failed_all_retries'")
    college.release(ada, work, 61.37)
    backend.forget()
    used.once()
    used.run("run", "--replay", event_id, expect=1)
    assert backend.posts == []
    assert "It cannot be sent again." in used.run("explain", event_id).stdout
    assert used.status()["conservation"]["holds"]


def test_a_shared_outbox_forgets_the_same(
    other: Relay, college: College, backend: Receiver, outbox_address: Address
) -> None:
    ada = college.sign_up(CANARY, "Lovelace", AT)
    grace = college.sign_up("Grace", "Hopper", AT)
    backend.answer = refuses(grace)
    other.once(expect=1)
    other.run("forget", str(ada))
    other.run("forget", str(grace), expect=1)
    other.run("forget", str(grace), "--undelivered")
    rows = other.rows("SELECT event_data, body, status, last_error FROM {log} ORDER BY id")
    assert [(data, body, status, json.loads(error)["forgotten"]) for data, body, status, error in rows] == [
        (None, None, "success", 1),
        (None, None, "failed_all_retries", 1),
    ]
    assert "Hopper" not in str(rows)
    assert other.status()["forgotten"] == 2
    assert "1 more were forgotten" in other.run("run", "--replay", "failed", expect=1).stderr
    opened = shared_outbox(outbox_address)
    assert opened.count_undelivered() == 0
    opened.close()


@pytest.mark.parametrize("user", ["0", "-1", "ada"])
def test_who_is_nobody_is_refused(relay: Relay, user: str) -> None:
    assert relay.run("forget", "--", user, expect=2).stderr.startswith("relay: ")
