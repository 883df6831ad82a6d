"""Which relays take part in a shared outbox, which of them reads the log, and what becomes of one that has died.

A relay has a row with a time until which it counts as alive. What it has under way carries its name. A relay that finds
another one's time over deletes that row and frees what the other had under way, in one transaction. Each write of a
relay changes its own row in the same transaction: one that was taken for dead finds no row, and on a cluster the two
changes cannot both be certified. The row `capture` names the relay that reads the log, with a number (a fencing token)
that grows whenever another one takes over; the row `alone` names one that moves the outbox.
"""

from __future__ import annotations

import os
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from relay.errors import OutboxInUse
from relay.outbox import mysql_statements as sql
from relay.outbox.contract import LEASE_S
from relay.outbox.tables import LEASES
from relay.outbox.values import Member

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.outbox.sql import Run

CAPTURE = "capture"
#: Names the relay that no other one may take part beside, and until when.
ALONE = "alone"
#: No lease lasts longer, in seconds, however far two relays are apart in what they take the server's time for.
LONGEST_S = 2 * LEASE_S
#: What the names of relays begin with.
RELAY = "relay:"


def _is_over(expires_at: float, now: float) -> bool:
    """Say whether a lease has ended, or is of before the server's clock was set back."""
    return not now <= expires_at <= now + LONGEST_S


def _refuse(rows: Sequence[tuple[str, str, float]], *, is_alone: bool) -> None:
    """Raise OutboxInUse where somebody is exclusive, or takes part and this relay wants to be alone.

    Given the leases that are not over: their name, holder and end.
    """
    if any(name == ALONE for name, _, _ in rows):
        raise OutboxInUse("The outbox is being moved.", hint="Try again when relay move-outbox has ended.")
    others = [holder for name, holder, _ in rows if name.startswith(RELAY)]
    if is_alone and others:
        raise OutboxInUse(f"Another relay runs on the outbox: {others[0]}.", hint="Stop it first.")


class Lease:
    """What part this relay takes in a shared outbox. Safe to use from several threads."""

    def __init__(
        self,
        do: Callable[[Callable[[Run], Any]], Any],
        rows: Callable[..., list[Any]],
        *,
        elapsed: Callable[[], float],
        token: Callable[[], str],
    ) -> None:
        """Take how to run a transaction and a query.

        `elapsed` gives seconds by a clock that nobody sets and that goes on while the machine sleeps; `token` a text
        that no other call, on any machine, ever gives, of up to 50 characters.
        """
        self._do = do
        self._rows = rows
        self._elapsed = elapsed
        self._token = token
        self._lock = threading.Lock()
        #: Held by who begins, renews or ends the part that this relay takes: one at a time.
        self._changing = threading.RLock()
        #: This relay's name; a new one each time it joins.
        self.name = ""
        self._wants_lead = False
        self._is_exclusive = False
        #: The number of this relay's lead; None where another one leads.
        self._fence: int | None = None
        #: Until when this relay knows itself to be alive, by the clock that nobody sets.
        self._alive_until = 0.0
        #: The server's clock (unix seconds) minus the clock that nobody sets.
        self._offset: float | None = None

    # -- the clock that all share

    def time(self) -> float:
        """Return the server's time, in unix seconds. Raises OutboxUnavailable where it was never asked before."""
        if self._offset is None:
            self._ask_time()
        return self._elapsed() + (self._offset or 0.0)

    def _ask_time(self) -> None:
        before = self._elapsed()
        ((at,),) = self._rows("SELECT UNIX_TIMESTAMP(NOW(6))")
        after = self._elapsed()
        # A slow answer says little of the time: what is known already is better.
        if self._offset is None or after - before < 0.5:
            self._offset = float(at) - (before + after) / 2

    # -- taking part

    def join(self, now: float, *, leads: bool, alone: bool = False, exclusive: bool = False) -> None:
        """Take part from now on; `leads` says whether this relay is ready to read the log.

        Raises OutboxInUse where another one is exclusive, or takes part and this one wants to be `alone` or exclusive.
        """
        with self._changing:
            self.leave()
            self._is_exclusive, self._wants_lead = exclusive, leads
            self._join(now, self._elapsed(), is_alone=alone or exclusive)

    def _join(self, now: float, began: float, *, is_alone: bool) -> None:
        name = f"{RELAY}{self._token()}"
        holder = f"{socket.gethostname()[:200]} pid {os.getpid()}{'' if self._wants_lead else ' (passing)'}"

        def work(run: Run) -> None:
            # Who begins to take part and who wants to be alone change the same row: one of the two sees the other.
            run(sql.TOUCH_ALONE, (ALONE, "", 0))
            rows = run(f"SELECT name, holder, expires_at FROM {{p}}{LEASES}").fetchall()
            _refuse([row for row in rows if not _is_over(row[2], now)], is_alone=is_alone)
            run(sql.JOIN, (name, holder, now + LEASE_S))
            if self._is_exclusive:
                run(sql.HOLD_ALONE, (name, now + LEASE_S, ALONE))

        self._do(work)
        with self._lock:
            self.name, self._fence = name, None
            self._alive_until = began + LEASE_S

    def renew(self, now: float) -> None:
        """Say that this relay is alive, expire the dead, and take the lead where nobody has it."""
        with self._changing:
            self._renew(now)

    def _renew(self, now: float) -> None:
        if not self.name:
            return
        # `now` is of this moment, however long the server is asked for its time.
        began = self._elapsed()
        self._ask_time()
        if not self._do(lambda run: run(sql.RENEW, (now + LEASE_S, self.name)).rowcount):
            # Another relay took this one for dead and freed its events: under a new name the old claims don't count.
            self._join(now, began, is_alone=self._is_exclusive)
        if self._is_exclusive:
            self._do(lambda run: run(sql.RENEW_ALONE, (now + LEASE_S, ALONE, self.name)))
        self._alive_until = began + LEASE_S
        self.expire(now)
        if self._wants_lead:
            self._fence = self._do(lambda run: self._lead(run, now))

    def expire(self, now: float) -> None:
        """End the leases of the relays whose time is over, and free what these had under way."""
        for name, expires_at in self._rows(f"SELECT name, expires_at FROM {{p}}{LEASES}"):
            if name.startswith(RELAY) and _is_over(expires_at, now):
                self._do(partial(self._expire, dead=name, now=now))

    def _expire(self, run: Run, *, dead: str, now: float) -> None:
        if run(sql.EXPIRE, (dead, now, now + LONGEST_S)).rowcount:
            run(sql.FREE, (dead,))

    def _lead(self, run: Run, now: float) -> int | None:
        """Return the number of this relay's lead, or None where another one leads."""
        rows = run(f"SELECT holder, fence, expires_at FROM {{p}}{LEASES} WHERE name = ?", (CAPTURE,)).fetchall()
        if not rows:
            run(sql.JOIN, (CAPTURE, self.name, now + LEASE_S))
            return 0
        holder, fence, expires_at = rows[0]
        if holder == self.name:
            renewed = run(sql.RENEW_LEAD, (now + LEASE_S, CAPTURE, self.name, fence)).rowcount
            return int(fence) if renewed else None
        values = (self.name, now + LEASE_S, CAPTURE, fence, now, now + LONGEST_S)
        if _is_over(expires_at, now) and run(sql.TAKE_LEAD, values).rowcount:
            return int(fence) + 1
        return None

    def lapse(self) -> None:
        """Let the lease end, and take another one at the next `renew`; asks no database."""
        with self._lock:
            if self.name:
                # No row has this name.
                self.name, self._fence, self._alive_until = f"{RELAY}{self._token()}", None, 0.0

    def leave(self) -> None:
        """Take part no longer: nobody needs to wait until this relay's time is over."""
        with self._changing:
            name, self.name = self.name, ""
            self._alive_until = 0.0
            if name:
                self._do(lambda run: self._end(run, name))

    def _end(self, run: Run, name: str) -> None:
        run(sql.FREE, (name,))
        run(f"DELETE FROM {{p}}{LEASES} WHERE name = ?", (name,))
        for part in (CAPTURE, ALONE):
            run(f"UPDATE {{p}}{LEASES} SET expires_at = 0 WHERE name = ? AND holder = ?", (part, name))

    # -- what is asked before a write or a request

    def is_alive(self) -> bool:
        """Say whether this relay's time is not over. Asks no database."""
        return self._elapsed() < self._alive_until

    def leads(self) -> bool:
        """Say whether this relay reads the log. Asks no database."""
        return self._fence is not None and self.is_alive()

    def beat(self, run: Run, name: str) -> bool:
        """Say whether this relay still takes part under a name, within a transaction that depends on it."""
        return run(sql.BEAT, (name,)).rowcount == 1

    def beat_lead(self, run: Run) -> bool:
        """Say whether this relay still leads, within a transaction that depends on it."""
        fence = self._fence
        return fence is not None and run(sql.BEAT_LEAD, (CAPTURE, self.name, fence)).rowcount == 1

    def members(self) -> Sequence[Member]:
        """Return who takes part."""
        rows = self._rows(f"SELECT name, holder, expires_at FROM {{p}}{LEASES} ORDER BY holder")
        leader = next((holder for name, holder, _ in rows if name == CAPTURE), "")
        return [
            Member(name=holder, leads=name == leader, expires_at=float(expires_at), is_own=name == self.name)
            for name, holder, expires_at in rows
            if name.startswith(RELAY)
        ]
