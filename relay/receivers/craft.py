"""Requests that try a receiver: right ones as relay makes them, and wrong ones of each kind. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from relay import __version__
from relay.receivers import samples
from relay.rules import request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.events.kind import EventKind
    from relay.rules.signing import Key

Headers = dict[str, str]

#: How a backend tells made-up events from real ones.
TEST_HEADER = {"X-Relay-Test": "1"}
#: Letters of several scripts, marks of direction, what ends a line for some readers, and beyond the basic plane.
UNICODE = '\u0645\u0631\u064a\u0645 \u200fNa\u00efve \u4e2d\u6587 \u2028\u0085 \U0001f393 "quoted" \\ / <b> &amp;'
#: A tenant that nobody is.
NO_TENANT = "no-such-tenant-made-up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Who the requests pretend to come from, and what they are signed with."""

    token: str = field(repr=False)
    tenant_id: str
    keys: Sequence[Key] = field(repr=False)
    moodle_url: str = "https://moodle.example.edu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request."""

    method: str = "POST"
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None

    def with_headers(self, **changes: str | None) -> Attempt:
        """Return it with other headers: `_` stands for `-`, None leaves one out; the rest stays, as the signature."""
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        kept: Headers = {name: value for name, value in self.headers.items() if name.lower() not in named}
        kept.update({name: value for name, value in named.items() if value is not None})
        return replace(self, headers=kept)

    def with_body(self, body: bytes) -> Attempt:
        """Return it with another body, and the same signature."""
        return replace(self, body=body, headers={**self.headers, "Content-Length": str(len(body))})


class Crafter:
    """Makes requests to one receiver. `now` tells unix seconds, `new_id` gives an id that nobody had before."""

    def __init__(self, target: Target, *, now: Callable[[], float], new_id: Callable[[], str]) -> None:
        self.target = target
        self.now = now
        self._new_id = new_id

    def envelope(self, kind: EventKind, *, ago_s: int = 0) -> dict[str, Any]:
        """Return a new made-up event of a kind, that happened so many seconds ago."""
        target = self.target
        at = int(self.now()) - ago_s
        return samples.document(kind, self._new_id(), at, moodle_url=target.moodle_url, tenant_id=target.tenant_id)

    def event(self, envelope: Mapping[str, Any], *, late_s: int = 0, keys: Sequence[Key] | None = None) -> Attempt:
        """Return the request that delivers an event: of so many seconds ago, signed by the target's keys or others."""
        path = f"{request.EVENTS}{envelope['event_type']}"
        return self.signed(path, str(envelope["event_id"]), samples.encode(envelope), late_s=late_s, keys=keys)

    def signed(
        self, path: str, event_id: str, body: bytes, *, late_s: int = 0, keys: Sequence[Key] | None = None
    ) -> Attempt:
        """Return a request with any body, signed as an event is."""
        signers = self.target.keys if keys is None else keys
        made = request.attempt(signers, event_id, int(self.now()) - late_s, body)
        return Attempt(path=path, headers={**self._caller(), **made, **TEST_HEADER}, body=body)

    def asking(self, path: str, method: str = "GET") -> Attempt:
        """Return a question, with the token."""
        return Attempt(method=method, path=path, headers={**self._caller(), **TEST_HEADER})

    def new_id(self) -> str:
        """Return an id that nobody had before."""
        return self._new_id()

    def _caller(self) -> Headers:
        return request.caller(self.target.token, self.target.tenant_id, __version__)


def with_text(envelope: dict[str, Any], text: str, *, once: bool = False) -> dict[str, Any]:
    """Return an event with another text in each field of its data that holds one, or in one of them."""
    data = dict(envelope["data"])
    names = [name for name, value in data.items() if isinstance(value, str)]
    for name in names[-1:] if once else names:
        data[name] = text
    return {**envelope, "data": data}


def shown_time(seconds: float) -> str:
    """Return unix seconds as people write them."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
