"""One attempt to send an event to the backend -> what came of it (contract, section 3).

It serves `dispatch`, by way of the function that `service.wiring` makes of it, and `relay check`. A network error is an
outcome, not an exception.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from relay import times
from relay.model import Outcome
from relay.rules import request, signing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from relay.delivery.answer import Answer
    from relay.delivery.transport import Transport

#: So much of an answer is kept, in characters.
ANSWER_KEPT = 2000
#: A Retry-After is honoured up to a day, in seconds.
RETRY_AFTER_MOST = 86400.0
#: What stands in the place of the token, where an answer repeats it.
MASK = "********"


class Sender:
    """Sends requests to one backend, signed and with the contract's headers. Safe to use from several threads."""

    def __init__(
        self,
        *,
        transport: Transport,
        token: str,
        tenant_id: str,
        version: str,
        signing_keys: Sequence[str] = (),
    ) -> None:
        """Take the keys as the config has them (`whsec_…`, `whsk_…`). Raises ValueError for one that is none."""
        self._transport = transport
        #: The Date of the last answer, and when that came, in unix seconds.
        self._dated: tuple[str, float] | None = None
        self._keys = [signing.parse_key(key) for key in signing_keys]
        self._masked = forms(token)
        self._headers = request.caller(token, tenant_id, version)
        self._caller = tuple(self._headers.items())

    def post(self, event_type: str, event_id: str, body: bytes, now: float) -> Outcome:
        """Send an event in an attempt that begins `now` (unix seconds), and say what came of it."""
        headers = request.attempt(self._keys, event_id, int(now), body)
        answer = self._transport.send("POST", f"{request.EVENTS}{event_type}", headers, body, self._caller)
        date = answer.headers.get("date")
        if date is not None:
            self._dated = (date, now + answer.duration_ms / 1000)
        return outcome_of(answer, now, self._masked)

    def get(self, path: str, params: Mapping[str, str], *, token: str | None = None) -> Answer:
        """Ask the backend for something, with its token or another one."""
        query = f"?{urlencode(params)}" if params else ""
        headers = self._headers if token is None else {**self._headers, "X-Moodle-Token": token}
        return self._transport.send("GET", f"{path}{query}", headers, None)

    def clock_skew_s(self) -> float | None:
        """Return how far the backend's clock was ahead at the last answer, in seconds; None where it has told none."""
        if self._dated is None:
            return None
        date, came_at = self._dated
        told = times.of_http(date)
        return None if told is None else told - came_at

    def abort(self) -> None:
        """Break off what is under way, and send nothing more."""
        self._transport.abort()

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._transport.close()


def forms(token: str) -> frozenset[str]:
    """Return how a token may stand in an answer that repeats it: as it is, and as JSON has it."""
    return frozenset({token, json.dumps(token)[1:-1]})


def outcome_of(answer: Answer, now: float, masked: Collection[str]) -> Outcome:
    """Return what came of an attempt that began `now` (unix seconds); no text of `masked` is in it."""
    if answer.http_code is None:
        return Outcome(error=answer.error, error_kind=answer.error_kind, duration_ms=answer.duration_ms)
    return Outcome(
        http_code=answer.http_code,
        answer=_shown(answer, masked),
        retry_after_s=parse_retry_after(answer.headers.get("retry-after"), now + answer.duration_ms / 1000),
        duplicate=_is_duplicate(answer),
        duration_ms=answer.duration_ms,
    )


def _shown(answer: Answer, masked: Collection[str]) -> str:
    """Return the beginning of the answer as text, without the token, should the backend repeat it."""
    encoding = answer.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity" and answer.body:
        return f"({len(answer.body)} bytes, encoded as {encoding[:20]})"
    text = answer.body.decode("utf-8", "replace")
    for form in masked:
        text = text.replace(form, MASK)
    return text[:ANSWER_KEPT].replace("\0", "")


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return a Retry-After (RFC 9110, section 10.2.3) in seconds from `now` (unix seconds), 0 to a day.

    Returns None for a value that is neither a number of seconds nor a date.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:20]), RETRY_AFTER_MOST))
    at = times.of_http(value)
    return None if at is None else min(max(at - now, 0.0), RETRY_AFTER_MOST)


def _is_duplicate(answer: Answer) -> bool:
    """Say whether an answer is `{"status": "duplicate"}`, with whatever else beside it."""
    if answer.http_code is None or not 200 <= answer.http_code < 300 or b"duplicate" not in answer.body:
        return False
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("status") == "duplicate"
