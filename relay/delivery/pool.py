"""What delivery asks of the threads that send: they are handed in, so that a test can do with one thread."""

from __future__ import annotations

from typing import Protocol, TypeVar

Item_contra = TypeVar("Item_contra", contravariant=True)


class Pool(Protocol[Item_contra]):
    """A queue of items, and workers that each take one after the other and work on it."""

    @property
    def width(self) -> int:
        """How many workers there may be."""

    @property
    def error(self) -> BaseException | None:
        """What ended a worker, if the work on an item failed: nobody knows then what became of the item."""

    def submit(self, item: Item_contra) -> None:
        """Put an item into the queue."""

    def widen(self, width: int) -> None:
        """Let there be so many workers, more or fewer than now."""

    def share_core(self, *, is_wanted: bool) -> None:
        """Let the workers, and the thread that calls this, run on one core, or again wherever the system wants."""

    def backlog(self) -> int:
        """Return about how many items no worker has taken yet."""

    def close(self, timeout_s: float) -> None:
        """End the workers after what they have in hand; wait so many seconds at most for all of them."""
