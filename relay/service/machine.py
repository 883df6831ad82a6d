"""What relay takes from the machine that it runs on: the time, waiting, and chance. A test hands in a virtual one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The clocks of a machine, and its randomness; `parts.REAL` is the real one."""

    #: Returns the time in unix seconds. People and NTP set this clock, forwards and back.
    now: Callable[[], float]
    #: Returns seconds since a moment that nobody knows, of a clock that is never set: for how long something takes.
    monotonic: Callable[[], float]
    #: Waits so many seconds.
    sleep: Callable[[float], object]
    #: Returns a random number from 0 to 1.
    random: Callable[[], float]
