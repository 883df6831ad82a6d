"""Checks of the backend: that it is well, knows this relay, and has the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay import times
from relay.operations.check.result import Check, fail, ok, warn
from relay.operations.check.token import check_token
from relay.operations.conditions import CLOCK_TOLERANCE_S
from relay.rules import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.operations.backend import Answer, Backend

#: A health check that takes longer than this, in milliseconds, is a warning.
SLOW_MS = 5000
#: What to do about a network error, by its kind.
NETWORK_HINTS = {
    "dns": "Mend the host in backend.url, or this machine's name servers.",
    "refused": "Start the backend, or mend the host and port in backend.url.",
    "timeout": "Look whether the backend runs, and for a firewall between here and there.",
    "tls": "Look at the backend's certificate and its TLS settings, and at backend.ca_bundle.",
    "proxy": "Mend backend.proxy.",
    "protocol": "Something else than the backend listens there: mend backend.url, or backend.proxy where one is set.",
    "reset": "Look whether the backend, or backend.proxy where one is set, runs well; or is https spoken there?",
}
#: What to do where a secure connection is not made, or a proxy is in the way, by what the sentence holds.
DETAIL_HINTS = {
    "expired": "The backend's certificate must be renewed.",
    "not yet valid": "Look at this machine's clock (timedatectl), and at the backend's certificate.",
    "mismatch": "Mend the host in backend.url: the certificate is for another name.",
    "issuer": "Name the CA of the backend's certificate in backend.ca_bundle; or the backend does not send all of its "
    "chain.",
    "self-signed": "Name the CA of the backend's certificate in backend.ca_bundle.",
    "wrong version": "No TLS is spoken at that port: mend the port, or the scheme, in backend.url.",
    "record layer": "No TLS is spoken at that port: mend the port, or the scheme, in backend.url.",
    "packet length": "No TLS is spoken at that port: mend the port, or the scheme, in backend.url.",
    "http request": "No TLS is spoken at that port: mend the port, or the scheme, in backend.url.",
    "handshake": "The backend speaks no TLS that is new enough (1.2), or wants a client's certificate.",
    "protocol version": "The backend speaks no TLS that is new enough (1.2).",
    "answered 407": "The proxy asks for a user and a password: give them in backend.proxy.",
    "answered 40": "The proxy does not allow connections to the backend: ask those who run it.",
    "answered 5": "The proxy cannot reach the backend: ask those who run it, and look at backend.url.",
    "its name": "Mend the host in backend.proxy, or this machine's name servers.",
    "nobody listens": "Start the proxy, or mend the host and port in backend.proxy.",
    "it does not answer": "Look whether the proxy runs, and for a firewall between here and there.",
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
        return fail(name, answer.error, _network_hint(answer))
    if code in (401, 403):
        return fail(name, f"GET /v1/health answered {code}: it does not know us", "Mend backend.token.")
    if code != 200:  # the one code that says "healthy"
        return fail(name, f"GET /v1/health answered {code}", "Ask those who run the backend; check backend.url.")
    if answer.duration_ms > SLOW_MS:
        return warn(name, f"it is well, but took {answer.duration_ms} ms to say so", "Ask those who run the backend.")
    return ok(name, "GET /v1/health answered 200")


def check_clock(answer: Answer, now: float) -> Check | None:
    """Return whether the backend's clock agrees with this machine's; None where it did not answer at all."""
    if answer.http_code is None:
        return None
    date = answer.headers.get("date")
    told = times.of_http(date or "")
    if told is None:
        found = "the backend's answer has no Date header" if date is None else "the backend's Date header is no date"
        return warn(
            "clock", f"{found}: the clocks could not be compared", "Look whether timedatectl says synchronized."
        )
    apart = abs(told - now)
    if apart > CLOCK_TOLERANCE_S:
        found = f"this machine's clock and the backend's are {apart:.0f} s apart"
        return fail("clock", found, "Switch on time synchronisation (timedatectl set-ntp true) on both.")
    return ok("clock", "it agrees with the backend's")


def _network_hint(answer: Answer) -> str:
    if answer.error_kind in ("tls", "proxy"):
        for mark, hint in DETAIL_HINTS.items():
            if mark in answer.error.lower():
                return hint
    return NETWORK_HINTS.get(answer.error_kind, "Check backend.url, the network, and that the backend runs.")
