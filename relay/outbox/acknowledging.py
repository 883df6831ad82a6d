"""The part of the outbox's contract that `relay acknowledge` and status use: what a person has dealt with."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Acknowledging(Protocol):
    """Given-up events that a person has dealt with. Raises as `contract` says."""

    @abstractmethod
    def acknowledge(self, ids: Sequence[int], reason: str, now: float) -> int:
        """Acknowledge those of these events (row ids) that were given up; return how many of them are acknowledged."""

    @abstractmethod
    def count_acknowledged(self) -> int:
        """Return how many events that were given up are acknowledged."""
