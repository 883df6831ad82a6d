"""Three relays on one outbox, and a random schedule of faults, from a seed; and how soon another one takes over."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from audit import audit
from fleet import Fleet, read_schema
from harness import SHORT_LEASES, Relay, empty_outbox
from receiver import Receiver, Reply
from world import Backend, Proxy, Reader, Writers, by_seed, wait_for_all

from relay.demo.mariadb import throwaway

if TYPE_CHECKING:
    from relay.demo.mariadb import MariaDB
    from relay.demo.moodle import College
    from relay.rules.server import Address

AT = 1_770_000_000
#: Seeds, and seconds of faults for each: in the short version, and with --full.
SHORT, FULL = ((1,), 4), (tuple(range(1, 21)), 120)
#: What still waits after the faults is waited for so long, in seconds.
PATIENCE_S = 120
#: Another relay goes on with what one that was killed had in hand within so many seconds: that is promised.
TAKEN_OVER_S = 30
CONCURRENCY = 4
#: An outbox in a schema that says nothing is given up soon: after so many seconds.
SHORT_ANSWERS = {"relay.outbox.mysql_database:ANSWER_S": 2, "relay.outbox.mysql_database:LOCK_WAIT_S": 2}
#: How many events a relay may have sent whose outcome it has not recorded yet.
IN_FLIGHT = 2 * CONCURRENCY + 32


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        by_seed(metafunc, SHORT, FULL)


@pytest.fixture
def killable(request: pytest.FixtureRequest) -> Iterator[MariaDB | None]:
    """A server of its own for the outbox, to be killed again and again; None where --outbox-server names another."""
    if request.config.getoption("--outbox-server"):
        yield None
        return
    with throwaway() as server:
        yield server


@pytest.fixture
def address(request: pytest.FixtureRequest, killable: MariaDB | None) -> Address:
    if killable is not None:
        return empty_outbox(killable.port)
    found: Address = request.getfixturevalue("outbox_address")
    return found


def made(folder: Path, mariadb: MariaDB, backend: Receiver) -> Relay:
    """Make a relay whose attempts are short, and that tries again soon."""
    relay = Relay(folder, mariadb, backend.url)
    relay.set("backend.timeout", "2s")
    relay.set("backend.concurrency", CONCURRENCY)
    relay.set("retry", {"first_delay": "50ms", "max_delay": "1s", "max_attempts": 1000})
    relay.set("log.level", "warning")
    return relay


# The driver leaves its socket open where the server was killed while it connected.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_whatever_happens_to_three_relays_all_is_delivered_in_order_and_accounted_for(
    seed: int,
    seconds: int,
    mariadb: MariaDB,
    college: College,
    killable: MariaDB | None,
    address: Address,
    backend: Receiver,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chance = random.Random(seed)
    fleet = Fleet(tmp_path, lambda folder: made(folder, mariadb, backend), address)
    home = made(tmp_path, mariadb, backend)
    home.share(address)
    answers = Backend(backend, chance)
    writers = Writers(mariadb, 4, seed)
    reader = Reader(lambda: read_schema(address))
    faults = fleet.faults(answers, killable)
    for one in (fleet, writers, reader):
        one.start()
    try:
        backend.wait_for(300)
        repeated_in_peace = sum(answers.told.values()) - len(answers.told)
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            time.sleep(chance.random() * 0.8)
            faults.one(chance)
        writers.stop()
        fleet.heal()
        recovery_s = wait_for_all(home, PATIENCE_S)
    finally:
        writers.stop()
        fleet.stop()
        reader.stop()
    repeated = sum(answers.told.values()) - len(answers.told)
    home.run("run", "--replay", "failed")
    home.once()
    figures = audit(home, college, backend.posts, answers.taken, writers.late)
    with capsys.disabled():
        print(f"\nseed {seed}: {figures}")
        print(f"  taken again though the answer said so: {repeated}; starts {fleet.starts()}; ", end="")
        print(f"recovery {recovery_s:.1f} s; {reader.readings} readings\n  {faults}")
    assert figures.faults() == {}, f"run it again with --seed {seed}"
    assert reader.wrong == []
    assert fleet.errors() == []
    assert home.status()["conservation"]["holds"]
    assert repeated_in_peace == 0
    # A kill of the outbox's database hits all three.
    hits = sum(count for name, count in faults.counts.items() if name.startswith(("relay", "outbox")))
    assert repeated <= IN_FLIGHT * (hits + 2 * faults.counts["outbox's database killed"])


@pytest.fixture
def pair(mariadb: MariaDB, backend: Receiver, outbox_address: Address, tmp_path: Path) -> tuple[Relay, Relay, Proxy]:
    """Two relays on one outbox, and the way of the first one to it."""
    proxy = Proxy(outbox_address.port)
    relays = []
    for name, port in (("first", proxy.port), ("second", outbox_address.port)):
        folder = tmp_path / name
        folder.mkdir()
        relay = Relay(folder, mariadb, backend.url)
        relay.share(replace(outbox_address, port=port))
        relays.append(relay)
    return relays[0], relays[1], proxy


def stall_at(proxy: Proxy, relay: Relay, mark: bytes) -> None:
    """Stall a relay's way to the outbox when it is about to say this; nothing is read where the server speaks TLS."""
    ((_, cipher),) = relay.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    if cipher:
        pytest.skip("The outbox's server speaks TLS: start it without, such as with --tls-version=.")
    proxy.stall_at(mark)


def test_another_relay_goes_on_within_30_s_after_the_one_that_leads_was_killed(
    pair: tuple[Relay, Relay, Proxy], college: College, backend: Receiver
) -> None:
    leader, other, _ = pair
    with leader.start() as first:
        first.wait_for("lead.taken")
        with other.start() as second:
            second.wait_for("relay.started")
            backend.answer = lambda _: Reply(stalls_s=60)
            under_way = {college.sign_up("Ada", f"Number{i}", AT) for i in range(5)}
            first.wait_for("event.captured", 5)
            backend.wait_for(5)
            backend.answer = lambda _: Reply()
            killed_at = time.monotonic()
            first.stop(signal.SIGKILL)
            college.sign_up("Grace", "Hopper", AT)
            second.wait_for("lead.taken")
            second.wait_for("event.captured")
            second.wait_for("delivery.succeeded")
            assert time.monotonic() - killed_at < TAKEN_OVER_S
            second.wait_until(lambda _: other.statuses() == {"success": 6})
            assert second.stop() == 0
    sent = [post.envelope["data"]["userid"] for post in backend.posts]
    assert {user for user in sent if sent.count(user) == 2} <= under_way


def test_a_relay_that_stops_in_the_midst_of_a_transaction_holds_nobody_up(
    pair: tuple[Relay, Relay, Proxy], college: College, backend: Receiver
) -> None:
    """Its locks end before its lease does: another relay can expire that lease, and takes the lead."""
    leader, other, proxy = pair
    leader.constants = other.constants = SHORT_LEASES
    with leader.start() as first:
        first.wait_for("lead.taken")
        with other.start() as second:
            second.wait_for("relay.started")
            stall_at(proxy, leader, b"COMMIT")
            assert proxy.has_stalled.wait(PATIENCE_S)
            first.send(signal.SIGSTOP)
            stopped_at = time.monotonic()
            college.sign_up("Grace", "Hopper", AT)
            second.wait_for("lead.taken")
            second.wait_for("delivery.succeeded")
            assert time.monotonic() - stopped_at < TAKEN_OVER_S
            first.send(signal.SIGCONT)
            proxy.resume()
            first.wait_for("lead.lost")
            assert first.stop() == 0
            assert second.stop() == 0
    assert len(backend.posts) == 1
    proxy.close()


# The driver leaves its socket open where it is cut off while it connects.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_reload_while_the_outbox_is_away_waits_for_it_and_leaves_nothing_under_way_for_good(
    pair: tuple[Relay, Relay, Proxy], college: College, backend: Receiver
) -> None:
    """What came of a request could not be recorded: the event is another's as soon as the lease of this one ends."""
    relay, other, proxy = pair
    relay.constants = other.constants = {**SHORT_LEASES, **SHORT_ANSWERS}
    relay.set("backend.timeout", "2s")
    backend.answer = lambda _: Reply(stalls_s=60)
    with relay.start() as daemon:
        daemon.wait_for("lead.taken")
        college.sign_up("Ada", "Lovelace", AT)
        backend.wait_for(1)
        stall_at(proxy, relay, b"UPDATE mdl_mb_zoho_event_attempt")
        daemon.send(signal.SIGHUP)
        assert proxy.has_stalled.wait(PATIENCE_S)
        backend.answer = lambda _: Reply()
        daemon.wait_for("config.reloaded")
        daemon.wait_for("outbox.unavailable")
        # Once more while it is away.
        daemon.send(signal.SIGHUP)
        daemon.wait_for("config.reloaded", 2)
        assert other.once().code == 0
        assert other.statuses() == {"success": 1}
        proxy.resume()
        daemon.wait_for("outbox.recovered")
        daemon.wait_for("lead.taken", 2)
        college.sign_up("Grace", "Hopper", AT)
        daemon.wait_for("delivery.succeeded")
        assert daemon.stop() == 0
        assert daemon.count("config.rejected") == daemon.count("relay.failed") == daemon.count("clock.set_back") == 0
    proxy.close()
    assert other.status()["conservation"]["holds"]
