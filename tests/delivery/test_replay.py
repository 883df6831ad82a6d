"""A replay beside whatever else delivers: it sends what a person asked for, and changes nothing else."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from receiver import Receiver, Reply, Request

if TYPE_CHECKING:
    from harness import Relay

    from relay.demo.moodle import College

pytestmark = pytest.mark.by_turns("either")
AT = 1_770_000_000
CIRCUIT = {"opened_at": 1.0, "reason": "the backend answered 503", "probe_at": 2.0, "probes": 3}


@pytest.fixture(params=["file", "schema"])
def either(request: pytest.FixtureRequest) -> Relay:
    """A relay with its outbox in a file, or in a schema that others share."""
    found: Relay = request.getfixturevalue("relay" if request.param == "file" else "other")
    return found


@pytest.mark.parametrize("code", [401, 404])
def test_a_replay_that_fails_opens_no_circuit_of_the_daemon(
    code: int, either: Relay, college: College, backend: Receiver
) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    with either.start() as daemon:
        daemon.wait_for("delivery.succeeded")
        before = either.status()["circuit"]
        backend.answer = lambda _: Reply(code=code)
        either.run("run", "--replay", "status=success", expect=None)
        assert len(backend.posts) == 2
        assert either.status()["circuit"] == before
        assert either.run("status", "--check").code == 0
        backend.answer = lambda _: Reply()
        college.sign_up("Grace", "Hopper", AT + 1)
        daemon.wait_for("delivery.succeeded", 2)


def test_a_replay_that_gets_through_leaves_what_is_open_to_the_daemon(
    relay: Relay, college: College, backend: Receiver
) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    backend.answer = lambda _: Reply(code=401)
    college.sign_up("Grace", "Hopper", AT + 1)
    relay.once("--timeout", "0s", expect=1)
    before = relay.status()["circuit"]
    assert before["whole"] is not None
    backend.answer = lambda _: Reply()
    relay.run("run", "--replay", "status=success")
    assert relay.status()["circuit"] == before


def test_the_wait_that_is_logged_is_the_one_that_is_recorded(
    either: Relay, college: College, backend: Receiver
) -> None:
    """Of an event that is years old, in an outbox that is not new."""
    either.set("retry", {"first_delay": "100s"})
    college.sign_up("Ada", "Lovelace", AT)
    backend.answer = lambda _: Reply(code=500)
    either.once("--timeout", "0s", expect=1)
    began_at = time.time()
    finished = either.run("run", "--replay", "status=failed", expect=None)
    (line,) = [line for line in finished.log if line["event"] == "delivery.failed"]
    ((due_at,),) = either.rows("SELECT due_at FROM {log}")
    assert 200 <= line["retry_in_s"] <= 220
    assert due_at - time.time() <= line["retry_in_s"] <= due_at - began_at + 0.1


def test_a_delivered_event_whose_replay_fails_is_not_given_up(
    relay: Relay, college: College, backend: Receiver
) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    backend.answer = lambda _: Reply(code=500)
    finished = relay.run("run", "--replay", "status=success", expect=1)
    assert "1 of 1 recorded events sent again; 1 not delivered." in finished.stderr
    (line,) = finished.log
    assert (line["event"], line["level"], line["http_code"]) == ("delivery.failed", "warning", 500)
    assert "retry_in_s" not in line
    assert relay.statuses() == {"success": 1}


@pytest.mark.parametrize("code", [500, 422, 401])
def test_a_replay_of_what_was_delivered_says_that_it_failed(
    code: int, either: Relay, college: College, backend: Receiver
) -> None:
    """For a backend that has lost its data."""
    for i in range(3):
        college.sign_up("Ada", f"Number{i}", AT + i)
    either.once()
    backend.answer = lambda request: Reply(code=code if request.envelope["data"]["userid"] == 2 else 200)
    finished = either.run("run", "--replay", "status=success", expect=1)
    assert "3 of 3 recorded events sent again; 1 not delivered." in finished.stderr
    backend.answer = lambda _: Reply()
    assert (
        "3 of 3 recorded events sent again; 0 not delivered."
        in either.run("run", "--replay", "type=user_created").stderr
    )


def test_a_dry_replay_lists_what_would_be_sent(either: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    either.once()
    (line,) = either.run("run", "--replay", "status=success", "--dry-run").stdout.splitlines()
    assert backend.posts[0].event_id in line
    assert "user 1" in line
    assert len(backend.posts) == 1


def test_a_replay_sends_nothing_while_relay_is_paused(either: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    either.once()
    either.set("enabled", False)
    finished = either.run("run", "--replay", "status=success", expect=2)
    assert "`enabled: false`" in finished.stderr
    assert len(backend.posts) == 1


@pytest.mark.parametrize(
    ("selector", "code", "said"),
    [
        ("nonsense", 2, "that is no event id"),
        ("", 2, "that is no event id"),
        ("status=skipped", 2, "it is one of"),
        (f"user={'9' * 30}", 2, "numeric user id"),
        ("6f1c0b52-5f0e-4b1e-9d53-0a2b3c4d5e6f", 1, "means no recorded event"),
        ("failed", 0, "means no recorded event"),
    ],
)
def test_a_selector_that_means_nothing_says_so(
    selector: str, code: int, said: str, relay: Relay, college: College
) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    assert said in relay.run("run", "--replay", selector, expect=code).stderr


def test_what_a_killed_daemon_had_under_way_is_sent_again_at_once(
    relay: Relay, college: College, backend: Receiver
) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    arrived = threading.Event()

    def stall(_: Request) -> Reply:
        arrived.set()
        return Reply(stalls_s=30)

    backend.answer = stall
    with relay.start() as daemon:
        assert arrived.wait(30)
        ((event_id,),) = relay.rows("SELECT event_id FROM {log}")
        said = relay.run("run", "--replay", event_id, expect=1).stderr
        assert "0 of 1" in said
        assert "has it under a lease until" in said
        daemon.stop(signal.SIGKILL)
    backend.answer = lambda _: Reply()
    assert "1 of 1 recorded events sent again; 0" in relay.run("run", "--replay", event_id).stderr
