"""The outbox in an SQLite file."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay.errors import OutboxCorrupt, OutboxInUse, OutboxMissing, OutboxUnavailable
from relay.model import Status
from relay.outbox import rows as shapes
from relay.outbox.contract import CLAIM_LOOKS, EVENTS, SCHEMA_VERSION, STATE, Counts, Member, split
from relay.outbox.sql import CLAIM_BYTES, SqlOutbox, most_of
from relay.outbox.statements import (
    ATTEMPT_ROWS,
    CLAIM,
    COUNT_STATE,
    FREE,
    HOLD_USER,
    INSERT_EVENT,
    LEASE,
    LEASED,
    RELEASE_ATTEMPTS,
    RELEASE_EVENTS,
    SCHEMA,
    SET_STATE,
    SETTLE_ATTEMPTS,
    SETTLE_DELIVERED,
    SETTLE_UNDELIVERED,
    SIZE,
    WAL,
)
from relay.rules.retry import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from relay.model import Delivery
    from relay.outbox.contract import Settled
    from relay.outbox.sql import Made, Run

#: How long a statement waits for another process's transaction, in milliseconds.
BUSY_MS = 10_000
#: Who leases events for the daemon; a daemon that starts frees what an earlier one left.
DAEMON = "run"
#: No ids at all, as JSON.
NONE = "[]"


class SqliteOutbox(SqlOutbox):
    """The outbox in one SQLite file: write-ahead log, every commit synced, one running relay."""

    SET_STATE, COUNT_STATE = SET_STATE, COUNT_STATE
    _LEASED_UNTIL = "leased_until"
    _BODY = "envelope || event_data || '}'"

    def __init__(self, path: Path, *, prefix: str = "mdl_", create: bool = True, for_move: bool = False) -> None:
        """Open the file; make it, readable by its owner only, where it is missing and `create` says so."""
        self._path = path
        self._prefix = prefix
        self._is_for_move = for_move
        self._lock = threading.RLock()
        self._held: int | None = None
        #: Whether this call has made the file.
        self.created = False
        if not path.exists():
            if not create:
                raise OutboxMissing(
                    f"There is no outbox at {path}.", hint="Start `relay run` once, or mend outbox.url."
                )
            with _translated(path):
                self._create()
            self.created = True
        _refuse_empty(path)
        with _translated(path):
            self._connection = _connect(path)
            self._check_version()
            # Only now: the file might not have been an outbox, and is left as it is then.
            self._connection.execute(WAL)

    def _create(self) -> None:
        """Make the file beside its place and move it there: a crash leaves no half-made outbox behind."""
        folder = self._path.parent
        if not folder.exists():
            folder.mkdir(mode=0o750, parents=True)
        new = self._path.with_name(self._path.name + ".new")
        for name in (new, *(Path(f"{path}{suffix}") for path in (self._path, new) for suffix in ("-wal", "-shm"))):
            name.unlink(missing_ok=True)  # left by an outbox that was deleted: it would be replayed into the new one
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(_connect(new)) as connection:
            # Before the first table: room that is given back makes the file smaller.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute(WAL)
            connection.executescript(f"BEGIN; {SCHEMA.format(p=self._prefix)} COMMIT;")
            connection.execute(self._sql(SET_STATE), {"key": shapes.VERSION, "value": str(SCHEMA_VERSION), "now": 0})
        new.rename(self._path)

    def _check_version(self) -> None:
        tables = {row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if self._prefix + STATE not in tables:
            raise OutboxCorrupt(
                f"{self._path} is an SQLite file, but no outbox with the prefix {self._prefix!r}.",
                hint="Mend outbox.url or outbox.prefix; to start a new outbox, name a file that does not exist.",
            )
        self._check_state(str(self._path))

    def _sql(self, statement: str) -> str:
        return statement.replace("{p}", self._prefix)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection within a transaction that is committed at the end, or rolled back."""
        with self._lock, _translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _do(self, work: Callable[[Run], Made]) -> Made:
        with self._transaction() as connection:
            return work(lambda statement, values=(): connection.execute(self._sql(statement), values))

    def _rows(self, statement: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[Any]:
        with self._lock, _translated(self._path):
            return self._connection.execute(self._sql(statement), values).fetchall()

    def _among(self, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        return "IN (SELECT value FROM json_each(?))", (json.dumps(list(values)),)

    def _insert_events(self, run: Run, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        in_ids, ids = self._among([row["event_id"] for row in rows])
        there = {row[0] for row in run(f"SELECT event_id FROM {{p}}{EVENTS} WHERE event_id {in_ids}", ids).fetchall()}
        # An id may come twice in one batch.
        new = {row["event_id"]: self._loaded(row) for row in rows if row["event_id"] not in there}
        self._connection.executemany(self._sql(INSERT_EVENT), list(new.values()))
        return list(new)

    def _loaded(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        body, data = row["body"], row["event_data"]
        kept = {name: value for name, value in row.items() if name != "body"}
        return {**kept, "envelope": None if body is None else split(body, data)}

    @property
    def is_shared(self) -> bool:  # noqa: D102 -- promised in base, as all below
        return False

    def time(self, now: float) -> float:  # noqa: D102
        return now

    def close(self) -> None:  # noqa: D102
        with self._lock:
            self._connection.close()
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def hold(self, now: float, *, alone: bool = False) -> None:  # noqa: ARG002, D102 -- it is alone at all times
        lock = self._path.with_name(self._path.name + ".lock")
        with _translated(self._path):
            held = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
            raise OutboxInUse(
                f"Another relay runs on the outbox {self._path}.",
                hint="Stop that one first (systemctl stop relay), or give this one its own outbox.url.",
            ) from None
        self._held = held
        with self._transaction() as connection:
            connection.execute(
                # Only what waits can be under way: a million delivered events are not looked at.
                self._sql(
                    f"UPDATE {{p}}{EVENTS} SET leased_by = NULL, leased_until = NULL "
                    "WHERE due_at IS NOT NULL AND leased_by = ?"
                ),
                (DAEMON,),
            )

    def join(self, now: float) -> None:
        """Do nothing: a lease of its own on each event is enough here."""

    def renew(self, now: float) -> None:
        """Do nothing: the lock on the file lasts as long as the process."""

    def leads(self) -> bool:  # noqa: D102
        return True

    def may_send(self, delivery: Delivery) -> bool:  # noqa: ARG002, D102
        return True

    def members(self) -> Sequence[Member]:  # noqa: D102
        return ()

    def probe_write(self) -> None:  # noqa: D102
        with self._lock, _translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.execute(self._sql(SET_STATE), {"key": "probe", "value": "", "now": 0})
            finally:
                self._connection.execute("ROLLBACK")

    def claim(  # noqa: D102
        self,
        now: float,
        limit: int,
        *,
        lease_s: float,
        blocked: frozenset[str] = frozenset(),
        only: str | None = None,
        probe: bool = False,
    ) -> Sequence[Delivery]:
        statement = self._sql(CLAIM).format(
            due="not_before <= :now" if probe else "due_at <= :now",
            claimed_along="" if probe else "AND other.id NOT IN (SELECT id FROM candidate)",
            # What is cut off at the limit comes after what is kept, within each user too.
            order="c.due_at, c.id" if probe else "c.occurred_at, c.id",
        )
        take = 1 if probe else limit
        values = {"now": now, "blocked": json.dumps(sorted(blocked)), "only": only, "take": take}
        with self._transaction() as connection:
            for look_at in CLAIM_LOOKS:
                (ids,) = connection.execute(statement, {**values, "limit": limit * look_at}).fetchone()
                if ids != NONE or not self._is_more_due(limit * look_at, now, probe=probe):
                    break
            return self._lease(connection, self._not_too_many(connection, ids), now, lease_s, DAEMON)

    def _not_too_many(self, connection: sqlite3.Connection, ids: str) -> str:
        """Return the first of the rows that fit into memory, of ids in a JSON array."""
        (size,) = connection.execute(self._sql(SIZE), {"ids": ids}).fetchone()
        if size <= CLAIM_BYTES:
            return ids
        found = json.loads(ids)
        return json.dumps(found[: most_of(len(found), size)])

    def _is_more_due(self, looked_at: int, now: float, *, probe: bool) -> bool:
        """Say whether more events are due than a claim that found none has looked at."""
        due = "not_before <= ?" if probe else "due_at <= ?"
        return bool(
            self._rows(
                f"SELECT 1 FROM {{p}}{EVENTS} WHERE due_at IS NOT NULL AND {due} ORDER BY due_at, id LIMIT 1 OFFSET ?",
                (now, looked_at),
            )
        )

    def claim_again(self, ids: Sequence[int], now: float, *, lease_s: float) -> Sequence[Delivery]:  # noqa: D102
        with self._transaction() as connection:
            values = {"ids": json.dumps(list(ids)), "now": now}
            (free,) = connection.execute(self._sql(FREE), values).fetchone()
            return self._lease(connection, free, now, lease_s, "replay")

    def _lease(
        self, connection: sqlite3.Connection, ids: str, now: float, lease_s: float, owner: str
    ) -> Sequence[Delivery]:
        """Lease the rows, whose ids are given as a JSON array, and write the row of an attempt for each."""
        if ids == NONE:
            return ()
        connection.execute(self._sql(LEASE), {"ids": ids, "until": now + lease_s, "owner": owner})
        connection.execute(self._sql(ATTEMPT_ROWS), {"ids": ids, "now": int(now)})
        return shapes.deliveries(*connection.execute(self._sql(LEASED), {"ids": ids}).fetchone())

    def settle(  # noqa: D102
        self, settled: Sequence[Settled], now: float, state: Mapping[str, str] | None = None
    ) -> None:
        attempts = json.dumps([shapes.attempt_row(one) for one in settled])
        # A delivered event whose replay has failed stays delivered, and keeps the error.
        delivered = json.dumps([one.delivery.id for one in settled if one.decision.verdict is Verdict.TAKEN])
        undelivered = [one for one in settled if one.decision.verdict is not Verdict.TAKEN]
        held = [
            {"id": one.delivery.id, "user_id": one.delivery.user_id, "due_at": one.decision.due_at}
            for one in undelivered
            if one.decision.due_at is not None and one.holds_user
        ]
        with self._transaction() as connection:
            connection.execute(self._sql(SETTLE_ATTEMPTS), {"attempts": attempts})
            connection.execute(
                self._sql(SETTLE_DELIVERED), {"ids": delivered, "status": Status.SUCCESS, "now": int(now)}
            )
            if undelivered:
                events = json.dumps([shapes.undelivered_row(one) for one in undelivered])
                connection.execute(self._sql(SETTLE_UNDELIVERED), {"events": events, "now": int(now)})
                connection.executemany(self._sql(HOLD_USER), held)
            for key, value in (state or {}).items():
                connection.execute(self._sql(SET_STATE), {"key": key, "value": value, "now": int(now)})

    def release(self, deliveries: Sequence[Delivery]) -> None:  # noqa: D102
        with self._transaction() as connection:
            attempts = json.dumps([one.attempt_id for one in deliveries])
            connection.execute(self._sql(RELEASE_ATTEMPTS), {"ids": attempts})
            connection.execute(self._sql(RELEASE_EVENTS), {"ids": json.dumps([one.id for one in deliveries])})

    def next_due(self, blocked: frozenset[str]) -> float | None:  # noqa: D102
        rows = self._rows(
            f"SELECT due_at FROM {{p}}{EVENTS} WHERE due_at IS NOT NULL AND leased_until IS NULL "
            "AND event_type NOT IN (SELECT value FROM json_each(?)) ORDER BY due_at, id LIMIT 1",
            (json.dumps(sorted(blocked)),),
        )
        return float(rows[0][0]) if rows else None

    def shrink(self) -> None:  # noqa: D102
        with self._lock, _translated(self._path):
            # In steps, so that nobody waits long for the lock.
            while self._connection.execute("PRAGMA freelist_count").fetchone()[0]:
                self._connection.execute("PRAGMA incremental_vacuum(1000)").fetchall()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def counts(self) -> Counts:  # noqa: D102
        with self._lock, _translated(self._path):
            self._connection.execute("BEGIN")
            try:
                return self._read_counts(self._rows)
            finally:
                self._connection.execute("COMMIT")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")  # a commit that returned survives a power cut
    return connection


def _refuse_empty(path: Path) -> None:
    with _translated(path):
        size = path.stat().st_size
    if size == 0:
        raise OutboxCorrupt(
            f"The outbox {path} is an empty file: what it held is gone.",
            hint="Restore it from a backup; to start a new outbox, move the file away.",
        )


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into an OutboxError with a sentence."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutboxUnavailable(f"The outbox {path} cannot be used: {error}.", hint=_hint(str(error), path)) from error
    except sqlite3.DatabaseError as error:
        raise OutboxCorrupt(
            f"The outbox {path} is damaged: {error}. Nothing was changed.",
            hint="Stop relay, keep a copy of the file, and restore a backup or use `sqlite3 FILE .recover`.",
        ) from error
    except OSError as error:
        raise OutboxUnavailable(
            f"The outbox {path} cannot be used: {error.strerror}.", hint=f"Make {path.parent} writable for relay."
        ) from error


def _hint(message: str, path: Path) -> str:
    if "locked" in message:
        return "Another process holds it: find it with `fuser -v` on the file, and end it."
    if "full" in message:
        return f"Make room on the disk that holds {path.parent}; relay goes on by itself."
    return f"Make {path} and its folder writable for the user that relay runs as."
