"""Why a recorded event is not delivered, and the command that moves it on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay import times
from relay.model import Status
from relay.operations.story import START, came_of

if TYPE_CHECKING:
    from relay.operations.unrecorded import Rules
    from relay.outbox.values import Recorded, Taken
    from relay.rules.circuit import Breaker


def why(one: Recorded, breaker: Breaker, rules: Rules, now: float) -> tuple[str, str]:
    """Say why an event that is to be delivered, or was given up, is not; return that, and the command or ''.

    `now`: unix seconds.
    """
    name = f"{one.event_type} {one.event_id}"
    if one.status is Status.GAVE_UP:
        return _gave_up(one, name)
    if one.event_type not in rules.kinds:
        said = f"{name} is kept: this version of relay does not know the type {one.event_type}, nor does its config."
        return f"{said} The version and config that recorded it send it.", ""
    if one.taken is not None:
        return under_way(one, one.taken, now)
    if rules.is_paused:
        said = "waits: `enabled: false` in the config is a pause. Set enabled: true, and let relay read that."
        return f"{name} {said}", "systemctl reload relay"
    if rules.is_told_to_pause:
        return f"{name} waits: somebody has paused delivery.", "relay web resume"
    return _held_back(one, breaker, name) or _due(one, name, now)


def under_way(one: Recorded, taken: Taken, now: float) -> tuple[str, str]:
    """Say who has an event under way, and until when; return that, and the command or ''. `now`: unix seconds."""
    last = one.attempts[-1] if one.attempts else None
    began = "" if last is None else f": attempt {last.number} began at {times.show(last.started_at)}"
    said = f"{one.event_type} {one.event_id} is under way{began}, and no answer is recorded."
    whose = taken.by or "A relay that has ended its part"
    if taken.until <= now:
        over = "is over" if not taken.until else f"ended at {times.show(taken.until)}"
        return f"{said} {whose} had it, whose lease {over}: the next relay sends it again, with the same id.", START
    until = f"{whose} has it under a lease until {times.show(taken.until)}"
    return f"{said} {until}: one that lives renews that, of one that was killed it is sent again then.", ""


def _gave_up(one: Recorded, name: str) -> tuple[str, str]:
    last = one.attempts[-1] if one.attempts else None
    dealt = "" if one.acknowledged is None else f" Somebody dealt with it at {times.show(one.acknowledged[0])}."
    if last is not None and last.outcome == "refused":
        answer = str(one.last_error.get("answer", ""))[:300].rstrip(". ")
        said = f": {answer}" if answer else ""
        refused = f"The backend refused {name} for good with {last.http_code}{said}."
        return f"{refused}{dealt} Once that is mended:", _again(one)
    came = "" if last is None else f"; the last one: {came_of(last)}"
    return f"{name} was given up after {_attempts(one.failures)}{came}.{dealt}", _again(one)


def _held_back(one: Recorded, breaker: Breaker, name: str) -> tuple[str, str] | None:
    """Say which circuit, or earlier event of its user, it waits for; None where it waits for neither."""
    circuit = breaker.backend or breaker.paths.get(one.event_type)
    behind = f"waits behind an earlier event of its user, {one.waits_for}"
    explain = f"relay explain {one.waits_for}"
    if circuit is None:
        return None if one.waits_for is None else (f"{name} {behind}.", explain)
    scope = "to the backend" if breaker.backend else f"for {one.event_type}"
    said = (
        f"{name} waits: the circuit {scope} has been open since {times.show(circuit.opened_at)}, because "
        f"{circuit.reason}; the next probe is due at {times.show(circuit.probe_at)}."
    )
    if one.waits_for is not None:
        return f"{said} It {behind}, too.", explain
    return f"{said} Once the backend is mended, a probe closes it; this sends the event at once:", _again(one)


def _due(one: Recorded, name: str, now: float) -> tuple[str, str]:
    last = one.attempts[-1] if one.attempts else None
    if last is not None and last.outcome == "unknown":
        said = f"Nobody knows what came of attempt {last.number} of {name}: relay was ended during it."
        return f"{said} It is sent again with the same id as soon as relay runs.", START
    if one.due_at is not None and one.due_at > now:
        at = times.show(one.due_at)
        said = f"{name} is retried after {_attempts(one.failures)}: the next one is due at {at}. This sends it now:"
        return said, _again(one)
    return f"{name} is due, and is sent as soon as relay runs.", START


def _again(one: Recorded) -> str:
    return f"relay run --replay {one.event_id}"


def _attempts(count: int) -> str:
    return f"{count} failed attempt" + ("" if count == 1 else "s")
