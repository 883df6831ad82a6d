"""Connections to the database of a shared outbox, and transactions that are tried again."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import tenacity

from relay import driver
from relay.driver import CLIENT, pymysql
from relay.errors import OutboxError, OutboxRefused, OutboxUnavailable
from relay.outbox import mysql_errors
from relay.rules import server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.outbox.sql import Made, Run, Values

    Connection = pymysql.connections.Connection[Any]

#: Errors after which the same transaction may work at once: a deadlock (on a cluster, also at the commit), a lock that
#: was waited for too long, a row that changed since it was read, an id that another relay inserted meanwhile.
AGAIN = frozenset({1213, 1205, 1020, 1062})
#: A connection that was idle for longer than this, in seconds, is asked whether it still stands.
IDLE_S = 5.0
#: How long a statement waits for a row's lock, and for an answer, in seconds: less than a lease.
LOCK_WAIT_S = 5
ANSWER_S = 10
#: After so many silent seconds the server closes a connection and rolls its transaction back. So the locks of a relay
#: that was stopped or cut off end before its lease does, and another relay can expire that lease.
SILENCE_S = 8
#: What the statements depend on, whatever the server's defaults and its init_connect say.
SETTINGS = {
    "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
    # The time that all share is asked for as a local one: in UTC no hour comes twice.
    "time_zone": "'+00:00'",
    "wait_timeout": SILENCE_S,
    "innodb_lock_wait_timeout": LOCK_WAIT_S,
    "autocommit": 1,
    "completion_type": 0,
    "sql_safe_updates": 0,
    "sql_auto_is_null": 0,
    "sql_big_selects": 1,
    "sql_select_limit": 2**64 - 1,
    "unique_checks": 1,
}
SESSION = (
    f"SET SESSION {', '.join(f'{name} = {value}' for name, value in SETTINGS.items())}",
    "SET NAMES utf8mb4",
)
#: Each statement sees what is committed: what was checked before a lock is checked again behind it.
ISOLATION = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE"
#: A server that writes the statements themselves into its log takes no writes under the other one. The first query of a
#: transaction comes behind its first lock, so it sees as much.
ISOLATION_FOR_STATEMENTS = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE"
FOUND = "SHOW SESSION VARIABLES WHERE Variable_name IN ('binlog_format', 'max_allowed_packet')"
#: Comes back as it is, character by character, where text is escaped and encoded as the server reads it.
ECHO = '\\ "it\'s" \N{ARABIC LETTER MEEM}\N{GRINNING FACE}'
#: A statement that holds a list of ids must go into the packet: the least, in bytes, that is enough. And what there
#: may be in a statement besides its values.
LEAST_PACKET = 256 * 1024
BESIDES = 16 * 1024

#: What making and using an outbox takes, of a table that is not there.
NO_TABLE = 1146
MAKING = (
    "PREPARE relay FROM 'CREATE TABLE {p}relay_trial (id INT)'",
    "CREATE INDEX trial ON {p}relay_trial (id)",
    "ALTER TABLE {p}relay_trial ADD COLUMN trial INT",
    "SELECT id FROM {p}relay_trial",
    "INSERT INTO {p}relay_trial (id) VALUES (1)",
    "UPDATE {p}relay_trial SET id = 1",
    "DELETE FROM {p}relay_trial",
)


class Again(Exception):
    """The transaction was rolled back, and may be tried at once."""


class Database:
    """Runs statements in the schema of an outbox. Safe to use from several threads.

    Raises OutboxUnavailable where the same may work later, OutboxRefused where it never takes what is to be written,
    OutboxError where it refuses for another reason.
    """

    def __init__(
        self, address: server.Address, *, elapsed: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        """Take a clock that nobody sets, and what waits, both in seconds."""
        self._address = address
        self._elapsed = elapsed
        self._sleep = sleep
        self._idle: list[tuple[float, Connection]] = []
        self._packet = sys.maxsize
        self._lock = threading.Lock()

    @property
    def most_bytes(self) -> int:
        """How many bytes the values of one statement may have: of all connections so far, what the least one takes."""
        return self._packet - BESIDES

    def close(self) -> None:
        """Close the connections that nobody uses at the moment."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            _close(connection)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Lend a connection that nobody else uses; one that broke is not given back."""
        connection = self._kept() or self._connect()
        try:
            yield connection
        except BaseException:
            _close(connection)
            raise
        self._give_back(connection)

    def _give_back(self, connection: Connection) -> None:
        """Keep a connection, and close those that nobody needs: the server would end them, and warn of each."""
        now = self._elapsed()
        with self._lock:
            idle = [one for one in self._idle if now - one[0] >= IDLE_S]
            self._idle = [one for one in self._idle if now - one[0] < IDLE_S]
            self._idle.append((now, connection))
        for _, unused in idle:
            _close(unused)

    def _kept(self) -> Connection | None:
        with self._lock:
            since, connection = self._idle.pop() if self._idle else (0.0, None)
        if connection is None or self._elapsed() - since < IDLE_S:
            return connection
        try:
            connection.ping(reconnect=False)
        except (pymysql.Error, OSError):
            _close(connection)
            return self._kept()
        return connection

    def _connect(self) -> Connection:
        timeouts = {"connect_timeout": LOCK_WAIT_S, "read_timeout": ANSWER_S, "write_timeout": ANSWER_S}
        # An UPDATE counts the rows that it finds, as SQLite does: those that stay as they are too.
        found = CLIENT.FOUND_ROWS
        try:
            connection = driver.connect(**{**self._address.options(), **timeouts}, client_flag=found, autocommit=True)
            try:
                server.refuse_plain(connection, self._address)
                with connection.cursor() as cursor:
                    self._set_up(cursor)
            except BaseException:
                _close(connection)
                raise
        except OutboxError:
            raise
        except Exception as error:
            # The driver raises whatever it likes where a server's answer, or a package that it would need, is missing.
            raise mysql_errors.explained(error, self._address) from error
        return connection

    def _set_up(self, cursor: pymysql.cursors.Cursor) -> None:
        for statement in SESSION:
            cursor.execute(statement)
        cursor.execute(FOUND)
        found = {str(name).lower(): str(value) for name, value in cursor.fetchall()}
        is_statement = found.get("binlog_format", "").upper() == "STATEMENT"
        cursor.execute(ISOLATION_FOR_STATEMENTS if is_statement else ISOLATION)
        where, packet = f"{self._address.title} at {self._address.where()}", int(found["max_allowed_packet"])
        if packet < LEAST_PACKET:
            raise OutboxError(
                f"{where} takes {packet} bytes at once (max_allowed_packet), and relay needs {LEAST_PACKET}.",
                hint="Raise max_allowed_packet on the server: 16M or more.",
            )
        self._packet = min(self._packet, packet)
        cursor.execute("SELECT %s, HEX(CONVERT(%s USING utf32))", (ECHO, ECHO))
        if cursor.fetchall() != ((ECHO, ECHO.encode("utf-32-be").hex().upper()),):
            raise OutboxError(
                f"{where} reads text otherwise than it was sent.",
                hint="Something between relay and the server changes sql_mode or the character set: connect without "
                "it.",
            )

    def do(self, work: Callable[[Run], Made]) -> Made:
        """Run `work` in a transaction, again where another one came in its way."""
        retrying = tenacity.Retrying(
            sleep=self._sleep,
            retry=tenacity.retry_if_exception_type(Again),
            wait=tenacity.wait_random_exponential(multiplier=0.01, max=0.5),
            stop=tenacity.stop_after_attempt(12),
            reraise=True,
        )
        try:
            made: Made = retrying(self._do_once, work)
        except Again as error:
            raise OutboxUnavailable(
                f"{self._address.title} at {self._address.where()} is too busy: a transaction came in the way of "
                "others time and again.",
                hint="Look for long transactions on the outbox's tables; relay goes on by itself.",
            ) from error
        return made

    def _do_once(self, work: Callable[[Run], Made]) -> Made:
        with self._connection() as connection, connection.cursor() as cursor:

            def run(statement: str, values: Values = (), /) -> Any:
                said = cursor.mogrify(_native(statement, self._address.prefix), values or None)
                try:
                    cursor.execute(said)
                except UnicodeEncodeError as error:
                    raise OutboxRefused("What is to be written holds what is no character.") from error
                except (pymysql.Error, OSError) as error:
                    self._check_size(error, len(said.encode("utf-8", "surrogateescape")))
                    raise
                return _Result(cursor)

            try:
                cursor.execute("START TRANSACTION")
                made = work(run)
                cursor.execute("COMMIT")
            except (pymysql.Error, OSError) as error:
                if server.code_of(error) in AGAIN:
                    with contextlib.suppress(pymysql.Error, OSError):
                        connection.rollback()
                    raise Again from error
                raise mysql_errors.explained(error, self._address) from error
        return made

    def _check_size(self, error: Exception, size: int) -> None:
        """Raise OutboxRefused where a connection broke off because a statement of so many bytes is too large.

        A server that is told more than it takes may close the connection while it is still being told, so that its own
        error is never read. So it is asked anew: whether it answers, whether it breaks off at as many bytes that say
        nothing, and whether it still answers then. Raises OutboxUnavailable where it does not answer.
        """
        if size <= LEAST_PACKET or not mysql_errors.may_be_too_large(error):
            return
        reason = self._refused_size(size)
        with self._connection():
            pass  # it answers, or this raises
        if reason is not None:
            raise mysql_errors.too_large(size, self._address) from reason

    def _refused_size(self, size: int) -> Exception | None:
        """Return with what error a new connection ends when it is told so many bytes; None where it takes them."""
        connection = self._connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT LENGTH('{'x' * size}')")
        except (pymysql.Error, OSError) as error:
            return error if mysql_errors.may_be_too_large(error) else None
        finally:
            _close(connection)
        return None

    def rows(self, statement: str, values: Values = ()) -> list[Any]:
        """Return the rows of one statement."""
        with self._connection() as connection, connection.cursor() as cursor:
            try:
                cursor.execute(_native(statement, self._address.prefix), values or None)
                return list(cursor.fetchall())
            except (pymysql.Error, OSError) as error:
                raise mysql_errors.explained(error, self._address) from error

    def try_making(self) -> None:
        """Ask whether the user may do all that making and using an outbox takes; nothing is made. Raises OutboxError.

        A statement about a table that is not there is refused first where the user may not run it at all; the one that
        would make a table is prepared only, which is checked in the same way.
        """
        with self._connection() as connection, connection.cursor() as cursor:
            for statement in MAKING:
                try:
                    cursor.execute(statement.replace("{p}", self._address.prefix))
                except (pymysql.Error, OSError) as error:
                    if server.code_of(error) != NO_TABLE:
                        raise mysql_errors.explained(error, self._address) from error

    def at_one_moment(self, read: Callable[[Callable[..., list[Any]]], Made]) -> Made:
        """Return what `read` makes of queries that all see the database at one moment."""
        with self._connection() as connection, connection.cursor() as cursor:

            def rows(statement: str, values: Values = ()) -> list[Any]:
                cursor.execute(_native(statement, self._address.prefix), values or None)
                return list(cursor.fetchall())

            try:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
                found = read(rows)
                cursor.execute("COMMIT")
            except (pymysql.Error, OSError) as error:
                raise mysql_errors.explained(error, self._address) from error
        return found


class _Result:
    """What a statement gave: the driver's cursor is used for the next one."""

    def __init__(self, cursor: Any) -> None:
        self.rowcount: int = cursor.rowcount
        self.lastrowid: int | None = cursor.lastrowid
        self._rows = cursor.fetchall()

    def fetchall(self) -> Any:
        return self._rows


@lru_cache(maxsize=256)
def _native(statement: str, prefix: str) -> str:
    """Return a statement as the driver wants it: its marks are `%s` and `%(name)s`."""
    named = re.sub(r":([a-z_]+)", r"%(\1)s", statement.replace("{p}", prefix).replace("%", "%%"))
    return named.replace("?", "%s")


def _close(connection: Connection) -> None:
    with contextlib.suppress(pymysql.Error, OSError):
        connection.close()
