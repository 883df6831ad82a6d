"""A pool of threads: as wide as it is told, and a fault in it is kept to be shown."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from harness import PATIENCE_S

from relay.service.threads import CHOOSE_AFTER, Pool

#: Where this thread, and those that it starts, may run.
ANYWHERE = os.sched_getaffinity(0)


@pytest.fixture
def gate() -> Iterator[threading.Semaphore]:
    """What lets the pool's work go on, and in the end does."""
    found = threading.Semaphore(0)
    yield found
    found.release(1000)


def test_a_pool_is_as_wide_as_it_is_told(gate: threading.Semaphore) -> None:
    begun: list[str] = []
    changed = threading.Condition()

    def work(item: int) -> None:
        with changed:
            begun.append(f"{threading.current_thread().name}: {item}")
            changed.notify_all()
        assert gate.acquire(timeout=PATIENCE_S)

    def wait_for(count: int) -> None:
        with changed:
            assert changed.wait_for(lambda: len(begun) == count, PATIENCE_S)

    pool: Pool[int] = Pool(1, work, "worker")
    for item in range(10):
        pool.submit(item)
    wait_for(1)
    assert pool.backlog() == 9
    pool.widen(3)
    wait_for(3)
    assert pool.backlog() == 7
    pool.widen(1)
    # Two are too many: of the three that go on, one takes the next item.
    gate.release(3)
    wait_for(4)
    gate.release(1)
    wait_for(5)
    assert len({name.split(":")[0] for name in begun[3:]}) == 1
    gate.release(100)
    wait_for(10)
    pool.close(PATIENCE_S)
    assert pool.error is None


def test_a_pool_whose_work_fails_keeps_the_error_and_can_be_closed(gate: threading.Semaphore) -> None:
    def work(item: int) -> None:
        assert gate.acquire(timeout=PATIENCE_S)
        if item == 0:
            raise ZeroDivisionError

    pool: Pool[int] = Pool(2, work, "worker")
    pool.submit(0)
    pool.submit(1)
    gate.release(2)
    pool.close(PATIENCE_S)
    assert isinstance(pool.error, ZeroDivisionError)


def test_closing_a_pool_waits_no_longer_than_it_is_told(gate: threading.Semaphore) -> None:
    pool: Pool[int] = Pool(1, lambda _: assert_soon(gate), "worker")
    pool.submit(1)
    pool.close(0.01)
    gate.release()
    pool.close(PATIENCE_S)
    assert pool.error is None


class Seen:
    """A pool whose threads tell where they may run."""

    def __init__(self) -> None:
        self._meeting = threading.Barrier(3)
        self._cores: list[frozenset[int]] = []
        self.pool: Pool[int] = Pool(2, self._look, "worker")

    def _look(self, _: int) -> None:
        self._meeting.wait(PATIENCE_S)
        self._cores.append(frozenset(os.sched_getaffinity(0)))
        self._meeting.wait(PATIENCE_S)

    def cores(self) -> set[frozenset[int]]:
        """Return where this thread and both of the pool's may run."""
        self._cores = []
        for item in range(2):
            self.pool.submit(item)
        self._meeting.wait(PATIENCE_S)
        self._meeting.wait(PATIENCE_S)
        assert len(self._cores) == 2
        return {*self._cores, frozenset(os.sched_getaffinity(0))}


@pytest.fixture
def seen() -> Iterator[Seen]:
    found = Seen()
    yield found
    found.pool.close(PATIENCE_S)
    assert os.sched_getaffinity(0) == ANYWHERE
    assert found.pool.error is None


def test_threads_share_a_core_while_that_is_wanted(seen: Seen) -> None:
    assert seen.cores() == {frozenset(ANYWHERE)}
    for _ in range(2):
        seen.pool.share_core(is_wanted=True)
        (cores,) = seen.cores()
        assert len(cores) == 1
        assert cores <= ANYWHERE
        for _ in range(2):
            seen.pool.share_core(is_wanted=False)
            assert seen.cores() == {frozenset(ANYWHERE)}


def test_a_thread_that_is_made_later_shares_the_core(seen: Seen) -> None:
    seen.pool.share_core(is_wanted=True)
    (cores,) = seen.cores()
    assert len(cores) == 1


def test_the_system_chooses_the_core_anew_now_and_then(seen: Seen) -> None:
    seen.cores()
    found = []
    for _ in range(CHOOSE_AFTER + 1):
        seen.pool.share_core(is_wanted=True)
        found.append(os.sched_getaffinity(0))
    # Only who calls may run anywhere, for as long as a call: the others follow it.
    assert found[-2] == ANYWHERE
    assert all(len(cores) == 1 for cores in [*found[:-2], found[-1]])
    (cores,) = seen.cores()
    assert cores == found[-1]


def test_a_pool_works_where_it_may_not_say_where_its_threads_run(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """As systemd's filter of system calls answers it, in a unit of an older relay's."""
    asked = []

    def refuse(process: int, cores: set[int]) -> None:
        asked.append((process, cores))
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    seen.cores()
    for _ in range(2 * CHOOSE_AFTER):
        seen.pool.share_core(is_wanted=True)
    assert seen.cores() == {frozenset(ANYWHERE)}
    assert len(asked) == 1


def test_a_thread_that_has_ended_keeps_no_other_from_its_core(seen: Seen) -> None:
    seen.cores()
    ended = threading.Thread(target=lambda: None)
    ended.start()
    ended.join(PATIENCE_S)
    seen.pool._threads = {ended, *seen.pool._threads}
    seen.pool.share_core(is_wanted=True)
    seen.pool._threads.discard(ended)
    (cores,) = seen.cores()
    assert len(cores) == 1


def assert_soon(gate: threading.Semaphore) -> None:
    assert gate.acquire(timeout=PATIENCE_S)
