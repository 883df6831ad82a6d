"""The part of the outbox's contract that the page uses: what is shown of many events, at a cost that has a bound."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.outbox.values import Listed, Selector


class Leaf(NamedTuple):
    """A leaf of a list of events, the last recorded first."""

    events: Sequence[Listed]
    #: Where the next leaf begins: behind this row; None where there is none.
    before: int | None = None
    #: When the last row that was looked at was recorded, in unix seconds, where not all could be looked at.
    looked_back_to: int | None = None


class Bucket(NamedTuple):
    """What was delivered in a stretch of time."""

    #: From when on, in unix seconds.
    since: float
    delivered: int
    #: It was found by samples.
    is_estimated: bool = False
    #: From Moodle's log row until the backend had taken the event, in seconds: the median, and the 95th percentile;
    #: None where nothing of the log was delivered.
    median_s: float | None = None
    slow_s: float | None = None


class HistoryLine(NamedTuple):
    """A line of the sync history."""

    id: int
    sync_type: str
    action: str
    status: str
    processed: int
    failed: int
    started_at: int
    completed_at: int | None
    error: str | None
    triggered_by: int | None


class Looking(Protocol):
    """What the page asks. No answer takes longer with a million events. Raises as `contract` says."""

    @abstractmethod
    def leaf(self, selector: Selector, limit: int, *, text: str = "", before: int | None = None) -> Leaf:
        """Return recorded events that are meant and hold a text, the last recorded first.

        The text is looked for in ids, errors, and data that may be shown: not in what is held.
        """

    @abstractmethod
    def oldest_undelivered(self) -> Listed | None:
        """Return the undelivered event that was recorded first; None where there is none."""

    @abstractmethod
    def trend(self, edges: Sequence[float]) -> Sequence[Bucket]:
        """Return what was delivered between each two of these times (unix seconds, ascending), of many by samples."""

    @abstractmethod
    def history(self, limit: int) -> Sequence[HistoryLine]:
        """Return the last lines of the sync history, the newest first."""
