"""What relay asks of a backend: the paths, and the headers of one attempt (contract, section 3), as bytes too. Pure."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING
from urllib.parse import quote

from relay.rules import signing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    #: Names of header fields, and their values.
    Fields = tuple[tuple[str, str], ...]

#: Events go here, each to the path of its type below it.
EVENTS = "/v1/events/moodle/"
#: Whether the backend is well, and knows the token.
HEALTH = "/v1/health"
#: What it knows of a student.
PROFILE = "/v1/students/profile"
#: What stands in a request's target as it is, beside letters and digits (RFC 3986, sections 3.3 and 3.4).
TARGET = "/?%:@!$&'()*+,;=-._~"


def caller(token: str, tenant_id: str, version: str) -> dict[str, str]:
    """Return the headers that say who asks: those of every request."""
    return {
        "Accept-Encoding": "identity",
        "User-Agent": f"moodle-relay/{version}",
        "X-Moodle-Token": token,
        "X-Tenant-ID": tenant_id,
    }


def attempt(keys: Sequence[signing.Key], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt to deliver an event, signed by each key; `timestamp` is in unix seconds."""
    headers: dict[str, str] = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "X-Event-ID": event_id,
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
    }
    if keys:
        headers["webhook-signature"] = signing.signatures(keys, event_id, timestamp, body)
    return headers


@functools.lru_cache(maxsize=64)
def begun(method: str, base: str, path: str, host: str, caller: Fields) -> bytes:
    """Return what many requests begin with: the target, and who asks for it (RFC 9112, sections 3 and 5).

    `base` is what stands before the path, as it is to be sent. Raises ValueError for what a request cannot hold.
    """
    target = f"{method} {base}{quote(path, safe=TARGET)} HTTP/1.1\r\nHost: {host}\r\n"
    return target.encode("ascii") + _lines(caller).encode()


def rest(headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the rest of such a request: further headers, and the body. Raises ValueError as `begun` does."""
    own = _lines(headers.items())
    if body and "Content-Length" not in headers and not any(name.lower() == "content-length" for name in headers):
        own += f"Content-Length: {len(body)}\r\n"
    return own.encode() + b"\r\n" + body


def _lines(fields: Collection[tuple[str, str]]) -> str:
    made = [f"{name}: {value}\r\n" for name, value in fields if name.isascii()]
    text = "".join(made)
    if not len(fields) == len(made) == text.count("\r") == text.count("\n"):
        raise ValueError("no name of a header, or a line break within one")
    return text
