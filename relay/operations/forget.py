"""Takes the personal data of one user out of the outbox, in small steps: whoever else uses it gets in between two."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from relay.operations.purge import REST_S, ROWS
from relay.outbox.values import Forgotten

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.outbox.contract import Admin


def forget(
    outbox: Admin, user_id: int, now: Callable[[], float], sleep: Callable[[float], object], *, undelivered: bool
) -> Forgotten:
    """Forget a user (Moodle's id); return how many events that were, and what is left. Raises OutboxError.

    `undelivered`: also what is still to be delivered, which then never is. `now` tells unix seconds, `sleep` waits so
    many seconds.
    """
    done = Forgotten()
    while True:
        step = outbox.forget(user_id, now(), ROWS, undelivered=undelivered)
        done = replace(step, count=done.count + step.count, undelivered=done.undelivered + step.undelivered)
        if step.count < ROWS:
            break
        sleep(REST_S)
    while done.count and outbox.shrink():
        sleep(REST_S)
    return done
