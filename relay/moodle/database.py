"""The connection to Moodle's database: made when it is needed, read-only, and made anew after it broke."""

from __future__ import annotations

import contextlib
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from relay import driver
from relay.driver import COMMAND, FIELD_TYPE, pymysql
from relay.errors import MoodleRefused, MoodleTooSlow, MoodleUnasked, MoodleUnreachable
from relay.rules import server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from relay.events.kind import EventKind
    from relay.events.rows import Row
    from relay.rules.server import Address

Made = TypeVar("Made")

#: What every statement of ours depends on, whatever the server's defaults are: how text is escaped, compared and sent,
#: in which zone times are, that all rows come back, and that nothing is written.
SESSION = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION time_zone = '+00:00'",
    "SET SESSION sql_select_limit = 18446744073709551615, SESSION sql_big_selects = 1",
    "SET NAMES utf8mb4",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
)
#: Comes back as it is where text is escaped and encoded as the server reads it: an eventname is full of backslashes.
ECHO = "\\core\\event\\it's \N{ARABIC LETTER MEEM}\N{GRINNING FACE}"
#: Ids in one IN list.
IDS_IN_QUERY = 500
#: The server, or something between, has closed a connection that was idle (MariaDB and MySQL error numbers).
CLOSED = frozenset({1927, 2006, 2013, 2055, 4031})


#: How the last packet of an answer of one column and one row begins: five bytes, the fifth packet, an EOF packet; its
#: count of warnings and the server's state follow in four more bytes (MySQL's client/server protocol, EOF_Packet).
END_OF_ROWS = b"\x05\x00\x00\x05\xfe"
#: The server has ended a statement that took longer than it may; how it is told how long that is. (MariaDB, MySQL)
ENDED = frozenset({1969, 3024})
UNKNOWN_VARIABLE = 1193
LIMITS = ("SET SESSION max_statement_time = {seconds}", "SET SESSION max_execution_time = {milliseconds}")


def _decimal(raw: bytes | str) -> Decimal:
    return Decimal(raw.decode() if isinstance(raw, bytes) else raw)


#: With text as bytes, the driver hands decimals over as bytes too.
CONVERSIONS: dict[Any, Any] = {
    **pymysql.converters.conversions,
    FIELD_TYPE.DECIMAL: _decimal,
    FIELD_TYPE.NEWDECIMAL: _decimal,
}


class Database:
    """One connection. For one thread.

    Every method raises MoodleUnreachable where the same call may work later, MoodleRefused where it won't.
    """

    def __init__(
        self,
        address: Address,
        kinds: Sequence[EventKind],
        triggered: Sequence[EventKind] = (),
        *,
        limit_s: float | None = None,
    ) -> None:
        """Take where the database is, the kinds whose log rows are read, and those whose triggers are.

        `limit_s`: how many seconds a statement may take; MoodleTooSlow is raised where one would take longer.
        """
        self._address = address
        self._kinds = tuple(kinds)
        self._triggered = tuple(triggered)
        self._connection: pymysql.connections.Connection[Any] | None = None
        self._is_in_snapshot = False
        self._limit_s = limit_s
        #: The last whole answer to the statement of `number_again`, as it came, and the number in it.
        self._answer, self._number = b"", 0

    @property
    def kinds(self) -> tuple[EventKind, ...]:
        """The kinds of event whose log rows are read."""
        return self._kinds

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        if self._connection is not None:
            with contextlib.suppress(pymysql.Error, OSError):
                self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads within see the database at one moment."""
        self.select("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        self._is_in_snapshot = True
        try:
            yield
        finally:
            self._is_in_snapshot = False
        with self._translated():
            self._query("COMMIT")

    def number(self, statement: str, *values: Any) -> int:
        """Return the one number that a statement gives; NULL is 0."""
        row = self.select(statement, *values)[0]
        return int(next(iter(row.values())) or 0)

    def select(self, statement: str, *values: Any) -> Sequence[Row]:
        """Return the rows that a statement gives; `{p}` in it is the prefix.

        A connection that was closed while it was idle is made anew: only a server that does not answer then is away.
        """
        made = statement.replace("{p}", self._address.prefix)
        return self._asked(lambda: self._query(made, values))

    def _asked(self, ask: Callable[[], Made]) -> Made:
        """Return what `ask` gives, on a new connection where the one that is there was closed while it was idle."""
        may_be_stale = self._connection is not None and not self._is_in_snapshot
        with self._translated():
            try:
                return ask()
            except (pymysql.Error, OSError) as error:
                if not may_be_stale or server.code_of(error) not in CLOSED:
                    raise
            self.close()
            return ask()

    def number_again(self, statement: str) -> int:
        """Return the one number that a statement gives, as `number` does, where it is mostly the same as before.

        For one statement, which is asked many times. It costs less: an answer that is byte by byte the one of the last
        time is read and not taken apart again, which is what the driver spends most of its time on.
        """
        made = statement.replace("{p}", self._address.prefix).encode()
        return self._asked(lambda: self._number_again(made))

    def _number_again(self, statement: bytes) -> int:
        # The driver has no public way to send a query and to read the answer apart from each other.
        inner: Any = self._opened_connection()
        inner._execute_command(COMMAND.COM_QUERY, statement)  # noqa: SLF001
        answer = b""
        with contextlib.suppress(OSError):
            # What is wrong with the connection is found once more, and said, by the driver.
            answer = inner._rfile.peek()  # noqa: SLF001
        if answer and answer == self._answer:
            inner._rfile.read(len(answer))  # noqa: SLF001
            return self._number
        inner._read_query_result()  # noqa: SLF001
        self._number = int(inner._result.rows[0][0] or 0)  # noqa: SLF001
        self._answer = answer if answer[-9:-4] == END_OF_ROWS else b""
        return self._number

    def select_for(self, statement: str, ids: Sequence[int], *values: Any) -> Iterator[Row]:
        """Yield the rows that a statement gives for many ids, its first mark, in as many queries as that takes."""
        for start in range(0, len(ids), IDS_IN_QUERY):
            yield from self.select(statement, tuple(ids[start : start + IDS_IN_QUERY]), *values)

    def refusal(self, statement: str) -> MoodleRefused | None:
        """Return why the server refuses a statement that reads no row, None where it takes it. The snapshot lasts."""
        with self._translated():
            try:
                self._query(statement.replace("{p}", self._address.prefix))
            except pymysql.Error as error:
                found = server.explained(error, self._address)
                if not found.is_refusal:
                    raise
                return _refused(found)
        return None

    def is_permitted(self, statement: str) -> bool:
        """Say whether the server lets the user do what a statement would do, which is refused for another reason."""
        with self._translated():
            try:
                self._query(statement.replace("{p}", self._address.prefix))
            except pymysql.Error as error:
                if server.code_of(error) == server.READ_ONLY_TRANSACTION:
                    return True
                if not server.explained(error, self._address).is_refusal:
                    raise
                return False
        return True

    def _query(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Row]:
        with self._opened_connection().cursor() as cursor:
            cursor.execute(statement, tuple(values) or None)
            rows: Sequence[Row] = cursor.fetchall()
            return rows

    def _opened_connection(self) -> pymysql.connections.Connection[Any]:
        if self._connection is None:
            self._connection = self._connect()
            self._opened()
        return self._connection

    def _connect(self) -> pymysql.connections.Connection[Any]:
        if (problem := self._address.problem) != "":
            raise MoodleUnasked(f"{self._address.title} was not asked: {problem}.", hint=self._address.hint)
        try:
            connection = driver.connect(
                **self._address.options(),
                # Text comes as bytes: one row with invalid text must not stop the others.
                use_unicode=False,
                conv=CONVERSIONS,
                autocommit=True,
                cursorclass=pymysql.cursors.DictCursor,
            )
            server.refuse_plain(connection, self._address)
        except (pymysql.Error, OSError):
            raise
        except Exception as error:
            # The driver raises whatever it likes where a server's answer, or a package that it would need, is missing.
            found = server.explained(error, self._address)
            raise _refused(found) from error
        return connection

    def _opened(self) -> None:
        """Set what each session depends on, and see that text arrives as it was sent. For a new connection.

        Raises MoodleRefused where it does not: an eventname would never be found, and the log would look empty.
        """
        for statement in SESSION:
            self._query(statement)
        self._set_limit()
        (row,) = self._query("SELECT %s AS echo", (ECHO,))
        if text(row["echo"]) != ECHO:
            raise MoodleRefused(
                f"{self._address.title} at {self._address.where()} reads text in another way than it is sent.",
                hint="Something between relay and the server changes statements or sql_mode: connect without it.",
            )

    def _set_limit(self) -> None:
        """Let the server end what takes too long, in its own words; a server that knows neither sets no limit."""
        if self._limit_s is None:
            return
        for limit in LIMITS:
            try:
                self._query(limit.format(seconds=self._limit_s, milliseconds=int(self._limit_s * 1000)))
            except pymysql.Error as error:
                if not server.explained(error, self._address).is_refusal and server.code_of(error) != UNKNOWN_VARIABLE:
                    raise
            else:
                return

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the driver says into a MoodleError; the connection is closed, as its state is unknown."""
        try:
            yield
        except (pymysql.Error, OSError) as error:
            self.close()
            if server.code_of(error) in ENDED:
                raise MoodleTooSlow(
                    f"{self._address.title} took longer than {self._limit_s} s for a statement, and has ended it.",
                    hint="Try again when it has less to do.",
                ) from error
            found = server.explained(error, self._address)
            if found.is_refusal:
                raise _refused(found) from error
            raise MoodleUnreachable(found.sentence, hint=found.hint) from error
        except BaseException:
            self.close()
            raise


def _refused(found: server.Problem) -> MoodleRefused:
    return MoodleRefused(found.sentence, hint=found.hint, is_about_account=found.is_about_account)


def text(value: bytes | str | None) -> str:
    """Return a column as text; what is no UTF-8 is replaced."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def leading_number(value: bytes | str | None) -> int:
    """Return the whole number that a text such as 2024042200.01 begins with; 0 where it begins with none."""
    found = re.match(r"\d*", text(value))
    return int((found and found[0]) or 0)


def number_or_none(value: Any) -> int | None:
    """Return a column as a number; NULL is None."""
    return None if value is None else int(value)
