"""How many workers send, and that one request that hangs holds up its own user alone."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from harness import PATIENCE_S

from relay.delivery import dispatch
from relay.delivery.dispatch import Dispatch, Settings
from relay.delivery.width import SLOW_S, WORK_S, width
from relay.delivery.workers import UserQueue
from relay.events import envelope
from relay.events.kind import Options
from relay.model import Delivery, Outcome, Position
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.values import Batch
from relay.rules import retry
from relay.service.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPTIONS = Options(site="site", moodle_url="https://moodle.example", tenant_id="default")
NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("fastest_s", "under_way", "slow", "concurrency", "expected"),
    [
        pytest.param(0.0, 1, 0, 8, 2, id="no latency at all: one works while the other waits"),
        pytest.param(0.0001, 2, 0, 8, 2, id="answers before another could be sent"),
        pytest.param(2 * WORK_S, 2, 0, 8, 4, id="two can be sent while one waits"),
        pytest.param(0.05, 8, 0, 8, 8, id="slow: the ceiling"),
        pytest.param(0.05, 64, 0, 64, 64, id="slow: a high ceiling"),
        pytest.param(0.0001, 3, 1, 8, 4, id="one hangs: made up for"),
        pytest.param(0.0001, 8, 6, 8, 8, id="most hang"),
        pytest.param(0.0001, 1, 1, 8, 8, id="all hang"),
        pytest.param(0.0001, 0, 0, 8, 2, id="nothing is under way"),
        pytest.param(0.05, 1, 0, 1, 1, id="a ceiling of one"),
        pytest.param(0.0001, 1, 1, 1, 1, id="a ceiling of one that hangs"),
    ],
)
def test_how_many_workers_are_of_use(
    fastest_s: float, under_way: int, slow: int, concurrency: int, expected: int
) -> None:
    assert width(fastest_s, under_way, slow, concurrency) == expected


class Silent:
    """A log that nobody reads."""

    def info(self, event: str, **fields: object) -> None: ...

    warning = error = info

    def buffered(self) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()


class Delivering:
    """A dispatch over a real outbox, with a backend that is a function."""

    def __init__(
        self, folder: Path, events: int, post: Callable[[Delivery], Outcome], *, haste: float = 1, name: str = "Ada"
    ) -> None:
        """Take how many times as fast as time the dispatch's monotonic clock runs, and what is sent of each user."""
        self.outbox = SqliteOutbox(folder / "outbox.db")
        made = [
            envelope.make_event(envelope.derive_id("site", i), "user_updated", i, i, i, {"name": name}, OPTIONS)
            for i in range(1, events + 1)
        ]
        self.outbox.accept(Batch(events=made, after=Position(high=events)), NOW)
        self.dispatch = Dispatch(
            outbox=self.outbox,
            post=lambda delivery, _: post(delivery),
            settings=Settings(policy=retry.Policy(), types=frozenset({"user_updated"}), concurrency=4, attempt_s=30.0),
            clock=lambda: NOW,
            monotonic=lambda: haste * time.monotonic(),
            jitter=lambda: 0.5,
            make_pool=self.make_pool,
            log=Silent(),
        )
        self.woken = threading.Event()
        self.dispatch.wake = self.woken.set

    def make_pool(self, width: int, work: Callable[[UserQueue], None], name: str) -> Pool[UserQueue]:
        self.pool = Pool(width, work, name)
        return self.pool

    def until(self, is_so: Callable[[], bool]) -> None:
        """Do passes until something is so."""
        ends_at = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < ends_at, "it never came to be so"
            self.woken.clear()
            self.woken.wait(self.dispatch.run_once(NOW))

    def close(self) -> None:
        self.dispatch.close()
        self.outbox.close()


@pytest.mark.parametrize("hanging", [1, 3])
def test_requests_that_hang_hold_up_nobody_else(hanging: int, tmp_path: Path) -> None:
    """Even where the backend is so fast that there is one sender: the next pass makes more."""
    goes_on, arrived = threading.Event(), threading.Semaphore(0)
    sent: list[int] = []

    def post(delivery: Delivery) -> Outcome:
        if 20 < delivery.user_id <= 20 + hanging:
            arrived.release()
            assert goes_on.wait(PATIENCE_S)
        else:
            sent.append(delivery.user_id)
        return Outcome(http_code=200)

    delivering = Delivering(tmp_path, 200, post)
    try:
        delivering.until(lambda: len(sent) == 200 - hanging)
        assert all(arrived.acquire(timeout=PATIENCE_S) for _ in range(hanging))
        delivering.until(lambda: delivering.dispatch.under_way == hanging)
        assert delivering.outbox.count_undelivered() == hanging
        goes_on.set()
        delivering.until(lambda: delivering.outbox.count_undelivered() == 0)
    finally:
        goes_on.set()
        delivering.close()


def test_a_backend_that_answers_at_once_gets_two_requests_at_a_time(tmp_path: Path) -> None:
    sent: list[int] = []

    def post(delivery: Delivery) -> Outcome:
        sent.append(delivery.user_id)
        return Outcome(http_code=200)

    delivering = Delivering(tmp_path, 600, post)
    try:
        widths: set[int] = set()

        def is_done() -> bool:
            widths.add(delivering.pool.width)
            return delivering.outbox.count_undelivered() == 0

        delivering.until(is_done)
        assert min(widths) == 2
    finally:
        delivering.close()
    assert sorted(sent) == list(range(1, 601))


def test_those_that_send_and_the_passes_share_a_core_where_there_is_much_to_send(tmp_path: Path) -> None:
    anywhere = os.sched_getaffinity(0)
    widths: list[int] = []

    def post(_: Delivery) -> Outcome:
        widths.append(len(os.sched_getaffinity(0)))
        return Outcome(http_code=200)

    delivering = Delivering(tmp_path, 600, post)
    try:
        delivering.until(lambda: delivering.outbox.count_undelivered() == 0)
        assert min(widths) == 1
        # A pass that finds nothing lets them go.
        delivering.dispatch.run_once(NOW)
        assert os.sched_getaffinity(0) == anywhere
    finally:
        delivering.close()


def test_a_backend_that_takes_its_time_gets_as_many_as_are_allowed(
    tmp_path: Path,
) -> None:
    """Four requests meet: with fewer workers they never would. A clock that runs fast makes them seem slow."""
    assert SLOW_S < 1
    meeting = threading.Barrier(4)

    def post(_: Delivery) -> Outcome:
        meeting.wait(PATIENCE_S)
        return Outcome(http_code=200)

    delivering = Delivering(tmp_path, 200, post, haste=1000)
    try:
        delivering.until(lambda: delivering.outbox.count_undelivered() == 0)
        assert delivering.pool.width == 4
    finally:
        delivering.close()


@pytest.fixture
def most_bytes(monkeypatch: pytest.MonkeyPatch) -> int:
    """A tenth of what may be under way, so that a tenth has to be moved: of events of LARGE bytes, 16 again."""
    for name in ("BYTES_MOST", "BYTES_AT_ONCE"):
        monkeypatch.setattr(dispatch, name, getattr(dispatch, name) // 10)
    return dispatch.BYTES_MOST


LARGE = 100_000


@pytest.mark.parametrize("letter", ["x", "ع"])
def test_what_is_under_way_is_bounded_in_bytes(letter: str, most_bytes: int, tmp_path: Path) -> None:
    """However many passes are done while the backend takes its time; one event more than the bound allows may be."""
    goes_on = threading.Event()
    name = letter * (LARGE // len(letter.encode()))

    def post(_: Delivery) -> Outcome:
        assert goes_on.wait(PATIENCE_S)
        return Outcome(http_code=200)

    delivering = Delivering(tmp_path, 40, post, name=name)
    try:
        for _ in range(20):
            delivering.dispatch.run_once(NOW)
        assert most_bytes - LARGE < delivering.dispatch.under_way * LARGE <= most_bytes + LARGE
        goes_on.set()
        delivering.until(lambda: delivering.outbox.count_undelivered() == 0)
        delivering.dispatch.replay(range(1, 41), NOW)
        most = 0
        while delivering.dispatch.under_way:
            most = max(most, delivering.dispatch._bytes)
            delivering.dispatch.settle(NOW)
        assert delivering.dispatch.replayed == 40
        assert most <= most_bytes + LARGE
    finally:
        goes_on.set()
        delivering.close()


def test_an_event_that_is_larger_than_the_bound_goes_alone(most_bytes: int, tmp_path: Path) -> None:
    delivering = Delivering(tmp_path, 3, lambda _: Outcome(http_code=200), name="x" * (most_bytes + 1))
    try:
        delivering.dispatch.run_once(NOW)
        assert delivering.dispatch.under_way == 1
        delivering.until(lambda: delivering.outbox.count_undelivered() == 0)
    finally:
        delivering.close()


def test_a_fault_in_a_worker_ends_the_dispatch_visibly(tmp_path: Path) -> None:
    def post(_: Delivery) -> Outcome:
        raise ZeroDivisionError

    delivering = Delivering(tmp_path, 1, post)
    try:
        with pytest.raises(ZeroDivisionError):
            delivering.until(lambda: False)
    finally:
        delivering.close()
