"""Pools of threads, and a limit for a call that has none of its own. They know nothing of events."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Item = TypeVar("Item")


class Pool(Generic[Item]):
    """Threads that take items from a queue and give each to a function; there are as many as `widen` last said.

    A thread that is one too many ends when it has done what it has in hand. Threads block on one queue instead of
    taking turns: hand-overs of the GIL between threads cost more than the work that they do.
    """

    def __init__(self, width: int, work: Callable[[Item], None], name: str) -> None:
        self._width = width
        self._work = work
        self._name = name
        self._items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        #: Notified when a thread ends.
        self._ended = threading.Condition()
        self._threads: set[threading.Thread] = set()
        self._made = 0
        #: What ended a thread, if an item's work failed: nobody knows then what became of the item.
        self.error: BaseException | None = None

    @property
    def width(self) -> int:
        """How many threads there may be."""
        return self._width

    def submit(self, item: Item) -> None:
        """Put an item into the queue."""
        self._items.put(item)
        if len(self._threads) < self._width:
            self._start()

    def widen(self, width: int) -> None:
        """Let there be so many threads, more or fewer than now."""
        self._width = width
        for _ in range(min(width - len(self._threads), self.backlog())):
            self._start()

    def backlog(self) -> int:
        """Return about how many items no thread has taken yet."""
        return self._items.qsize()

    def close(self, timeout_s: float) -> None:
        """End the threads after what they have in hand; wait so many seconds at most for all of them."""
        with self._ended:
            for _ in self._threads:
                self._items.put(None)
            self._ended.wait_for(lambda: not self._threads, timeout_s)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"{self._name}-{self._made}", daemon=True)
        self._made += 1
        with self._ended:
            self._threads.add(thread)
        thread.start()

    def _run(self) -> None:
        try:
            while (item := self._items.get()) is not None:
                self._work(item)
                # A thread that waits for the next one does not keep this one in memory.
                item = None
                if len(self._threads) > self._width and self._leave(only_surplus=True):
                    return
        except BaseException as error:  # noqa: BLE001 -- whatever it is, whoever runs the pool is to show it
            self.error = error
        self._leave(only_surplus=False)

    def _leave(self, *, only_surplus: bool) -> bool:
        """Count this thread as ended, or only where it is one too many; say whether it is."""
        with self._ended:
            if only_surplus and len(self._threads) <= self._width:
                return False
            self._threads.discard(threading.current_thread())
            self._ended.notify_all()
            return True


def within(seconds: float, call: Callable[..., Item]) -> Callable[..., Item]:
    """Return a function that does what `call` does, and raises TimeoutError where that takes longer.

    For what has no limit of its own, such as the system's resolver: it goes on in a thread that nobody waits for.
    """

    def bounded(*arguments: Any, **options: Any) -> Item:
        done: queue.SimpleQueue[tuple[Item | None, BaseException | None]] = queue.SimpleQueue()

        def work() -> None:
            try:
                done.put((call(*arguments, **options), None))
            except BaseException as error:  # noqa: BLE001 -- whatever it is, the caller is to have it
                done.put((None, error))

        threading.Thread(target=work, name="within", daemon=True).start()
        try:
            made, error = done.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        if error is not None:
            raise error
        return made  # type: ignore[return-value] # where there is no error, it is what `call` has made

    return bounded
