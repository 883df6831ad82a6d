"""How fast requests may follow each other where the backend limits their rate: what it takes is learned. Pure.

It serves delivery. A backend that answers 429 (Too Many Requests) is well: it takes so many requests a second, and says
so by refusing one. After a refusal nothing is sent for as long as the backend asks; then requests go on more slowly
than it was refused at, and faster and faster again, as TCP does by CUBIC (RFC 9438): quickly up to near the rate that
was refused, slowly past it, and quickly from there on. After a minute without a refusal there is no limit any more.
"""

from __future__ import annotations

import math
from typing import NamedTuple

#: The least and the most of a pause after a refusal, in seconds: one answer does not stop all events for an hour.
PAUSE_LEAST_S = 1.0
PAUSE_MOST_S = 15.0
#: The lowest rate that is learned, in requests a second.
RATE_LEAST = 1.0
#: After a refusal requests go on at no more than this share of the rate that was refused, ...
DECREASE = 0.7
#: ... rise to this share of it, ...
PLATEAU = 0.9
#: ... and to twice that in so many seconds more.
DOUBLED_AFTER_S = 20.0
#: After so long without a refusal there is no limit, in seconds.
LIFTED_AFTER_S = 60.0
#: What was not sent in time may be sent at once: as much as is due in so long, in seconds.
BURST_S = 0.25
#: What is taken a second is measured over no less than this, in seconds.
MEASURED_LEAST_S = 1.0


class Pace(NamedTuple):
    """How fast requests may follow each other; all times are seconds of one clock that never goes back."""

    #: Requests a second when the last pause ended; infinity: no limit is known.
    base: float = math.inf
    #: The rate that is reached quickly, in requests a second.
    plateau: float = math.inf
    #: When the last pause ends: nothing is sent before.
    resumes_at: float = -math.inf
    #: When the next request may go.
    next_at: float = -math.inf
    #: Refusals since a request was taken.
    rounds: int = 0


#: No refusal is remembered.
UNLIMITED = Pace()


def rate(pace: Pace, now: float) -> float:
    """Return how many requests may go a second; infinity where no limit is known."""
    if math.isinf(pace.base):
        return math.inf
    reached_after_s = DOUBLED_AFTER_S * math.cbrt(1 - pace.base / pace.plateau)
    since_s = max(0.0, now - pace.resumes_at)
    return max(RATE_LEAST, pace.plateau * (1 + ((since_s - reached_after_s) / DOUBLED_AFTER_S) ** 3))


def room(pace: Pace, now: float) -> float:
    """Return how many requests may go now: a whole number, or infinity where there is no limit."""
    if now < pace.next_at:
        return 0
    allowed = rate(pace, now)
    if math.isinf(allowed):
        return math.inf
    return max(1, min(math.floor((now - pace.next_at) * allowed) + 1, math.floor(BURST_S * allowed)))


def spent(pace: Pace, requests: int, now: float) -> Pace:
    """Return the pace after so many requests were let go."""
    allowed = rate(pace, now)
    if math.isinf(allowed):
        return pace
    return pace._replace(next_at=max(pace.next_at, now - BURST_S) + requests / allowed)


def lifted(pace: Pace, now: float) -> Pace:
    """Return the pace without its limit, where no refusal came for long."""
    return UNLIMITED if now - pace.resumes_at >= LIFTED_AFTER_S else pace


def taken(pace: Pace) -> Pace:
    """Return the pace after a request that the backend took."""
    return pace._replace(rounds=0) if pace.rounds else pace


def refused(pace: Pace, now: float, *, retry_after_s: float | None, sent: float, taken: float, seconds: float) -> Pace:
    """Return the pace after a refusal; of the `seconds` before it is known how many requests were sent, and taken.

    The backend takes less than the rate that it refused, and at least about what it took on the average. The geometric
    mean of both comes near soon, be they far apart (it refused the second of many that were sent at once) or not.
    """
    rounds = pace.rounds + 1
    pause_s = min(max(retry_after_s or 0.0, PAUSE_LEAST_S * 2 ** min(rounds - 1, 10)), PAUSE_MOST_S)
    resumes_at = now + pause_s
    if not taken:
        # There is nothing to learn from.
        return pace._replace(resumes_at=resumes_at, next_at=resumes_at, rounds=rounds)
    average = taken / max(seconds, MEASURED_LEAST_S)
    # A limit that was not reached for long, as there was little to send, has risen far beyond what it says.
    too_fast = sent / max(seconds, 0.01) if math.isinf(pace.base) else min(rate(pace, now), 4 * average)
    base = max(RATE_LEAST, min(math.sqrt(average * too_fast), DECREASE * too_fast))
    plateau = max(base, PLATEAU * too_fast)
    return Pace(base=base, plateau=plateau, resumes_at=resumes_at, next_at=resumes_at, rounds=rounds)
