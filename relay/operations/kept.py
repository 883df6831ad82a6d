"""Which recorded events, or rows of Moodle, say what Moodle keeps from the student: no command may send or show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.events import envelope
from relay.events.catalogue import KINDS
from relay.events.held import Held, holds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.events.kind import EventKind, Options
    from relay.moodle.contract import TableReads
    from relay.outbox.contract import Reports

#: Rows of Moodle in one query.
AT_ONCE = 500
#: Why an event is kept back where its row is gone: it may have been hidden before that.
GONE = Held("its row is gone from Moodle, and nobody can say any more whether the student was shown it")


class Kept:
    """Asks Moodle, and only where an event is of a kind that may be held."""

    def __init__(self, *, outbox: Reports, moodle: TableReads, options: Options) -> None:
        self._outbox = outbox
        self._moodle = moodle
        self._options = options

    def events(self, ids: Sequence[int]) -> dict[int, Held]:
        """Return which of these events of the outbox are kept back now, by row, and why. Raises RelayError.

        Where its row of Moodle is gone, an event is kept back, too (GONE).
        """
        found: dict[int, Held] = {}
        for kind in KINDS.values():
            if holds(kind, self._options):
                about = self._outbox.row_ids(ids, kind.name, kind.id_field)
                kept = self.rows(kind, sorted(set(about.values())), gone=GONE)
                found |= {event: kept[row_id] for event, row_id in about.items() if row_id in kept}
        return found

    def rows(self, kind: EventKind, ids: Sequence[int], *, gone: Held | None = None) -> dict[int, Held]:
        """Return which rows that events of the kind are about are kept back now, by id, and why: `gone` if it is gone.

        Raises MoodleError.
        """
        found: dict[int, Held] = {}
        for start in range(0, len(ids) if holds(kind, self._options) else 0, AT_ONCE):
            for some in self._moodle.portions(kind, ids[start : start + AT_ONCE]):
                facts = self._moodle.current(kind, some, self._options)
                held = {row_id: envelope.kept_now(kind, row_id, facts, self._options, gone=gone) for row_id in some}
                found |= {row_id: one for row_id, one in held.items() if one is not None}
        return found
