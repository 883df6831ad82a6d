"""The part of the outbox's contract that reconcile alone uses: what was seen of Moodle's tables, by chunks of rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.model import Told
    from relay.outbox.values import Chunk


class Chunks(Protocol):
    """What was seen of Moodle's tables, and what was told of their rows. Raises as `contract` says."""

    @abstractmethod
    def chunk(self, table: str, low: int) -> Chunk | None:
        """Return the first chunk of a table that begins at an id or behind it, or None."""

    @abstractmethod
    def chunk_to_look_at(self, table: str, low: int, before: float) -> Chunk | None:
        """Return the first such chunk with differences to be looked at before a time (unix seconds), or None."""

    @abstractmethod
    def last_look(self, table: str) -> float | None:
        """Return when the last chunk of a table is to be looked at again, in unix seconds; None where none is."""

    @abstractmethod
    def told(self, event_ids: Sequence[str]) -> Mapping[str, Told]:
        """Return what these events have told, by event id; one that was purged is left out."""

    @abstractmethod
    def types_of(self, event_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the types of these events, by event id, without their data; one that was purged is left out."""

    @abstractmethod
    def captured_since(self, table: str, low: int, high: int, log_id: int) -> Sequence[int]:
        """Return the ids of a table's rows, behind `low` and up to `high`, whose newest event is of a later log row."""
