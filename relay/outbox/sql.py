"""What both kinds of outbox say in the same SQL; what differs is in the dialects, `sqlite` and `mysql`."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from relay.errors import OutboxError
from relay.model import UNDELIVERED, Position, Status
from relay.outbox import rows as shapes
from relay.outbox.contract import (
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from relay.outbox.contract import Batch, Sync

    Values = Mapping[str, Any] | Sequence[Any]

Made = TypeVar("Made")

RECORDED = "id, event_id, event_type, log_id, user_id, occurred_at, created_at, status, retry_count, last_error, due_at"
#: How many rows, and about how many characters, go into one INSERT: servers take 16 MiB by default, MariaDB.
BATCH = 100
BATCH_BYTES = 1_000_000
#: What is claimed at once is in memory: about so many bytes.
CLAIM_BYTES = 16_000_000


class Result(Protocol):
    """What a statement gives."""

    @property
    def rowcount(self) -> int: ...  # noqa: D102
    @property
    def lastrowid(self) -> int | None: ...  # noqa: D102
    def fetchall(self) -> Any: ...  # noqa: D102


class Run(Protocol):
    """Runs a statement within a transaction: {p} is the prefix, values are `?` or `:name`."""

    def __call__(self, statement: str, values: Values = (), /) -> Result: ...  # noqa: D102


class SqlOutbox(Outbox):
    """The methods that are the same in every dialect."""

    #: How the bytes of an event are read, and until when it is leased: NULL where it is not.
    _BODY: str
    _LEASED_UNTIL: str
    #: It was opened to be moved, or moved into.
    _is_for_move = False
    #: Keep a value under a key (:key, :value, :now); the same, added to the number that is there.
    SET_STATE: str
    COUNT_STATE: str

    # -- what a dialect provides

    @abstractmethod
    def _do(self, work: Callable[[Run], Made]) -> Made:
        """Run `work` in a transaction that is committed at its end, or rolled back; it may be called again."""

    @abstractmethod
    def _rows(self, statement: str, values: Values = ()) -> list[Any]:
        """Return the rows of a query."""

    @abstractmethod
    def _among(self, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """Return `IN (…)` for a list, and the values of its marks."""

    @abstractmethod
    def _insert_events(self, run: Run, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Insert events whose ids are not there yet; return the ids of those."""

    def _check_lead(self, run: Run, before: Position | None) -> None:
        """Raise OutboxFenced where another relay reads the log now, or the position is not the one of `before`."""

    # -- state and position

    def _check_state(self, where: str) -> None:
        """Raise OutboxError where another relay's tables are there, or an outbox that was moved."""
        version = int(self.state(shapes.VERSION) or 0)
        if version != SCHEMA_VERSION:
            raise OutboxError(
                f"{where} was made by another version of relay (tables {version}, this relay {SCHEMA_VERSION}).",
                hint="Run the relay that made it, or a newer one.",
            )
        moved_to = self.state(shapes.MOVED_TO)
        if moved_to and not self._is_for_move:
            raise OutboxError(
                f"{where} was moved to {moved_to}: what it holds is there now.",
                hint="Mend outbox.url; relay move-outbox brings it back.",
            )
        if self.state(shapes.MOVING) and not self._is_for_move:
            raise OutboxError(
                f"{where} is half of an outbox: a move into it was broken off.",
                hint="Run relay move-outbox again: it begins anew, and the old outbox is as it was.",
            )

    def state(self, key: str) -> str | None:  # noqa: D102 -- promised in base, as all below
        rows = self._rows(f"SELECT config_value FROM {{p}}{STATE} WHERE config_key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def set_state(self, key: str, value: str, now: float) -> None:  # noqa: D102
        self._do(lambda run: run(self.SET_STATE, {"key": key, "value": value, "now": int(now)}))

    def swap_state(self, key: str, old: str, new: str, now: float) -> bool:  # noqa: D102
        statement = (
            f"UPDATE {{p}}{STATE} SET config_value = ?, updated_at = ? WHERE config_key = ? AND config_value = ?"
        )
        return self._do(lambda run: run(statement, (new, int(now), key, old)).rowcount) == 1

    def position(self) -> Position | None:  # noqa: D102
        rows = dict(
            self._rows(
                f"SELECT config_key, config_value FROM {{p}}{STATE} WHERE config_key = 'cursor' OR config_key LIKE ?",
                ("gap.%",),
            )
        )
        cursor = rows.pop("cursor", None)
        if cursor is None:
            return None
        gaps = sorted((shapes.decode_gap(key, value) for key, value in rows.items()), key=lambda gap: gap.low)
        return Position(high=int(cursor), gaps=tuple(gaps))

    def accept(self, batch: Batch, now: float) -> Sequence[str]:  # noqa: D102
        events, skips = list(shapes.event_rows(batch, now)), list(shapes.skip_rows(batch, now))

        def work(run: Run) -> Sequence[str]:
            if batch.after is not None:
                self._check_lead(run, batch.before)
            new_events = self._insert_events(run, events)
            new_skips = self._insert_events(run, skips)
            ignored = {f"count.ignored.{reason}": count for reason, count in batch.ignored.items()}
            if batch.after is None:
                added = {"count.synced": len(new_events)}
            else:
                seen = len(new_events) + len(new_skips) + sum(ignored.values())
                added = {"count.seen": seen, "count.captured": len(new_events), **ignored}
                self._save_position(run, batch.before, batch.after, now)
            for key, count in added.items():
                if count:
                    run(self.COUNT_STATE, {"key": key, "value": count, "now": int(now)})
            for key, value in batch.state.items():
                run(self.SET_STATE, {"key": key, "value": value, "now": int(now)})
            return [*new_events, *new_skips]

        return self._do(work)

    def _save_position(self, run: Run, before: Position | None, after: Position, now: float) -> None:
        """Write what differs: with thousands of gaps open, a pass touches one or two."""
        old = set(before.gaps) if before else set()
        new = set(after.gaps)
        for gap in old - new:
            run(f"DELETE FROM {{p}}{STATE} WHERE config_key = ?", (f"gap.{gap.low}",))
        for gap in new - old:
            run(self.SET_STATE, {"key": f"gap.{gap.low}", "value": shapes.encode_gap(gap), "now": int(now)})
        if before is None or before.high != after.high:
            run(self.SET_STATE, {"key": "cursor", "value": str(after.high), "now": int(now)})

    # -- what waits

    def all_due(self, now: float) -> None:  # noqa: D102
        statement = (
            f"UPDATE {{p}}{EVENTS} SET due_at = CASE WHEN not_before > :now THEN not_before ELSE :now END "
            "WHERE due_at > :now"
        )
        self._do(lambda run: run(statement, {"now": now}))

    def set_back(self, seconds: float) -> None:  # noqa: D102
        statement = (
            f"UPDATE {{p}}{EVENTS} SET due_at = due_at - :by, "
            "not_before = CASE WHEN not_before > :by THEN not_before - :by ELSE 0 END WHERE due_at IS NOT NULL"
        )
        self._do(lambda run: run(statement, {"by": seconds}))

    def last_recorded_at(self) -> float:  # noqa: D102
        newest = [
            self._rows(f"SELECT {column} FROM {{p}}{table} ORDER BY id DESC LIMIT 1")
            for table, column in ((EVENTS, "created_at"), (ATTEMPTS, "started_at"))
        ]
        return max((float(rows[0][0]) for rows in newest if rows), default=0.0)

    def waiting(self) -> Waiting:  # noqa: D102
        rows = self._rows(f"SELECT COUNT(*), MIN(created_at) FROM {{p}}{EVENTS} WHERE due_at IS NOT NULL")
        return Waiting(count=rows[0][0], oldest_created_at=rows[0][1])

    # -- what is asked about events

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
            f"SELECT id FROM {{p}}{EVENTS} WHERE {' AND '.join([*given, 'status <> ?'])} ORDER BY occurred_at, id",
            [*given.values(), Status.SKIPPED],
        )
        return [row[0] for row in rows]

    def count_undelivered(self, ids: Sequence[int] | None = None) -> int:  # noqa: D102
        term, values = ("", ()) if ids is None else self._among(ids)
        return int(
            self._rows(
                f"SELECT COUNT(*) FROM {{p}}{EVENTS} WHERE status IN (?, ?, ?) {term and f'AND id {term}'}",
                (*UNDELIVERED, Status.GAVE_UP, *values),
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
            terms[f"JSON_EXTRACT(event_data, '$.{data[0]}') = ?"] = data[1]
        given = {term: value for term, value in terms.items() if value is not None}
        rows = self._rows(
            f"SELECT {RECORDED}, {self._LEASED_UNTIL} FROM {{p}}{EVENTS} WHERE {' AND '.join(given)} "
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
            event_type=event_type,
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

    # -- syncs, purges, counts

    def begin_sync(self, sync_type: str, action: str, triggered_by: int | None, now: float) -> int:  # noqa: D102
        statement = (
            f"INSERT INTO {{p}}{HISTORY} (sync_type, sync_action, status, started_at, triggered_by) "
            "VALUES (?, ?, 'running', ?, ?)"
        )
        return self._do(lambda run: run(statement, (sync_type, action, int(now), triggered_by)).lastrowid) or 0

    def note_sync(self, sync: Sync, now: float) -> None:  # noqa: D102
        statement = (
            f"UPDATE {{p}}{HISTORY} SET status = ?, records_processed = ?, records_failed = ?, completed_at = ?, "
            "error_message = ? WHERE id = ?"
        )
        completed_at = None if sync.status == "running" else int(now)
        values = (sync.status, sync.processed, sync.failed, completed_at, sync.error, sync.id)
        self._do(lambda run: run(statement, values))

    def purge(self, before: float, limit: int) -> int:  # noqa: D102
        ended = f"SELECT id, event_id FROM {{p}}{EVENTS} WHERE status = ? AND processed_at < ? ORDER BY id LIMIT ?"

        def work(run: Run) -> int:
            rows = run(ended, (Status.SUCCESS, before, limit)).fetchall()
            term, ids = self._among([row[0] for row in rows])
            count = run(f"DELETE FROM {{p}}{EVENTS} WHERE id {term}", ids).rowcount if rows else 0
            if count:
                term, event_ids = self._among([row[1] for row in rows])
                run(f"DELETE FROM {{p}}{ATTEMPTS} WHERE event_id {term}", event_ids)
                run(self.COUNT_STATE, {"key": "count.purged", "value": count, "now": int(before)})
            return count

        return self._do(work)

    def _read_counts(self, read: Callable[..., list[Any]]) -> Counts:
        """Return the counts, by queries that all see one moment."""
        state = dict(read(f"SELECT config_key, config_value FROM {{p}}{STATE} WHERE config_key LIKE ?", ("count.%",)))
        by_type: dict[str, dict[str, int]] = {}
        for event_type, status, count in read(
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

    # -- moving to another outbox

    def dump(self, table: str, after: int, limit: int) -> Sequence[Mapping[str, Any]]:  # noqa: D102
        columns = shapes.MOVED[table]
        names = [self._BODY if name == "body" else name for name in columns]
        rows = self._rows(
            f"SELECT {', '.join(names)} FROM {{p}}{table} WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return [shapes.dumped(dict(zip(columns, row, strict=True))) for row in rows]

    def load(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:  # noqa: D102
        loaded = [self._loaded(row) if table == EVENTS else row for row in rows]
        if table == STATE:
            # Its ids mean nothing, and the new outbox has given out some of them already.
            loaded = [{name: value for name, value in row.items() if name != "id"} for row in rows]
        self._do(lambda run: insert(run, table, loaded))

    def clear(self) -> None:  # noqa: D102
        def work(run: Run) -> None:
            for table in (EVENTS, ATTEMPTS, HISTORY):
                run(f"DELETE FROM {{p}}{table}")
            run(
                f"DELETE FROM {{p}}{STATE} WHERE config_key NOT IN (?, ?, ?)",
                (shapes.VERSION, shapes.MOVED_TO, shapes.MOVING),
            )

        self._do(work)

    @abstractmethod
    def _loaded(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a dumped event as a row of this dialect."""


def insert(run: Run, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of the same columns, as many in a statement as the servers take."""
    for some in batches(rows):
        names = tuple(some[0])
        marks = f"({', '.join('?' * len(names))})"
        values = [row[name] for row in some for name in names]
        run(f"INSERT INTO {{p}}{table} ({', '.join(names)}) VALUES {', '.join([marks] * len(some))}", values)


def most_of(count: int, size: int) -> int:
    """Return how many of so many events, of so many bytes together, are claimed at once: one at least."""
    return count if size <= CLAIM_BYTES else max(1, count * CLAIM_BYTES // size)


def batches(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yield the rows in pieces of at most BATCH rows and about BATCH_BYTES, one row at least in each."""
    piece: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        takes = sum(len(value) for value in row.values() if isinstance(value, str | bytes))
        if piece and (len(piece) == BATCH or size + takes > BATCH_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += takes
    if piece:
        yield piece
