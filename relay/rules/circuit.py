"""The circuit breaker: which requests are held back while the backend, or one of its paths, fails. Pure (contract, 3).

It serves delivery, and the commands that show the circuits. A circuit is open while requests are held back; one event
at a time, the probe, then finds out whether the backend is well again.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.rules.retry import Verdict, classify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.model import Delivery, Outcome
    from relay.rules.retry import Policy

#: How many failures in a row, of at least how many different events, open the circuit to the backend. With fewer,
#: the events may be at fault and not the backend: they use up their attempts, and become dead letters.
STREAK = 10
STREAK_EVENTS = 3
#: The longest wait between two probes of an open circuit, in seconds (unless the backend asks for more).
PROBE_MAX_S = 15.0
#: The key of the backend's circuit in what is stored: older relays read it, so it keeps its name.
BACKEND_KEY = "whole"
#: The outbox's state that holds the open circuits.
STATE = "circuit"


class Circuit(NamedTuple):
    """An open circuit: nothing is sent through it but one probe at a time."""

    #: Unix seconds.
    opened_at: float
    #: Why, without secrets or personal data.
    reason: str
    #: When the next probe may go, in unix seconds.
    probe_at: float
    #: How many probes have failed.
    probes: int = 0


class Breaker(NamedTuple):
    """The circuit to the backend, one for each path (event type), and the failures in a row so far."""

    #: Open for every event; None where it is closed.
    backend: Circuit | None = None
    #: Open for the events of one type, by type. A type that this relay does not know may be among them: another
    #: version may have stored it.
    paths: Mapping[str, Circuit] = MappingProxyType({})
    #: Failures in a row, since an answer last showed that the backend works.
    streak: int = 0
    #: The events of the streak, up to STREAK_EVENTS of them.
    streak_events: frozenset[str] = frozenset()

    def covers(self, event_type: str) -> bool:
        """Say whether an event of this type falls under an open circuit."""
        return self.backend is not None or event_type in self.paths


def observe(
    breaker: Breaker, delivery: Delivery, outcome: Outcome, policy: Policy, now: float, weight: int = 1
) -> Breaker:
    """Return the breaker after one more outcome, seen at `now` (unix seconds); the same one where nothing changes.

    `weight` says for how many failures a failed one counts.
    """
    verdict = classify(outcome)
    if verdict in (Verdict.TAKEN, Verdict.REFUSED):
        return _answered(breaker, delivery)
    reason = f"the backend answered {outcome.http_code}" if outcome.http_code else outcome.error
    if verdict is Verdict.UNKNOWN_CALLER:
        return breaker._replace(backend=_opened(breaker.backend, reason, outcome, policy, now))
    if verdict is Verdict.NO_SUCH_PATH:
        path = _opened(breaker.paths.get(delivery.event_type), reason, outcome, policy, now)
        return Breaker(paths={**breaker.paths, delivery.event_type: path})
    failed = _with_streak(breaker, delivery, weight)
    return _failed(failed, delivery, reason, outcome, policy, now)


def _answered(breaker: Breaker, delivery: Delivery) -> Breaker:
    """Close what is open, and begin the streak anew; the same breaker where there is nothing to change."""
    if breaker.backend is None and not breaker.paths and not breaker.streak_events:
        return breaker
    return Breaker(paths={name: path for name, path in breaker.paths.items() if name != delivery.event_type})


def _with_streak(breaker: Breaker, delivery: Delivery, weight: int) -> Breaker:
    events = breaker.streak_events
    if len(events) < STREAK_EVENTS:
        events |= {delivery.event_id}
    return breaker._replace(streak=breaker.streak + weight, streak_events=events)


def _failed(breaker: Breaker, delivery: Delivery, reason: str, outcome: Outcome, policy: Policy, now: float) -> Breaker:
    backend = breaker.backend
    many = breaker.streak >= STREAK and len(breaker.streak_events) >= STREAK_EVENTS
    # With one attempt an event there is no retry that a circuit could spare.
    if backend is not None or (many and policy.enabled):
        backend = _opened(backend, reason, outcome, policy, now)
    paths = breaker.paths
    if delivery.event_type in paths:
        path = _opened(paths[delivery.event_type], reason, outcome, policy, now)
        paths = {**paths, delivery.event_type: path}
    return breaker._replace(backend=backend, paths=paths)


def _opened(circuit: Circuit | None, reason: str, outcome: Outcome, policy: Policy, now: float) -> Circuit:
    """Open a circuit, or put off the next probe of an open one."""
    probes = 0 if circuit is None else circuit.probes + 1
    wait = min(policy.delay_s(probes + 1), PROBE_MAX_S)
    probe_at = now + max(wait, outcome.retry_after_s or 0.0)
    opened_at = now if circuit is None else circuit.opened_at
    return Circuit(opened_at=opened_at, reason=reason, probe_at=probe_at, probes=probes)


def put_off(breaker: Breaker, event_type: str | None, until: float) -> Breaker:
    """Return the breaker with the next probe put off until a time (unix seconds).

    It is that of an event type's path; where `event_type` is None, that of the backend.
    """
    if event_type is None:
        return breaker._replace(backend=breaker.backend and breaker.backend._replace(probe_at=until))
    paths = {
        name: path._replace(probe_at=until) if name == event_type else path for name, path in breaker.paths.items()
    }
    return breaker._replace(paths=paths)


def probe_now(breaker: Breaker, now: float) -> Breaker:
    """Return the breaker with its next probes due at once: the clock was set back."""
    paths = {name: path._replace(probe_at=now) for name, path in breaker.paths.items()}
    return breaker._replace(backend=breaker.backend and breaker.backend._replace(probe_at=now), paths=paths)


def merge(base: Breaker, ours: Breaker, theirs: Breaker) -> Breaker:
    """Return the circuits as another relay has stored them, with what this one has changed since it read them (`base`).

    The streak is this relay's own.
    """
    names = {*base.paths, *ours.paths, *theirs.paths}
    paths = {name: _merged(base.paths.get(name), ours.paths.get(name), theirs.paths.get(name)) for name in names}
    return ours._replace(
        backend=_merged(base.backend, ours.backend, theirs.backend),
        paths={name: path for name, path in paths.items() if path is not None},
    )


def _merged(base: Circuit | None, ours: Circuit | None, theirs: Circuit | None) -> Circuit | None:
    return theirs if ours == base else ours


def encode(breaker: Breaker) -> dict[str, Any]:
    """Return the open circuits as JSON types; the streak starts anew after a restart."""
    return {
        BACKEND_KEY: None if breaker.backend is None else _encode(breaker.backend),
        "paths": {name: _encode(path) for name, path in breaker.paths.items()},
    }


def _encode(circuit: Circuit) -> dict[str, Any]:
    names = ("opened_at", "reason", "probe_at", "probes")
    return {name: getattr(circuit, name) for name in names}


def stored(breaker: Breaker) -> str:
    """Return the open circuits as the outbox's STATE keeps them."""
    return json.dumps(encode(breaker))


def load(text: str | None) -> Breaker:
    """Return the breaker of the outbox's STATE; None and '' stand for no open circuit."""
    saved: Mapping[str, Any] = json.loads(text or "{}")
    backend = saved.get(BACKEND_KEY)
    return Breaker(
        backend=Circuit(**backend) if backend else None,
        paths={name: Circuit(**path) for name, path in saved.get("paths", {}).items()},
    )
