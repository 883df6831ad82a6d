"""The circuits as delivery uses them: kept in the outbox, and shared by the relays that share that."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from relay.rules import circuit, retry
from relay.rules.circuit import Breaker
from relay.rules.retry import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.model import Delivery, Log, Outcome
    from relay.outbox.contract import Queue
    from relay.rules.circuit import Circuit


class Unsaved(NamedTuple):
    """The circuits at one moment, beside those that were last saved."""

    breaker: Breaker
    #: What is to be kept under circuit.STATE; None where it is there already.
    text: str | None
    #: A circuit has closed since.
    has_closed: bool


class SharedCircuit:
    """The circuits of one relay. Workers report each outcome at once, from their threads; passes save and read them."""

    def __init__(self, *, outbox: Queue, policy: retry.Policy, clock: Callable[[], float], log: Log) -> None:
        """Take `clock`, which gives unix seconds by the clock of all who use the outbox. `load` comes first."""
        self._outbox = outbox
        self._policy = policy
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        #: The state as this relay has read or written it last.
        self._text = ""
        self._breaker = self._saved = Breaker()
        self._is_loaded = False

    @property
    def breaker(self) -> Breaker:
        """The circuits as they are now."""
        return self._breaker

    def load(self) -> None:
        """Read the circuits that are open, at the first call. Raises OutboxError."""
        if not self._is_loaded:
            self._text = self._outbox.state(circuit.STATE) or ""
            self._breaker = self._saved = circuit.load(self._text)
            self._is_loaded = True

    def observe(self, delivery: Delivery, outcome: Outcome, weight: int = 1) -> bool:
        """Count an outcome, a failed one for `weight` failures; say whether its attempt fell under an open circuit.

        Called as soon as the outcome is known, so that an open circuit holds back the very next request.
        """
        with self._lock:
            before = self._breaker
            self._breaker = after = circuit.observe(before, delivery, outcome, self._policy, self._clock(), weight)
        if after is not before:
            self._say(before, after, outcome)
        return before.covers(delivery.event_type) or after.covers(delivery.event_type)

    def probe_now(self, now: float) -> None:
        """Let the next probes be due at once (`now`, unix seconds): the clock was set back."""
        with self._lock:
            self._breaker = circuit.probe_now(self._breaker, now)

    def unsaved(self) -> Unsaved:
        """Return the circuits as they are now, to be saved in the transaction that settles the deliveries.

        Raises OutboxError.
        """
        if circuit.stored(self._breaker) != circuit.stored(self._saved):
            # Another relay may have saved its own since: they are not to be lost.
            self.adopt()
        breaker, saved = self._breaker, self._saved
        text = circuit.stored(breaker)
        backend_closed = saved.backend is not None and breaker.backend is None
        return Unsaved(
            breaker=breaker,
            text=None if text == circuit.stored(saved) else text,
            has_closed=backend_closed or bool(saved.paths.keys() - breaker.paths.keys()),
        )

    def has_saved(self, unsaved: Unsaved) -> None:
        """Note that this is in the outbox now."""
        self._saved = unsaved.breaker
        self._text = self._text if unsaved.text is None else unsaved.text

    def adopt(self) -> None:
        """Load the circuits that another relay has stored.

        What this relay has found and not saved yet stays, and is saved together with that.
        """
        if not self._outbox.is_shared:
            return
        text = self._outbox.state(circuit.STATE) or ""
        with self._lock:
            if text == self._text:
                return
            found = circuit.load(text)
            self._breaker = circuit.merge(self._saved, self._breaker, found)
            self._saved = found
            self._text = text

    def is_first_to_probe(self, event_type: str | None, now: float, until: float) -> bool:
        """Say whether this relay may probe a path (None: the backend); times are unix seconds.

        Of the relays that share an outbox, only the first one to store `until` as the time of the next probe may.
        """
        if not self._outbox.is_shared:
            return True
        with self._lock:
            later = circuit.put_off(self._breaker, event_type, until)
            text = circuit.stored(later)
            if not self._outbox.swap_state(circuit.STATE, self._text, text, now):
                return False
            self._breaker = self._saved = later
            self._text = text
        return True

    def _say(self, before: Breaker, after: Breaker, outcome: Outcome) -> None:
        """Log which circuits this outcome has opened or closed."""
        scopes: list[tuple[str | None, Circuit | None, Circuit | None]] = [(None, before.backend, after.backend)]
        scopes += [(name, before.paths.get(name), after.paths.get(name)) for name in {*before.paths, *after.paths}]
        for name, was_open, is_open in scopes:
            path = {} if name is None else {"event_type": str(name)}
            if is_open is not None and was_open is None:
                reason, hint = is_open.reason, _hint(outcome)
                self._log.error("circuit.opened", reason=reason, http_code=outcome.http_code, hint=hint, **path)
            elif was_open is not None and is_open is None:
                seconds = round(self._clock() - was_open.opened_at, 1)
                self._log.warning("circuit.closed", open_for_s=seconds, **path)


def _hint(outcome: Outcome) -> str:
    verdict = retry.classify(outcome)
    if verdict is Verdict.UNKNOWN_CALLER:
        return "The backend does not know this relay: mend backend.token (and signing_keys). Nothing is lost meanwhile."
    if verdict is Verdict.NO_SUCH_PATH:
        return "The backend has no such path: mend backend.url, or the backend. Other kinds of event go on."
    return "The backend fails or is away: events wait, none is used up. relay check says more."
