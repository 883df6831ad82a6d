"""How many bytes a row takes in a statement, and rows in pieces that a server takes at once. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Row = TypeVar("Row")

#: Which bytes of a text a driver for MariaDB and MySQL writes as two.
ESCAPED = b"\0\n\r\x1a\"'\\"
#: What a number takes, a mark before bytes, quotes and commas.
AROUND = 24


def in_file(row: Mapping[str, Any]) -> int:
    """Return about how many bytes a row is, where the values are handed over as they are."""
    return sum(len(value) for value in row.values() if isinstance(value, str | bytes))


def in_statement(row: Mapping[str, Any]) -> int:
    """Return how many bytes a row is at the most, where the values are written into the statement."""
    return sum(written(value) for value in row.values())


def written(value: Any) -> int:
    """Return how many bytes a value is at the most, written into a statement."""
    if isinstance(value, bytes):
        return AROUND + 2 * len(value)  # some drivers write them in hex
    if not isinstance(value, str):
        return AROUND
    raw = value.encode("utf-8", "surrogatepass")
    return AROUND + 2 * len(raw) - len(raw.translate(None, ESCAPED))


def pieces(rows: Sequence[Row], size: Callable[[Row], int], *, most: int, most_bytes: int) -> Iterator[Sequence[Row]]:
    """Yield rows in pieces of at most so many rows and bytes; one that is larger is a piece by itself."""
    piece: list[Row] = []
    filled = 0
    for row in rows:
        takes = size(row)
        if piece and (len(piece) == most or filled + takes > most_bytes):
            yield piece
            piece, filled = [], 0
        piece.append(row)
        filled += takes
    if piece:
        yield piece
