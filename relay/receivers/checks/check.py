"""What a check of a receiver is: requests, and what may be answered to each. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.events.catalogue import KINDS
from relay.rules import request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.receivers.answers import Expected
    from relay.receivers.craft import Attempt, Crafter
    from relay.rules.signing import Key

    #: A request, and what may be answered to it.
    Tried = tuple[Attempt, Expected]
    Tries = Callable[["Tools"], Sequence[Tried]]

#: Types that relay sends unless the config says otherwise.
DEFAULT = tuple(kind for kind in KINDS.values() if kind.is_default)
#: What to do after a wrong answer: the end of many remedies.
ANSWER_401 = "Answer 401 (or 403): relay then holds back all events until the matter is mended, and loses none."
ANSWER_422 = "Answer 422 (or 400): no later attempt can be better. After a 5xx relay tries for three days."


@dataclass(frozen=True, slots=True)
class Tools:
    """What checks are made with: requests, and keys that the receiver does not know."""

    craft: Crafter
    other_keys: Sequence[Key]

    def envelope(self, **changes: Any) -> dict[str, Any]:
        """Return a new made-up event of the first type, with other values in its head."""
        return {**self.craft.envelope(DEFAULT[0]), **changes}

    def event(self, **changes: Any) -> Attempt:
        """Return the request that delivers such an event."""
        return self.craft.event(self.envelope(**changes))

    def signed(self, body: bytes, name: str = DEFAULT[0].name, event_id: str = "") -> Attempt:
        """Return any body, rightly signed and sent to the path of a type."""
        return self.craft.signed(f"{request.EVENTS}{name}", event_id or self.craft.new_id(), body)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the sheet."""

    name: str
    #: Returns the requests, and what may be answered to each.
    tries: Tries
    #: What to do where something else is answered.
    remedy: str
    #: The requests are sent at once, and one of them must be taken as new.
    is_at_once: bool = False


def alone(make: Callable[[Tools], Attempt], expected: Expected) -> Tries:
    """Return what tries one request."""
    return lambda tools: ((make(tools), expected),)
