"""What all parts of an outbox in an SQL database stand on: statements in a transaction, and inserting many rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from relay.errors import OutboxError, OutboxRefused
from relay.model import Position
from relay.outbox import migrations, rows, sizes
from relay.outbox.contract import State
from relay.outbox.tables import EVENTS, MOVED_TO, MOVING, STATE, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.outbox.values import Taken

    Values = Mapping[str, Any] | Sequence[Any]

Made = TypeVar("Made")

#: How many rows, and about how many bytes, go into one INSERT; fewer bytes where the server takes fewer.
BATCH = 100
BATCH_BYTES = 1_000_000
#: How many ids go into one list.
IDS = 1000
#: For rows that are named by ids: an index of the states would be read from its beginning to its end.
OF_STATUS = "COALESCE(status, '') = ?"
RAISE_PACKET = "Raise max_allowed_packet on the outbox's server, and start relay again."


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

    #: How the bytes of an event are read.
    _BODY: str
    #: Keep a value under a key (:key, :value, :now); the same, added to the number that is there.
    SET_STATE: str
    COUNT_STATE: str
    #: What an INSERT ends with: a row of the memory that is there takes the new values; one that is there stays; a
    #: chunk that is there takes the new values.
    REMEMBER: str
    KEEP: str
    SET_CHUNK: str
    #: The column by which the attempts of an event are found in an index, and the event's own one that it names.
    _OF_EVENT: tuple[str, str]
    #: What an UPDATE does to an event whose data is taken out.
    _FORGET: str
    #: It was opened to be moved, or moved into.
    _is_for_move: bool
    #: How many rows go into one INSERT at the moment.
    _rows_at_once = BATCH

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
    def _free(self, now: float) -> tuple[str, Sequence[Any]]:
        """Return the term that an event is not under way, at a time in unix seconds, and the values of its marks."""

    @abstractmethod
    def _taken(self, event_id: str) -> Taken | None:
        """Return who has taken an event, and has not given it back, be the lease over or not."""

    @abstractmethod
    def _as_kept(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an event's row, with its bytes as `body`, as this dialect keeps it."""

    def _note_users(self, run: Run, users: set[int]) -> None:
        """Be told of whom events are inserted."""

    def _check_taking_part(self, run: Run, *, is_reading: bool) -> None:
        """Raise OutboxFenced where this relay was taken for dead, or another one reads the log now (`is_reading`)."""

    # -- what a statement may hold

    @property
    def _most_bytes(self) -> int:
        """How many bytes the values of one statement may have; a file takes more than anybody sends."""
        return BATCH_BYTES

    def _size(self, row: Mapping[str, Any]) -> int:
        """Return how many bytes a row takes of that."""
        return sizes.in_file(row)

    def _too_large(self, event: Mapping[str, Any]) -> str | None:  # noqa: ARG002 -- a dialect says otherwise
        """Return why an event's row cannot be kept, or None where it can."""
        return None

    def _insert(self, run: Run, table: str, inserted: Sequence[Mapping[str, Any]], end: str = "") -> None:
        """Insert rows of the same columns, as many in a statement as it may hold; `end` is put behind it."""
        most_bytes = min(BATCH_BYTES, self._most_bytes)
        for some in sizes.pieces(inserted, self._size, most=self._rows_at_once, most_bytes=most_bytes):
            names = tuple(some[0])
            marks = f"({', '.join('?' * len(names))})"
            values = [row[name] for row in some for name in names]
            run(f"INSERT INTO {{p}}{table} ({', '.join(names)}) VALUES {', '.join([marks] * len(some))} {end}", values)

    def _insert_events(self, run: Run, events: Sequence[Mapping[str, Any]]) -> None:
        """Insert events' rows, as `rows.event_rows` makes them; raise OutboxRefused where one cannot be kept."""
        for row in events:
            if (reason := self._too_large(row)) is not None:
                raise OutboxRefused(f"The event {row['event_id']} cannot be kept: {reason}.", hint=RAISE_PACKET)
        self._insert(run, EVENTS, [self._as_kept(row) for row in events])

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

    def note(self, state: Mapping[str, str], counts: Mapping[str, int], now: float) -> None:
        def work(run: Run) -> None:
            # In the order of their keys: transactions that lock the same rows take them in the same order.
            for key, value in sorted(state.items()):
                run(self.SET_STATE, {"key": key, "value": value, "now": int(now)})
            for key, count in sorted(counts.items()):
                run(self.COUNT_STATE, {"key": key, "value": count, "now": int(now)})

        self._do(work)

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
