"""Several relays on one outbox in MariaDB or MySQL: real daemons, and what one of them sees of the others."""

from __future__ import annotations

import signal
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from harness import SHORT_LEASES, Relay
from receiver import Receiver, Reply

if TYPE_CHECKING:
    from relay.demo.moodle import College
    from relay.rules.server import Address

AT = 1_770_000_000


@pytest.fixture
def shared(relay: Relay, outbox_address: Address) -> Relay:
    relay.share(outbox_address)
    return relay


def test_once_captures_and_delivers(shared: Relay, college: College, backend: Receiver) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.update(ada, AT + 1, city="London")
    shared.once()
    assert [post.envelope["event_type"] for post in backend.posts] == ["user_created", "user_updated"]
    assert shared.statuses() == {"success": 2}
    status = shared.status()
    assert status["conservation"]["holds"]
    assert status["relays"] == []
    assert "The backend took" in shared.run("explain", f"user:{ada}").stdout
    assert "ok    outbox" in shared.run("check", expect=None).stdout
    assert not shared.outbox.exists()


def test_a_second_relay_stands_by_and_takes_over_when_the_first_ends(
    shared: Relay, other: Relay, college: College, backend: Receiver
) -> None:
    with shared.start() as first, other.start() as second:
        first.wait_for("relay.started")
        second.wait_for("relay.started")
        college.sign_up("Ada", "Lovelace", AT)
        backend.wait_for(1)
        leads = {one["leads"] for one in shared.status()["relays"]}
        assert leads == {True, False}
        reader, stands_by = (first, second) if first.count("event.captured") else (second, first)
        assert reader.stop() == 0
        stands_by.wait_for("lead.taken")
        college.sign_up("Grace", "Hopper", AT)
        stands_by.wait_for("event.captured")
        backend.wait_for(2)
        assert stands_by.stop() == 0
    assert shared.statuses() == {"success": 2}


def test_what_a_killed_relay_had_under_way_is_sent_by_the_other(
    shared: Relay, other: Relay, college: College, backend: Receiver
) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    backend.answer = lambda _: Reply(stalls_s=60)
    shared.set("backend.timeout", "60s")
    shared.constants = other.constants = SHORT_LEASES
    with shared.start() as first:
        backend.wait_for(1)
        with other.start() as second:
            second.wait_for("relay.started")
            first.stop(signal.SIGKILL)
            backend.answer = lambda _: Reply()
            second.wait_for("lead.taken")
            second.wait_for("delivery.succeeded")
            assert second.stop() == 0
    first_try, second_try = backend.posts
    assert (first_try.event_id, first_try.body) == (second_try.event_id, second_try.body)
    assert shared.rows("SELECT attempt, outcome FROM {attempt} ORDER BY id") == [(1, "unknown"), (2, "success")]


def test_a_relay_that_was_stopped_past_its_lease_sends_nothing_more_of_what_it_had(
    shared: Relay, other: Relay, college: College, backend: Receiver
) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    for i in range(5):
        college.update(ada, AT + 1 + i, city=f"Town {i}")
    backend.answer = lambda _: Reply(stalls_s=60)
    shared.constants = other.constants = SHORT_LEASES
    with shared.start() as first:
        backend.wait_for(1)
        first.wait_for("lead.taken")
        first.send(signal.SIGSTOP)
        backend.answer = lambda _: Reply()
        with other.start() as second:
            second.wait_for("delivery.succeeded", 6)
            first.send(signal.SIGCONT)
            college.update(ada, AT + 60, city="London")
            first.wait_for("lead.lost")
            backend.wait_for(8)
            assert second.stop() == 0
            assert first.stop() == 0
    times: dict[str, int] = defaultdict(int)
    for post in backend.posts:
        times[post.event_id] += 1
    assert sorted(times.values()) == [1, 1, 1, 1, 1, 1, 2]
    order = [post.envelope["timestamp"] for post in backend.posts]
    assert order == sorted(order)
    assert shared.statuses() == {"success": 7}


def test_delivery_goes_on_where_the_circuits_of_the_backend_and_of_each_path_in_use_are_open(
    shared: Relay, college: College, backend: Receiver
) -> None:
    """No event has a path of its own that is closed, so any one has to probe the backend."""
    college.sign_up("Ada", "Lovelace", AT)
    for code in (404, 401):

        def refuse(_: object, code: int = code) -> Reply:
            return Reply(code=code)

        backend.answer = refuse
        shared.once("--timeout", "1s", expect=1)
    circuit = shared.status()["circuit"]
    assert circuit["whole"]["reason"] == "the backend answered 401"
    assert list(circuit["paths"]) == ["user_created"]
    backend.answer = lambda _: Reply()
    shared.once("--timeout", "20s")
    assert shared.statuses() == {"success": 1}


def test_a_circuit_that_one_relay_opens_holds_for_all_and_one_probes(
    shared: Relay, other: Relay, college: College, backend: Receiver
) -> None:
    codes: dict[str, int] = defaultdict(lambda: 401)
    backend.answer = lambda request: Reply(code=codes[request.method])
    shared.set("retry", {"first_delay": "2s"})
    other.set("retry", {"first_delay": "2s"})
    with shared.start() as first, other.start() as second:
        first.wait_for("relay.started")
        second.wait_for("relay.started")
        college.sign_up("Ada", "Lovelace", AT)
        backend.wait_for(1)
        while shared.status()["circuit"]["whole"] is None:
            assert first.process.poll() is second.process.poll() is None
        for i in range(10):
            college.sign_up("Grace", f"Number{i}", AT)
        backend.wait_for(2)
        assert shared.status()["circuit"]["whole"]["reason"] == "the backend answered 401"
        # Ten events are due, and one relay has probed with one of them.
        assert len(backend.posts) == 2
        codes["POST"] = 200
        backend.wait_for(13)
        assert first.stop() == 0
        assert second.stop() == 0
    assert shared.statuses() == {"success": 11}
    assert shared.status()["circuit"]["whole"] is None
    assert first.count("circuit.closed") + second.count("circuit.closed") == 1


def test_a_replay_beside_running_relays(shared: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    with shared.start() as daemon:
        daemon.wait_for("delivery.succeeded")
        (event_id,) = {post.event_id for post in backend.posts}
        shared.run("run", "--replay", event_id)
        assert len(backend.posts) == 2
        shared.run("sync", "users")
        backend.wait_for(3)
        assert daemon.stop() == 0
    assert shared.status()["conservation"]["holds"]


def test_a_password_that_is_wrong_is_a_sentence(shared: Relay, college: College) -> None:
    assert college.connection.open
    shared.set("outbox.password", "a-wrong-one")
    finished = shared.once(expect=3)
    assert "the user 'root' or the password is wrong" in finished.stderr
    assert "outbox.password" in finished.stderr
    assert "a-wrong-one" not in finished.stderr


def test_a_schema_that_is_not_there_is_a_sentence(shared: Relay, college: College) -> None:
    assert college.connection.open
    shared.set("outbox.url", shared.config["outbox"]["url"].replace("/outbox", "/nowhere"))
    finished = shared.once(expect=3)
    assert "there is no schema 'nowhere'" in finished.stderr
