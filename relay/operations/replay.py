"""Sends recorded events again, once, when a person asks for it (`relay run --replay`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from relay import times
from relay.errors import UsageError
from relay.model import Status
from relay.outbox.values import Selector

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from relay.operations.kept import Kept
    from relay.outbox.contract import Reports

FORMS = "failed, an event id, or terms joined by commas: status=, type=, user=, since=, until="


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What came of a replay."""

    #: How many events the selector meant.
    meant: int
    #: How many of them have been sent again.
    sent: int
    #: How many of them are not delivered after it.
    undelivered: int
    #: How many of them were not sent, as Moodle keeps from the student what they say.
    held: int = 0
    #: How many more the selector meant whose data was forgotten: they can't be sent again.
    forgotten: int = 0


class Delivering(Protocol):
    """What a replay asks of delivery."""

    @property
    def under_way(self) -> int:
        """How many events have been put under way and are not settled yet."""

    @property
    def replayed(self) -> int:
        """How many events have been sent again."""

    def replay(self, ids: Sequence[int], now: float) -> None:
        """Put events (row ids) under way once more, whatever their state. Raises OutboxError."""

    def settle(self, now: float) -> float:
        """Record what has come back; return after how many seconds there may be more. Raises OutboxError."""


def parse_selector(text: str, types: Collection[str], name: str = "--replay") -> Selector:
    """Return what a selector means, which is given behind `name`; `types` are those that there are (contract, 5).

    Raises UsageError.
    """
    if text == "failed":
        return Selector(status=Status.GAVE_UP)
    if "=" not in text:
        return Selector(event_id=text.strip().lower())
    terms: dict[str, str] = {}
    for term in text.split(","):
        key, _, value = term.partition("=")
        if key.strip() in terms:
            raise UsageError(f"{name} names {key.strip()}= twice.", hint="All terms must hold: give each once.")
        terms[key.strip()] = value.strip()
    unknown = terms.keys() - {"status", "type", "user", "since", "until"}
    if unknown:
        raise UsageError(f"{name} does not know {min(unknown)!r}.", hint=f"It takes {FORMS}.")
    return Selector(
        status=None if "status" not in terms else Status(_one_of(list(Status), name, "status", terms["status"])),
        event_type=None if "type" not in terms else _one_of(list(types), name, "type", terms["type"]),
        user_id=_number(name, terms.get("user")),
        since=_time(name, "since", terms.get("since")),
        until=_time(name, "until", terms.get("until")),
    )


def _one_of(choices: Sequence[str], name: str, key: str, text: str) -> str:
    if text not in choices:
        raise UsageError(f"{name} {key}={text}: it is one of {', '.join(choices)}.", hint=f"It takes {FORMS}.")
    return text


def _number(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"{name} user={text}: it takes Moodle's numeric user id.", hint="Such as user=42.")
    return int(text)


def _time(name: str, key: str, text: str | None) -> float | None:
    try:
        return None if text is None else times.moment(text)
    except ValueError as error:
        raise UsageError(f"{name} {key}={text}: that {error}.", hint=f"It takes {FORMS}.") from None


def replay(
    outbox: Reports,
    kept: Kept,
    delivering: Delivering,
    selector: Selector,
    now: Callable[[], float],
    wait: Callable[[float], object],
) -> Replayed:
    """Send again, once, what the selector means. Raises OutboxError, and MoodleError where it is to be asked.

    Each event keeps its id and its bytes, and gets one more attempt row. One that Moodle keeps from the student now is
    not sent: its bytes say what stood there when it was recorded. `now` tells unix seconds; `wait` waits so many
    seconds, or until something has come back.
    """
    meant = outbox.select(selector)
    kept_back = kept.events(meant)
    ids = [one for one in meant if one not in kept_back]
    held = len(kept_back) + outbox.count_held(selector)
    delivering.replay(ids, now())
    while delivering.under_way:
        wait(delivering.settle(now()))
    return Replayed(
        meant=len(ids) + held,
        sent=delivering.replayed,
        undelivered=outbox.count_undelivered(ids),
        held=held,
        forgotten=outbox.count_forgotten(selector),
    )
