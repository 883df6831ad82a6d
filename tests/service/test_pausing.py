"""A pause that a person asks for: events are captured and kept, and nothing is sent until somebody ends it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness import Relay
    from receiver import Receiver

    from relay.demo.moodle import College

AT = 1_769_956_200


def test_a_running_relay_captures_and_sends_nothing_until_the_pause_ends(
    relay: Relay, college: College, backend: Receiver
) -> None:
    relay.once()
    relay.run("web", "pause")
    college.sign_up("Ada", "Ali", AT)
    with relay.start() as daemon:
        daemon.wait_for("event.captured")
        assert relay.status()["paused"]
        assert backend.posts == []
        relay.run("web", "resume")
        daemon.wait_for("delivery.succeeded")
        daemon.stop()
    assert len(backend.posts) == 1


def test_run_once_waits_for_nothing_while_paused(relay: Relay, college: College, backend: Receiver) -> None:
    relay.once()
    relay.run("web", "pause")
    user = college.sign_up("Ada", "Ali", AT)
    assert relay.once("--timeout", "60s", expect=1).slugs().count("event.captured") == 1
    assert backend.posts == []
    problems = {one["name"]: one["hint"] for one in json.loads(relay.run("status", "--json").stdout)["problems"]}
    assert "relay web resume" in problems["paused"]
    told = json.loads(relay.run("explain", f"user:{user}", "--json").stdout)
    assert told["command"] == "relay web resume"
    refused = relay.run("run", "--replay", "user=1", expect=2).stderr
    assert "has paused delivery" in refused
    relay.run("web", "resume")
    relay.once()
    assert len(backend.posts) == 1


def test_a_pause_holds_in_a_shared_outbox_too(other: Relay, college: College, backend: Receiver) -> None:
    other.once()
    other.run("web", "pause")
    college.sign_up("Ada", "Ali", AT)
    other.once("--timeout", "1s", expect=1)
    assert backend.posts == []
    other.run("web", "resume")
    other.once()
    assert len(backend.posts) == 1
