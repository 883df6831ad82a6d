"""A lease ends: by its time, with the process that has it, and where a relay lets go. What it held is due then."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import SHORT_LOCKS, Relay
from receiver import Reply
from test_outbox import NOW, TYPES, Place, accept, claim, event, settle

from relay.errors import OutboxFenced
from relay.model import Status
from relay.outbox import owners
from relay.outbox.contract import RENEW_S, Outbox
from relay.outbox.mysql import MysqlOutbox
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.tables import STATE, is_own_state
from relay.outbox.values import Selector

if TYPE_CHECKING:
    from receiver import Receiver, Request

    from relay.demo.moodle import College
    from relay.rules.server import Address

AT = 1_770_000_000
#: Leases events in a process of its own, says so, and waits to be killed.
LEASES = """
import sys
from pathlib import Path
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.values import Selector
outbox = SqliteOutbox(Path(sys.argv[1]))
outbox.join(0)
types = frozenset({"grade_updated"})
found = outbox.claim_again(outbox.select(Selector()), float(sys.argv[2]), lease_s=2000, types=types)
print(len(found), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, None)
    yield made
    made.close()


@pytest.fixture
def outbox(place: Place) -> Outbox:
    opened = place.open()
    opened.hold(NOW)
    return opened


class Replay:
    """A process that has leased all that can be."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", LEASES, str(path), str(NOW)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.leased = int(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


@pytest.fixture
def replay(outbox: Outbox, place: Place) -> Iterator[Replay]:
    """A replay of an event that waits and of one that is delivered."""
    accept(outbox, event(1), event(2, user=2))
    settle(outbox, claim(outbox, limit=1)[0], 200)
    made = Replay(place.path)
    assert made.leased == 2
    yield made
    made.kill()


def test_what_a_replay_has_under_way_is_left_to_it(replay: Replay, outbox: Outbox) -> None:
    assert replay.leased == 2
    assert outbox.next_due(TYPES, NOW + 60) is None
    assert claim(outbox, NOW + 60) == []
    assert not outbox.claim_again(outbox.select(Selector()), NOW, lease_s=60, types=TYPES)
    assert [one.taken is not None for one in outbox.recorded(NOW, log_id=2)] == [True]


def test_what_a_killed_replay_had_under_way_is_due_at_once(replay: Replay, outbox: Outbox) -> None:
    replay.kill()
    assert [one.taken is not None for one in outbox.recorded(NOW, log_id=2)] == [False]
    assert outbox.next_due(TYPES, NOW) == NOW
    (one,) = claim(outbox)
    assert (one.log_id, one.attempt) == (2, 2)
    settle(outbox, one, 200)
    # The delivered one can be sent again at once, too.
    again = outbox.claim_again(outbox.select(Selector()), NOW, lease_s=60, types=TYPES)
    assert [one.log_id for one in again] == [1, 2]


def test_later_events_of_the_user_do_not_wait_for_a_killed_replay(replay: Replay, outbox: Outbox) -> None:
    accept(outbox, event(3, user=2))
    assert claim(outbox) == []
    replay.kill()
    assert [one.log_id for one in claim(outbox)] == [2, 3]


def test_a_lease_whose_time_is_over_is_due_though_its_process_lives(replay: Replay, outbox: Outbox) -> None:
    assert replay.leased == 2
    assert outbox.next_due(TYPES, NOW + 1999) is None
    assert outbox.next_due(TYPES, NOW + 2001) == NOW
    assert [one.log_id for one in claim(outbox, NOW + 2001)] == [2]


def test_what_a_process_has_under_way_when_it_ends_well_is_free(outbox: Outbox, place: Place) -> None:
    accept(outbox, event(1))
    other = place.open()
    other.join(NOW)
    assert len(other.claim_again(other.select(Selector()), NOW, lease_s=2000, types=TYPES)) == 1
    other.close()
    assert [one.attempt for one in claim(outbox)] == [2]
    assert place.rows("SELECT COUNT(*) FROM mdl_mb_zoho_config WHERE config_key LIKE 'lease.replay%'") == [(0,)]


def test_leases_of_a_version_before_this_end_by_their_time_or_with_the_next_start(outbox: Outbox, place: Place) -> None:
    accept(outbox, event(1), event(2, user=2))
    for owner, log_id in (("run", 1), ("replay", 2)):
        outbox._rows(  # type: ignore[attr-defined]
            "UPDATE {p}mb_zoho_event_log SET leased_by = ?, leased_until = ? WHERE log_id = ?",
            (owner, NOW + 500, log_id),
        )
    assert claim(outbox) == []
    outbox.close()
    again = place.open()
    again.hold(NOW)
    (one,) = claim(again)
    assert one.log_id == 1
    settle(again, one, 200)
    assert [one.log_id for one in claim(again, NOW + 501)] == [2]


def test_who_has_leased_is_forgotten_when_all_of_it_has_ended(replay: Replay, outbox: Outbox, place: Place) -> None:
    replay.kill()
    outbox.close()
    names = "SELECT config_key FROM mdl_mb_zoho_config WHERE config_key LIKE 'lease.%'"
    again = place.open()
    again.hold(NOW + 1000)
    assert len(place.rows(names)) == 1
    again.close()
    place.open().hold(NOW + 2001)
    assert place.rows(names) == []


def test_a_clock_set_back_shortens_the_leases_with_it(outbox: Outbox) -> None:
    accept(outbox, event(1))
    claim(outbox)
    outbox.set_back(3600.0)
    assert claim(outbox, NOW - 3600 + 59) == []
    assert len(claim(outbox, NOW - 3600 + 61)) == 1


# -- letting go


@pytest.fixture(params=["sqlite", "mysql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    place = Place(tmp_path, request.getfixturevalue("outbox_address") if request.param == "mysql" else None)
    opened = place.open()
    opened.hold(NOW)
    yield opened
    place.close()


def test_what_a_relay_lets_go_can_be_claimed_again(either: Outbox) -> None:
    """And what comes of the first claim after all is not taken for the second one's."""
    accept(either, event(1), event(2))
    one, two = claim(either)
    either.let_go()
    assert not either.may_send(one)
    if isinstance(either, MysqlOutbox):
        with pytest.raises(OutboxFenced):
            claim(either)
    later = NOW + 60
    either.renew(later)
    either.renew(later)  # the lease of before is found to be over by now
    again, _ = claim(either, later)
    assert (again.log_id, again.attempt) == (1, 2)
    settle(either, one, 500, later)
    either.release([two])
    assert either.may_send(again)
    assert claim(either, later + 1) == []
    settle(either, again, 200, later)
    (found,) = either.recorded(later, log_id=1)
    assert (found.status, [attempt.outcome for attempt in found.attempts]) == (Status.SUCCESS, ["failed", "success"])


def test_a_relay_that_lets_go_leads_again_after_its_lease(outbox_address: Address, tmp_path: Path) -> None:
    place = Place(tmp_path, outbox_address)
    outbox = place.open()
    outbox.hold(NOW)
    assert outbox.leads()
    outbox.let_go()
    assert not outbox.leads()
    now = NOW
    while not outbox.leads():
        now += RENEW_S
        outbox.renew(now)
    assert now - NOW <= 15
    place.close()


def test_a_reload_while_the_outbox_is_locked_leaves_nothing_pending(
    relay: Relay, college: College, backend: Receiver
) -> None:
    arrived = threading.Semaphore(0)
    may_answer = threading.Event()

    def answer(_: Request) -> Reply:
        arrived.release()
        may_answer.wait(60)
        return Reply()

    backend.answer = answer
    relay.set("backend.timeout", "1s")
    relay.constants = SHORT_LOCKS
    college.sign_up("Ada", "Lovelace", AT)
    college.sign_up("Grace", "Hopper", AT)
    with relay.start() as daemon:
        arrived.acquire()
        arrived.acquire()
        other = sqlite3.connect(relay.outbox, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        may_answer.set()
        # The answers are here, and cannot be recorded: the reload does not wait for that for ever.
        daemon.send(signal.SIGHUP)
        daemon.wait_for("config.reloaded")
        # Said by the old parts, which have ended by now, or by the new ones: who waited before has given up.
        daemon.wait_for("outbox.unavailable")
        other.execute("ROLLBACK")
        other.close()
        daemon.wait_until(lambda _: relay.statuses() == {"success": 2})
        assert daemon.stop() == 0
    assert relay.status()["conservation"]["holds"]


# -- who is gone


def test_a_process_that_runs_is_not_gone_and_one_that_has_ended_is() -> None:
    name = owners.new()
    assert name != owners.new()
    assert not owners.is_gone(name)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        namespace, _, _, number = name.split("-")
        started_at = owners._started_at(other.pid)
        theirs = f"{namespace}-{other.pid}-{started_at}-{number}"
        assert not owners.is_gone(theirs)
    assert owners.is_gone(theirs)


def test_another_process_of_the_same_number_is_not_taken_for_the_first() -> None:
    namespace, pid, started_at, number = owners.new().split("-")
    assert owners.is_gone(f"{namespace}-{pid}-{int(started_at) - 1}-{number}")


@pytest.mark.parametrize("name", ["", "run", "4711-{pid}-1-1", "--", "4026531836-x-1-1"])
def test_who_cannot_be_looked_for_is_not_gone(name: str) -> None:
    assert not owners.is_gone(name.format(pid=os.getpid()))


def test_a_name_of_an_owner_is_no_part_of_what_is_moved(outbox: Outbox) -> None:
    accept(outbox, event(1))
    claim(outbox)
    assert isinstance(outbox, SqliteOutbox)
    keys = [row["config_key"] for page in outbox.dump(STATE, 100) for row in page]
    assert [key for key in keys if key.startswith("lease.")]
    assert not [key for key in keys if not is_own_state(key) and "lease" in key]
