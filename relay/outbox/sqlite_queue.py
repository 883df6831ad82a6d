"""Claiming and settling in a file: each event has a lease of its own, which ends with the process that has it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from relay.model import Status
from relay.outbox import owners, rows
from relay.outbox import sqlite_statements as sql
from relay.outbox.contract import CLAIM_BYTES
from relay.outbox.sql_queue import CLAIM_LOOKS, SqlQueue, chosen_types, fitting
from relay.outbox.sqlite_database import ONCE
from relay.outbox.tables import LEASE_KEY
from relay.outbox.values import Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.model import Delivery
    from relay.outbox.sql import Run
    from relay.outbox.values import Settled

#: Who leases events: the relay that holds the outbox, or a replay beside it.
RUN, REPLAY = "run", "replay"
#: No ids at all, as JSON.
NONE = "[]"
#: The bodies of so many claimed events are read at once: several copies of them are in memory meanwhile.
READ_AT_ONCE = 100


class SqliteQueue(SqlQueue):
    """The Queue of a process that uses the file."""

    def __init__(self) -> None:
        super().__init__()
        #: What comes behind RUN or REPLAY in `leased_by`; and the names of before `let_go`, whose leases have ended.
        self._name = owners.new()
        self._former: list[str] = []
        self._has_leased = False

    @property
    def _claims_as(self) -> str:
        return self._name

    def let_go(self) -> None:
        self._former += [f"{RUN}-{self._name}", f"{REPLAY}-{self._name}"]
        self._name = owners.new()

    def _free(self, now: float) -> tuple[str, Sequence[Any]]:
        return sql.FREE_AT, (now, self._gone(self._rows))

    def _taken(self, event_id: str) -> Taken | None:
        found = self._rows(sql.TAKEN, (event_id,))
        return Taken(by=owners.shown(found[0][0].partition("-")[2]), until=float(found[0][1])) if found else None

    def _gone(self, read: Callable[[str], Sequence[Any]]) -> str:
        """Return who has leased events and is gone, as a JSON array."""
        names = [str(row[0]).removeprefix(LEASE_KEY) for row in read(sql.OWNERS)]
        return json.dumps([*self._former, *(name for name in names if owners.is_gone(name.partition("-")[2]))])

    def _end_leases(self) -> None:
        """Free what this process has under way: it is about to end."""
        if not self._has_leased:
            return
        # Nobody is waited for: others find that this process is gone.
        self._rows("PRAGMA busy_timeout = 0")
        with self._lock:
            held = [event for event, (name, _) in self._held.items() if name == self._name]
        if held:
            self._do(lambda run: run(sql.FREE_OWN, {"ids": json.dumps(held), "owner": f"%-{self._name}"}))
        self._do(lambda run: run(sql.FORGET_OWNER, {"owner": f"{LEASE_KEY}%-{self._name}"}))

    def set_back(self, seconds: float) -> None:
        super().set_back(seconds)
        self._do(lambda run: run(sql.SET_BACK_LEASES, {"by": seconds}))

    # -- claiming

    def claim(
        self,
        now: float,
        limit: int,
        *,
        lease_s: float,
        types: frozenset[str],
        most_bytes: int = CLAIM_BYTES,
        only: str | None = None,
        probe: bool = False,
    ) -> Sequence[Delivery]:
        due = "not_before <= :now" if probe else "due_at <= :now"
        statement = sql.CLAIM.format(
            once=ONCE,
            p="{p}",
            due=due,
            claimed_along="" if probe else "AND other.id NOT IN (SELECT id FROM candidate)",
            # What is cut off at the limit comes after what is kept, within each user too.
            order="c.due_at, c.id" if probe else "c.occurred_at, c.id",
        )
        more = sql.MORE_DUE.format(p="{p}", due=due)
        chosen = json.dumps(chosen_types(types, only))
        values = {"now": now, "types": json.dumps(sorted(types)), "chosen": chosen, "take": 1 if probe else limit}

        def work(run: Run) -> Sequence[Delivery]:
            gone = self._gone(lambda query: run(query).fetchall())
            for look_at in CLAIM_LOOKS:
                ((ids,),) = run(statement, {**values, "gone": gone, "limit": limit * look_at}).fetchall()
                if ids != NONE or not run(more, {"now": now, "looked_at": limit * look_at}).fetchall():
                    break
            return self._lease(run, _fitting(run, ids, most_bytes), now, lease_s, RUN)

        return self._claimed(self._do(work))

    def claim_again(
        self, ids: Sequence[int], now: float, *, lease_s: float, types: frozenset[str]
    ) -> Sequence[Delivery]:
        values = {"ids": json.dumps(list(ids)), "now": now, "types": json.dumps(sorted(types))}

        def work(run: Run) -> Sequence[Delivery]:
            gone = self._gone(lambda query: run(query).fetchall())
            ((free,),) = run(sql.FREE, {**values, "gone": gone}).fetchall()
            return self._lease(run, free, now, lease_s, REPLAY)

        return self._claimed(self._do(work))

    def _lease(self, run: Run, ids: str, now: float, lease_s: float, role: str) -> Sequence[Delivery]:
        """Lease the rows, whose ids are given as a JSON array, and write the row of an attempt for each."""
        if ids == NONE:
            return ()
        owner, until = f"{role}-{self._name}", now + lease_s
        self._has_leased = True
        run(sql.LEASE, {"ids": ids, "until": until, "owner": owner})
        run(self.SET_STATE, {"key": f"{LEASE_KEY}{owner}", "value": str(until), "now": int(now)})
        run(sql.ATTEMPT_ROWS, {"ids": ids, "now": int(now)})
        every: list[int] = json.loads(ids)
        found: list[Delivery] = []
        for start in range(0, len(every), READ_AT_ONCE):
            ((claimed, bodies),) = run(sql.LEASED, {"ids": json.dumps(every[start : start + READ_AT_ONCE])}).fetchall()
            each = zip(json.loads(claimed), bodies.encode().split(b"\x1e"), strict=True)
            found += [rows.delivery(row[:-1], row[-1], body) for row, body in each]
        return sorted(found, key=lambda one: (one.occurred_at, one.id))

    # -- settling

    def _settle(self, settled: Sequence[Settled], now: float, state: Mapping[str, str] | None) -> None:
        sorted_ = rows.sort([one for one in settled if self._is_ours(one.delivery)])
        attempts = json.dumps([rows.attempt_row(one) for one in settled])
        delivered = {"ids": json.dumps(sorted_.delivered), "status": Status.SUCCESS, "now": int(now)}
        undelivered = json.dumps([rows.undelivered_row(one) for one in sorted_.undelivered])

        def work(run: Run) -> None:
            run(sql.SETTLE_ATTEMPTS, {"attempts": attempts})
            run(sql.SETTLE_DELIVERED, delivered)
            if sorted_.undelivered:
                run(sql.SETTLE_UNDELIVERED, {"events": undelivered, "now": int(now)})
            for one in sorted_.holding:
                ids = {"id": one.delivery.id, "user_id": one.delivery.user_id}
                run(sql.HOLD_USER, {**ids, "due_at": one.decision.due_at})
            for key, value in (state or {}).items():
                run(self.SET_STATE, {"key": key, "value": value, "now": int(now)})

        self._do(work)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        attempts = json.dumps([one.attempt_id for one in deliveries])
        events = json.dumps([one.id for one in deliveries if self._is_ours(one)])

        def work(run: Run) -> None:
            run(sql.RELEASE_ATTEMPTS, {"ids": attempts})
            run(sql.RELEASE_EVENTS, {"ids": events})

        self._do(work)
        self._settled(deliveries)


def _fitting(run: Run, ids: str, most_bytes: int) -> str:
    """Return the first of the rows that fit into memory, of ids in a JSON array."""
    ((size,),) = run(sql.SIZE, {"ids": ids}).fetchall()
    if size <= most_bytes:
        return ids
    return json.dumps(fitting(json.loads(ids), dict(run(sql.SIZES, {"ids": ids}).fetchall()), most_bytes))
