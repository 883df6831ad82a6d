"""A pool of threads: as wide as it is told, and a fault in it is kept to be shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from harness import PATIENCE_S

from relay.service.threads import Pool


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


def assert_soon(gate: threading.Semaphore) -> None:
    assert gate.acquire(timeout=PATIENCE_S)
