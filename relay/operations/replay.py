"""Sends recorded events again, once, when a person asks for it (`relay run --replay`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from relay.operations import undelivered
from relay.operations.kept import GONE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from relay.operations.kept import Kept
    from relay.outbox.contract import Reports
    from relay.outbox.values import Listed, Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What came of a replay."""

    #: How many events the selector meant.
    meant: int
    #: How many of them have been sent again.
    sent: int
    #: How many of those the backend has taken this time.
    delivered: int
    #: How many of them were not sent, as Moodle keeps from the student what they say.
    held: int = 0
    #: Of how many of those the row of Moodle is gone.
    gone: int = 0
    #: How many more the selector meant whose data was forgotten: they can't be sent again.
    forgotten: int = 0
    #: Why the one event that was meant was not sent, where it is under way; '' for any other.
    under_way: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a replay would do."""

    #: What would be sent, in the order it happened.
    events: Iterator[Listed]
    #: How many would not be sent, as Moodle keeps from the student what they say.
    held: int
    #: Of how many of those the row of Moodle is gone.
    gone: int
    #: How many more the selector means whose data was forgotten.
    forgotten: int


class Delivering(Protocol):
    """What a replay asks of delivery."""

    @property
    def under_way(self) -> int:
        """How many events have been put under way and are not settled yet."""

    @property
    def replayed(self) -> int:
        """How many events have been sent again."""

    @property
    def redelivered(self) -> int:
        """How many of the events that have been sent again the backend has taken."""

    def replay(self, ids: Sequence[int], now: float) -> None:
        """Put events (row ids) under way once more, whatever their state. Raises OutboxError."""

    def settle(self, now: float) -> float:
        """Record what has come back; return after how many seconds there may be more. Raises OutboxError."""


def _under_way(outbox: Reports, event_id: str, now: float) -> str:
    """Say who has an event under way; '' where nobody does."""
    found = outbox.recorded(now, event_id=event_id)
    return undelivered.under_way(found[0], found[0].taken, now)[0] if found and found[0].taken else ""


def replay(
    outbox: Reports,
    kept: Kept,
    delivering: Delivering,
    selector: Selector,
    now: Callable[[], float],
    wait: Callable[[float], object],
    tell: Callable[[int, int], object] = lambda _done, _of: None,
) -> Replayed:
    """Send again, once, what the selector means. Raises OutboxError, and MoodleError where it is to be asked.

    Each event keeps its id and its bytes, and gets one more attempt row. One that Moodle keeps from the student now is
    not sent: its bytes say what stood there when it was recorded. `now` tells unix seconds; `wait` waits so many
    seconds, or until something has come back; `tell` is told how many of how many have been sent.
    """
    ids, held, gone = _sendable(outbox, kept, selector)
    delivering.replay(ids, now())
    while delivering.under_way:
        tell(delivering.replayed, len(ids))
        wait(delivering.settle(now()))
    is_one_left = selector.event_id is not None and len(ids) > delivering.replayed
    return Replayed(
        under_way=_under_way(outbox, selector.event_id or "", now()) if is_one_left else "",
        meant=len(ids) + held,
        sent=delivering.replayed,
        delivered=delivering.redelivered,
        held=held,
        gone=gone,
        forgotten=outbox.count_forgotten(selector),
    )


def preview(outbox: Reports, kept: Kept, selector: Selector, types: Collection[str]) -> Preview:
    """Return what a replay would send, given the event types that are known; nothing is sent or recorded.

    Raises OutboxError, and MoodleError where it is to be asked.
    """
    ids, held, gone = _sendable(outbox, kept, selector)
    events = (one for one in outbox.listed_rows(ids) if one.event_type in types)
    return Preview(events=events, held=held, gone=gone, forgotten=outbox.count_forgotten(selector))


def _sendable(outbox: Reports, kept: Kept, selector: Selector) -> tuple[Sequence[int], int, int]:
    """Return the rows of the events that may be sent now, in the order they happened.

    Behind them, how many are kept back, and of how many of those the row of Moodle is gone.
    """
    meant = outbox.select(selector)
    kept_back = kept.events(meant)
    ids = [one for one in meant if one not in kept_back]
    return ids, len(kept_back) + outbox.count_held(selector), sum(one is GONE for one in kept_back.values())
