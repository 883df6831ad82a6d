"""What is kept of each row of a chunk: some eleven bytes that tell which rows differ, and in what. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How many bytes are kept of a row's digest, which tells it from the other rows of a chunk that differs, and of the
#: digest of its data, which tells whether there is anything to send.
RAW_BYTES, DATA_BYTES = 4, 5
#: The data of a row of which no event can be made.
NOTHING = bytes(DATA_BYTES)


class Print(NamedTuple):
    """What is kept of a row."""

    raw: bytes
    data: bytes
    #: `CurrentRows.beside` of the row.
    beside: int = 0


def raw(digest: int) -> bytes:
    """Return what is kept of a row's digest of 64 bits."""
    return (digest % (1 << (8 * RAW_BYTES))).to_bytes(RAW_BYTES, "big")


def encode(prints: Mapping[int, Print]) -> bytes:
    """Return prints by id as bytes: of each id the distance from the one before it, seven bits in a byte."""
    encoded = bytearray()
    before = 0
    for row_id in sorted(prints):
        distance, before = row_id - before, row_id
        while distance > 0x7F:
            encoded.append(0x80 | distance & 0x7F)
            distance >>= 7
        one = prints[row_id]
        encoded += bytes((distance,)) + one.raw + one.data + bytes((one.beside,))
    return bytes(encoded)


def decode(encoded: bytes) -> dict[int, Print]:
    """Return the prints that `encode` gave, by ascending id."""
    prints: dict[int, Print] = {}
    row_id, at = 0, 0
    while at < len(encoded):
        shift = 0
        while encoded[at] & 0x80:
            row_id += (encoded[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
        row_id += encoded[at] << shift
        data_at = at + 1 + RAW_BYTES
        end = data_at + DATA_BYTES
        prints[row_id] = Print(encoded[at + 1 : data_at], encoded[data_at:end], encoded[end])
        at = end + 1
    return prints
