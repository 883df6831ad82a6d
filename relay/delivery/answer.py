"""What came back for a request or, in our own words, why nothing did. It serves `transport` and `sender`."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: The sentence for each kind of network error.
SENTENCES = {
    "timeout": "no answer in time",
    "refused": "the connection was refused",
    "reset": "the connection was closed before the answer was complete",
    "dns": "the backend's name cannot be resolved",
    "tls": "no secure connection",
    "proxy": "the proxy does not let us through",
    "protocol": "what came back is no HTTP",
    "unreachable": "the backend's network cannot be reached",
    "stopped": "relay was stopped",
}

#: How http.client says that a proxy has refused to connect to the backend, with its status code.
TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
#: What the matter is with a proxy, by the type of error.
PROXY_DETAILS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((socket.gaierror, UnicodeError), "its name cannot be resolved"),
    ((ConnectionRefusedError,), "nobody listens there"),
    ((TimeoutError,), "it does not answer"),
    ((ConnectionError, http.client.HTTPException), "what it says is no HTTP"),
)


class Answer(NamedTuple):
    """What came back for a request; without a code, `error` says why nothing did."""

    http_code: int | None = None
    #: Names in lower case.
    headers: Mapping[str, str] = MappingProxyType({})
    #: The beginning of the body, as it was sent.
    body: bytes = b""
    #: A sentence without secrets or personal data; '' where an answer came.
    error: str = ""
    #: One of SENTENCES, or ''.
    error_kind: str = ""
    duration_ms: int = 0


def failed(kind: str, detail: str = "") -> Answer:
    """Return an Answer without a code: the sentence of SENTENCES for this kind of error, with a detail where given."""
    sentence = SENTENCES[kind]
    return Answer(error=f"{sentence}: {detail}" if detail else sentence, error_kind=kind)


def explained(
    error: BaseException, code: int | None, kinds: Sequence[tuple[str, tuple[type[BaseException], ...]]]
) -> Answer:
    """Return an Answer without a code for an error; `code` is the status code where the answer had begun, else None.

    `kinds` says which types of error are which kind of SENTENCES; the first that fits counts. The words are our own:
    the library's could quote the URL or what came back.
    """
    found = list(_chain(error))
    if code is not None and not any(isinstance(one, TimeoutError) for one in found):
        return failed("reset", f"it had begun with status {code}")
    for kind, types in kinds:
        match = next((one for one in found if isinstance(one, types)), None)
        if match is not None:
            return failed(kind, _proxy_detail(found) if kind == "proxy" else _detail(match))
    if any(TUNNEL.search(str(one)) for one in found):
        return failed("proxy", _proxy_detail(found))
    return failed("unreachable" if any(isinstance(one, OSError) for one in found) else "protocol")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it wraps, in whichever way."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
        waiting += [deeper for deeper in inner if isinstance(deeper, BaseException)]


def _proxy_detail(found: Sequence[BaseException]) -> str:
    """Return what the matter is with the proxy, of the errors that came of it."""
    for one in found:
        tunnel = TUNNEL.search(str(one))
        if tunnel is not None:
            return f"it answered {tunnel[1]}"
        for types, said in PROXY_DETAILS:
            if isinstance(one, types):
                return said
    return ""


def _detail(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message).rstrip(".")
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "").replace("_", " ").lower()
    return ""
