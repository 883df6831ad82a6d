"""Claiming and settling in a schema that relays share: every write says under whose lease it is made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from relay.errors import OutboxFenced, OutboxUnavailable
from relay.model import Delivery, Status
from relay.outbox import mysql_statements as sql
from relay.outbox import rows, sizes
from relay.outbox.contract import CLAIM_BYTES
from relay.outbox.sql_queue import CLAIM_LOOKS, SqlQueue, chosen_types, fitting
from relay.outbox.tables import ATTEMPTS
from relay.outbox.values import Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.outbox.mysql_lease import Lease
    from relay.outbox.sql import Run
    from relay.outbox.values import Settled


#: How many bytes of a statement an event takes that is looked at: its id twice, of twenty digits at the most.
CANDIDATE_BYTES = 48


class MysqlQueue(SqlQueue):
    """The Queue of a relay that holds a lease."""

    def __init__(self, lease: Lease) -> None:
        super().__init__()
        self._lease = lease
        #: What has our name and is not held is an orphan: it was claimed by a commit without an answer.
        self._has_orphans = False

    @property
    def _claims_as(self) -> str:
        return self._lease.name

    def may_send(self, delivery: Delivery) -> bool:
        return self._is_ours(delivery) and self._lease.is_alive()

    def let_go(self) -> None:
        self._lease.lapse()

    def _free(self, now: float) -> tuple[str, Sequence[Any]]:  # noqa: ARG002 -- a relay's lease ends as a whole
        return "leased_by IS NULL", ()

    def _taken(self, event_id: str) -> Taken | None:
        found = self._rows(sql.TAKEN, (event_id,))
        return Taken(by=found[0][0], until=float(found[0][1])) if found else None

    # -- claiming

    def claim(
        self,
        now: float,
        limit: int,
        *,
        lease_s: float,  # noqa: ARG002 -- the relay's own lease is what counts here
        types: frozenset[str],
        most_bytes: int = CLAIM_BYTES,
        only: str | None = None,
        probe: bool = False,
    ) -> Sequence[Delivery]:
        self._free_orphans()
        chosen = chosen_types(types, only)
        wanted = _Wanted(
            now=now,
            limit=1 if probe else limit,
            most_bytes=most_bytes,
            types=sorted(types),
            chosen=chosen,
            is_probe=probe,
        )
        for looks in CLAIM_LOOKS[:3]:
            look_at = min(limit * looks, self._most_bytes // CANDIDATE_BYTES)
            candidates = self._candidates(wanted, look_at)
            claimed = self._leased(partial(self._claimable, candidates=candidates, wanted=wanted), now)
            if claimed or len(candidates) < look_at:
                return claimed
        return ()

    def _candidates(self, wanted: _Wanted, most: int) -> Mapping[int, int]:
        """Return the users of the events that may be claimable, by event; no lock is taken for it."""
        term, types = self._among(wanted.chosen)
        statement = sql.CANDIDATES.format(p="{p}", due=wanted.due, types=term)
        return dict(self._rows(statement, [wanted.now, *types, most]))

    def _claimable(self, run: Run, *, candidates: Mapping[int, int], wanted: _Wanted) -> Sequence[int]:
        """Return those of the candidates that may be claimed; the rows of their users are locked then."""
        if not candidates:
            return ()
        term, users = self._among(sorted(set(candidates.values())))
        mine = {row[0] for row in run(sql.LOCK_USERS.format(p="{p}", users=term), users).fetchall()}
        ids = [event for event, user in candidates.items() if user in mine]
        if not ids:
            return ()
        in_ids, id_values = self._among(ids)
        in_types, types = self._among(wanted.types)
        statement = sql.CLAIMABLE.format(
            p="{p}",
            ids=in_ids,
            due=wanted.due,
            types=in_types,
            # One that was put off since the candidates were looked for is not claimed along: it is waited for.
            claimed_along="" if wanted.is_probe else f"AND NOT (other.id {in_ids} AND other.due_at <= ?)",
            # What is cut off at the limit comes after what is kept, within each user too.
            order="c.due_at, c.id" if wanted.is_probe else "c.occurred_at, c.id",
        )
        values = [*id_values, wanted.now, *types, *(() if wanted.is_probe else (*id_values, wanted.now))]
        found = [row[0] for row in run(statement, values).fetchall()][: wanted.limit]
        return self._turned(run, found, candidates, wanted.most_bytes) if found else ()

    def _turned(self, run: Run, found: Sequence[int], users: Mapping[int, int], most_bytes: int) -> Sequence[int]:
        """Return the first of the events that fit into memory; the rows of their users are changed."""
        term, ids = self._among(found)
        sizes = dict(run(sql.SIZES.format(p="{p}", ids=term), ids).fetchall())
        found = fitting(found, sizes, most_bytes)
        term, values = self._among(sorted({users[event] for event in found}))
        run(sql.TURN_USERS.format(p="{p}", users=term), values)
        return found

    def claim_again(
        self,
        ids: Sequence[int],
        now: float,
        *,
        lease_s: float,  # noqa: ARG002 -- as in claim
        types: frozenset[str],
    ) -> Sequence[Delivery]:
        self._free_orphans()
        in_ids, id_values = self._among(ids)
        in_types, type_values = self._among(sorted(types))
        statement = sql.OF_TYPES.format(p="{p}", ids=in_ids, types=in_types)
        values = (*id_values, *type_values)
        return self._leased(lambda run: [row[0] for row in run(statement, values).fetchall()], now)

    def _leased(self, choose: Callable[[Run], Sequence[int]], now: float) -> Sequence[Delivery]:
        """Lease the events that `choose` returns, and write the rows of their attempts, in one transaction."""
        name = self._lease.name

        def work(run: Run) -> Sequence[Delivery]:
            if not self._lease.beat(run, name):
                raise OutboxFenced("This relay's lease on the outbox has ended.", hint="It joins again by itself.")
            ids = choose(run)
            return self._lease_rows(run, name, ids, now) if ids else ()

        try:
            claimed = self._do(work)
        except OutboxUnavailable:
            # Without an answer to the commit, they may be ours.
            self._has_orphans = True
            raise
        return self._claimed(claimed, name)

    def _lease_rows(self, run: Run, name: str, ids: Sequence[int], now: float) -> Sequence[Delivery]:
        term, values = self._among(ids)
        # What is under way elsewhere is left out; what was ours before this is too.
        term, values = self._among([row[0] for row in run(sql.UNLEASED.format(p="{p}", ids=term), values).fetchall()])
        if not run(sql.LEASE.format(p="{p}", ids=term), (name, *values)).rowcount:
            return ()
        # Each is a row of rows.CLAIMED, and the bytes behind it.
        leased = run(sql.LEASED.format(p="{p}", ids=term), (name, *values)).fetchall()
        attempts = [{"event_id": row[1], "attempt": row[6], "started_at": int(now)} for row in leased]
        self._insert(run, ATTEMPTS, attempts)
        term, values = self._among([row[1] for row in leased])
        numbers = dict(run(sql.ATTEMPT_IDS.format(p="{p}", ids=term), values).fetchall())
        return [rows.delivery(row[:-1], numbers[row[1]], bytes(row[-1])) for row in leased]

    def _free_orphans(self) -> None:
        """Free what a commit without an answer has claimed for us: nothing of it was sent."""
        if not self._has_orphans:
            return
        name = self._lease.name
        with self._lock:
            held = sorted(event for event, (under, _) in self._held.items() if under == name)
        term, values = self._among(held)
        kept = f"AND id NOT {term}" if held else ""
        self._do(lambda run: run(f"{sql.FREE} {kept}", (name, *values)))
        self._has_orphans = False

    # -- settling

    def _settle(self, settled: Sequence[Settled], now: float, state: Mapping[str, str] | None) -> None:
        name = self._lease.name
        ours = rows.sort([one for one in settled if self._is_ours(one.delivery)])
        attempts = self._in_arrays([rows.attempt_row(one) for one in settled])
        undelivered = self._in_arrays([rows.undelivered_row(one) for one in ours.undelivered])

        def work(run: Run) -> None:
            is_member = self._lease.beat(run, name)
            for some in attempts:
                run(sql.SETTLE_ATTEMPTS, (some,))
            if not is_member:
                return
            if ours.delivered:
                term, ids = self._among(ours.delivered)
                statement = sql.SETTLE_DELIVERED.format(p="{p}", ids=term)
                run(statement, (Status.SUCCESS, int(now), int(now), name, *ids))
            for some in undelivered:
                run(sql.SETTLE_UNDELIVERED, (some, int(now), int(now), name))
            for one in ours.holding:
                delivery = one.delivery
                values = {"id": delivery.id, "user_id": delivery.user_id, "occurred_at": delivery.occurred_at}
                run(sql.HOLD_USER, {**values, "due_at": one.decision.due_at})
            for key, value in (state or {}).items():
                run(self.SET_STATE, {"key": key, "value": value, "now": int(now)})

        self._do(work)

    def _in_arrays(self, settled: Sequence[Sequence[Any]]) -> Sequence[str]:
        """Return rows as JSON arrays, each of as many as a statement may hold."""
        texts = [json.dumps(row) for row in settled]
        pieces = sizes.pieces(texts, sizes.written, most=len(texts), most_bytes=self._most_bytes)
        return [f"[{','.join(piece)}]" for piece in pieces]

    def release(self, deliveries: Sequence[Delivery]) -> None:
        attempts, attempt_ids = self._among([one.attempt_id for one in deliveries])
        events, ids = self._among([one.id for one in deliveries if self._is_ours(one)])
        name = self._lease.name

        def work(run: Run) -> None:
            run(sql.RELEASE_ATTEMPTS.format(p="{p}", ids=attempts), attempt_ids)
            run(sql.RELEASE_EVENTS.format(p="{p}", ids=events), (name, *ids))

        self._do(work)
        self._settled(deliveries)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What a claim looks for."""

    now: float
    limit: int
    most_bytes: int
    #: The types that may be sent, and those of them that are claimed.
    types: Sequence[str]
    chosen: Sequence[str]
    is_probe: bool

    @property
    def due(self) -> str:
        return "c.due_at IS NOT NULL AND c.not_before <= ?" if self.is_probe else "c.due_at <= ?"
