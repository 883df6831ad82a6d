"""The loops of a relay: a hang starves the watchdog, one relay purges, and a stop leaves no request running."""

from __future__ import annotations

import contextlib
import io
import socket
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest
from harness import PATIENCE_S
from receiver import Receiver, Reply

from relay import config
from relay.errors import OutboxRefused
from relay.service import parts, wiring
from relay.service.daemon import BEAT_S, STUCK_S, Loop, Signals, Systemd, Watch, supervise
from relay.service.logs import make_log
from relay.service.loops import Daemon
from relay.service.relay import DAY_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import Relay

    from relay.demo.moodle import College
    from relay.service.lease import Opened
    from relay.service.relay import Relay as Parts

AT = 1_770_000_000
SILENT = Watch(heals=(OSError,), down=lambda _error: None, up=lambda: None)


@contextlib.contextmanager
def made(relay: Relay) -> Iterator[tuple[Parts, Opened]]:
    """Make the parts of a relay that takes part in its outbox; none of its passes runs yet."""
    loaded = config.load(relay.write())
    with parts.opened(loaded, parts.REAL, create=True) as opened:
        opened.outbox.hold(opened.now())
        yield wiring.make_relay(loaded, opened, make_log(loaded.log, io.StringIO(), parts.REAL.now)), opened


def test_the_watchdog_starves_where_one_loop_hangs(tmp_path: Path) -> None:
    """Time goes on when the test says so; the other loop completes its passes all the while."""
    now = 0.0
    hangs, goes_on = threading.Event(), threading.Event()

    def hang() -> float:
        hangs.set()
        goes_on.wait(PATIENCE_S)
        return 0.01

    loops = [Loop(name, one, SILENT, monotonic=lambda: now) for name, one in (("hangs", hang), ("well", lambda: 0.01))]
    signals = Signals()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        systemd = Systemd(str(tmp_path / "notify"))
        supervising = threading.Thread(target=supervise, args=(loops, signals, systemd, lambda: now, lambda: ""))
        supervising.start()
        for loop in loops:
            loop.start()
        try:
            assert hangs.wait(PATIENCE_S)
            notified.settimeout(PATIENCE_S)
            for _ in range(2):
                assert notified.recv(4096) == b"WATCHDOG=1"
            now = STUCK_S + 1
            notified.settimeout(3 * BEAT_S)
            with contextlib.suppress(TimeoutError):
                # One that was under way.
                notified.recv(4096)
            with pytest.raises(TimeoutError):
                notified.recv(4096)
            goes_on.set()
            notified.settimeout(PATIENCE_S)
            assert notified.recv(4096) == b"WATCHDOG=1"
        finally:
            goes_on.set()
            signals.stop.set()
            supervising.join(PATIENCE_S)
            for loop in loops:
                loop.stop()
                assert loop.join(PATIENCE_S)


def test_of_relays_that_share_an_outbox_the_leader_alone_purges(relay: Relay, other: Relay, college: College) -> None:
    assert college.connection.open
    assert other.shared_outbox is not None
    relay.share(other.shared_outbox)
    with made(relay) as (leader, opened), made(other) as (follower, _):
        now = opened.now()
        leader.lease_pass(now)
        follower.lease_pass(now)
        assert (leader.outbox.leads(), follower.outbox.leads()) == (True, False)
        follower.purge_pass(now)
        assert opened.outbox.state("purged_at") is None
        leader.purge_pass(now)
        assert opened.outbox.state("purged_at") == str(int(now))
        follower.purge_pass(now + 2 * DAY_S)
        assert opened.outbox.state("purged_at") == str(int(now))


def test_a_stop_that_cannot_record_what_comes_back_breaks_it_off(
    relay: Relay, college: College, backend: Receiver
) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.set("backend.timeout", "50s")
    arrived, goes_on = threading.Event(), threading.Event()

    def answer(_: object) -> Reply:
        arrived.set()
        goes_on.wait(PATIENCE_S)
        return Reply()

    backend.answer = answer
    try:
        with made(relay) as (parts_, opened):
            daemon = Daemon(parts_, opened)
            daemon.start()
            assert arrived.wait(PATIENCE_S)
            with contextlib.closing(sqlite3.connect(relay.outbox)) as connection:
                refuse = "BEGIN SELECT RAISE(ABORT, ''); END"
                connection.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON mdl_mb_zoho_event_attempt {refuse}")
            # The next event cannot be put under way: that ends the loop that would record what comes back.
            college.sign_up("Grace", "Hopper", AT)
            assert isinstance(daemon.supervise(Signals(), Systemd(None)), OutboxRefused)
            daemon.stop()
            assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("sender")]
    finally:
        goes_on.set()
