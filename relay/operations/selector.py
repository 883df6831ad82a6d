"""What a SELECTOR of recorded events means, as a person writes it (contract, section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay import times
from relay.errors import UsageError
from relay.model import Status
from relay.outbox.values import Selector

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

#: The states of events that can be sent: of what was skipped there is nothing to send.
STATES = [status for status in Status if status is not Status.SKIPPED]
FORMS = "failed, an event id, or terms joined by commas: status=, type=, user=, since=, until="


def parse_selector(
    text: str, types: Collection[str], option: str = "--replay", states: Sequence[Status] = STATES
) -> Selector:
    """Return what a SELECTOR means, given the event types that there are (contract, section 5).

    `option` is where it was given, `states` those that may be asked for. Raises UsageError.
    """
    try:
        return _selector(text, types, states)
    except ValueError as error:
        raise UsageError(f"{option} {error}.", hint=f"It takes {FORMS}.") from None


def _selector(text: str, types: Collection[str], states: Sequence[Status]) -> Selector:
    """Return what a SELECTOR means. Raises ValueError with the end of a sentence."""
    if text == "failed":
        return Selector(status=Status.GAVE_UP)
    if "=" not in text:
        return Selector(event_id=_event_id(text))
    terms: dict[str, str] = {}
    for term in text.split(","):
        name, _, value = term.partition("=")
        if name.strip() in terms:
            raise ValueError(f"names {name.strip()}= twice, and all terms must hold")
        terms[name.strip()] = value.strip()
    unknown = terms.keys() - {"status", "type", "user", "since", "until"}
    if unknown:
        raise ValueError(f"does not know {min(unknown)!r}")
    return Selector(
        status=None if "status" not in terms else Status(_one_of(states, "status", terms["status"])),
        event_type=None if "type" not in terms else _one_of(list(types), "type", terms["type"]),
        user_id=_number(terms.get("user")),
        since=_time("since", terms.get("since")),
        until=_time("until", terms.get("until")),
    )


def _event_id(text: str) -> str:
    import uuid  # noqa: PLC0415 -- the daemon selects nothing

    try:
        return str(uuid.UUID(text.strip()))
    except ValueError:
        raise ValueError(f"{text}: that is no event id") from None


def _one_of(choices: Sequence[str], name: str, text: str) -> str:
    if text not in choices:
        raise ValueError(f"{name}={text}: it is one of {', '.join(choices)}")
    return text


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError(f"user={text}: it takes Moodle's numeric user id, such as user=42")
    return int(text)


def _time(name: str, text: str | None) -> float | None:
    try:
        return None if text is None else times.moment(text)
    except ValueError as error:
        raise ValueError(f"{name}={text}: that {error}") from None
