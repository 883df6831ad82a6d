"""A list of events as a table that fits the terminal, in colours where there is one."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, TextIO

from relay import times
from relay.cli.views import plain
from relay.model import Status
from relay.operations.listed import error_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.outbox.values import Listed

HEADS = ("time", "type", "user", "course", "status", "tries")
#: How wide the last column is at the least, in characters: else the error has a line of its own.
LEAST = 24
#: How far such a line is indented.
INDENT = 4
#: The colours of the states: what is well, what waits, what needs a person.
COLOURS: Mapping[str, str] = {
    Status.SUCCESS: "32",
    Status.PENDING: "36",
    Status.FAILED: "33",
    Status.GAVE_UP: "31",
    Status.SKIPPED: "2",
}


def has_colours(stream: TextIO) -> bool:
    """Say whether a stream is a terminal that takes colours, and nobody has said that there are to be none."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def width_of(stream: TextIO) -> int | None:
    """Return how wide a terminal is, in characters; None for what is none."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def show(events: Sequence[Listed]) -> str:
    """Return a list of events as what is written to standard output."""
    return "\n".join(lines(events, width_of(sys.stdout), in_colour=has_colours(sys.stdout)))


def lines(events: Sequence[Listed], width: int | None, *, in_colour: bool) -> list[str]:
    """Return a table with a head, and a row for each event, none of them wider than `width`; None: as wide as it is."""
    rows = [_cells(event) for event in events]
    widths = [max(len(row[column]) for row in (HEADS, *rows)) for column in range(len(HEADS))]
    if width is not None:
        # The type is the one column of which the beginning says enough.
        widths[1] = max(8, min(widths[1], width - sum(widths) + widths[1] - len(widths) + 1))
    taken = sum(widths) + len(widths)
    is_beside = width is None or width - taken >= LEAST
    made = [_row((*HEADS, "error") if is_beside else HEADS, widths)[:width]]
    for event, row in zip(events, rows, strict=True):
        error = plain(error_of(event))
        shown = _row((*row, error) if is_beside and error else row, widths)[:width]
        made.append(_coloured(shown, row[4], sum(widths[:4]) + 4) if in_colour else shown)
        if error and not is_beside:
            made.append((" " * INDENT + error)[:width])
    return made


def _cells(event: Listed) -> tuple[str, ...]:
    course = "" if event.course_id is None else str(event.course_id)
    user = str(event.user_id) if event.user_id else ""
    return (
        times.show(event.occurred_at),
        plain(event.event_type),
        user,
        course,
        str(event.status),
        str(event.attempts),
    )


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    fitted = [_fitted(cell, width) for cell, width in zip(cells, widths, strict=False)]
    return " ".join([*fitted, *cells[len(widths) :]]).rstrip()


def _fitted(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else f"{cell[: width - 1]}…"


def _coloured(row: str, status: str, start: int) -> str:
    """Return a row whose status, which begins at a character, is in its colour."""
    end = start + len(status)
    return f"{row[:start]}\x1b[{COLOURS.get(status, '0')}m{row[start:end]}\x1b[0m{row[end:]}"
