"""Times as people write them (durations such as 10m, moments such as 2026-02-01T14:30:00Z), and as HTTP does. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

#: Seconds in each unit of a duration (contract, section 6).
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)", re.ASCII)


def seconds(text: str) -> float:
    """Return a duration in seconds. Raises ValueError with a sentence's end."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ValueError("is no duration: write a number and a unit, such as 500ms, 5s, 10m, 1h or 30d")
    return float(found[1]) * UNITS[found[2]]


def of_http(date: str) -> float | None:
    """Return a date of HTTP (RFC 9110, section 5.6.7) in unix seconds; None for what is none."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 -- a start does not wait for what it brings

    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def iso(seconds: float) -> str:
    """Return a moment, given in unix seconds, as `moment` reads it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def show(seconds: float) -> str:
    """Return a moment, given in unix seconds, as people read it: in the local zone, with its offset."""
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(" ", "seconds")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} (no time)"


def span(seconds: float) -> str:
    """Return how long something lasts, in whole units, as people read it."""
    for unit, name in (("d", "d"), ("h", "h"), ("m", "min")):
        if seconds >= 2 * UNITS[unit]:
            return f"{int(seconds // UNITS[unit])} {name}"
    return f"{int(seconds)} s"


def moment(text: str) -> float:
    """Return a moment in unix seconds, given as such or in ISO 8601 (UTC where no offset is named).

    Raises ValueError with a sentence's end.
    """
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 12:
        return float(text)
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("is no time: write 2026-02-01T14:30:00Z, 2026-02-01, or unix seconds") from None
