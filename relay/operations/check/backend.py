"""Checks of the backend: that it is well, knows this relay, and has the same time."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from relay.operations.check.result import Check, fail, ok, warn
from relay.operations.check.token import check_token
from relay.rules import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.operations.backend import Answer, Backend

#: The clocks of relay and the backend may differ by this much, in seconds: signatures carry the time.
CLOCK_TOLERANCE_S = 60
#: A health check that takes longer than this, in milliseconds, is a warning.
SLOW_MS = 5000
#: What to do about a network error, by its kind.
NETWORK_HINTS = {
    "dns": "Mend the host in backend.url, or this machine's name servers.",
    "refused": "Start the backend, or mend the host and port in backend.url.",
    "timeout": "Look whether the backend runs, and for a firewall between here and there.",
    "tls": "Expired or for another host: the backend's certificate must be renewed. Unknown issuer: name its CA in "
    "backend.ca_bundle.",
    "proxy": "Mend backend.proxy.",
    "protocol": "Something else than the backend listens there: mend backend.url.",
}


def checks(backend: Backend, now: Callable[[], float]) -> Iterator[Check]:
    """Yield what the backend's health check answers, of the token too, and how its clock compares.

    `now` tells unix seconds.
    """
    answer = backend.get(request.HEALTH, {})
    yield check_health(answer)
    if answer.http_code == 200:
        yield check_token(backend)
    clock = check_clock(answer, now())
    if clock is not None:
        yield clock


def check_health(answer: Answer) -> Check:
    """Return whether the backend is well and knows this relay."""
    name = "backend"
    code = answer.http_code
    if code is None:
        hint = NETWORK_HINTS.get(answer.error_kind, "Check backend.url, the network, and that the backend runs.")
        return fail(name, answer.error, hint)
    if code in (401, 403):
        return fail(name, f"GET /v1/health answered {code}: it does not know us", "Mend backend.token.")
    if code != 200:  # the one code that says "healthy"
        return fail(name, f"GET /v1/health answered {code}", "Ask those who run the backend; check backend.url.")
    if answer.duration_ms > SLOW_MS:
        return warn(name, f"it is well, but took {answer.duration_ms} ms to say so", "Ask those who run the backend.")
    return ok(name, "GET /v1/health answered 200")


def check_clock(answer: Answer, now: float) -> Check | None:
    """Return whether the backend's clock agrees with this machine's; None where the answer does not tell its time."""
    date = answer.headers.get("date") if answer.http_code is not None else None
    if date is None:
        return None
    try:
        apart = abs(parsedate_to_datetime(date).timestamp() - now)
    except ValueError:
        return None
    if apart > CLOCK_TOLERANCE_S:
        found = f"this machine's clock and the backend's are {apart:.0f} s apart"
        return fail("clock", found, "Switch on time synchronisation (timedatectl set-ntp true) on both.")
    return ok("clock", "it agrees with the backend's")
