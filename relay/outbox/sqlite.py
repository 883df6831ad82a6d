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

from relay.errors import OutboxCorrupt, OutboxError, OutboxInUse, OutboxUnavailable
from relay.model import UNDELIVERED, Delivery, EventType, Position, Status
from relay.outbox import rows as shapes
from relay.outbox.base import (
    ATTEMPTS,
    EVENTS,
    HISTORY,
    SCHEMA_VERSION,
    STATE,
    Attempt,
    Counts,
    Outbox,
    Recorded,
    Selector,
    Waiting,
)
from relay.outbox.statements import (
    ATTEMPT_ROWS,
    CLAIM,
    COUNT_STATE,
    FREE,
    HOLD_USER,
    INSERT_EVENT,
    LEASE,
    LEASED,
    PURGED,
    RECORDED,
    RELEASE_ATTEMPTS,
    RELEASE_EVENTS,
    SCHEMA,
    SET_STATE,
    SETTLE_ATTEMPTS,
    SETTLE_DELIVERED,
    SETTLE_UNDELIVERED,
    WAL,
)
from relay.retry import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from relay.outbox.base import Batch, Settled, Sync

#: How long a statement waits for another process's transaction, in milliseconds.
BUSY_MS = 10_000
#: Who leases events for the daemon; a daemon that starts frees what an earlier one left.
DAEMON = "run"
#: Where a claim finds none among the first due events (all wait for an earlier one), it looks this many times further.
CLAIM_LOOKS = (1, 20, 400, 8000)
#: No ids at all, as JSON.
NONE = "[]"


class SqliteOutbox(Outbox):
    """The outbox in one SQLite file: write-ahead log, every commit synced, one running relay."""

    def __init__(self, path: Path, *, prefix: str = "mdl_", create: bool = True) -> None:
        """Open the file; make it, readable by its owner only, where it is missing and `create` says so."""
        self._path = path
        self._prefix = prefix
        self._lock = threading.RLock()
        self._held: int | None = None
        #: Whether this call has made the file.
        self.created = False
        if not path.exists():
            if not create:
                raise OutboxUnavailable(
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
            connection.execute(self._sql(SET_STATE), {"key": "schema_version", "value": str(SCHEMA_VERSION), "now": 0})
        new.rename(self._path)

    def _check_version(self) -> None:
        tables = {row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if self._prefix + STATE not in tables:
            raise OutboxCorrupt(
                f"{self._path} is an SQLite file, but no outbox with the prefix {self._prefix!r}.",
                hint="Mend outbox.url or outbox.prefix; to start a new outbox, name a file that does not exist.",
            )
        version = int(self.state("schema_version") or 0)
        if version != SCHEMA_VERSION:
            raise OutboxError(
                f"{self._path} was made by another version of relay (tables {version}, this relay {SCHEMA_VERSION}).",
                hint="Run the relay that made it, or a newer one.",
            )

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

    def _rows(self, statement: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[Any]:
        with self._lock, _translated(self._path):
            return self._connection.execute(self._sql(statement), values).fetchall()

    def close(self) -> None:  # noqa: D102 -- promised in base, as all below
        with self._lock:
            self._connection.close()
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def hold(self) -> None:  # noqa: D102
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
                self._sql(f"UPDATE {{p}}{EVENTS} SET leased_by = NULL, leased_until = NULL WHERE leased_by = ?"),
                (DAEMON,),
            )

    def probe_write(self) -> None:  # noqa: D102
        with self._lock, _translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.execute(self._sql(SET_STATE), {"key": "probe", "value": "", "now": 0})
            finally:
                self._connection.execute("ROLLBACK")

    def state(self, key: str) -> str | None:  # noqa: D102
        rows = self._rows(f"SELECT config_value FROM {{p}}{STATE} WHERE config_key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def set_state(self, key: str, value: str, now: float) -> None:  # noqa: D102
        with self._transaction() as connection:
            connection.execute(self._sql(SET_STATE), {"key": key, "value": value, "now": int(now)})

    def position(self) -> Position | None:  # noqa: D102
        rows = dict(
            self._rows(
                f"SELECT config_key, config_value FROM {{p}}{STATE} WHERE config_key = 'cursor' OR "
                "config_key GLOB 'gap.*'"
            )
        )
        cursor = rows.pop("cursor", None)
        if cursor is None:
            return None
        gaps = sorted((shapes.decode_gap(key, value) for key, value in rows.items()), key=lambda gap: gap.low)
        return Position(high=int(cursor), gaps=tuple(gaps))

    def accept(self, batch: Batch, now: float) -> Sequence[str]:  # noqa: D102
        with self._transaction() as connection:
            events = [row["event_id"] for row in shapes.event_rows(batch, now) if self._insert(connection, row)]
            skips = [row["event_id"] for row in shapes.skip_rows(batch, now) if self._insert(connection, row)]
            ignored = {f"count.ignored.{reason}": count for reason, count in batch.ignored.items()}
            if batch.after is None:
                added = {"count.synced": len(events)}
            else:
                seen = len(events) + len(skips) + sum(ignored.values())
                added = {"count.seen": seen, "count.captured": len(events), **ignored}
                self._save_position(connection, batch.before, batch.after, now)
            for key, count in added.items():
                if count:
                    connection.execute(self._sql(COUNT_STATE), {"key": key, "value": count, "now": int(now)})
            for key, value in batch.state.items():
                connection.execute(self._sql(SET_STATE), {"key": key, "value": value, "now": int(now)})
        return events + skips

    def _insert(self, connection: sqlite3.Connection, row: Mapping[str, Any]) -> bool:
        return connection.execute(self._sql(INSERT_EVENT), row).rowcount > 0

    def _save_position(
        self, connection: sqlite3.Connection, before: Position | None, after: Position, now: float
    ) -> None:
        """Write what differs: with thousands of gaps open, a pass touches one or two."""
        old = set(before.gaps) if before else set()
        new = set(after.gaps)
        connection.executemany(
            self._sql(f"DELETE FROM {{p}}{STATE} WHERE config_key = ?"), [(f"gap.{gap.low}",) for gap in old - new]
        )
        values = [{"key": f"gap.{gap.low}", "value": shapes.encode_gap(gap), "now": int(now)} for gap in new - old]
        values.append({"key": "cursor", "value": str(after.high), "now": int(now)})
        connection.executemany(self._sql(SET_STATE), values)

    def claim(  # noqa: D102
        self,
        now: float,
        limit: int,
        *,
        lease_s: float,
        blocked: frozenset[EventType] = frozenset(),
        only: EventType | None = None,
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
            return self._lease(connection, ids, now, lease_s, DAEMON)

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

    def all_due(self, now: float) -> None:  # noqa: D102
        with self._transaction() as connection:
            connection.execute(
                self._sql(f"UPDATE {{p}}{EVENTS} SET due_at = max(:now, not_before) WHERE due_at > :now"), {"now": now}
            )

    def set_back(self, seconds: float) -> None:  # noqa: D102
        with self._transaction() as connection:
            connection.execute(
                self._sql(
                    f"UPDATE {{p}}{EVENTS} SET due_at = due_at - :by, not_before = max(0, not_before - :by) "
                    "WHERE due_at IS NOT NULL"
                ),
                {"by": seconds},
            )

    def next_due(self, blocked: frozenset[EventType]) -> float | None:  # noqa: D102
        rows = self._rows(
            f"SELECT due_at FROM {{p}}{EVENTS} WHERE due_at IS NOT NULL AND leased_until IS NULL "
            "AND event_type NOT IN (SELECT value FROM json_each(?)) ORDER BY due_at, id LIMIT 1",
            (json.dumps(sorted(blocked)),),
        )
        return float(rows[0][0]) if rows else None

    def waiting(self) -> Waiting:  # noqa: D102
        rows = self._rows(f"SELECT COUNT(*), MIN(created_at) FROM {{p}}{EVENTS} WHERE due_at IS NOT NULL")
        return Waiting(count=rows[0][0], oldest_created_at=rows[0][1])

    def select(self, selector: Selector) -> Sequence[int]:  # noqa: D102
        terms = {
            "event_id = ?": selector.event_id,
            "status = ?": selector.status,
            "event_type = ?": selector.event_type,
            "user_id = ?": selector.user_id,
            "occurred_at >= ?": selector.since,
            "occurred_at <= ?": selector.until,
        }
        given = {term: value for term, value in terms.items() if value is not None}
        rows = self._rows(
            f"SELECT id FROM {{p}}{EVENTS} WHERE {' AND '.join([*given, 'envelope IS NOT NULL'])} "
            "ORDER BY occurred_at, id",
            list(given.values()),
        )
        return [row[0] for row in rows]

    def count_undelivered(self, ids: Sequence[int] | None = None) -> int:  # noqa: D102
        states = (*UNDELIVERED, Status.GAVE_UP)
        of_these = "" if ids is None else "AND id IN (SELECT value FROM json_each(?))"
        return int(
            self._rows(
                f"SELECT COUNT(*) FROM {{p}}{EVENTS} WHERE status IN (?, ?, ?) {of_these}",
                (*states, *(() if ids is None else (json.dumps(list(ids)),))),
            )[0][0]
        )

    def recorded(  # noqa: D102
        self,
        now: float,
        *,
        event_id: str | None = None,
        log_id: int | None = None,
        user_id: int | None = None,
        data: tuple[str, int] | None = None,
    ) -> Sequence[Recorded]:
        terms: dict[str, Any] = {"event_id = ?": event_id, "log_id = ?": log_id, "user_id = ?": user_id}
        if data is not None:
            terms[f"json_extract(event_data, '$.{data[0]}') = ?"] = data[1]
        given = {term: value for term, value in terms.items() if value is not None}
        rows = self._rows(
            f"SELECT {RECORDED} FROM {{p}}{EVENTS} WHERE {' AND '.join(given)} "
            "ORDER BY occurred_at DESC, id DESC LIMIT 500",
            list(given.values()),
        )
        return [self._recorded(row, now) for row in reversed(rows)]

    def _recorded(self, row: Sequence[Any], now: float) -> Recorded:
        row_id, event_id, event_type, log_id, user_id, occurred_at, created_at, status, failures = row[:9]
        error, due_at, leased_until = row[9:]
        attempts = self._rows(
            f"SELECT attempt, started_at, duration_ms, http_code, outcome, error FROM {{p}}{ATTEMPTS} "
            "WHERE event_id = ? ORDER BY id",
            (event_id,),
        )
        names = ("number", "started_at", "duration_ms", "http_code", "outcome", "error")
        before = self._rows(
            f"SELECT event_id FROM {{p}}{EVENTS} WHERE user_id = ? AND due_at IS NOT NULL "
            "AND (occurred_at, id) < (?, ?) ORDER BY occurred_at, id LIMIT 1",
            (user_id, occurred_at, row_id),
        )
        return Recorded(
            id=row_id,
            event_id=event_id,
            event_type=EventType(event_type),
            log_id=log_id,
            user_id=user_id,
            occurred_at=occurred_at,
            created_at=created_at,
            status=Status(status),
            failures=failures,
            last_error=json.loads(error or "{}"),
            due_at=due_at,
            is_under_way=leased_until is not None and leased_until > now,
            attempts=[Attempt(**dict(zip(names, attempt, strict=True))) for attempt in attempts],
            waits_for=before[0][0] if before and due_at is not None else None,
        )

    def begin_sync(self, sync_type: str, action: str, triggered_by: int | None, now: float) -> int:  # noqa: D102
        with self._transaction() as connection:
            row = connection.execute(
                self._sql(
                    f"INSERT INTO {{p}}{HISTORY} (sync_type, sync_action, status, started_at, triggered_by) "
                    "VALUES (?, ?, 'running', ?, ?) RETURNING id"
                ),
                (sync_type, action, int(now), triggered_by),
            ).fetchone()
            return int(row[0])

    def note_sync(self, sync: Sync, now: float) -> None:  # noqa: D102
        with self._transaction() as connection:
            connection.execute(
                self._sql(
                    f"UPDATE {{p}}{HISTORY} SET status = ?, records_processed = ?, records_failed = ?, "
                    "completed_at = ?, error_message = ? WHERE id = ?"
                ),
                (
                    sync.status,
                    sync.processed,
                    sync.failed,
                    None if sync.status == "running" else int(now),
                    sync.error,
                    sync.id,
                ),
            )

    def purge(self, before: float, limit: int) -> int:  # noqa: D102
        with self._transaction() as connection:
            rows = connection.execute(self._sql(PURGED), (Status.SUCCESS, before, limit)).fetchall()
            ids = json.dumps([row[0] for row in rows])
            connection.execute(
                self._sql(f"DELETE FROM {{p}}{ATTEMPTS} WHERE event_id IN (SELECT value FROM json_each(?))"), (ids,)
            )
            values = {"key": "count.purged", "value": len(rows), "now": int(before)}
            connection.execute(self._sql(COUNT_STATE), values)
            return len(rows)

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
                return self._read_counts()
            finally:
                self._connection.execute("COMMIT")

    def _read_counts(self) -> Counts:
        state = dict(self._rows(f"SELECT config_key, config_value FROM {{p}}{STATE} WHERE config_key GLOB 'count.*'"))
        by_type: dict[str, dict[str, int]] = {}
        for event_type, status, count in self._rows(
            f"SELECT event_type, status, COUNT(*) FROM {{p}}{EVENTS} GROUP BY status, event_type"
        ):
            by_type.setdefault(event_type, {})[status] = count
        ignored = "count.ignored."
        return Counts(
            seen=int(state.get("count.seen", 0)),
            captured=int(state.get("count.captured", 0)),
            synced=int(state.get("count.synced", 0)),
            purged=int(state.get("count.purged", 0)),
            ignored={key.removeprefix(ignored): int(n) for key, n in state.items() if key.startswith(ignored)},
            by_type=by_type,
        )


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
