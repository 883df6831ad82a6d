"""What Moodle keeps from its student, in SQL: the Holding of both dialects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from relay.errors import OutboxRefused
from relay.model import Status
from relay.outbox import rows
from relay.outbox.contract import Holding
from relay.outbox.sql import IDS, OF_STATUS, Sql
from relay.outbox.tables import EVENTS, FOUND, HELD, MEMORY
from relay.outbox.unsent import Unsent
from relay.outbox.values import HeldEvent, Judged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from relay.model import Event, Hold
    from relay.outbox.sql import Run

#: The columns of a HeldEvent, in the order of its fields; whether it has a body comes behind them.
_COLUMNS = (
    "e.id, e.event_id, e.event_type, e.log_id, e.user_id, e.occurred_at, e.last_error, h.row_table, h.row_id, "
    "h.absent_since"
)
_JOINED = f"{{p}}{HELD} AS h JOIN {{p}}{EVENTS} AS e ON e.id = h.id"
#: What is known of an event of which nothing is built.
NOTHING = "{}"
#: What the reason of an event begins with that is skipped as the outbox cannot keep it.
UNFIT = "it cannot be kept: "


class SqlHeld(Sql, Holding):
    """Held events: recorded with the batch that they came with, looked at, and released or skipped."""

    #: The column that is NULL where no body is built.
    _HEAD: str

    def held(self, after: int, limit: int) -> Sequence[HeldEvent]:
        return self._held_where("h.id > ? ORDER BY h.id LIMIT ?", (after, limit))

    def held_of(self, table: str, ids: Sequence[int]) -> Sequence[HeldEvent]:
        found: list[HeldEvent] = []
        for start in range(0, len(ids), IDS):
            term, values = self._among(ids[start : start + IDS])
            found += self._held_where(f"h.row_table = ? AND h.row_id {term} ORDER BY h.id", (table, *values))
        return found

    def _held_where(self, term: str, values: Sequence[Any]) -> list[HeldEvent]:
        statement = f"SELECT {_COLUMNS}, e.{self._HEAD} IS NOT NULL FROM {_JOINED} WHERE {OF_STATUS} AND {term}"
        return [_held_event(row) for row in self._rows(statement, (Status.HELD, *values))]

    def _note_held(self, run: Run, holds: Sequence[Hold], new: Sequence[str]) -> None:
        """Write down which rows of Moodle the new ones of these are about."""
        about = {hold.event_id: hold for hold in holds}
        for start in range(0, len(new), IDS):
            term, values = self._among(new[start : start + IDS])
            found = run(f"SELECT id, event_id FROM {{p}}{EVENTS} WHERE event_id {term}", values).fetchall()
            kept = [(row_id, about[event_id].row_table, about[event_id].row_id) for row_id, event_id in found]
            self._insert_held(run, kept)

    def _insert_held(self, run: Run, kept: Iterable[tuple[int, str, int]]) -> None:
        named = [dict(zip(("id", "row_table", "row_id"), one, strict=True)) for one in sorted(kept)]
        self._insert(run, HELD, named)

    # -- what has become of them

    def judge(self, judged: Judged, now: float) -> Judged:
        unfit = {}
        for held, event in judged.released:
            if (reason := self._too_large(next(rows.event_rows([event], now)))) is not None:
                unfit[held.id] = reason
        judged = _without(judged, unfit)
        try:
            return self._judge(judged, now)
        except OutboxRefused as refused:
            # Each by itself: the others can be kept.
            others = self._judge(judged._replace(released=()), now)
            return _together([others, *(self._judge_one(*one, str(refused), now) for one in judged.released)])

    def _judge_one(self, held: HeldEvent, event: Event, reason: str, now: float) -> Judged:
        one = Judged(released=[(held, event)])
        try:
            return self._judge(one, now)
        except OutboxRefused:
            return self._judge(_without(one, {held.id: reason}), now)

    def _judge(self, judged: Judged, now: float) -> Judged:
        def work(run: Run) -> Judged:
            self._check_taking_part(run, is_reading=True)
            done = Judged(
                released=[one for one in judged.released if self._release(run, *one, now)],
                sent=[held for held in judged.sent if self._send(run, held, now)],
                skipped=[one for one in judged.skipped if self._skip(run, *one, now)],
                kept=judged.kept,
            )
            for held in judged.kept:
                self._keep(run, held, now)
            events = [event for _, event in done.released]
            self._insert(run, MEMORY, rows.memory_rows(events, [one.event_id for one in events]), self.REMEMBER)
            return done

        return self._do(work)

    def _change(self, run: Run, held: HeldEvent, columns: Mapping[str, Any], now: float) -> bool:
        """Change the row of a held event; say whether it was still held."""
        changed = {**columns, "updated_at": int(now)}
        statement = (
            f"UPDATE {{p}}{EVENTS} SET {', '.join(f'{name} = ?' for name in changed)} WHERE id = ? AND status = ?"
        )
        return run(statement, (*changed.values(), held.id, Status.HELD)).rowcount == 1

    def _end(self, run: Run, held: HeldEvent, columns: Mapping[str, Any], now: float) -> bool:
        if not self._change(run, held, columns, now):
            return False
        run(f"DELETE FROM {{p}}{HELD} WHERE id = ?", (held.id,))
        return True

    def _release(self, run: Run, held: HeldEvent, event: Event, now: float) -> bool:
        kept = dict(self._as_kept({"body": event.body, "event_data": event.data}))
        # Data and bytes may be large: each has a statement of its own.
        if not self._change(run, held, {"event_data": kept.pop("event_data")}, now):
            return False
        return self._end(run, held, {**kept, "status": Status.PENDING, "last_error": None, "due_at": now}, now)

    def _send(self, run: Run, held: HeldEvent, now: float) -> bool:
        return self._end(run, held, {"status": Status.PENDING, "last_error": None, "due_at": now}, now)

    def _skip(self, run: Run, held: HeldEvent, reason: str, now: float) -> bool:
        nothing = self._as_kept({"body": None, "event_data": None})
        error = json.dumps({"reason": reason})
        columns = {**nothing, "status": Status.SKIPPED, "last_error": error, "processed_at": int(now)}
        if not self._end(run, held, columns, now):
            return False
        # It is captured, synced or reconciled no more.
        found = run(f"SELECT 1 FROM {{p}}{FOUND} WHERE event_id = ?", (held.event_id,)).fetchall()
        origin = "captured" if held.log_id is not None else "reconciled" if found else "synced"
        self._add(run, f"count.{origin}", -1, now)
        if held.log_id is None:
            self._add(run, "count.seen", 1, now)
        return True

    def _keep(self, run: Run, held: HeldEvent, now: float) -> None:
        nothing = self._as_kept({"body": None, "event_data": NOTHING})
        self._change(run, held, {**nothing, "last_error": json.dumps({"reason": held.reason})}, now)
        run(f"UPDATE {{p}}{HELD} SET absent_since = ? WHERE id = ?", (held.absent_since, held.id))
        if held.is_built:
            # A digest of a score could be guessed.
            statement = f"DELETE FROM {{p}}{MEMORY} WHERE row_table = ? AND row_id = ? AND event_id = ?"
            run(statement, (held.row_table, held.row_id, held.event_id))

    def _add(self, run: Run, key: str, count: int, now: float) -> None:
        run(self.COUNT_STATE, {"key": key, "value": count, "now": int(now)})

    # -- what was recorded without being held

    def hold_undelivered(
        self, event_type: str, table: str, field: str, now: float, *, only: Mapping[int, int] | None = None
    ) -> Sequence[str]:
        free, values = self._free(now)
        # What was under way once the backend may have: it goes on, with the bytes that it has.
        waits = f"due_at IS NOT NULL AND {free}{'' if only is None else ' AND attempts = 0'}"
        among, users = ("", ()) if only is None else self._among(sorted(set(only.values())))
        found = (
            f"SELECT id, event_id, JSON_EXTRACT(event_data, '$.{field}') FROM {{p}}{EVENTS} "
            f"WHERE {waits} AND event_type = ? {among and f'AND user_id {among}'}"
        )
        error = json.dumps({"reason": "it was recorded already, and is looked at once more before it is sent"})

        def work(run: Run) -> Sequence[str]:
            every = run(found, (*values, event_type, *users)).fetchall()
            rows = [row for row in every if only is None or int(row[2] or 0) in only]
            held: list[str] = []
            for start in range(0, len(rows), IDS):
                some = rows[start : start + IDS]
                term, numbers = self._among([row[0] for row in some])
                hold = f"UPDATE {{p}}{EVENTS} SET status = ?, due_at = NULL, last_error = ? WHERE id {term} AND {waits}"
                run(hold, (Status.HELD, error, *numbers, *values))
                # Some may have been claimed since they were found; another relay may do the same at this moment.
                kept = f"SELECT id FROM {{p}}{EVENTS} WHERE id {term} AND {OF_STATUS}"
                there = {row[0] for row in run(kept, (*numbers, Status.HELD)).fetchall()}
                some = [row for row in some if row[0] in there]
                run(f"DELETE FROM {{p}}{HELD} WHERE id {term}", numbers)
                self._insert_held(run, [(row_id, table, int(about or 0)) for row_id, _, about in some])
                held += [event_id for _, event_id, _ in some]
            return held

        return self._do(work)

    def unsent(
        self, event_type: str, field: str, now: float, *, before: float, limit: int, after: Unsent | None = None
    ) -> Sequence[Unsent]:
        free, values = self._free(now)
        about = f"JSON_EXTRACT(event_data, '$.{field}')"
        if after is None:
            rest, beyond = "due_at IS NOT NULL", list[float]()
        else:
            rest, beyond = "due_at >= ? AND (due_at > ? OR id > ?)", [after.due_at, after.due_at, after.id]
        found = self._rows(
            f"SELECT id, due_at, event_id, log_id, user_id, {about} FROM {{p}}{EVENTS} WHERE {rest} AND {free} "
            f"AND event_type = ? AND attempts = 0 AND created_at <= ? AND {about} IS NOT NULL "
            "ORDER BY due_at, id LIMIT ?",
            (*beyond, *values, event_type, before, limit),
        )
        return [
            Unsent(
                id=row[0],
                due_at=row[1],
                event_id=row[2],
                event_type=event_type,
                log_id=row[3],
                user_id=row[4],
                row_id=int(row[5]),
            )
            for row in found
        ]


def _held_event(row: Sequence[Any]) -> HeldEvent:
    row_id, event_id, event_type, log_id, user_id, occurred_at, error, table, about, absent_since, is_built = row
    return HeldEvent(
        id=row_id,
        event_id=event_id,
        event_type=event_type,
        log_id=log_id,
        user_id=user_id,
        occurred_at=occurred_at,
        reason=str(json.loads(error or "{}").get("reason", "")),
        row_table=table,
        row_id=about,
        absent_since=absent_since,
        is_built=bool(is_built),
    )


def _without(judged: Judged, unfit: Mapping[int, str]) -> Judged:
    """Return what was judged, with what cannot be kept among the skipped, given why by the held event's row."""
    if not unfit:
        return judged
    skipped = [(held, f"{UNFIT}{unfit[held.id]}") for held, _ in judged.released if held.id in unfit]
    released = [one for one in judged.released if one[0].id not in unfit]
    return judged._replace(released=released, skipped=[*judged.skipped, *skipped])


def _together(parts: Iterable[Judged]) -> Judged:
    every = list(parts)
    return Judged(
        released=[one for part in every for one in part.released],
        sent=[one for part in every for one in part.sent],
        skipped=[one for part in every for one in part.skipped],
        kept=[one for part in every for one in part.kept],
    )
