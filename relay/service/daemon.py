"""The process: loops, signals, and what systemd is told. It knows nothing of events."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: The first and the longest wait between two tries of a pass that fails, in seconds.
RETRY_FIRST_S, RETRY_MAX_S = 0.25, 10.0
#: A loop that has not completed a pass for so long, in seconds, no longer feeds the watchdog.
STUCK_S = 90.0
#: How often the watchdog is fed, and looked whether a loop has ended, in seconds.
BEAT_S = 1.0
#: How far systemd's limit of a stop is put off each time, in seconds.
EXTEND_S = 10.0


class Watch(NamedTuple):
    """What to do when a pass begins to fail, and when it works again; each is called once a change."""

    #: The errors that another try can heal; any other ends the daemon.
    heals: tuple[type[Exception], ...]
    down: Callable[[BaseException], None]
    up: Callable[[], None]


class Loop:
    """Runs a pass again and again in a thread of its own, waiting as long as the pass says, or until it is woken."""

    def __init__(
        self,
        name: str,
        run_pass: Callable[[], float],
        watch: Watch,
        *,
        monotonic: Callable[[], float],
        is_down: bool = False,
    ) -> None:
        """Take a pass that returns after how many seconds the next one is wanted, and a clock that is never set.

        `is_down`: it has been said that the passes fail.
        """
        self.name = name
        self._run_pass = run_pass
        self._watch = watch
        self._monotonic = monotonic
        self._is_down = is_down
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._has_tried = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        #: What ended the loop, if it was not `stop`.
        self.error: BaseException | None = None
        #: When a pass was last completed, by the monotonic clock.
        self.beat = monotonic()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Let the next pass begin at once."""
        self._wake.set()

    def stop(self) -> None:
        """Let the loop end after the pass that is under way."""
        self._stop.set()
        self._wake.set()

    def wait_for_first(self, timeout_s: float) -> None:
        """Wait until the first pass is completed or has failed, so many seconds at most."""
        self._has_tried.wait(timeout_s)

    def join(self, timeout_s: float) -> bool:
        """Wait for the loop to end, so many seconds at most; say whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._wake.clear()
                delay = self._completed_pass()
                self._has_tried.set()
                self._came_up()
                self.beat = self._monotonic()
                if delay > 0:
                    self._wake.wait(delay)
        except BaseException as error:  # noqa: BLE001 -- whatever ends a loop is shown by the main thread
            if not (self._stop.is_set() and isinstance(error, self._watch.heals)):
                self.error = error
        finally:
            self._has_tried.set()

    def _completed_pass(self) -> float:
        """Run the pass until it is completed; return what it returns."""
        try:
            return self._run_pass()
        except self._watch.heals as error:
            # Most passes do not fail, and what tries again costs as much as a pass in which nothing is new.
            if self._stop.is_set():
                raise
            self._went_down(error)
        import tenacity  # noqa: PLC0415 -- most relays start, and read, without an error

        self._sleep(RETRY_FIRST_S)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(self._watch.heals),
            wait=tenacity.wait_exponential(multiplier=RETRY_FIRST_S, max=RETRY_MAX_S),
            stop=tenacity.stop_when_event_set(self._stop),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(self._run_pass)

    def _sleep(self, seconds: float) -> None:
        # A pass that failed with an error that heals counts as completed: the watchdog must not kill for an outage.
        self.beat = self._monotonic()
        self._has_tried.set()
        self._stop.wait(seconds)

    def _went_down(self, error: BaseException) -> None:
        if not self._is_down:
            self._is_down = True
            self._watch.down(error)

    def _came_up(self) -> None:
        if self._is_down:
            self._is_down = False
            self._watch.up()


class Flag:
    """What a signal's handler may set, whatever the thread that it interrupts is doing.

    `threading.Event` takes a lock to be set. A handler that runs in the midst of `wait` of the same event waits for
    that lock for ever, as the thread that holds it is its own. `SimpleQueue.put` is made for that: it is reentrant.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()

    def is_set(self) -> bool:
        """Say whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake all that wait for it."""
        self._is_set = True
        self._woken.put(None)

    def clear(self) -> None:
        """Take it back; whoever waits is woken once for nothing at the most."""
        self._is_set = False

    def wake(self) -> None:
        """Let who waits look up, though it is not set."""
        self._woken.put(None)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is set, or somebody wakes, so many seconds at most; say whether it is set."""
        if not self._is_set:
            with contextlib.suppress(queue.Empty):
                self._woken.get(timeout=timeout_s)
                if self._is_set:
                    # Others may wait, too.
                    self._woken.put(None)
        return self._is_set


class Signals:
    """SIGTERM and SIGINT ask for the end, a second one ends at once; SIGHUP asks for a reload."""

    def __init__(self) -> None:
        self.stop = Flag()
        self.reload = Flag()
        #: The first signal that asked for the end.
        self.number: int | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals within; only in the main thread."""
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @staticmethod
    def ask_reload(pid: int) -> None:
        """Ask another relay for a reload. Raises OSError."""
        os.kill(pid, signal.SIGHUP)

    def _handle(self, number: int, _frame: Any) -> None:
        if number == signal.SIGHUP:
            self.reload.set()
            # Who waits for an end looks for this, too.
            self.stop.wake()
        elif self.stop.is_set():
            os._exit(128 + number)
        else:
            self.number = number
            self.stop.set()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let the first signal that asks for the end raise KeyboardInterrupt; further ones don't disturb the tidying up."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def handle(_number: int, _frame: Any) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Systemd:
    """The notification socket of systemd (sd_notify(3)); silent where there is none."""

    def __init__(self, socket_path: str | None) -> None:
        self._path = socket_path
        if self._path and self._path.startswith("@"):
            self._path = "\0" + self._path[1:]

    def notify(self, *lines: str) -> None:
        """Send lines such as READY=1."""
        if not self._path:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect(self._path)
            notify.sendall("\n".join(lines).encode())

    @contextlib.contextmanager
    def kept_alive(self, seconds: float) -> Iterator[None]:
        """Feed the watchdog, and put off systemd's limit of a start or a stop, within: so many seconds at most.

        For what the main thread waits for, which has an end of its own, such as requests that are under way.
        """
        if not self._path:
            yield
            return
        is_over = threading.Event()

        def feed() -> None:
            for _ in range(math.ceil(seconds / BEAT_S)):
                self.notify("WATCHDOG=1", f"EXTEND_TIMEOUT_USEC={int(EXTEND_S * 1e6)}")
                if is_over.wait(BEAT_S):
                    return

        feeding = threading.Thread(target=feed, name="systemd", daemon=True)
        feeding.start()
        try:
            yield
        finally:
            is_over.set()
            feeding.join()


def supervise(
    loops: Sequence[Loop],
    signals: Signals,
    systemd: Systemd,
    monotonic: Callable[[], float],
    describe: Callable[[], str],
) -> BaseException | None:
    """Feed the watchdog while every loop completes passes, until a signal asks for the end or a reload.

    `describe` says in a few words how it is; systemd is told whenever that changes. Returns what ended a loop, if one
    ended by itself: that is fatal.
    """
    said = ""
    while not signals.stop.is_set() and not signals.reload.is_set():
        dead = next((loop for loop in loops if loop.error is not None), None)
        if dead is not None:
            return dead.error
        if all(monotonic() - loop.beat < STUCK_S for loop in loops):
            systemd.notify("WATCHDOG=1")
        found = describe()
        if found != said:
            said = found
            systemd.notify(f"STATUS={said}")
        signals.stop.wait(BEAT_S)
    return None
