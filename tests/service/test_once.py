"""`run --once` and `sync` alone: all that is due is tried, and the time bounds the waiting for retries alone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from receiver import Receiver, Reply, Request

from relay.capture.log import Capture, Progress
from relay.cli import main
from relay.service import once

if TYPE_CHECKING:
    from harness import Relay

    from relay.demo.mariadb import MariaDB
    from relay.demo.moodle import College

AT = 1_770_000_000
COUNT = 60


def sign_up(college: College, count: int = COUNT) -> list[int]:
    return [college.sign_up("Ada", f"Number{i}", AT + i) for i in range(count)]


def whose(request: Request) -> int:
    return int(request.envelope["data"]["userid"])


def slowly(backend: Receiver, answer: Callable[[Request], Reply] = lambda _: Reply()) -> Callable[[Request], Reply]:
    """Return an answer that takes a while: with one request at a time, longer for all of them than there is to wait."""

    def wait(request: Request) -> Reply:
        backend.is_over.wait(0.03)
        return answer(request)

    return wait


@pytest.mark.parametrize("timeout", ["0s", "300ms"])
def test_all_that_is_due_is_tried_however_long_that_takes(
    timeout: str, relay: Relay, college: College, backend: Receiver
) -> None:
    sign_up(college)
    relay.set("backend.concurrency", 1)
    backend.answer = slowly(backend)
    assert relay.once("--timeout", timeout).stderr == ""
    assert relay.statuses() == {"success": COUNT}


def test_what_fails_is_tried_once_where_there_is_no_time_to_wait(
    relay: Relay, college: College, backend: Receiver
) -> None:
    unlucky = sign_up(college)[::3]
    relay.set("backend.concurrency", 1)
    relay.set("retry", {"first_delay": "60s"})
    backend.answer = slowly(backend, lambda request: Reply(code=503 if whose(request) in unlucky else 200))
    finished = relay.once("--timeout", "0s", expect=1)
    assert f"{len(unlucky)} events not delivered" in finished.stderr
    assert relay.statuses() == {"success": COUNT - len(unlucky), "failed": len(unlucky)}
    assert set(Counter(map(whose, backend.posts)).values()) == {1}


def test_retries_are_waited_for_within_the_time(relay: Relay, college: College, backend: Receiver) -> None:
    sign_up(college, 3)
    seen: Counter[int] = Counter()

    def answer(request: Request) -> Reply:
        seen[whose(request)] += 1
        return Reply(code=503 if seen[whose(request)] < 3 else 200)

    backend.answer = answer
    relay.once("--timeout", "30s")
    assert relay.statuses() == {"success": 3}


def test_an_outage_is_not_waited_for_any_longer(relay: Relay, college: College, backend: Receiver) -> None:
    sign_up(college)
    backend.answer = lambda _: Reply(code=503)
    relay.once("--timeout", "0s", expect=1)
    # The circuit is open: what was not tried waits for a probe, and no probe is due in no time at all.
    assert len(backend.posts) < COUNT
    assert relay.statuses().keys() <= {"pending", "failed"}


def test_what_waits_for_the_rate_that_the_backend_takes_is_tried_all_the_same(
    relay: Relay, college: College, backend: Receiver
) -> None:
    """The backend takes one in 50 ms."""
    people = sign_up(college, COUNT // 2)
    taken_at = [0.0]
    turn = threading.Lock()

    def answer(_: Request) -> Reply:
        with turn:
            if time.monotonic() - taken_at[0] < 0.05:
                return Reply(code=429, headers={"Retry-After": "1"})
            taken_at[0] = time.monotonic()
        return Reply()

    backend.answer = answer
    relay.set("retry", {"first_delay": "60s"})
    relay.once("--timeout", "0s", expect=None)
    assert len({post.event_id for post in backend.posts}) == len(people)
    assert not relay.rows("SELECT 1 FROM {log} WHERE status = 'pending'")


def test_a_sync_without_a_daemon_tries_all_and_says_honestly_what_is_left(
    relay: Relay,
    college: College,
    backend: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    unlucky = sign_up(college)[0]
    monkeypatch.setattr(once, "SYNC_WAIT_S", 0.1)
    relay.set("backend.concurrency", 1)
    backend.answer = slowly(backend, lambda request: Reply(code=503 if whose(request) == unlucky else 200))
    assert main(["--config", str(relay.write()), "sync", "users"]) == 1
    shown = capfd.readouterr()
    assert "relay: 1 events of the outbox are not delivered." in shown.out
    assert "All that was due has been tried" in shown.err
    assert relay.statuses() == {"success": COUNT - 1, "failed": 1}
    history = "SELECT status, records_processed, error_message FROM mdl_mb_zoho_sync_history"
    assert relay.rows(history) == [
        ("partial", COUNT, "All rows are recorded; 1 events of the outbox are not delivered.")
    ]
    backend.answer = lambda _: Reply()
    assert main(["--config", str(relay.write()), "sync", "users"]) == 0
    assert relay.rows(history)[1][0] == "completed"


class LateRows:
    """Stands for a capture in which a log row waits until so many passes have been made, and is recorded then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, passes: int) -> None:
        self.passes = 0
        self._needed = passes
        self._run_once = Capture.run_once
        monkeypatch.setattr(Capture, "waiting", property(lambda _: int(self.passes < self._needed)))
        monkeypatch.setattr(Capture, "run_once", lambda capture, now: self.run_once(capture, now))  # noqa: PLW0108
        monkeypatch.setattr(once, "LATE_S", 0.05)

    def run_once(self, capture: Capture, now: float) -> Progress:
        self.passes += 1
        # Before the last one nothing is found.
        return self._run_once(capture, now) if self.passes >= self._needed else Progress()


def test_rows_that_come_late_are_read_and_delivered_within_the_time(
    relay: Relay, college: College, backend: Receiver
) -> None:
    """A replica, or a buffered commit, shows the log row before the row that it points to."""
    sign_up(college, 1)
    college.log("user_created", 1000, user=1000, at=int(time.time()))

    def answer(request: Request) -> Reply:
        if whose(request) != 1000:
            college.run("UPDATE {p}user SET id = 1000 WHERE id = %s", whose(request))
        return Reply()

    backend.answer = answer
    relay.once("--timeout", "50s")
    assert [whose(request) for request in backend.posts][1:] == [1000]


def test_rows_that_do_not_come_in_time_are_said_and_exit_1(relay: Relay, college: College) -> None:
    college.log("user_created", 1000, user=1000, at=int(time.time()))
    began_at = time.monotonic()
    finished = relay.once("--timeout", "1500ms", expect=1)
    assert "relay: 1 log row not recorded yet." in finished.stderr
    assert time.monotonic() - began_at >= 1.5
    assert "event.skipped" not in finished.slugs()


def test_what_is_found_at_the_very_end_is_still_delivered(
    relay: Relay, college: College, backend: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_up(college, 1)
    LateRows(monkeypatch, 2)
    monkeypatch.setattr(once, "LATE_S", 60.0)
    assert main(["--config", str(relay.write()), "run", "--once", "--timeout", "200ms"]) == 0
    assert len(backend.posts) == 1


def test_no_connection_is_left_for_the_server_to_break_off(relay: Relay, college: College, mariadb: MariaDB) -> None:
    """The server warns of each client that goes without a word."""
    sign_up(college, 3)

    def aborted() -> int:
        with mariadb.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")
            ((_, count),) = cursor.fetchall()
            return int(count)

    before = aborted()
    relay.once()
    relay.run("run", "--dry-run")
    relay.run("sync", "users")
    with relay.start() as daemon:
        daemon.wait_for("relay.started")
        college.sign_up("Grace", "Hopper", AT)
        daemon.wait_for("delivery.succeeded")
        daemon.send(1)
        daemon.wait_for("config.reloaded")
        assert daemon.stop() == 0
    assert aborted() == before
