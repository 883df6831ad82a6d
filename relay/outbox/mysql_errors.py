"""What the server of a shared outbox says no with, as relay's errors: about a row, and all that `rules.server` knows.

Pure; it serves `mysql_database`, which brings the driver's errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import OutboxError, OutboxRefused, OutboxUnavailable
from relay.rules import server

if TYPE_CHECKING:
    from relay.rules.server import Address

#: Of what is written, the server never takes some: MariaDB's and MySQL's error codes, and what is wrong with it.
UNFIT = {
    1048: "a value is missing",
    1118: "a row is too large",
    1153: "it is larger than max_allowed_packet",
    1264: "a number is out of its column's range",
    1265: "a value is not of its column's kind",
    1300: "a text holds what is no character",
    1301: "it is larger than max_allowed_packet",
    1366: "a text holds characters that its column does not take",
    1367: "a value is not of its column's kind",
    1406: "a text is too long for its column",
    1690: "a number is out of range",
    3140: "a text is no JSON",
    3141: "a text is no JSON",
    4038: "a text is no JSON",
}
#: The server's number for what is too large for it; the driver's for a connection that was closed as it wrote or read.
TOO_LARGE, GONE, LOST = 1153, 2006, 2013


def may_be_too_large(error: Exception) -> bool:
    """Say whether a statement that ended so may have been too large: only the server, asked anew, knows.

    Silence says nothing of it: that is an outage.
    """
    # The driver has no number where the answer is not the one to what it says: the server spoke while it was written.
    is_closed = isinstance(error, OSError) or server.code_of(error) in {0, TOO_LARGE, GONE, LOST}
    return is_closed and "timed out" not in str(error)


def too_large(size: int, address: Address) -> OutboxRefused:
    """Return the error for a statement of so many bytes at which the server closes the connection each time."""
    return OutboxRefused(
        f"{address.title} at {address.where()} closes the connection at {size} bytes at once: it is larger than "
        "max_allowed_packet, or than what something on the way takes."
    )


def explained(error: Exception, address: Address) -> OutboxError:
    """Return relay's error for one of the driver or of the system, in our own words: theirs could quote values."""
    where, code = f"{address.title} at {address.where()}", server.code_of(error)
    if code in UNFIT:
        return OutboxRefused(f"{where} refuses what is to be written: {UNFIT[code]} (error {code}).")
    problem = server.explained(error, address)
    return (OutboxError if problem.is_refusal else OutboxUnavailable)(problem.sentence, hint=problem.hint)
