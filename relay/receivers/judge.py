"""What a right receiver makes of a request: whether it is to be trusted, whole and new, and if not, why not. Pure."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from relay.events.catalogue import KINDS
from relay.receivers import diagnose, schema
from relay.receivers.fits import misfit
from relay.receivers.verifiers import verifier
from relay.rules import request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.events.kind import EventKind


class Verdict(StrEnum):
    """What a delivery is."""

    GOOD = "good"
    DUPLICATE = "duplicate"
    WRONG_TOKEN = "wrong token"  # noqa: S105 -- a word for people
    UNSIGNED = "unsigned"
    MALFORMED = "malformed headers"
    UNKNOWN_KEY = "unknown key"
    WRONG_SECRET = "wrong secret"  # noqa: S105 -- a word for people
    CHANGED = "body changed"
    CLOCK = "clock off"
    WRONG_TENANT = "wrong tenant"
    INVALID = "invalid"
    NO_SUCH_TYPE = "no such type"
    #: Whatever it is: its body was not read to the end.
    UNREAD = "not read"


#: The answer to each, by the contract's table: 401 for whom we do not know, 422 for what can never be taken.
CODES = {
    **dict.fromkeys((Verdict.GOOD, Verdict.DUPLICATE), 200),
    **dict.fromkeys((Verdict.WRONG_TENANT, Verdict.INVALID), 422),
    Verdict.NO_SUCH_TYPE: 404,
}
UNKNOWN_CALLER = 401
#: Which verdict a verifier's reason is, as far as it decides that alone.
REASONS = {
    "unsigned": Verdict.UNSIGNED,
    "malformed": Verdict.MALFORMED,
    "unknown_key": Verdict.UNKNOWN_KEY,
    "clock": Verdict.CLOCK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came."""

    method: str
    path: str
    #: Names in lower case.
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a delivery is, and why."""

    verdict: Verdict
    #: A sentence, with what to do; '' for one that is good.
    why: str = ""
    #: The body as JSON, where it is an object.
    envelope: dict[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> int:
        """The answer's status code."""
        return CODES.get(self.verdict, UNKNOWN_CALLER)


class Judge:
    """Knows the keys, the token and the tenant, and which events have been taken."""

    def __init__(
        self,
        keys: Sequence[str],
        *,
        token: str | None = None,
        tenant_id: str | None = None,
        kinds: Mapping[str, EventKind] = KINDS,
    ) -> None:
        """Take the keys (`whsec_…`, `whpk_…`); any token, or any tenant, is taken where none is given.

        `kinds`: the event types that are taken, by name.
        """
        self._keys = keys
        self._kinds = kinds
        self._token = token
        self._tenant_id = tenant_id
        #: The ids of the events that were taken.
        self.taken: set[str] = set()

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Say whether a request carries the token."""
        given = headers.get("x-moodle-token", "")
        return self._token is None or hmac.compare_digest(given.encode(), self._token.encode())

    def judge(self, delivery: Request, now: float) -> Judged:
        """Return what a POST is, at a time of this machine's clock in unix seconds."""
        if not self.knows(delivery.headers):
            return Judged(verdict=Verdict.WRONG_TOKEN, why="X-Moodle-Token is not the token: see backend.token.")
        event_type = delivery.path.removeprefix(request.EVENTS)
        if not delivery.path.startswith(request.EVENTS) or event_type not in self._kinds:
            return Judged(verdict=Verdict.NO_SUCH_TYPE, why=f"There is no {delivery.path[:80]} here.")
        envelope = diagnose.parsed(delivery.body)
        try:
            event_id = verifier.verify(self._keys, delivery.headers, delivery.body, now=now)
        except verifier.Refused as refused:
            verdict, why = self._refused(refused.reason, delivery, now)
            return Judged(verdict=verdict, why=why, envelope=envelope or {})
        if envelope is None:
            return Judged(verdict=Verdict.INVALID, why="The body is no JSON object.")
        wrong = misfit(schema.envelope(self._kinds[event_type]), envelope) or _other_id(event_id, delivery, envelope)
        if wrong:
            why = f"It does not fit `relay schema {event_type}`: {wrong}."
            return Judged(verdict=Verdict.INVALID, why=why, envelope=envelope)
        stranger = self._stranger(delivery.headers.get("x-tenant-id", ""), envelope["tenant_id"])
        if stranger:
            return Judged(verdict=Verdict.WRONG_TENANT, why=stranger, envelope=envelope)
        if event_id in self.taken:
            return Judged(verdict=Verdict.DUPLICATE, why="It was taken before, and is dropped.", envelope=envelope)
        return Judged(verdict=Verdict.GOOD, envelope=envelope)

    def _stranger(self, header: str, tenant_id: str) -> str:
        """Return why an event is not taken for our tenant's; '' where it is."""
        if not header:
            return "X-Tenant-ID is missing: relay sends the body's tenant_id in it."
        if header != tenant_id:
            return "X-Tenant-ID is another one than the body's tenant_id: relay sends the same in both."
        if self._tenant_id not in (None, tenant_id):
            return f"Its tenant_id is not ours, {self._tenant_id}: see backend.tenant_id, or --tenant."
        return ""

    def _refused(self, reason: str, delivery: Request, now: float) -> tuple[Verdict, str]:
        if reason == "clock":
            return Verdict.CLOCK, diagnose.clock(delivery.headers["webhook-timestamp"], now)
        if reason != "wrong_signature":
            return REASONS[reason], f"{verifier.SENTENCES[reason].capitalize()}."
        changed = diagnose.changed(self._keys, delivery.headers, delivery.body, self.taken)
        if changed:
            return Verdict.CHANGED, changed
        why = (
            "No signature fits: it was signed with another secret than ours. (Or a value in the body was changed on "
            "the way: that cannot be told apart.) `relay keygen` makes one; both sides need the same."
        )
        return Verdict.WRONG_SECRET, why


def _other_id(event_id: str, delivery: Request, envelope: Mapping[str, Any]) -> str:
    """Return that the event's id is not the same everywhere; '' where it is."""
    ids = {event_id, envelope["event_id"], delivery.headers.get("x-event-id", "")}
    return "" if len(ids) == 1 else "event_id, webhook-id and X-Event-ID are not the same"


def answer_body(judged: Judged) -> bytes:
    """Return what to say to the sender, as JSON."""
    if judged.verdict is Verdict.GOOD:
        return b'{"status": "accepted"}'
    if judged.verdict is Verdict.DUPLICATE:
        return b'{"status": "duplicate"}'
    return json.dumps({"status": "refused", "verdict": judged.verdict, "why": judged.why}).encode()
