"""What all parts of an outbox in an SQL database stand on: statements in a transaction, and inserting many rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from relay.errors import OutboxError
from relay.model import Position
from relay.outbox import migrations, rows
from relay.outbox.contract import State
from relay.outbox.tables import MOVED_TO, MOVING, STATE, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Values = Mapping[str, Any] | Sequence[Any]

Made = TypeVar("Made")

#: How many rows, and about how many characters, go into one INSERT: servers take 16 MiB by default, MariaDB.
BATCH = 100
BATCH_BYTES = 1_000_000


class Result(Protocol):
    """What a statement gives."""

    @property
    def rowcount(self) -> int: ...
    @property
    def lastrowid(self) -> int | None: ...
    def fetchall(self) -> Any: ...


class Run(Protocol):
    """Runs a statement within a transaction: {p} is the prefix, values are `?` or `:name`."""

    def __call__(self, statement: str, values: Values = (), /) -> Result: ...


class Sql(State):
    """What a dialect provides, and the state that is kept by it."""

    #: How the bytes of an event are read, and until when it is leased: NULL where it is not.
    _BODY: str
    _LEASED_UNTIL: str
    #: Keep a value under a key (:key, :value, :now); the same, added to the number that is there.
    SET_STATE: str
    COUNT_STATE: str
    #: What an INSERT into the memory ends with: a row that is there takes the new values.
    REMEMBER: str
    #: It was opened to be moved, or moved into.
    _is_for_move: bool

    @abstractmethod
    def _do(self, work: Callable[[Run], Made]) -> Made:
        """Run `work` in a transaction that is committed at its end, or rolled back; it may be called again."""

    @abstractmethod
    def _rows(self, statement: str, values: Values = ()) -> list[Any]:
        """Return the rows of a query."""

    @abstractmethod
    def _at_one_moment(self, read: Callable[[Callable[..., list[Any]]], Made]) -> Made:
        """Return what `read` makes of queries that all see the outbox at one moment."""

    @abstractmethod
    def _among(self, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """Return `IN (…)` for a list, and the values of its marks."""

    @abstractmethod
    def _as_kept(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an event's row, with its bytes as `body`, as this dialect keeps it."""

    def _note_users(self, run: Run, users: set[int]) -> None:
        """Be told of whom events are inserted."""

    def _check_lead(self, run: Run, before: Position | None) -> None:
        """Raise OutboxFenced where another relay reads the log now, or the position is not the one of `before`."""

    # -- what kind of outbox it is

    def _version(self) -> int:
        return int(self.state(VERSION) or 0)

    def _check_state(self, where: str) -> None:
        """Raise OutboxError where tables are there that this relay does not know, or an outbox that was moved."""
        version = self._version()
        if not 0 < version <= migrations.NEWEST:
            raise OutboxError(
                f"{where} was made by another version of relay (tables {version}, this relay {migrations.NEWEST}).",
                hint="Run the relay that made it, or a newer one.",
            )
        moved_to = self.state(MOVED_TO)
        if moved_to and not self._is_for_move:
            raise OutboxError(
                f"{where} was moved to {moved_to}: what it holds is there now.",
                hint="Mend outbox.url; relay move-outbox brings it back.",
            )
        if self.state(MOVING) and not self._is_for_move:
            raise OutboxError(
                f"{where} is half of an outbox: a move into it was broken off.",
                hint="Run relay move-outbox again: it begins anew, and the old outbox is as it was.",
            )

    # -- state

    def state(self, key: str) -> str | None:
        found = self._rows(f"SELECT config_value FROM {{p}}{STATE} WHERE config_key = ?", (key,))
        return str(found[0][0]) if found else None

    def set_state(self, key: str, value: str, now: float) -> None:
        self._do(lambda run: run(self.SET_STATE, {"key": key, "value": value, "now": int(now)}))

    def swap_state(self, key: str, old: str, new: str, now: float) -> bool:
        statement = (
            f"UPDATE {{p}}{STATE} SET config_value = ?, updated_at = ? WHERE config_key = ? AND config_value = ?"
        )
        return self._do(lambda run: run(statement, (new, int(now), key, old)).rowcount) == 1

    def position(self) -> Position | None:
        found = dict(
            self._rows(
                f"SELECT config_key, config_value FROM {{p}}{STATE} WHERE config_key = 'cursor' OR config_key LIKE ?",
                ("gap.%",),
            )
        )
        cursor = found.pop("cursor", None)
        if cursor is None:
            return None
        gaps = sorted((rows.decode_gap(key, value) for key, value in found.items()), key=lambda gap: gap.low)
        return Position(high=int(cursor), gaps=tuple(gaps))


def insert(run: Run, table: str, inserted: Sequence[Mapping[str, Any]], end: str = "") -> None:
    """Insert rows of the same columns, as many in a statement as the servers take; `end` is put behind it."""
    for some in batches(inserted):
        names = tuple(some[0])
        marks = f"({', '.join('?' * len(names))})"
        values = [row[name] for row in some for name in names]
        run(f"INSERT INTO {{p}}{table} ({', '.join(names)}) VALUES {', '.join([marks] * len(some))} {end}", values)


def batches(inserted: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yield the rows in pieces of at most BATCH rows and about BATCH_BYTES, one row at least in each."""
    piece: list[Mapping[str, Any]] = []
    size = 0
    for row in inserted:
        takes = sum(len(value) for value in row.values() if isinstance(value, str | bytes))
        if piece and (len(piece) == BATCH or size + takes > BATCH_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += takes
    if piece:
        yield piece
