"""A signal that comes at any moment is heard: also between two steps of the very wait that it is to end."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading

import pytest
from harness import PATIENCE_S

from relay.service.daemon import Flag

#: Waits for a signal again and again; it comes before the first opcode of the wait, then before the second, and so on.
#: Prints before how many it came.
SCRIPT = """
import signal, sys
from relay.service.daemon import Signals

def waits(which, moment):
    signals, seen = Signals(), 0

    def trace(frame, event, _):
        nonlocal seen
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen += 1
            if seen == moment:
                sys.settrace(None)
                signal.raise_signal(which)
        return trace

    with signals.installed():
        sys.settrace(trace)
        signals.stop.wait(0.01)
        sys.settrace(None)
    has_come = seen >= moment
    assert signals.stop.wait(0.0) is signals.stop.is_set() is has_come, moment
    assert signals.number == (which if has_come else None)
    return has_come

moment = 1
while waits(getattr(signal, sys.argv[1]), moment):
    moment += 1
print(moment - 1)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_a_wait_whatever_step_of_it_it_interrupts(name: str) -> None:
    """A handler that takes the lock of what it interrupts waits for ever, and the process can only be killed."""
    waited = subprocess.run(
        [sys.executable, "-c", SCRIPT, name], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert waited.stderr == ""
    assert int(waited.stdout) > 10


#: Waits for an end, and is asked for a reload meanwhile.
ASKED = """
import signal
from relay.service.daemon import Signals

signals = Signals()
with signals.installed():
    signal.raise_signal(signal.SIGHUP)
    assert not signals.stop.wait(3600.0)
    assert signals.reload.is_set()
    signals.reload.clear()
    assert not signals.reload.is_set()
    # It woke once.
    assert not signals.stop.wait(0.0)
"""


def test_who_waits_for_an_end_looks_up_where_a_reload_is_asked_for() -> None:
    waited = subprocess.run(
        [sys.executable, "-c", ASKED], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (waited.returncode, waited.stderr) == (0, "")


class Entered(queue.SimpleQueue[None]):
    """Counts who has come to wait: each of them needs something of its own to go on."""

    def __init__(self) -> None:
        self.count = threading.Semaphore(0)

    def get(self, block: bool = True, timeout: float | None = None) -> None:
        self.count.release()
        return super().get(block, timeout)


def test_all_that_wait_are_woken() -> None:
    flag, entered = Flag(), Entered()
    flag._woken = entered
    ended = threading.Semaphore(0)

    def wait() -> None:
        if flag.wait(3600.0):
            ended.release()

    for _ in range(3):
        threading.Thread(target=wait, daemon=True).start()
    assert all(entered.count.acquire(timeout=PATIENCE_S) for _ in range(3))
    flag.set()
    assert all(ended.acquire(timeout=PATIENCE_S) for _ in range(3))
