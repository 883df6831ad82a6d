"""Marks given-up events as dealt with, when a person says so (`relay acknowledge`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from relay.outbox.acknowledging import Acknowledging
from relay.outbox.contract import Reports

if TYPE_CHECKING:
    from relay.outbox.values import Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """What came of it."""

    #: How many events the selector meant, and how many of them were given up and are acknowledged now.
    meant: int
    acknowledged: int


class Recorded(Reports, Acknowledging, Protocol):
    """What is asked of the outbox."""


def acknowledge(outbox: Recorded, selector: Selector, reason: str, now: float) -> Acknowledged:
    """Acknowledge what the selector means and was given up, at `now` (unix seconds). Raises OutboxError."""
    ids = outbox.select(selector)
    return Acknowledged(meant=len(ids), acknowledged=outbox.acknowledge(ids, reason, now))
