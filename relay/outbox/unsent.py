"""What waits for its first attempt, as the part of the outbox that holds events gives it."""

from __future__ import annotations

from typing import NamedTuple


class Unsent(NamedTuple):
    """An event of the outbox that waits for its first attempt."""

    #: Its row in the outbox, and when it is due, in unix seconds.
    id: int
    due_at: float
    event_id: str
    event_type: str
    log_id: int | None
    user_id: int
    #: The id of the row of Moodle that it is about.
    row_id: int
