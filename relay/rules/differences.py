"""Whether a row of Moodle says something else than what is known of it, and whether it is time to say so. Pure."""

from __future__ import annotations

import json
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from relay.rules.prints import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.rules.prints import Print


class Difference(StrEnum):
    """How a row differs from what is known of it."""

    #: Nothing was ever sent of it.
    MISSING = "missing"
    CHANGED = "changed"
    #: It is not there any more.
    GONE = "gone"


class Seen(NamedTuple):
    """A row as it is now."""

    now: Print
    #: The newest event of the row: it says the same as the row, something else, or there is none.
    is_carried: bool
    is_known: bool
    #: That event was recorded after the row was last compared.
    is_newer: bool = False
    #: One of the row's times has passed.
    is_due: bool = False
    #: Moodle keeps from the student what it says: it is held, not sent; and that is recorded already.
    is_held: bool = False
    is_waiting: bool = False
    #: It is worth an event where nothing was ever sent of it.
    is_news: bool = True
    #: How many characters of data an event of it has.
    size: int = 0

    @property
    def told(self) -> Print:
        """What is kept of it when it is told of: of what is held nothing, as the digest of a score could be guessed."""
        return self.now._replace(data=NOTHING) if self.is_held else self.now


class Suspect(NamedTuple):
    """A row that differs, until it has done so for long enough."""

    #: Since when, in unix seconds.
    since: float
    #: What its data were then, and what was beside them; '' where it was gone.
    data: str
    beside: int
    is_due: bool


class Suspects(NamedTuple):
    """The rows of a chunk that differ, by id."""

    rows: Mapping[int, Suspect] = MappingProxyType({})
    #: Where the log ended when the last of them was found: what it says up to there wins.
    log_end: int = 0

    def encode(self) -> str:
        """Return them as text; '' where there are none."""
        if not self.rows:
            return ""
        rows = {row_id: [one.since, one.data, one.beside, int(one.is_due)] for row_id, one in self.rows.items()}
        return json.dumps({"log_end": self.log_end, "rows": rows}, separators=(",", ":"))


def decode(text: str) -> Suspects:
    """Return the suspects that `encode` gave."""
    if not text:
        return Suspects()
    saved = json.loads(text)
    rows = {
        int(row_id): Suspect(since, data, beside, bool(is_due))
        for row_id, (since, data, beside, is_due) in saved["rows"].items()
    }
    return Suspects(rows=rows, log_end=saved["log_end"])


def difference(before: Print | None, seen: Seen, suspect: Suspect | None) -> Difference | None:
    """Return how a row that is there differs from what was kept of it (`before`), or None where it does not."""
    if seen.now.data == NOTHING or (seen.is_held and seen.is_waiting):
        return None
    if not seen.is_known and (before is None or before.data == NOTHING):
        return Difference.MISSING if seen.is_news else None
    is_moved = before is None or before.data != seen.now.data or seen.is_newer
    if is_moved and not seen.is_carried:
        return Difference.CHANGED
    was_due = suspect is not None and suspect.is_due and suspect.data == seen.now.data.hex()
    is_other = before is not None and before.beside != seen.now.beside
    return Difference.CHANGED if is_other or seen.is_due or was_due else None


def suspected(seen: Seen | None, suspect: Suspect | None, now: float) -> Suspect:
    """Return since when a row (None: one that is gone) has differed as it does now, given what it was before."""
    data, beside = ("", 0) if seen is None else (seen.told.data.hex(), seen.now.beside)
    is_same = suspect is not None and (suspect.data, suspect.beside) == (data, beside)
    # Not later than now: the clock may have been set back.
    since = min(suspect.since, now) if suspect is not None and is_same else now
    is_due = seen is not None and (seen.is_due or (is_same and suspect is not None and suspect.is_due))
    return Suspect(since, data, beside, is_due)


def kept(before: Print | None, seen: Seen) -> Print:
    """Return what is kept of a row that does not differ.

    Where nothing can be made of it, what its data were before. Where it is held, and does not say what it said before,
    nothing: it differs when Moodle shows it.
    """
    if seen.now.data == NOTHING and before is not None:
        return seen.now._replace(data=before.data)
    was_told = seen.is_carried or (before is not None and before.data == seen.now.data)
    return seen.now if was_told else seen.told
