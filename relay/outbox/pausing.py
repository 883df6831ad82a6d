"""A pause that somebody has asked for, kept in the outbox: nothing is sent until somebody ends it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.outbox.contract import State

#: Under this key is kept who asked for a pause, without a name; '' where nobody did.
PAUSED = "paused"
#: How often whoever sends looks for it, in seconds.
LOOK_S = 1.0


def paused_by(state: State) -> str:
    """Return who asked for the pause that holds now; '' where there is none. Raises OutboxError."""
    return state.state(PAUSED) or ""


def pause(state: State, who: str, now: float) -> None:
    """Let nothing be sent from now on; what is under way is finished. Raises OutboxError."""
    state.set_state(PAUSED, who, now)


def resume(state: State, now: float) -> None:
    """Let what waits be sent. Raises OutboxError."""
    state.set_state(PAUSED, "", now)


class Pause:
    """Looks whether nothing is to be sent, now and then."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._looked_at = -math.inf
        self._holds = False

    def holds(self, now: float) -> bool:
        """Say whether somebody has asked for a pause, at a time in unix seconds. Raises OutboxError."""
        if abs(now - self._looked_at) >= LOOK_S:
            self._looked_at, self._holds = now, bool(paused_by(self._state))
        return self._holds
