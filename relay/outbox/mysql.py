"""The outbox in a schema of MariaDB or MySQL, where several relays may share it."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from relay.errors import OutboxCorrupt, OutboxError, OutboxFenced, OutboxMissing
from relay.outbox import migrations, rows, sizes
from relay.outbox import mysql_statements as sql
from relay.outbox.contract import Outbox
from relay.outbox.mysql_database import Database
from relay.outbox.mysql_lease import Lease
from relay.outbox.mysql_queue import MysqlQueue
from relay.outbox.sql_acknowledged import SqlAcknowledged
from relay.outbox.sql_admin import SqlAdmin
from relay.outbox.sql_ledger import SqlLedger
from relay.outbox.sql_looking import SqlLooking
from relay.outbox.sql_reports import SqlReports
from relay.outbox.tables import EVENTS, LEASES, MOVED, STATE, USERS, VERSION
from relay.outbox.values import Migrated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.outbox.sql import Made, Run, Values
    from relay.outbox.values import Member
    from relay.rules.server import Address


class MysqlOutbox(SqlLedger, MysqlQueue, SqlReports, SqlAcknowledged, SqlLooking, SqlAdmin, Outbox):
    """The outbox in a schema: relays take part under leases, and every write says whose lease it is under."""

    SET_STATE, COUNT_STATE, REMEMBER, KEEP = sql.SET_STATE, sql.COUNT_STATE, sql.REMEMBER, sql.KEEP
    SET_CHUNK = sql.SET_CHUNK
    _BODY, _HEAD = "body", "body"
    _OF_EVENT = ("event_id", "event_id")
    _FORGET = f"body = NULL, event_data = NULL, last_error = {rows.FORGOTTEN_ERROR}"

    def __init__(
        self,
        address: Address,
        *,
        elapsed: Callable[[], float],
        sleep: Callable[[float], None],
        token: Callable[[], str],
        create: bool = True,
        for_move: bool = False,
    ) -> None:
        """Open the outbox, and bring its tables to this relay's version.

        `elapsed` and `token`: as a Lease takes them; `sleep` waits so many seconds. Makes the tables where they are
        missing and `create` says so. `for_move`: one that was moved, or half moved, is opened too. Raises OutboxMissing
        where they are missing, OutboxCorrupt where they are something else, OutboxError where they are of a newer relay
        or the server refuses, OutboxUnavailable where the same may work later.
        """
        self._address = address
        self._database = Database(address, elapsed=elapsed, sleep=sleep)
        MysqlQueue.__init__(self, Lease(self._do, self._rows, elapsed=elapsed, token=token))
        self._is_for_move = for_move
        self.migrated: Migrated | None = None
        where = f"the schema {address.name} at {address.where()}"
        self._where = f"The outbox in {where}"
        self.created = self._is_missing(where)
        if self.created and not create:
            raise OutboxMissing(f"There is no outbox in {where}.", hint="Start `relay run` once, or mend outbox.url.")
        if self.created:
            self._migrate(0)
        self._check_state(self._where)
        version = self._version()
        if version != migrations.NEWEST:
            self._migrate(version)
            self.migrated = Migrated(before=version, after=migrations.NEWEST)

    def _is_missing(self, where: str) -> bool:
        """Say whether the tables are to be made; raise OutboxCorrupt where they are not as relay's are."""
        statement = (
            "SELECT table_name, column_name, character_set_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE()"
        )
        columns = self._rows(statement)
        found = {(str(table), str(column)) for table, column, _ in columns}
        prefix = self._address.prefix
        if (prefix + EVENTS, "id") in found and (prefix + EVENTS, "body") not in found:
            raise OutboxCorrupt(
                f"In {where} there is a table {prefix}{EVENTS} that is no relay's.",
                hint="Give relay another outbox.prefix, or a schema of its own.",
            )
        ours = {prefix + table for table in (*MOVED, USERS, LEASES)}
        for table, column, charset in columns:
            if table in ours and charset not in {None, "utf8mb4"}:
                raise OutboxCorrupt(
                    f"In {where} the column {column} of {table} is in {charset}: it cannot keep every text.",
                    hint=f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                )
        return (prefix + STATE, "config_value") not in found or self.state(VERSION) is None

    def _migrate(self, version: int) -> None:
        """Take the steps behind a version. Another relay may take them at the same time: the second changes nothing."""
        for step in migrations.steps_after(version):
            for statement in step.mysql:
                self._rows(statement)
            self._do(partial(_set_version, version=step.version))

    def _do(self, work: Callable[[Run], Made]) -> Made:
        return self._database.do(work)

    def _rows(self, statement: str, values: Values = ()) -> list[Any]:
        return self._database.rows(statement, values)

    def _at_one_moment(self, read: Callable[[Callable[..., list[Any]]], Made]) -> Made:
        return self._database.at_one_moment(read)

    def _among(self, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        return f"IN ({', '.join('?' * len(values)) or 'NULL'})", tuple(values)

    def _as_kept(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        # As a text, which it is, the driver writes it in fewer bytes; the column keeps the same ones.
        body = row["body"]
        return {**row, "body": body.decode()} if body else row

    @property
    def _most_bytes(self) -> int:
        return self._database.most_bytes

    def _size(self, row: Mapping[str, Any]) -> int:
        return sizes.in_statement(row)

    def _too_large(self, event: Mapping[str, Any]) -> str | None:
        needs = self._size({**self._as_kept(event), "event_data": None})
        if needs <= self._most_bytes:
            return None
        return f"it takes {needs} bytes, and the outbox's database {self._most_bytes} at once (max_allowed_packet)"

    def _insert_events(self, run: Run, events: Sequence[Mapping[str, Any]]) -> None:
        # The data stand in the bytes that are sent, too: where both are too large for a statement, each has its own.
        large = [row for row in events if self._size(self._as_kept(row)) > self._most_bytes]
        ids = {row["event_id"] for row in large}
        super()._insert_events(run, [{**row, "event_data": None} if row["event_id"] in ids else row for row in events])
        for row in large:
            run(f"UPDATE {{p}}{EVENTS} SET event_data = ? WHERE event_id = ?", (row["event_data"], row["event_id"]))

    def _note_users(self, run: Run, users: set[int]) -> None:
        """Make the row that is locked when a user's events are claimed."""
        term, values = self._among(sorted(users))
        there = {row[0] for row in run(f"SELECT user_id FROM {{p}}{USERS} WHERE user_id {term}", values).fetchall()}
        self._insert(run, USERS, [{"user_id": user} for user in sorted(users - there)])

    # -- taking part

    @property
    def is_shared(self) -> bool:
        return True

    def time(self, now: float) -> float:  # noqa: ARG002 -- the server's clock is the one that all share
        return self._lease.time()

    def close(self) -> None:
        # Without a database the leases end by themselves.
        with contextlib.suppress(OutboxError):
            self._lease.leave()
        self._database.close()

    def hold(self, now: float, *, alone: bool = False, exclusive: bool = False) -> None:
        self._lease.expire(now)
        self._lease.join(now, leads=True, alone=alone, exclusive=exclusive)
        self._check_state(self._where)
        self._lease.renew(now)

    def join(self, now: float) -> None:
        # What a dead relay had under way is to be had, also where no other one runs that would free it.
        self._lease.expire(now)
        self._lease.join(now, leads=False)
        self._check_state(self._where)

    def renew(self, now: float) -> None:
        self._lease.renew(now)

    def leads(self) -> bool:
        return self._lease.leads()

    def members(self) -> Sequence[Member]:
        return self._lease.members()

    def _check_taking_part(self, run: Run, *, is_reading: bool) -> None:
        if is_reading and not self._lease.beat_lead(run):
            raise OutboxFenced(
                "Another relay reads the log now: this one's lease has ended.", hint="Nothing is lost by it."
            )
        name = self._lease.name
        if not is_reading and name and not self._lease.beat(run, name):
            raise OutboxFenced("This relay's lease on the outbox has ended.", hint="Start the command again.")

    def probe_write(self) -> None:
        def work(run: Run) -> None:
            run(self.SET_STATE, {"key": "probe", "value": "", "now": 0})
            run(f"DELETE FROM {{p}}{STATE} WHERE config_key = ?", ("probe",))

        self._do(work)

    def shrink(self) -> bool:
        """Do nothing: InnoDB uses the space of purged rows again."""
        return False


def _set_version(run: Run, *, version: int) -> None:
    run(sql.SET_VERSION, {"key": VERSION, "value": str(version)})
