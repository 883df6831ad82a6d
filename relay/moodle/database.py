"""The connection to Moodle's database: made when it is needed, read-only, and made anew after it broke."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pymysql
import pymysql.converters
import pymysql.cursors
from pymysql.constants import FIELD_TYPE

from relay.errors import MoodleRefused, MoodleUnreachable
from relay.rules import server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.events.kind import EventKind
    from relay.events.rows import Row
    from relay.rules.server import Address


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

    def __init__(self, address: Address, kinds: Sequence[EventKind]) -> None:
        """Take where the database is, and the kinds of event whose log rows are read."""
        self._address = address
        self._kinds = tuple(kinds)
        self._connection: pymysql.connections.Connection[Any] | None = None

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
        with self._translated():
            self._query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        yield
        with self._translated():
            self._query("COMMIT")

    def number(self, statement: str, *values: Any) -> int:
        """Return the one number that a statement gives; NULL is 0."""
        row = self.select(statement, *values)[0]
        return int(next(iter(row.values())) or 0)

    def select(self, statement: str, *values: Any) -> Sequence[Row]:
        """Return the rows that a statement gives; `{p}` in it is the prefix."""
        with self._translated():
            return self._query(statement.replace("{p}", self._address.prefix), values)

    def _query(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Row]:
        if self._connection is None:
            self._connection = self._connect()
        with self._connection.cursor() as cursor:
            cursor.execute(statement, tuple(values) or None)
            rows: Sequence[Row] = cursor.fetchall()
            return rows

    def _connect(self) -> pymysql.connections.Connection[Any]:
        return pymysql.connect(
            **self._address.options(),
            # Text comes as bytes: one row with invalid text must not stop the others.
            use_unicode=False,
            conv=CONVERSIONS,
            autocommit=True,
            init_command="SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            cursorclass=pymysql.cursors.DictCursor,
        )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the driver says into a MoodleError; the connection is closed, as its state is unknown."""
        try:
            yield
        except (pymysql.Error, OSError) as error:
            self.close()
            found = server.explained(error, self._address)
            made = MoodleRefused if found.is_refusal else MoodleUnreachable
            raise made(found.sentence, hint=found.hint) from error
        except BaseException:
            self.close()
            raise


def text(value: bytes | str | None) -> str:
    """Return a column as text; what is no UTF-8 is replaced."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def number_or_none(value: Any) -> int | None:
    """Return a column as a number; NULL is None."""
    return None if value is None else int(value)
