"""While requests are under way: none is sent twice or too early, none overtakes another, and a stop ends them."""

from __future__ import annotations

import io
import json
import threading
import time
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

import crash
import forked
import harness
import pytest
from harness import PATIENCE_S, shared_outbox
from receiver import Receiver, Reply, Request
from virtual import DAY, HOUR, OPTIONS, POLICY, START, World

from relay import config
from relay.delivery import dispatch
from relay.delivery.shared_circuit import SharedCircuit
from relay.events import envelope
from relay.model import Delivery, Outcome
from relay.outbox.values import Batch
from relay.rules import circuit
from relay.service import parts, wiring
from relay.service.logs import make_log
from relay.service.loops import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Relay

    from relay.demo.moodle import College
    from relay.outbox.mysql import MysqlOutbox
    from relay.rules.circuit import Breaker
    from relay.rules.server import Address

AT = 1_770_000_000
TAKEN = Outcome(http_code=200)
#: A circuit that is to be probed.
OPEN = {"opened_at": START - DAY, "reason": "the backend answered 503", "probe_at": START - HOUR, "probes": 9}


def test_what_is_under_way_is_not_claimed_again_however_slow_the_backend_is(make_world: Callable[..., World]) -> None:
    """The last of one user's events waits for all that were claimed before it, each for a whole attempt."""
    world = make_world(lambda _delivery, _passed_s: TAKEN, users=1, events_each=10)
    world.dispatch.run_once(world.now)
    for number in range(1, 11):
        world.now += 3.0 if number == 1 else 30.0
        # Something is due at each pass.
        other = envelope.make_event(f"other-{number}", "user_updated", None, number, 0, {"name": "Ada"}, OPTIONS)
        world.outbox.accept(Batch(events=[other]), world.now)
        world.dispatch.run_once(world.now)
        assert world.dispatch.under_way == 10 + number
        assert world.pool.backlog() == 1 + number
    world.events += 10
    world.run(DAY)
    world.check_all_are_delivered_in_order()


def test_a_clock_that_jumps_past_the_end_of_a_lease_ends_no_relay(
    relay: Relay, college: College, backend: Receiver, tmp_path: Path
) -> None:
    """What is under way is claimed once more: two attempts of one event at a time, of the same process."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    is_sent_again = threading.Event()

    def answer(_request: Request) -> Reply:
        if len(backend.posts) == 1:
            is_sent_again.wait(PATIENCE_S)
        else:
            is_sent_again.set()
        return Reply()

    backend.answer = answer
    relay.set("backend.timeout", f"{PATIENCE_S}s")
    college.sign_up("Ada", "Lovelace", AT)
    command = ["never:", "0", "--", "--config", str(relay.write()), "run"]
    with harness.Daemon(forked.Started(command, crash.main, env={"RELAY_TEST_CLOCK": str(clock)})) as daemon:
        backend.wait_for(1)
        clock.write_text(str(DAY))
        backend.wait_for(2)
        daemon.wait_for("delivery.succeeded", 2)
        assert daemon.stop() == 0
    assert relay.statuses() == {"success": 1}
    assert relay.status()["conservation"]["holds"]
    assert {post.body for post in backend.posts} == {backend.posts[0].body}


def test_the_backend_is_not_probed_while_requests_are_under_way(make_world: Callable[..., World]) -> None:
    world = make_world(lambda _delivery, passed_s: TAKEN if passed_s > 2 * HOUR else Outcome(http_code=401), workers=1)
    world.dispatch.run_once(world.now)
    world.pool.step()
    assert world.dispatch.breaker.backend is not None
    waiting = world.pool.backlog()
    assert waiting > 1
    world.now += HOUR
    world.dispatch.run_once(world.now)
    assert world.pool.backlog() == waiting
    world.run(DAY)
    world.check_all_are_delivered_in_order()


def test_the_backend_is_probed_by_one_event_at_a_time(make_world: Callable[..., World]) -> None:
    world = make_world(lambda _delivery, _passed_s: TAKEN, json.dumps({"whole": OPEN, "paths": {}}))
    for _ in range(3):
        world.dispatch.run_once(world.now)
        world.now += HOUR
        assert world.pool.backlog() == world.dispatch.under_way == 1
    world.run(DAY)
    world.check_all_are_delivered_in_order()


def test_a_path_is_probed_by_one_event_at_a_time(make_world: Callable[..., World]) -> None:
    stored = json.dumps({"whole": None, "paths": {"user_updated": OPEN}})
    world = make_world(lambda _delivery, _passed_s: TAKEN, stored)
    for _ in range(3):
        world.dispatch.run_once(world.now)
        world.now += HOUR
        assert world.pool.backlog() == world.dispatch.under_way == 1
    world.run(DAY)
    world.check_all_are_delivered_in_order()


def test_an_event_that_is_to_wait_longer_does_so_though_the_circuit_closes(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(delivery: Delivery, passed_s: float) -> Outcome:
        if passed_s > 60:
            return TAKEN
        return Outcome(http_code=503, retry_after_s=HOUR if delivery.id == 1 else None)

    world = make_world(answer)
    # Its later events are due and wait for it: a pass is worth having now and then.
    monkeypatch.setattr(dispatch, "IDLE_S", 60.0)
    world.run(2 * HOUR)
    world.check_all_are_delivered_in_order()
    assert world.slugs.count("circuit.closed") == 1
    first, again = (at for at, delivery, _ in world.sent if delivery.id == 1)
    assert again - first >= HOUR
    assert max(at for at, delivery, _ in world.sent if delivery.user_id != 1) < 120


def test_what_held_up_an_event_for_a_moment_lets_no_later_one_overtake_it(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(lambda _delivery, _passed_s: TAKEN, users=1, events_each=5)
    may_send = iter([False])
    monkeypatch.setattr(world.outbox, "may_send", lambda _: next(may_send, True))
    world.run(DAY)
    world.check_all_are_delivered_in_order()


# -- circuits that relays share


class Silent:
    """A log that nobody reads."""

    def info(self, event: str, **fields: object) -> None: ...

    warning = error = info

    def buffered(self) -> nullcontext[None]:
        return nullcontext()


class Sharing:
    """A relay's circuits on a shared outbox."""

    def __init__(self, outbox: MysqlOutbox) -> None:
        self._outbox = outbox
        self.circuits = SharedCircuit(outbox=outbox, policy=POLICY, clock=lambda: START, log=Silent())

    @property
    def breaker(self) -> Breaker:
        return self.circuits.breaker

    def observe(self, event_type: str, code: int) -> None:
        delivery = Delivery(
            id=1,
            event_id="an-event",
            event_type=event_type,
            log_id=1,
            user_id=1,
            occurred_at=0,
            body=b"{}",
            attempt=1,
            attempt_id=1,
            failures=0,
        )
        self.circuits.observe(delivery, Outcome(http_code=code))

    def save(self) -> None:
        unsaved = self.circuits.unsaved()
        if unsaved.text is not None:
            self._outbox.set_state(circuit.STATE, unsaved.text, START)
        self.circuits.has_saved(unsaved)


def test_what_two_relays_find_at_the_same_time_is_kept_of_both(outbox_address: Address) -> None:
    with closing(shared_outbox(outbox_address)) as first, closing(shared_outbox(outbox_address)) as second:
        one, two = Sharing(first), Sharing(second)
        one.observe("grade_updated", 404)
        two.observe("user_created", 404)
        one.save()
        # A pass reads what another relay has found: what this one has not saved yet stays.
        two.circuits.adopt()
        assert two.breaker.paths.keys() == {"grade_updated", "user_created"}
        two.save()
        one.circuits.adopt()
        assert one.breaker.paths.keys() == {"grade_updated", "user_created"}
        # Neither is what the other one has closed or opened meanwhile lost by saving without a pass in between.
        one.observe("grade_updated", 200)
        two.observe("enrollment_created", 404)
        one.save()
        two.save()
        one.circuits.adopt()
        assert one.breaker.paths.keys() == two.breaker.paths.keys() == {"user_created", "enrollment_created"}
        two.observe("user_created", 401)
        one.observe("enrollment_created", 404)
        two.save()
        one.save()
        assert one.breaker.backend is not None
        found = circuit.load(first.state(circuit.STATE))
        assert (found.backend, found.paths) == (one.breaker.backend, one.breaker.paths)


# -- a stop


def test_a_stop_does_not_leave_requests_behind_that_hang(relay: Relay, college: College, backend: Receiver) -> None:
    """Where delivery has ended by an error, nobody waits for what is under way: it is broken off."""
    college.sign_up("Ada", "Lovelace", 1_770_000_000)
    relay.set("backend.timeout", "10m")
    backend.answer = lambda _: Reply(stalls_s=600)
    loaded = config.load(relay.write())
    with parts.opened(loaded, parts.REAL, create=True) as opened:
        opened.outbox.hold(opened.now())
        made = wiring.make_relay(loaded, opened, make_log(loaded.log, io.StringIO(), parts.REAL.now))
        daemon = Daemon(made, opened)

        def fails(_now: float) -> float:
            raise ZeroDivisionError

        try:
            daemon.start()
            backend.wait_for(1)
            made.dispatch.run_once = fails  # type: ignore[assignment] # as a fault in relay would
            made.dispatch.wake()
            wait_until(lambda: any(loop.error is not None for loop in daemon.loops))
        finally:
            daemon.stop()
        wait_until(lambda: not [one for one in threading.enumerate() if one.name.startswith("sender")])


def wait_until(is_so: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < ends_at, "it never came to be so"
        time.sleep(0.01)
