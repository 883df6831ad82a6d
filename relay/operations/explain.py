"""The story of an event, a log row, a user, a grade or an enrolment: why it is where it is, and what moves it on."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from relay import times
from relay.errors import MoodleError, UsageError
from relay.events import catalogue
from relay.model import LogRow, Status
from relay.operations import compared, named, undelivered, unrecorded
from relay.operations.story import Story, came_about, came_of, forgotten
from relay.rules import cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.events.held import Held
    from relay.events.kind import EventKind
    from relay.events.rows import Row
    from relay.moodle.contract import Moodle
    from relay.operations.kept import Kept
    from relay.operations.unrecorded import Rules, Why
    from relay.outbox.contract import Reports
    from relay.outbox.values import Recorded
    from relay.rules.circuit import Breaker

#: So many of what was skipped, of each type, are looked through at the most: as many as the outbox tells at once.
SKIPPED = 500


class Explainer:
    """Tells stories from the outbox and Moodle's database. Raises RelayError where one of them cannot be read."""

    def __init__(
        self, *, outbox: Reports, moodle: Moodle, kept: Kept, breaker: Breaker, rules: Rules, now: float
    ) -> None:
        self._outbox = outbox
        self._moodle = moodle
        self._kept = kept
        self._breaker = breaker
        self._rules = rules
        self._now = now
        # Events of these types make later ones of their user wait: known types whose path has no open circuit.
        self._recorded = partial(outbox.recorded, now, types=frozenset(rules.kinds) - breaker.paths.keys())
        #: The kinds that are read, by what their rows are called.
        self._subjects = catalogue.by_subject(moodle.kinds)

    def explain_all(self, what: str) -> Sequence[tuple[str, Story]]:
        """Tell the stories of all that is named, by its id or by the names that people see in Moodle.

        Each with its id. Raises UsageError where `what` is nothing that can be asked for.
        """
        found = named.by_id(what, self._moodle, self._outbox, self._now)
        unknown = "Moodle has nothing by these names, and nothing about it was recorded."
        return [(one, self.explain(one)) for one in found] or [(what, Story(is_unknown=True).conclude(unknown))]

    def explain(self, what: str) -> Story:
        """Tell the story of what is named: one of named.FORMS. Raises UsageError where it names nothing."""
        kind, _, number = what.strip().partition(":")
        kind = "enrolment" if kind == "enrollment" else kind
        if not number and len(kind) == 36:
            return self._event(kind.lower())
        if kind not in (*self._subjects, "log") or not (number.isascii() and number.isdigit() and len(number) < 19):
            raise UsageError(f"explain {what}: there is no such thing.", hint=f"It takes {named.FORMS}.")
        return self._log_row(int(number)) if kind == "log" else self._subject(kind, int(number))

    # -- what is asked for

    def _event(self, event_id: str) -> Story:
        found = self._recorded(event_id=event_id)
        if not found:
            return Story(is_unknown=True).conclude(
                "No event with this id is in the outbox: another relay made it, or it was purged after its delivery. "
                "relay explain log:ID tells of its log row."
            )
        return self._conclude(Story(), [*found, *self._sent_since(found[0])], [])

    def _sent_since(self, one: Recorded) -> list[Recorded]:
        """Return what `relay sync` or reconcile has sent since of the row that a skipped event was about."""
        if one.status is not Status.SKIPPED or one.log_id is None:
            return []
        with contextlib.suppress(MoodleError):
            return [later for row in self._moodle.rows([one.log_id]) for later in self._synced_later(row, [one])]
        return []

    def _log_row(self, log_id: int) -> Story:
        story = Story()
        recorded = self._recorded(log_id=log_id)
        try:
            found = self._moodle.any_log_row(log_id)
        except MoodleError as error:
            return self._without_moodle(recorded, error)
        if found is None and not recorded:
            return self._no_row(story, log_id)
        if found is None:
            story.add(None, f"Moodle: log row {log_id} is no longer there; the outbox has what was read")
            return self._conclude(story, recorded, [])
        name, row = found
        if row is None:
            return self._conclude(story, recorded, []) if recorded else self._not_read(story, log_id, name)
        return self._conclude(story, [*recorded, *self._synced_later(row, recorded)], [row])

    def _synced_later(self, row: LogRow, recorded: Sequence[Recorded]) -> list[Recorded]:
        """Return what `relay sync` has made since of what a log row is about, where no event was made of that row."""
        kind = self._rules.kinds[row.event_type]
        if not (kind.id_field and row.object_id) or any(one.status is not Status.SKIPPED for one in recorded):
            return []
        same = {one.name for one in self._rules.kinds.values() if one.row_table == kind.row_table}
        about = self._recorded(data=(kind.id_field, row.object_id))
        return [
            one for one in about if one.log_id is None and one.event_type in same and one.created_at >= row.created_at
        ]

    def _not_read(self, story: Story, log_id: int, eventname: str) -> Story:
        off = next((kind for kind in self._rules.kinds.values() if kind.moodle_event == eventname), None)
        if off is None:
            return story.conclude(f"Log row {log_id} is of {eventname}: relay does not send this kind of event.")
        return story.conclude(
            f"Log row {log_id} is of {eventname}: relay sends {off.name} only where the config switches it on, with "
            f"events.{off.name}.enabled: true, and then those that come."
        )

    def _no_row(self, story: Story, log_id: int) -> Story:
        position = self._outbox.position()
        if position is not None and cursor.is_open(position, log_id):
            return story.conclude(
                f"There is no log row {log_id} yet: its transaction may be open still, and relay waits a day for it."
            )
        story.is_unknown = True
        if position is not None and log_id > position.high:
            return story.conclude(f"There is no log row {log_id} in Moodle: relay has read up to {position.high}.")
        return story.conclude(
            f"There is no log row {log_id} in Moodle, and none was recorded: it was rolled back, or deleted. What it "
            "was about has a story, too: relay explain --help says how to ask for it."
        )

    def _subject(self, kind: str, number: int) -> Story:
        kinds = self._subjects[kind]
        table, key = kinds[0].row_table, kinds[0].id_field
        try:
            row = self._row(kinds[0], number)
            rows = self._rows_about(kinds, number, row)
        except MoodleError as error:
            return self._without_moodle(self._about(table, key, number, None), error)
        every = self._about(table, key, number, row)
        known = {one.log_id for one in every}
        # The data of what was skipped or is held do not name the row.
        every += [one for log in rows if log.id not in known for one in self._recorded(log_id=log.id)]
        story = Story()
        self._tell_subject(story, table, number, row)
        if every or rows:
            return self._conclude(story, every, rows)
        if row is None:
            story.is_unknown = True
            return story.conclude(
                f"There is no {table}.id {number} in Moodle, no event that is recorded names it, and no log row that "
                f"was skipped (the newest {SKIPPED} of each type) is about it."
            )
        return self._not_logged(story, kinds[0], number, row)

    def _about(self, table: str, key: str, number: int, row: Row | None) -> list[Recorded]:
        """Return what is recorded about a row of Moodle, given the row where it is there; of a person that is all."""
        if key == "userid":
            recorded = self._recorded(user_id=number)
        else:
            # What is about a row is its user's, and found among that; else the data of all events are looked through.
            recorded = self._recorded(user_id=None if row is None else int(row["userid"]), data=(key, number))
        held = self._outbox.held_of(table, [number])
        return [*recorded, *(one for it in held for one in self._recorded(event_id=it.event_id))]

    def _not_logged(self, story: Story, kind: EventKind, number: int, row: Row) -> Story:
        where = "within an hour of when it was made or last changed"
        if "courseid" in row:
            where = f"in course {row['courseid']}"
        story.conclude(
            f"Moodle has {kind.row_table}.id {number}, and no log row about it {where}. Relay sends what the log has. "
            f"{compared.say_compared(self._outbox, catalogue.sync_name(kind.name))}",
            unrecorded.sync_command(kind.name, number, self._moodle),
        )
        return self._unless_kept(story, lambda: self._kept.rows(kind, [number]))

    def _without_moodle(self, recorded: Sequence[Recorded], error: MoodleError) -> Story:
        """Tell what the outbox alone knows. Raises the error where that is nothing."""
        if not recorded:
            raise error
        story = Story()
        story.add(None, f"Moodle was not asked, this is what the outbox has: {error}")
        return self._conclude(story, recorded, [])

    def _row(self, kind: EventKind, number: int) -> Row | None:
        """Return the current row, or None."""
        return None if kind.facts is None else self._moodle.current(kind, [number]).of(kind.facts).get(number)

    def _rows_about(self, kinds: Sequence[EventKind], number: int, row: Row | None) -> list[LogRow]:
        if row is None:
            skips = {one.log_id for kind in kinds for one in self._recorded(skipped_type=kind.name)} - {None}
            found = self._moodle.rows(sorted(one for one in skips if one is not None)) if skips else ()
            return [one for one in found if one.object_id == number and not one.is_trigger]
        if "courseid" not in row:
            at = sorted({int(row["timecreated"] or 0), int(row["timemodified"] or 0)})
            return self._moodle.log_of(kinds, number, course=None, times=at)
        course = row["courseid"]
        return [] if course is None else self._moodle.log_of(kinds, number, course=int(course), times=())

    # -- telling

    def _tell_subject(self, story: Story, table: str, number: int, row: Row | None) -> None:
        if row is None:
            story.add(None, f"Moodle: there is no {table}.id {number} now")
            return
        story.add(int(row["timecreated"] or 0), f"Moodle: {table}.id {number} was made")
        modified = int(row.get("timemodified") or 0)
        if modified > int(row["timecreated"] or 0):
            story.add(modified, f"Moodle: {table}.id {number} was last changed")

    def _tell_row(self, story: Story, row: LogRow) -> None:
        origin = "copied in by a course restore" if row.origin is None else f"by user {row.actor_id}"
        story.add(row.created_at, f"Moodle: log row {row.id}, {row.event_type} of id {row.object_id}, {origin}")

    def _tell(self, story: Story, one: Recorded) -> None:
        story.add(one.created_at, came_about(one))
        for attempt in one.attempts:
            story.add(attempt.started_at, f"attempt {attempt.number} of {one.event_id}: {came_of(attempt)}")
        if one.acknowledged is not None:
            at, reason = one.acknowledged
            story.add(at, f"relay acknowledge: {one.event_id} is dealt with{reason and f' ({reason})'}")

    # -- which of them decides

    def _conclude(self, story: Story, recorded: Sequence[Recorded], rows: Sequence[LogRow]) -> Story:
        """Tell of events and log rows, and end with the newest that waits, else with the newest that happened."""
        events = sorted({one.id: one for one in recorded}.values(), key=lambda one: (one.occurred_at, one.id))
        known = {one.log_id for one in events}
        left = {row.id: unrecorded.why(row, self._outbox, self._rules) for row in rows if row.id not in known}
        ends: list[tuple[bool, tuple[float, float], LogRow | Recorded]] = [
            *((left[row.id].waits, (row.created_at, row.id), row) for row in rows if row.id in left),
            *((_waits(one), _moment(one), one) for one in events),
        ]
        _, _, last = max(ends, key=lambda end: end[:2])
        for row in rows:
            self._tell_row(story, row)
            if row.id in left and row is not last:
                story.add(row.created_at, f"relay: {left[row.id].sentence}")
        for one in events:
            self._tell(story, one)
        return self._end_row(story, last, left[last.id]) if isinstance(last, LogRow) else self._end(story, last)

    def _end_row(self, story: Story, row: LogRow, why: Why) -> Story:
        """End with a log row that is there and has no event in the outbox."""
        kind, number = self._rules.kinds[row.event_type], row.object_id or 0
        command = unrecorded.command(row, why, self._moodle)
        gone = why.is_left_out and not command and bool(catalogue.sync_name(row.event_type))
        nothing = " No sync can send it now: it finds no such row." if gone else ""
        story.conclude(f"{why.sentence}{nothing}", command)
        return self._unless_kept(story, lambda: self._kept.rows(kind, [number]))

    # -- why it is where it is

    def _end(self, story: Story, one: Recorded) -> Story:
        if one.status is Status.HELD:
            reason = one.last_error.get("reason", "no reason is recorded")
            return story.conclude(
                f"{one.event_type} {one.event_id} is held: {reason}. Relay looks again at least every minute, and "
                "sends it with this id once Moodle shows it to the student."
            )
        return self._unless_kept(self._ended(story, one), lambda: self._kept.events([one.id]))

    def _unless_kept(self, story: Story, kept: Callable[[], Mapping[int, Held]]) -> Story:
        """Advise nothing that sends what Moodle keeps from the student; return the story."""
        with contextlib.suppress(MoodleError):  # such a command asks Moodle, too
            if story.sends and (held := next(iter(kept().values()), None)) is not None:
                story.conclude(f"{story.conclusion} Nothing sends it now: {held.reason}.")
        return story

    def _ended(self, story: Story, one: Recorded) -> Story:
        name = f"{one.event_type} {one.event_id}"
        last = one.attempts[-1] if one.attempts else None
        if one.last_error.get("forgotten"):
            return story.conclude(forgotten(name, one.status))
        if one.status is Status.SUCCESS:
            how = " as a duplicate: it had it already" if last and last.outcome == "duplicate" else ""
            at = one.found_at
            found = "" if at is None else f"Changed without a log row; found at {times.show(at)}, sent. "
            return story.conclude(f"{found}The backend took {name}{how}.")
        if one.status is Status.SKIPPED:
            reason = one.last_error.get("reason", "no reason is recorded")
            return story.conclude(f"No event was sent of {name}: {reason}.", self._sync_skipped(one))
        return story.conclude(*undelivered.why(one, self._breaker, self._rules, self._now))

    def _sync_skipped(self, one: Recorded) -> str:
        """Return what sends the row that was not there, or not whole, when its log row was read; '' where nothing."""
        with contextlib.suppress(MoodleError):
            for row in self._moodle.rows([one.log_id]) if one.log_id is not None else ():
                return unrecorded.sync_command(row.event_type, row.object_id or 0, self._moodle)
        return ""


def _waits(one: Recorded) -> bool:
    return one.due_at is not None or one.status is Status.HELD


def _moment(one: Recorded) -> tuple[float, float]:
    """Return when an event came about, to be compared with that of a log row: time (unix seconds), and log id."""
    if one.log_id is None:  # a sync tells what is there at its own time
        return max(one.created_at, one.occurred_at), float("inf")
    return one.occurred_at, one.log_id
