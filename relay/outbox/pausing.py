"""A pause that somebody has asked for, kept in the outbox: nothing is sent until somebody ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.outbox.contract import State

#: Under this key is kept who asked for a pause, without a name; '' where nobody did.
PAUSED = "paused"


def paused_by(state: State) -> str:
    """Return who asked for the pause that holds now; '' where there is none. Raises OutboxError."""
    return state.state(PAUSED) or ""


def pause(state: State, who: str, now: float) -> None:
    """Let nothing be sent from now on; what is under way is finished. Raises OutboxError."""
    state.set_state(PAUSED, who, now)


def resume(state: State, now: float) -> None:
    """Let what waits be sent. Raises OutboxError."""
    state.set_state(PAUSED, "", now)
