"""Killed at every step between reading a log row and recording its delivery: nothing is lost, changed or unrecorded."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
from audit import audit
from receiver import Receiver, Reply, Request

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet
    from harness import Relay

    from relay.demo.mariadb import MariaDB
    from relay.demo.moodle import College

from relay.demo.moodle import College as OpenCollege

AT = 1_770_000_000


def same(step: str, count: int) -> ParameterSet:
    """Return a step between which and one beside it nothing is written, sent or received: it is tried with --full."""
    return pytest.param(step, count, marks=pytest.mark.full)


#: Each step, and at which of its moments.
STEPS = [
    ("relay.service.parts:make_outbox:after", 1),
    ("relay.outbox.sqlite:SqliteOutbox._create:before", 1),
    ("relay.outbox.sqlite:SqliteOutbox._create:after", 1),
    ("outbox:CREATE TABLE mdl_mb_zoho_event_attempt", 1),
    ("outbox:CREATE INDEX", 2),
    same("relay.outbox.sqlite:SqliteOutbox.hold:before", 1),
    ("relay.outbox.sqlite:SqliteOutbox.hold:after", 1),
    ("relay.moodle.reader:MoodleReader.site:after", 1),
    same("relay.capture.log:Capture._begin:before", 1),
    ("relay.capture.log:Capture._begin:after", 1),
    ("relay.moodle.reader:MoodleReader.max_id:after", 2),
    ("relay.moodle.reader:MoodleReader.page:before", 1),
    same("relay.moodle.reader:MoodleReader.page:after", 1),
    same("relay.moodle.reader:MoodleReader.fingerprints:after", 1),
    same("relay.moodle.reader:MoodleReader.ids:after", 1),
    ("relay.moodle.reader:MoodleReader.rows:after", 1),
    same("relay.moodle.reader:MoodleReader.facts:before", 1),
    same("relay.moodle.reader:MoodleReader.facts:after", 1),
    same("relay.rules.cursor:advance:after", 1),
    ("relay.rules.cursor:fill:after", 1),
    ("relay.events.envelope:build:after", 7),
    same("relay.outbox.sqlite:SqliteOutbox.accept:before", 2),
    ("outbox:INSERT INTO mdl_mb_zoho_event_log", 1),
    ("outbox:INSERT INTO mdl_mb_zoho_event_log", 2),
    ("outbox:INSERT INTO mdl_mb_zoho_row", 1),
    ("outbox:INSERT INTO mdl_mb_zoho_config", 8),
    ("outbox:COMMIT", 3),
    ("relay.outbox.sqlite:SqliteOutbox.accept:after", 2),
    ("relay.delivery.dispatch:Dispatch._claim_due:before", 2),
    same("relay.outbox.sqlite:SqliteOutbox.claim:before", 1),
    ("outbox:UPDATE mdl_mb_zoho_event_log SET attempts = attempts + 1", 1),
    ("outbox:INSERT INTO mdl_mb_zoho_event_attempt", 1),
    same("relay.outbox.sqlite:SqliteOutbox._lease:after", 1),
    ("relay.outbox.sqlite:SqliteOutbox.claim:after", 1),
    same("relay.delivery.dispatch:Dispatch._submit:after", 1),
    ("relay.rules.signing:signatures:after", 3),
    same("relay.delivery.sender:Sender.post:before", 1),
    same("relay.delivery.sockets:PlainSocket.sendall:before", 1),
    ("relay.delivery.sockets:PlainSocket.sendall:after", 1),
    ("relay.delivery.sockets:PlainSocket.sendall:after", 8),
    same("relay.delivery.sockets:PlainSocket.recv:before", 3),
    ("relay.delivery.sockets:PlainSocket.recv:after", 3),
    same("relay.delivery.sender:Sender.post:after", 1),
    ("relay.delivery.sender:Sender.post:after", 20),
    same("relay.rules.circuit:observe:after", 4),
    ("relay.rules.retry:decide:after", 5),
    same("relay.delivery.dispatch:Dispatch.settle:before", 3),
    ("relay.outbox.sqlite:SqliteOutbox.settle:before", 1),
    ("outbox:UPDATE mdl_mb_zoho_event_attempt SET started_at", 2),
    ("outbox:UPDATE mdl_mb_zoho_event_log SET status = 'success'", 2),
    ("outbox:UPDATE mdl_mb_zoho_event_log SET status = one.status", 1),
    same("relay.outbox.sqlite:SqliteOutbox.settle:after", 1),
    ("relay.outbox.sqlite:SqliteOutbox.settle:after", 4),
    same("relay.outbox.sqlite:SqliteOutbox.release:before", 1),
    ("outbox:DELETE FROM mdl_mb_zoho_event_attempt", 1),
    ("relay.outbox.sqlite:SqliteOutbox.release:after", 1),
    same("relay.outbox.sqlite:SqliteOutbox.all_due:before", 1),
    ("relay.outbox.sqlite:SqliteOutbox.all_due:after", 1),
    ("outbox:COMMIT", 9),
    ("outbox:COMMIT", 15),
]


@pytest.mark.parametrize(("step", "count"), STEPS)
def test_killed_at_a_step(
    step: str, count: int, relay: Relay, college: College, backend: Receiver, mariadb: MariaDB
) -> None:
    course = college.course("Computing", "C1")
    engine = college.assignment(course, "Engine")
    with contextlib.ExitStack() as stack:
        slow = mariadb.connect("moodle", autocommit=False)
        stack.callback(lambda: slow.close() if slow.open else None)
        late = OpenCollege(slow).sign_up("Late", "Comer", AT)
        people = [college.sign_up("Ada", f"Number{i}", AT + i) for i in range(12)]
        for user in people:
            college.grade(user, engine, 60, AT + 20)
        taken: set[str] = set()
        # So many that the circuit opens, and what was claimed with them is released.
        failures = iter([503] * 14)
        lock = threading.Lock()

        def answer(request: Request) -> Reply:
            with lock:
                code = next(failures, 200)
                if slow.open:
                    # The late row commits while relay runs.
                    slow.commit()
                if code == 200:
                    taken.add(request.event_id)
            return Reply(code=code)

        backend.answer = answer
        relay.set("retry", {"first_delay": "20ms", "max_delay": "50ms"})
        relay.crash(step, count, "run")
        with lock:
            slow.commit()
            slow.close()
    relay.once()
    figures = audit(relay, college, backend.posts, taken, {late})
    assert figures.faults() == {}
    assert figures.arrived == figures.rows == 25
    assert relay.status()["conservation"]["holds"]


#: Each step of a look at what is held, from its beginning to its end.
RELEASING = [
    "relay.capture.held:Releasing._judge:before",
    "relay.capture.held:Releasing._accept:before",
    "relay.outbox.sqlite:SqliteOutbox.judge:before",
    "outbox:UPDATE mdl_mb_zoho_event_log SET event_data",
    "outbox:UPDATE mdl_mb_zoho_event_log SET envelope",
    "outbox:DELETE FROM mdl_mb_zoho_held",
    "outbox:INSERT INTO mdl_mb_zoho_row",
    "relay.outbox.sqlite:SqliteOutbox.judge:after",
    "relay.capture.held:Releasing._accept:after",
]


@pytest.mark.parametrize("step", RELEASING)
def test_killed_while_it_releases(step: str, relay: Relay, college: College, backend: Receiver) -> None:
    """The newest of each grade is sent once, with the id that it had; nothing is lost, and nothing comes twice."""
    engine = college.assignment(college.course("Computing", "C1"), "Engine")
    people = [college.sign_up("Ada", f"Number{i}", AT + i) for i in range(3)]
    for at in (20, 21):
        for user in people:
            college.grade(user, engine, 61.37, AT + at, is_released=False)
    relay.once()
    held = [row[0] for row in relay.rows("SELECT event_id FROM {log} WHERE status = 'held' ORDER BY log_id")]
    assert len(held) == 6
    for user in people:
        college.release(user, engine, 61.37)
    backend.forget()
    relay.crash(step, 1, "run", "--once")
    assert backend.posts == []
    relay.once()
    assert sorted(post.event_id for post in backend.posts) == sorted(held[3:])
    assert relay.statuses() == {"success": 6, "skipped": 3}
    assert relay.status()["conservation"]["holds"]
