"""The outbox in a schema of MariaDB or MySQL, where several relays may share it."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from relay.errors import OutboxCorrupt, OutboxError, OutboxFenced, OutboxInUse, OutboxMissing
from relay.outbox import migrations
from relay.outbox import mysql_statements as sql
from relay.outbox.contract import Outbox
from relay.outbox.mysql_database import Database
from relay.outbox.mysql_lease import Lease
from relay.outbox.mysql_queue import MysqlQueue
from relay.outbox.sql import insert
from relay.outbox.sql_acknowledged import SqlAcknowledged
from relay.outbox.sql_admin import SqlAdmin
from relay.outbox.sql_ledger import SqlLedger
from relay.outbox.sql_reports import SqlReports
from relay.outbox.tables import EVENTS, STATE, USERS, VERSION
from relay.outbox.values import Migrated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.model import Position
    from relay.outbox.sql import Made, Run, Values
    from relay.outbox.values import Member
    from relay.rules.server import Address


class MysqlOutbox(SqlLedger, MysqlQueue, SqlReports, SqlAcknowledged, SqlAdmin, Outbox):
    """The outbox in a schema: relays take part under leases, and every write says whose lease it is under."""

    SET_STATE, COUNT_STATE, REMEMBER = sql.SET_STATE, sql.COUNT_STATE, sql.REMEMBER
    _BODY = "body"
    # Who has it under way renews a lease as a whole: an event's own has no end.
    _LEASED_UNTIL = "CASE WHEN leased_by IS NULL THEN NULL ELSE 1e300 END"

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
        self.created = self._is_missing(where)
        if self.created and not create:
            raise OutboxMissing(f"There is no outbox in {where}.", hint="Start `relay run` once, or mend outbox.url.")
        if self.created:
            self._migrate(0)
        self._check_state(f"The outbox in {where}")
        version = self._version()
        if version != migrations.NEWEST:
            self._migrate(version)
            self.migrated = Migrated(before=version, after=migrations.NEWEST)

    def _is_missing(self, where: str) -> bool:
        """Say whether the tables are to be made; raise OutboxCorrupt where they are there, but not relay's."""
        statement = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()"
        found = {(str(table), str(column)) for table, column in self._rows(statement)}
        prefix = self._address.prefix
        if (prefix + EVENTS, "id") in found and (prefix + EVENTS, "body") not in found:
            raise OutboxCorrupt(
                f"In {where} there is a table {prefix}{EVENTS} that is no relay's.",
                hint="Give relay another outbox.prefix, or a schema of its own.",
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
        return row

    def _note_users(self, run: Run, users: set[int]) -> None:
        """Make the row that is locked when a user's events are claimed."""
        term, values = self._among(sorted(users))
        there = {row[0] for row in run(f"SELECT user_id FROM {{p}}{USERS} WHERE user_id {term}", values).fetchall()}
        insert(run, USERS, [{"user_id": user} for user in sorted(users - there)])

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

    def hold(self, now: float, *, alone: bool = False) -> None:
        self._lease.expire(now)
        others = self.members() if alone else ()
        if others:
            raise OutboxInUse(
                f"Another relay runs on the outbox in {self._address.name}: {others[0].name}.", hint="Stop it first."
            )
        self._lease.join(now, leads=True)
        self._lease.renew(now)

    def join(self, now: float) -> None:
        self._lease.join(now, leads=False)

    def renew(self, now: float) -> None:
        self._lease.renew(now)

    def leads(self) -> bool:
        return self._lease.leads()

    def members(self) -> Sequence[Member]:
        return self._lease.members()

    def _check_lead(self, run: Run, before: Position | None) -> None:
        if not self._lease.beat_lead(run):
            raise OutboxFenced(
                "Another relay reads the log now: this one's lease has ended.", hint="Nothing is lost by it."
            )
        found = run(f"SELECT config_value FROM {{p}}{STATE} WHERE config_key = 'cursor'").fetchall()
        if before is not None and found and int(found[0][0]) != before.high:
            raise OutboxFenced(
                f"The log was read up to {before.high}, but the outbox says {found[0][0]}: it has lost commits.",
                hint="They are read again, and sent again with the same ids.",
            )

    def probe_write(self) -> None:
        def work(run: Run) -> None:
            run(self.SET_STATE, {"key": "probe", "value": "", "now": 0})
            run(f"DELETE FROM {{p}}{STATE} WHERE config_key = ?", ("probe",))

        self._do(work)

    def shrink(self) -> None:
        """Do nothing: InnoDB uses the space of purged rows again."""


def _set_version(run: Run, *, version: int) -> None:
    run(sql.SET_VERSION, {"key": VERSION, "value": str(version)})
