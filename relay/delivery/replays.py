"""What a person has asked to be sent again, as it goes out in batches. It serves `dispatch`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

#: How many events are claimed at once for a replay, at the most, and how large each is taken to be at first, in bytes.
REPLAY_BATCH = 200
REPLAY_SIZE = 1_000_000


@dataclass(slots=True)
class Replays:
    """Events that a person asked to be sent again."""

    #: Those (row ids) that are still to be sent, how many were, and how many of these the backend has taken.
    waiting: deque[int] = field(default_factory=deque)
    sent: int = 0
    delivered: int = 0
    #: How large one of them is taken to be, in bytes.
    size: int = REPLAY_SIZE
