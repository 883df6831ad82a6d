"""What a right receiver may answer to a request that tries it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.rules.retry import VERDICTS, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.model import Outcome


@dataclass(frozen=True, slots=True)
class Expected:
    """What may be answered, in words and as a rule."""

    words: str
    is_met: Callable[[Outcome], bool]


def _by_code(words: str, *verdicts: Verdict) -> Expected:
    codes = [code for code, verdict in VERDICTS.items() if verdict in verdicts]
    return Expected(words, lambda outcome: outcome.http_code in codes)


def _is_taken(outcome: Outcome) -> bool:
    return outcome.http_code is not None and 200 <= outcome.http_code < 300


def _begins_json(text: str) -> bool:
    """Say whether a text, of which the end may be cut off, begins as JSON does."""
    return text.lstrip()[:1] in tuple('{["-0123456789tfn')


TAKEN = Expected("2xx", _is_taken)
NEW = Expected("2xx, and no duplicate", lambda outcome: _is_taken(outcome) and not outcome.duplicate)
DUPLICATE = Expected('2xx with {"status": "duplicate"}', lambda outcome: _is_taken(outcome) and outcome.duplicate)
UNKNOWN = _by_code("401 or 403", Verdict.UNKNOWN_CALLER)
NO_PATH = _by_code("404, 405 or 410", Verdict.NO_SUCH_PATH)
INVALID = _by_code("400, 413, 415 or 422", Verdict.REFUSED)
REFUSED = _by_code("400, 401, 403, 413, 415 or 422", Verdict.REFUSED, Verdict.UNKNOWN_CALLER)
WELL = Expected("200", lambda outcome: outcome.http_code == 200)


def either(one: Expected, other: Expected) -> Expected:
    """Return that one or the other may be answered."""
    words = f"{one.words}, or {other.words}"
    return Expected(words, lambda outcome: one.is_met(outcome) or other.is_met(outcome))


#: Not taken as new, however that is said.
NOT_NEW = either(REFUSED, DUPLICATE)
KNOWN_OR_NOT = Expected(
    "200 with JSON, or 404",
    lambda outcome: outcome.http_code == 404 or (outcome.http_code == 200 and _begins_json(outcome.answer)),
)
