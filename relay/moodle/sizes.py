"""How large rows of Moodle's tables are, so that no more of them are read at once than memory is meant to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.moodle.contract import BYTES_AT_ONCE
from relay.moodle.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from relay.events.kind import EventKind
    from relay.rules.server import Address

#: Of how many rows the sizes are asked at once: to say how large a row is, the server reads it.
ASKED = 100


class SizeReader(Database):
    """Asks for sizes, of the kinds whose rows may be large (EventKind.sizes)."""

    def __init__(
        self,
        address: Address,
        kinds: Sequence[EventKind],
        triggered: Sequence[EventKind] = (),
        *,
        limit_s: float | None = None,
    ) -> None:
        super().__init__(address, kinds, triggered, limit_s=limit_s)
        #: How many bytes rows have that are not read yet, by kind and id: nobody asks for them twice.
        self._ahead: dict[tuple[str, int | None], int] = {}

    def close(self) -> None:
        self._ahead = {}
        super().close()

    def portions(self, kind: EventKind, ids: Sequence[int]) -> Iterator[Sequence[int]]:
        some: list[int] = []
        size = 0
        for start in range(0, len(ids), ASKED):
            asked = ids[start : start + ASKED]
            self._ask_sizes(kind, asked if len(ids) > 1 else ())
            for one in asked:
                added = self._known_size(kind.name, one)
                if some and size + added > BYTES_AT_ONCE:
                    yield some
                    some, size = [], 0
                some.append(one)
                size += added
                self._forget_sizes([(kind.name, one)])
        if some:
            yield some

    def _ask_sizes(self, kind: EventKind, ids: Sequence[int]) -> None:
        """Ask how large these rows are, save where that is known, or they are of a kind of which none is large."""
        new = [one for one in ids if (kind.name, one) not in self._ahead] if kind.sizes else []
        self._ahead |= {(kind.name, one): 0 for one in new}
        self._ahead |= {(kind.name, int(row["id"])): int(row["bytes"] or 0) for row in self.select_for(kind.sizes, new)}

    def _known_size(self, name: str, row_id: int | None) -> int:
        return self._ahead.get((name, row_id), 0)

    def _forget_sizes(self, read: Iterable[tuple[str, int | None]]) -> None:
        """Be told of rows, by kind and id, that are read now: later they may be larger."""
        for one in read:
            self._ahead.pop(one, None)
