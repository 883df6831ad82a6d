"""What relay takes from the machine that it runs on: time, waiting, chance, threads. A test hands in a virtual one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.delivery.workers import MakePool


class Machine(NamedTuple):
    """A machine; `parts.REAL` is the real one."""

    #: Returns the time in unix seconds. People and NTP set this clock, forwards and back.
    now: Callable[[], float]
    #: Returns seconds since a moment that nobody knows, of a clock that is never set: for how long something takes.
    monotonic: Callable[[], float]
    #: Waits so many seconds.
    sleep: Callable[[float], object]
    #: Returns a random number from 0 to 1.
    random: Callable[[], float]
    #: Makes the threads that send: given how many there may be, what each does with an item, and a name for them.
    make_pool: MakePool
