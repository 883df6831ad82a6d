"""How a process takes part in an outbox that others may use: its lease, and waiting for those of others."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from relay.errors import OutboxInUse, OutboxUnavailable
from relay.outbox.contract import RENEW_S
from relay.service.daemon import Loop, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.outbox.contract import Outbox
    from relay.service.daemon import Signals
    from relay.service.machine import Machine

#: How often it is looked whether the leases of others have changed, in seconds.
LOOK_S = 0.25
#: How long is waited for the renewing of a lease to end, in seconds.
END_S = 2.0


class Opened(NamedTuple):
    """An open outbox, and the machine that it is used on."""

    outbox: Outbox
    machine: Machine

    def now(self) -> float:
        """Return the time in unix seconds, by the clock that all who use the outbox share. Raises OutboxError."""
        return self.outbox.time(self.machine.now())


@contextlib.contextmanager
def kept(opened: Opened) -> Iterator[None]:
    """Renew this process's lease on a shared outbox within, in a thread of its own."""
    outbox = opened.outbox
    if not outbox.is_shared:
        yield
        return

    def renew() -> float:
        outbox.renew(opened.now())
        return RENEW_S

    # Whoever uses the outbox meanwhile says what is wrong with it.
    silent = Watch(heals=(OutboxUnavailable,), down=lambda _error: None, up=lambda: None)
    renewing = Loop("lease", renew, silent, monotonic=opened.machine.monotonic)
    renewing.start()
    try:
        yield
    finally:
        renewing.stop()
        renewing.join(END_S)


def hold_alone(opened: Opened, *, exclusive: bool = False) -> None:
    """Claim an outbox that no other relay uses; the lease of a dead one is waited for. Raises OutboxInUse.

    `exclusive`: no other one may begin to use it either.
    """
    outbox = opened.outbox
    first = {member.name: member.expires_at for member in outbox.members()}
    while True:
        try:
            outbox.hold(opened.now(), alone=True, exclusive=exclusive)
        except OutboxInUse:
            others = [one for one in outbox.members() if not one.is_own]
            renewed = [one for one in others if one.expires_at > first.get(one.name, 0.0)]
            if renewed or not outbox.is_shared:
                raise
            opened.machine.sleep(LOOK_S)
        else:
            return


def wait_for_lead(outbox: Outbox, signals: Signals) -> bool:
    """Wait until this relay leads, another leader renews its lease, or a signal; say whether this one leads."""
    first = _lead_until(outbox)
    while not outbox.leads() and not signals.stop.wait(LOOK_S):
        until = _lead_until(outbox)
        if first is not None and until is not None and until > first:
            return False
    return outbox.leads()


def _lead_until(outbox: Outbox) -> float | None:
    """Return until when the lease of the relay that leads lasts, in unix seconds; None where none leads."""
    return next((member.expires_at for member in outbox.members() if member.leads), None)
