"""The outbox in one SQLite file: write-ahead log, every commit synced, one running relay."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

from relay.errors import OutboxCorrupt, OutboxError, OutboxInUse, OutboxMissing, OutboxUnavailable
from relay.model import UNDELIVERED
from relay.outbox import migrations, rows, sqlite_database
from relay.outbox import sqlite_statements as sql
from relay.outbox.contract import Outbox
from relay.outbox.sql_acknowledged import SqlAcknowledged
from relay.outbox.sql_admin import SqlAdmin
from relay.outbox.sql_ledger import SqlLedger
from relay.outbox.sql_looking import SqlLooking
from relay.outbox.sql_reports import SqlReports
from relay.outbox.sqlite_database import Database
from relay.outbox.sqlite_queue import SqliteQueue
from relay.outbox.tables import STATE, VERSION
from relay.outbox.values import Forgotten, Migrated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from relay.model import Delivery
    from relay.outbox.sql import Made, Run, Values
    from relay.outbox.sql_reports import Read
    from relay.outbox.values import Member


class SqliteOutbox(SqlLedger, SqliteQueue, SqlReports, SqlAcknowledged, SqlLooking, SqlAdmin, Outbox):
    """The outbox in a file. An event's lease has an end of its own; the lock on the file is the relay's."""

    SET_STATE, COUNT_STATE, REMEMBER, KEEP = sql.SET_STATE, sql.COUNT_STATE, sql.REMEMBER, sql.KEEP
    SET_CHUNK, _BY_TIME = sql.SET_CHUNK, sql.BY_TIME
    _BODY, _HEAD = "envelope || event_data || '}'", "envelope"
    _OF_EVENT = ("event_row", "id")
    _FORGET = f"envelope = NULL, event_data = NULL, last_error = {rows.FORGOTTEN_ERROR}"

    def __init__(self, path: Path, *, prefix: str = "mdl_", create: bool = True, for_move: bool = False) -> None:
        """Open the file, and bring its tables to this relay's version.

        Makes the file, readable by its owner only, where it is missing and `create` says so. `for_move`: one that was
        moved, or half moved, is opened too. Raises OutboxMissing, OutboxCorrupt where it is no outbox, OutboxError
        where its tables are of a newer relay or SQLite is too old, OutboxUnavailable where the same may work later.
        """
        sqlite_database.check_version()
        SqliteQueue.__init__(self)
        self._path = path
        self._prefix = prefix
        self._is_for_move = for_move
        #: The files that are locked, by their suffix.
        self._locks: dict[str, int] = {}
        self.created = not path.exists()
        if self.created and not create:
            raise OutboxMissing(f"There is no outbox at {path}.", hint="Start `relay run` once, or mend outbox.url.")
        if self.created:
            self._create()
        self._database = Database(path, prefix)
        try:
            self._check_file()
            self.migrated = self._migrate()
            self._database.save_memory()
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

    def _by_state(self, read: Read) -> list[Any]:
        return read(sql.BY_STATE)

    def _count_waiting(self, read: Read) -> int:
        return int(read(sql.COUNT_IN, UNDELIVERED)[0][0])

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
        # Without it, others find that this process is gone.
        with contextlib.suppress(OutboxError):
            self._end_leases()
        self._database.close()
        for opened in self._locks.values():
            os.close(opened)
        self._locks.clear()

    def hold(self, now: float, *, alone: bool = False, exclusive: bool = False) -> None:  # noqa: ARG002 -- it is alone
        refusal = OutboxInUse(
            f"Another relay runs on the outbox {self._path}.",
            hint="Stop that one first (systemctl stop relay), or give this one its own outbox.url.",
        )
        self._lock_file("lock", fcntl.LOCK_EX, refusal)
        try:
            self._take_part(exclusive=exclusive)
        except OutboxError:
            os.close(self._locks.pop("lock"))
            raise

        def free(run: Run) -> None:
            run(sql.FREE_RUNS)
            run(sql.FORGET_OWNERS, {"now": now})

        self._do(free)

    def join(self, now: float) -> None:  # noqa: ARG002 -- a lease of its own on each event is enough here
        self._take_part(exclusive=False)

    def _take_part(self, *, exclusive: bool) -> None:
        refusal = OutboxInUse(
            f"The outbox {self._path} is used by a sync, a replay or a purge, or is being moved.",
            hint="Try again when that has ended.",
        )
        self._lock_file("use", fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, refusal)
        # It may have been moved since it was opened.
        self._check_state(str(self._path))

    def _lock_file(self, suffix: str, kind: int, refusal: OutboxInUse) -> None:
        """Lock a file beside the outbox, as long as this is open; raise what is given where another process does."""
        if suffix in self._locks:
            return
        lock = self._path.with_name(f"{self._path.name}.{suffix}")
        with sqlite_database.translated(self._path):
            try:
                opened = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except PermissionError:
                if not lock.exists():
                    raise
                raise OutboxUnavailable(
                    f"The lock file {lock} of the outbox belongs to another user.",
                    hint=f"As root: chown --reference={self._path} {lock}",
                ) from None
            sqlite_database.give_away(lock, self._path)
        try:
            fcntl.flock(opened, kind | fcntl.LOCK_NB)
        except OSError:
            os.close(opened)
            raise refusal from None
        self._locks[suffix] = opened

    def renew(self, now: float) -> None:
        """Do nothing: the lock on the file lasts as long as the process."""

    def leads(self) -> bool:
        return True

    def members(self) -> Sequence[Member]:
        return ()

    def may_send(self, delivery: Delivery) -> bool:
        return self._is_ours(delivery)

    def forget(self, user_id: int, now: float, limit: int, *, undelivered: bool) -> Forgotten:
        with self._database.overwriting():
            return super().forget(user_id, now, limit, undelivered=undelivered)

    def probe_write(self) -> None:
        self._database.probe(self.SET_STATE, {"key": "probe", "value": "", "now": 0})

    def shrink(self) -> bool:
        return self._database.shrink()


def _migrated(run: Run, version: int) -> None:
    """Take the steps behind a version, and write down that they were taken."""
    for step in migrations.steps_after(version):
        for statement in step.sqlite:
            run(statement)
    run(sql.SET_STATE, {"key": VERSION, "value": str(migrations.NEWEST), "now": 0})
