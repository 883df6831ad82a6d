"""When Moodle's tables were last compared with what was sent, and what was found; it serves `status` and `explain`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay import times
from relay.events import catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.outbox.contract import Reports

#: A comparison is overdue when so many times its interval has passed.
OVERDUE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What the last whole comparison of a table has found (`capture.reconcile`)."""

    #: When it ended, in unix seconds.
    at: float
    rows: int
    #: How many rows differed, and how many events were made of them.
    differed: int
    sent: int


def say_compared(outbox: Reports, name: str) -> str:
    """Say when a table was last compared with what was sent of it, by reconcile's name of it. Raises OutboxError."""
    compared = last(outbox).get(name)
    if compared is None:
        return "Moodle's table has not been compared with what was sent (relay reconcile)."
    return (
        f"The table was last compared at {times.show(compared.at)}: what was there at the first comparison is sent "
        "when it changes."
    )


def last(outbox: Reports) -> dict[str, Compared]:
    """Return what was last found, by table. Raises OutboxError."""
    found = {name: outbox.state(f"reconcile.{name}.last") for name in catalogue.SYNCED}
    return {name: Compared(**json.loads(saved)) for name, saved in found.items() if saved}


def overdue(
    outbox: Reports, compared: Mapping[str, Compared], tables: Sequence[str], interval_s: float, now: float
) -> float | None:
    """Return when the table was last compared that has waited longest, where that is too long ago.

    One that has never been compared to its end has waited since that was begun. Raises OutboxError.
    """
    ended = {name: one.at for name, one in compared.items() if name in tables}
    begun = {name: float(outbox.state(f"reconcile.{name}.begun") or now) for name in tables if name not in ended}
    oldest = min([*ended.values(), *begun.values()], default=now)
    return oldest if now - oldest > OVERDUE * interval_s else None
