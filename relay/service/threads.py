"""Pools of threads, and a limit for a call that has none of its own. They know nothing of events."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")

#: After so many calls of `share_core` the system chooses a core anew: what else runs on the old one may have changed.
CHOOSE_AFTER = 64


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
        self._core = _Core()
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

    def share_core(self, *, is_wanted: bool) -> None:
        """Let the threads, and the one that calls this, run on one core, or again wherever the system wants.

        It is for one thread, which calls it again and again.
        """
        if is_wanted or self._core.is_shared:
            with self._ended:
                self._core.share([one.native_id or 0 for one in self._threads], is_wanted=is_wanted)

    def close(self, timeout_s: float) -> None:
        """End the threads after what they have in hand; wait so many seconds at most for all of them."""
        self.share_core(is_wanted=False)
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


class _Core:
    """One core for threads that take turns at the GIL.

    They run one at a time wherever they are. On one core, a hand-over is a switch between two tasks; between two cores,
    the one wakes the other, and what both work with is carried over: 256 senders took a third more CPU for each request
    so, and were a quarter slower.
    """

    #: Threads are kept on one core; the one that calls may not be, at this moment.
    is_shared = False

    def __init__(self) -> None:
        #: Where the calling thread might run before; None before the first call, and where it may not be told where to.
        self._allowed: set[int] | None = None
        #: Where the threads run; None while the system chooses.
        self._chosen: int | None = None
        self._calls = 0
        self._is_refused = False

    def share(self, others: Iterable[int], *, is_wanted: bool) -> None:
        """Keep the calling thread and others (their native ids) on one core, or let them go."""
        if self._is_refused:
            return
        try:
            self._share(others, is_wanted=is_wanted)
        except OSError:
            # Whoever runs relay may forbid it, as a filter of system calls does: it works without.
            self._is_refused = True

    def _share(self, others: Iterable[int], *, is_wanted: bool) -> None:
        if self._allowed is None:
            self._allowed = os.sched_getaffinity(0)
        self._calls += 1
        if not is_wanted:
            self._keep(others, self._allowed)
            self.is_shared, self._chosen = False, None
        elif self._chosen is None:
            # A thread that may run anywhere runs where there was room when it was woken.
            self._chosen = _core_of_this_thread()
            self._keep(others, {self._chosen})
            self.is_shared = True
        elif self._calls % CHOOSE_AFTER == 0:
            self._chosen = None
            self._keep((), self._allowed)

    @staticmethod
    def _keep(others: Iterable[int], cores: set[int]) -> None:
        """Keep the calling thread, and others that have not ended, on these cores. Raises OSError."""
        os.sched_setaffinity(0, cores)
        for one in others:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(one, cores)


def _core_of_this_thread() -> int:
    """Return the core that the thread runs on (proc_pid_stat(5), processor). Raises OSError."""
    return int(Path("/proc/thread-self/stat").read_bytes().rpartition(b")")[2].split()[36])


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
