"""The outbox in a schema of MariaDB or MySQL, where several relays may share it."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from relay.errors import OutboxCorrupt, OutboxError, OutboxFenced, OutboxInUse, OutboxMissing, OutboxUnavailable
from relay.model import Delivery, Status
from relay.outbox import mysql_statements as sql
from relay.outbox import rows as shapes
from relay.outbox.contract import ATTEMPTS, CLAIM_LOOKS, EVENTS, SCHEMA_VERSION, STATE, Counts
from relay.outbox.mysql_database import Database
from relay.outbox.mysql_lease import Lease
from relay.outbox.sql import SqlOutbox, insert, most_of
from relay.rules.retry import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.model import Position
    from relay.outbox.contract import Member, Settled
    from relay.outbox.sql import Made, Run, Values
    from relay.rules.server import Address


class MysqlOutbox(SqlOutbox):
    """The outbox in a schema: relays take part under leases, and every write says whose lease it is under."""

    SET_STATE, COUNT_STATE = sql.SET_STATE, sql.COUNT_STATE
    _BODY = "body"
    # Who has it under way renews a lease as a whole: an event's own has no end.
    _LEASED_UNTIL = "CASE WHEN leased_by IS NULL THEN NULL ELSE 1e300 END"

    def __init__(self, address: Address, *, create: bool = True, for_move: bool = False) -> None:
        """Open the outbox; make its tables where they are missing and `create` says so.

        Raises OutboxMissing where they are not, OutboxError where they are something else.
        """
        self._address = address
        self._database = Database(address)
        self._lock = threading.Lock()
        self._is_for_move = for_move
        #: The events that are under way here, each with the name it was claimed under and its attempt's row. What else
        #: has our name was claimed by a commit without an answer.
        self._held: dict[int, tuple[str, int]] = {}
        self._has_strays = False
        self._lease = Lease(self._do, self._rows)
        #: Whether this call has made the tables.
        self.created = False
        self._open(create=create)

    def _open(self, *, create: bool) -> None:
        where = f"the schema {self._address.name} at {self._address.where()}"
        statement = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()"
        found = {(str(table), str(column)) for table, column in self._rows(statement)}
        is_there = (self._address.prefix + STATE, "config_value") in found
        if (self._address.prefix + EVENTS, "id") in found and (self._address.prefix + EVENTS, "body") not in found:
            raise OutboxCorrupt(
                f"In {where} there is a table {self._address.prefix}{EVENTS} that is no relay's.",
                hint="Give relay another outbox.prefix, or a schema of its own.",
            )
        if not is_there and not create:
            raise OutboxMissing(f"There is no outbox in {where}.", hint="Start `relay run` once, or mend outbox.url.")
        if not is_there or self.state(shapes.VERSION) is None:
            for table in sql.SCHEMA:
                self._rows(table)
            # Several relays may be here at once: who comes second changes nothing.
            keep = f"INSERT IGNORE INTO {{p}}{STATE} (config_key, config_value, updated_at) VALUES (?, ?, 0)"
            self._do(lambda run: run(keep, (shapes.VERSION, str(SCHEMA_VERSION))))
            self.created = True
        self._check_state(f"The outbox in {where}")

    def _do(self, work: Callable[[Run], Made]) -> Made:
        return self._database.do(work)

    def _rows(self, statement: str, values: Values = ()) -> list[Any]:
        return self._database.rows(statement, values)

    def _among(self, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        return f"IN ({', '.join('?' * len(values)) or 'NULL'})", tuple(values)

    # -- taking part

    @property
    def is_shared(self) -> bool:  # noqa: D102 -- promised in base, as all below
        return True

    def time(self, now: float) -> float:  # noqa: ARG002, D102 -- the server's clock is the one that all share
        return self._lease.time()

    def close(self) -> None:  # noqa: D102
        # Without a database the leases end by themselves.
        with contextlib.suppress(OutboxError):
            self._lease.leave()
        self._database.close()

    def hold(self, now: float, *, alone: bool = False) -> None:  # noqa: D102
        self._lease.bury(now)
        others = self.members() if alone else ()
        if others:
            raise OutboxInUse(
                f"Another relay runs on the outbox in {self._address.name}: {others[0].name}.", hint="Stop it first."
            )
        self._lease.join(now, leads=True)
        self._lease.renew(now)

    def join(self, now: float) -> None:  # noqa: D102
        self._lease.join(now, leads=False)

    def renew(self, now: float) -> None:  # noqa: D102
        self._lease.renew(now)

    def leads(self) -> bool:  # noqa: D102
        return self._lease.leads()

    def may_send(self, delivery: Delivery) -> bool:  # noqa: D102
        return self._is_ours(delivery) and self._lease.is_alive()

    def members(self) -> Sequence[Member]:  # noqa: D102
        return self._lease.members()

    def _is_ours(self, delivery: Delivery) -> bool:
        """Say whether a claim stands: one of before this relay was taken for dead is no other's, nor this relay's."""
        return self._held.get(delivery.id) == (self._lease.name, delivery.attempt_id)

    def _check_lead(self, run: Run, before: Position | None) -> None:
        if not self._lease.beat_lead(run):
            raise OutboxFenced(
                "Another relay reads the log now: this one's lease has ended.", hint="Nothing is lost by it."
            )
        rows = run(f"SELECT config_value FROM {{p}}{STATE} WHERE config_key = 'cursor'").fetchall()
        if before is not None and rows and int(rows[0][0]) != before.high:
            raise OutboxFenced(
                f"The log was read up to {before.high}, but the outbox says {rows[0][0]}: it has lost commits.",
                hint="They are read again, and sent again with the same ids.",
            )

    def probe_write(self) -> None:  # noqa: D102
        def work(run: Run) -> None:
            run(self.SET_STATE, {"key": "probe", "value": "", "now": 0})
            run(f"DELETE FROM {{p}}{STATE} WHERE config_key = ?", ("probe",))

        self._do(work)

    # -- recording

    def _insert_events(self, run: Run, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        if not rows:
            return ()
        term, ids = self._among([row["event_id"] for row in rows])
        there = {row[0] for row in run(f"SELECT event_id FROM {{p}}{EVENTS} WHERE event_id {term}", ids).fetchall()}
        # An id may come twice in one batch.
        new = {row["event_id"]: row for row in rows if row["event_id"] not in there}
        insert(run, EVENTS, list(new.values()))
        self._make_lanes(run, {row["user_id"] for row in new.values()})
        return list(new)

    def _make_lanes(self, run: Run, users: set[int]) -> None:
        term, values = self._among(sorted(users))
        there = {row[0] for row in run(f"SELECT user_id FROM {{p}}{sql.LANES} WHERE user_id {term}", values).fetchall()}
        insert(run, sql.LANES, [{"user_id": user} for user in sorted(users - there)])

    # -- claiming

    def claim(  # noqa: D102
        self,
        now: float,
        limit: int,
        *,
        lease_s: float,  # noqa: ARG002 -- the relay's own lease is what counts here
        blocked: frozenset[str] = frozenset(),
        only: str | None = None,
        probe: bool = False,
    ) -> Sequence[Delivery]:
        self._free_strays()
        wanted = _Wanted(now=now, limit=1 if probe else limit, blocked=blocked, only=only, is_probe=probe)
        for look_at in CLAIM_LOOKS[:3]:  # more would not fit into a statement
            candidates = self._candidates(wanted, limit * look_at)
            claimed = self._leased(partial(self._claimable, candidates=candidates, wanted=wanted), now)
            if claimed or len(candidates) < limit * look_at:
                return claimed
        return ()

    def _candidates(self, wanted: _Wanted, most: int) -> Mapping[int, int]:
        """Return the users of the events that may be claimable, by event; no lock is taken for it."""
        term, types = self._types("c", wanted.blocked)
        only = "" if wanted.only is None else "AND c.event_type = ?"
        statement = sql.CANDIDATES.format(p="{p}", due=wanted.due, types=f"{term} {only}")
        values = [wanted.now, *types, *([] if wanted.only is None else [wanted.only]), most]
        return dict(self._rows(statement, values))

    def _types(self, table: str, blocked: frozenset[str]) -> tuple[str, Sequence[Any]]:
        term, types = self._among(sorted(blocked))
        return (f"AND {table}.event_type NOT {term}", types) if blocked else ("", ())

    def _claimable(self, run: Run, *, candidates: Mapping[int, int], wanted: _Wanted) -> Sequence[int]:
        """Return those of the candidates that may be claimed; the lanes of their users are locked then."""
        if not candidates:
            return ()
        term, users = self._among(sorted(set(candidates.values())))
        mine = [row[0] for row in run(sql.LOCK_LANES.format(p="{p}", users=term), users).fetchall()]
        ids = [event for event, user in candidates.items() if user in set(mine)]
        if not ids:
            return ()
        in_ids, id_values = self._among(ids)
        others, types = self._types("other", wanted.blocked)
        statement = sql.CLAIMABLE.format(
            p="{p}",
            ids=in_ids,
            due=wanted.due,
            others=others,
            # One that was put off since the candidates were looked for is not claimed along: it is waited for.
            claimed_along="" if wanted.is_probe else f"AND NOT (other.id {in_ids} AND other.due_at <= ?)",
            # What is cut off at the limit comes after what is kept, within each user too.
            order="c.due_at, c.id" if wanted.is_probe else "c.occurred_at, c.id",
        )
        values = [*id_values, wanted.now, *types, *(() if wanted.is_probe else (*id_values, wanted.now))]
        found = [row[0] for row in run(statement, values).fetchall()][: wanted.limit]
        if found:
            term, ids_found = self._among(found)
            ((size,),) = run(f"SELECT SUM(LENGTH(body)) FROM {{p}}{EVENTS} WHERE id {term}", ids_found).fetchall()
            found = found[: most_of(len(found), int(size or 0))]
            term, users = self._among(sorted({candidates[event] for event in found}))
            run(sql.TURN_LANES.format(p="{p}", users=term), users)
        return found

    def claim_again(self, ids: Sequence[int], now: float, *, lease_s: float) -> Sequence[Delivery]:  # noqa: ARG002, D102
        self._free_strays()
        return self._leased(lambda _run: ids, now)

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
            self._has_strays = True
            raise
        with self._lock:
            self._held.update({one.id: (name, one.attempt_id) for one in claimed})
        return claimed

    def _lease_rows(self, run: Run, name: str, ids: Sequence[int], now: float) -> Sequence[Delivery]:
        term, values = self._among(ids)
        # What is under way elsewhere is left out; what was ours before this is too.
        free = f"SELECT id FROM {{p}}{EVENTS} WHERE leased_by IS NULL AND id {term} FOR UPDATE"
        term, values = self._among([row[0] for row in run(free, values).fetchall()])
        if not run(sql.LEASE.format(p="{p}", ids=term), (name, *values)).rowcount:
            return ()
        rows = run(sql.LEASED.format(p="{p}", ids=term), (name, *values)).fetchall()
        attempts = [{"event_id": row[1], "attempt": row[7], "started_at": int(now)} for row in rows]
        insert(run, ATTEMPTS, attempts)
        term, values = self._among([row[1] for row in rows])
        numbers = dict(run(sql.ATTEMPT_IDS.format(p="{p}", ids=term), values).fetchall())
        return [_delivery(row, numbers[row[1]]) for row in rows]

    def _free_strays(self) -> None:
        """Free what a commit without an answer has claimed for us: nothing of it was sent."""
        if not self._has_strays:
            return
        name = self._lease.name
        with self._lock:
            held = sorted(event for event, (under, _) in self._held.items() if under == name)
        term, values = self._among(held)
        kept = f"AND id NOT {term}" if held else ""
        self._do(lambda run: run(f"{sql.FREE} {kept}", (name, *values)))
        self._has_strays = False

    # -- settling

    def settle(  # noqa: D102
        self, settled: Sequence[Settled], now: float, state: Mapping[str, str] | None = None
    ) -> None:
        name = self._lease.name
        ours = [one for one in settled if self._is_ours(one.delivery)]
        attempts = json.dumps([shapes.attempt_row(one) for one in settled])
        delivered = [one.delivery.id for one in ours if one.decision.verdict is Verdict.TAKEN]
        undelivered = [one for one in ours if one.decision.verdict is not Verdict.TAKEN]
        held = [one for one in undelivered if one.decision.due_at is not None and one.holds_user]

        def work(run: Run) -> None:
            is_member = self._lease.beat(run, name)
            if settled:
                run(sql.SETTLE_ATTEMPTS, (attempts,))
            if not is_member:
                return
            if delivered:
                term, ids = self._among(delivered)
                statement = sql.SETTLE_DELIVERED.format(p="{p}", ids=term)
                run(statement, (Status.SUCCESS, int(now), int(now), name, *ids))
            if undelivered:
                events = json.dumps([shapes.undelivered_row(one) for one in undelivered])
                run(sql.SETTLE_UNDELIVERED, (events, int(now), int(now), name))
            for one in held:
                delivery = one.delivery
                values = {"id": delivery.id, "user_id": delivery.user_id, "occurred_at": delivery.occurred_at}
                run(sql.HOLD_USER, {**values, "due_at": one.decision.due_at})
            for key, value in (state or {}).items():
                run(self.SET_STATE, {"key": key, "value": value, "now": int(now)})

        self._do(work)
        self._let_go([one.delivery for one in settled])

    def release(self, deliveries: Sequence[Delivery]) -> None:  # noqa: D102
        attempts, attempt_ids = self._among([one.attempt_id for one in deliveries])
        events, ids = self._among([one.id for one in deliveries if self._is_ours(one)])
        name = self._lease.name

        def work(run: Run) -> None:
            run(f"DELETE FROM {{p}}{ATTEMPTS} WHERE id {attempts}", attempt_ids)
            run(
                f"UPDATE {{p}}{EVENTS} SET attempts = attempts - 1, leased_by = NULL "
                f"WHERE leased_by = ? AND id {events}",
                (name, *ids),
            )

        self._do(work)
        self._let_go(deliveries)

    def _let_go(self, deliveries: Sequence[Delivery]) -> None:
        with self._lock:
            for one in deliveries:
                if self._held.get(one.id, ("", 0))[1] == one.attempt_id:
                    del self._held[one.id]

    def next_due(self, blocked: frozenset[str]) -> float | None:  # noqa: D102
        term, types = self._types("e", blocked)
        rows = self._rows(
            f"SELECT e.due_at FROM {{p}}{EVENTS} AS e WHERE e.due_at IS NOT NULL AND e.leased_by IS NULL {term} "
            "ORDER BY e.due_at, e.id LIMIT 1",
            types,
        )
        return float(rows[0][0]) if rows else None

    # -- the rest

    def shrink(self) -> None:
        """Do nothing: InnoDB uses the room of purged rows again."""

    def counts(self) -> Counts:  # noqa: D102
        return self._database.at_one_moment(self._read_counts)

    def load(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:  # noqa: D102
        super().load(table, rows)
        if table == EVENTS and rows:
            self._do(lambda run: self._make_lanes(run, {row["user_id"] for row in rows}))

    def _loaded(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What a claim looks for."""

    now: float
    limit: int
    blocked: frozenset[str]
    only: str | None
    is_probe: bool

    @property
    def due(self) -> str:
        return "c.due_at IS NOT NULL AND c.not_before <= ?" if self.is_probe else "c.due_at <= ?"


def _delivery(row: Sequence[Any], attempt_id: int) -> Delivery:
    row_id, event_id, event_type, log_id, user_id, occurred_at, body, attempts, failures, status = row
    return Delivery(
        id=row_id,
        event_id=event_id,
        event_type=event_type,
        log_id=log_id,
        user_id=user_id,
        occurred_at=occurred_at,
        body=bytes(body),
        attempt=attempts,
        attempt_id=attempt_id,
        failures=failures,
        status=Status(status),
    )
