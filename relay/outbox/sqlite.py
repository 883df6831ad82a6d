"""The outbox in one SQLite file: write-ahead log, every commit synced, one running relay."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

from relay.errors import OutboxCorrupt, OutboxInUse, OutboxMissing, OutboxUnavailable
from relay.model import Status
from relay.outbox import migrations, rows, sqlite_database
from relay.outbox import sqlite_statements as sql
from relay.outbox.contract import CLAIM_BYTES, Outbox
from relay.outbox.sql_acknowledged import SqlAcknowledged
from relay.outbox.sql_admin import SqlAdmin
from relay.outbox.sql_ledger import SqlLedger
from relay.outbox.sql_queue import CLAIM_LOOKS, SqlQueue, chosen_types, fitting
from relay.outbox.sql_reports import SqlReports
from relay.outbox.sqlite_database import ONCE, Database
from relay.outbox.tables import STATE, VERSION
from relay.outbox.values import Migrated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from relay.model import Delivery
    from relay.outbox.sql import Made, Run, Values
    from relay.outbox.values import Member, Settled

#: Who leases events for the daemon; a daemon that starts frees what an earlier one left.
DAEMON = "run"
#: Who leases events for a replay.
REPLAY = "replay"
#: No ids at all, as JSON.
NONE = "[]"


class SqliteOutbox(SqlLedger, SqlQueue, SqlReports, SqlAcknowledged, SqlAdmin, Outbox):
    """The outbox in a file. An event's lease has an end of its own; the lock on the file is the relay's."""

    SET_STATE, COUNT_STATE, REMEMBER = sql.SET_STATE, sql.COUNT_STATE, sql.REMEMBER
    _LEASED_UNTIL = "leased_until"
    _BODY = "envelope || event_data || '}'"

    def __init__(self, path: Path, *, prefix: str = "mdl_", create: bool = True, for_move: bool = False) -> None:
        """Open the file, and bring its tables to this relay's version.

        Makes the file, readable by its owner only, where it is missing and `create` says so. `for_move`: one that was
        moved, or half moved, is opened too. Raises OutboxMissing, OutboxCorrupt where it is no outbox, OutboxError
        where its tables are of a newer relay or SQLite is too old, OutboxUnavailable where the same may work later.
        """
        sqlite_database.check_version()
        self._path = path
        self._lock = path.with_name(f"{path.name}.lock")
        self._prefix = prefix
        self._is_for_move = for_move
        self._held: int | None = None
        self.created = not path.exists()
        if self.created and not create:
            raise OutboxMissing(f"There is no outbox at {path}.", hint="Start `relay run` once, or mend outbox.url.")
        if self.created:
            self._create()
        self._database = Database(path, prefix)
        try:
            self._check_file()
            self.migrated = self._migrate()
        except BaseException:
            self._database.close()
            raise

    def _create(self) -> None:
        sqlite_database.create(self._path, self._prefix, lambda run: _migrated(run, 0))

    def _check_file(self) -> None:
        tables = {row[0] for row in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if self._prefix + STATE not in tables:
            raise OutboxCorrupt(
                f"{self._path} is an SQLite file, but no outbox with the prefix {self._prefix!r}.",
                hint="Mend outbox.url or outbox.prefix; to start a new outbox, name a file that does not exist.",
            )
        self._check_state(str(self._path))
        # Only now: the file might not have been an outbox, and is left as it is then.
        self._database.write_ahead()

    def _migrate(self) -> Migrated | None:
        """Take the steps that the tables lack, in one transaction; return what was changed."""
        if self._version() == migrations.NEWEST:
            return None
        with self._database.transaction() as run:
            before = self._version()
            if before == migrations.NEWEST:
                return None  # by another process, while the lock was waited for
            copy = self._database.copy(f"v{before}")
            _migrated(run, before)
        return Migrated(before=before, after=migrations.NEWEST, copy=str(copy))

    def _do(self, work: Callable[[Run], Made]) -> Made:
        with self._database.transaction() as run:
            return work(run)

    def _rows(self, statement: str, values: Values = ()) -> list[Any]:
        return self._database.rows(statement, values)

    def _at_one_moment(self, read: Callable[[Callable[..., list[Any]]], Made]) -> Made:
        return self._database.at_one_moment(read)

    def _among(self, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        return "IN (SELECT value FROM json_each(?))", (json.dumps(list(values)),)

    def _as_kept(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        body, data = row["body"], row["event_data"]
        kept = {name: value for name, value in row.items() if name != "body"}
        return {**kept, "envelope": None if body is None else rows.split(body, data)}

    # -- taking part

    @property
    def is_shared(self) -> bool:
        return False

    def time(self, now: float) -> float:
        return now

    def close(self) -> None:
        self._database.close()
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def hold(self, now: float, *, alone: bool = False) -> None:  # noqa: ARG002 -- it is alone at all times
        with sqlite_database.translated(self._path):
            try:
                held = os.open(self._lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except PermissionError:
                if not self._lock.exists():
                    raise
                raise OutboxUnavailable(
                    f"The lock file {self._lock} of the outbox belongs to another user.",
                    hint=f"As root: chown --reference={self._path} {self._lock}",
                ) from None
            sqlite_database.give_away(self._lock, self._path)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
            raise OutboxInUse(
                f"Another relay runs on the outbox {self._path}.",
                hint="Stop that one first (systemctl stop relay), or give this one its own outbox.url.",
            ) from None
        self._held = held
        self._do(lambda run: run(sql.FREE_ALL, {"owner": DAEMON}))

    def join(self, now: float) -> None:
        """Do nothing: a lease of its own on each event is enough here."""

    def renew(self, now: float) -> None:
        """Do nothing: the lock on the file lasts as long as the process."""

    def leads(self) -> bool:
        return True

    def members(self) -> Sequence[Member]:
        return ()

    def may_send(self, delivery: Delivery) -> bool:  # noqa: ARG002 -- its lease outlasts what it was claimed for
        return True

    def probe_write(self) -> None:
        self._database.probe(self.SET_STATE, {"key": "probe", "value": "", "now": 0})

    def shrink(self) -> None:
        self._database.shrink()

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
        with self._database.transaction() as run:
            for look_at in CLAIM_LOOKS:
                ((ids,),) = run(statement, {**values, "limit": limit * look_at}).fetchall()
                if ids != NONE or not run(more, {"now": now, "looked_at": limit * look_at}).fetchall():
                    break
            return self._lease(run, _fitting(run, ids, most_bytes), now, lease_s, DAEMON)

    def claim_again(
        self, ids: Sequence[int], now: float, *, lease_s: float, types: frozenset[str]
    ) -> Sequence[Delivery]:
        values = {"ids": json.dumps(list(ids)), "now": now, "types": json.dumps(sorted(types))}
        self._free_of_killed()
        with self._database.transaction() as run:
            ((free,),) = run(sql.FREE, values).fetchall()
            return self._lease(run, free, now, lease_s, REPLAY)

    def _free_of_killed(self) -> None:
        """Free what a killed relay had under way, where none runs."""
        with contextlib.suppress(OSError):
            held = os.open(self._lock, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._do(lambda run: run(sql.FREE_ALL, {"owner": DAEMON}))
            finally:
                os.close(held)

    def _lease(self, run: Run, ids: str, now: float, lease_s: float, owner: str) -> Sequence[Delivery]:
        """Lease the rows, whose ids are given as a JSON array, and write the row of an attempt for each."""
        if ids == NONE:
            return ()
        run(sql.LEASE, {"ids": ids, "until": now + lease_s, "owner": owner})
        run(sql.ATTEMPT_ROWS, {"ids": ids, "now": int(now)})
        ((claimed, bodies),) = run(sql.LEASED, {"ids": ids}).fetchall()
        each = zip(json.loads(claimed), bodies.encode().split(b"\x1e"), strict=True)
        return [rows.delivery(row[:-1], row[-1], body) for row, body in each]

    # -- settling

    def settle(self, settled: Sequence[Settled], now: float, state: Mapping[str, str] | None = None) -> None:
        sorted_ = rows.sort(settled)
        attempts = json.dumps([rows.attempt_row(one) for one in settled])
        delivered = {"ids": json.dumps(sorted_.delivered), "status": Status.SUCCESS, "now": int(now)}
        undelivered = json.dumps([rows.undelivered_row(one) for one in sorted_.undelivered])
        with self._database.transaction() as run:
            run(sql.SETTLE_ATTEMPTS, {"attempts": attempts})
            run(sql.SETTLE_DELIVERED, delivered)
            if sorted_.undelivered:
                run(sql.SETTLE_UNDELIVERED, {"events": undelivered, "now": int(now)})
            for one in sorted_.holding:
                ids = {"id": one.delivery.id, "user_id": one.delivery.user_id}
                run(sql.HOLD_USER, {**ids, "due_at": one.decision.due_at})
            for key, value in (state or {}).items():
                run(self.SET_STATE, {"key": key, "value": value, "now": int(now)})

    def release(self, deliveries: Sequence[Delivery]) -> None:
        with self._database.transaction() as run:
            run(sql.RELEASE_ATTEMPTS, {"ids": json.dumps([one.attempt_id for one in deliveries])})
            run(sql.RELEASE_EVENTS, {"ids": json.dumps([one.id for one in deliveries])})


def _migrated(run: Run, version: int) -> None:
    """Take the steps behind a version, and write down that they were taken."""
    for step in migrations.steps_after(version):
        for statement in step.sqlite:
            run(statement)
    run(sql.SET_STATE, {"key": VERSION, "value": str(migrations.NEWEST), "now": 0})


def _fitting(run: Run, ids: str, most_bytes: int) -> str:
    """Return the first of the rows that fit into memory, of ids in a JSON array."""
    ((size,),) = run(sql.SIZE, {"ids": ids}).fetchall()
    if size <= most_bytes:
        return ids
    return json.dumps(fitting(json.loads(ids), dict(run(sql.SIZES, {"ids": ids}).fetchall()), most_bytes))
