"""The story of an event, a log row, a user, a grade or an enrolment: why it is where it is, and what moves it on."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from relay import times
from relay.errors import MoodleError, UsageError
from relay.events import catalogue
from relay.model import Status
from relay.operations import compared, named
from relay.operations.story import Story, came_about, came_of, forgotten
from relay.rules import cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from relay.events.held import Held
    from relay.events.kind import EventKind
    from relay.events.rows import Row
    from relay.model import LogRow, Position
    from relay.moodle.contract import Moodle
    from relay.operations.kept import Kept
    from relay.outbox.contract import Reports
    from relay.outbox.values import Attempt, Recorded
    from relay.rules.circuit import Breaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the config says that decides about an event."""

    is_paused: bool
    #: All kinds by name, the config's own among them.
    kinds: Mapping[str, EventKind]
    disabled: frozenset[str]
    ignore_actors: frozenset[int]


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
            story = Story(is_unknown=True)
            return story.conclude(
                "No event with this id is in the outbox: another relay made it, or it was purged after its delivery.",
                "relay explain log:ID, if you know the log row",
            )
        story = Story()
        self._tell(story, found[0])
        return self._end(story, found[0])

    def _log_row(self, log_id: int) -> Story:
        story = Story()
        found = self._moodle.any_log_row(log_id)
        recorded = self._recorded(log_id=log_id)
        if found is not None and found[1] is None:
            return self._not_read(story, log_id, found[0])
        if found is not None and found[1] is not None:
            self._tell_row(story, found[1])
        if found is not None and found[1] is not None and found[1].is_trigger and not recorded:
            return story.conclude(f"Log row {log_id} is of {found[0]}: what was sent did not change by it.")
        if recorded:
            if found is None:
                story.add(None, f"Moodle: log row {log_id} is no longer there; the outbox has what was read")
            for one in recorded:
                self._tell(story, one)
            return self._end(story, recorded[-1])
        if found is None or found[1] is None:
            return self._no_row(story, log_id)
        return self._unrecorded(story, found[1])

    def _not_read(self, story: Story, log_id: int, eventname: str) -> Story:
        off = next((kind for kind in self._rules.kinds.values() if kind.moodle_event == eventname), None)
        if off is None:
            return story.conclude(f"Log row {log_id} is of {eventname}: relay does not send this kind of event.")
        return story.conclude(
            f"Log row {log_id} is of {eventname}: relay sends {off.name} only where the config switches it on.",
            f"set events.{off.name}.enabled: true, for those that come",
        )

    def _no_row(self, story: Story, log_id: int) -> Story:
        position = self._outbox.position()
        if position is not None and cursor.is_open(position, log_id):
            return story.conclude(
                f"There is no log row {log_id} yet: its transaction may be open still, and relay waits a day for it."
            )
        story.is_unknown = True
        return story.conclude(
            f"There is no log row {log_id} in Moodle, and none was recorded: it was rolled back, or deleted.",
            "relay explain user:ID, grade:ID or enrolment:ID",
        )

    def _subject(self, kind: str, number: int) -> Story:
        kinds = self._subjects[kind]
        table, key = kinds[0].row_table, kinds[0].id_field
        sync = catalogue.sync_name(kinds[0].name)
        story, row = Story(), self._row(kinds[0], number)
        rows = self._rows_about(kinds, number, row)
        # All is told of a person.
        user = number if key == "userid" else None
        recorded = self._recorded(user_id=user, data=None if user else (key, number))
        known = {one.log_id for one in recorded}
        # The data of what was skipped or is held do not name the row.
        others = [one for log in rows if log.id not in known for one in self._recorded(log_id=log.id)]
        held = self._outbox.held_of(table, [number])
        others += [one for other in held for one in self._recorded(event_id=other.event_id)]
        every = {one.id: one for one in (*recorded, *others)}.values()
        recorded = sorted(every, key=lambda one: (one.occurred_at, one.id))
        self._tell_subject(story, table, number, row)
        for log in rows:
            self._tell_row(story, log)
        for one in recorded:
            self._tell(story, one)
        missing = [log for log in rows if log.id not in {one.log_id for one in recorded}]
        waiting = [one for one in recorded if one.due_at is not None]
        waiting = waiting or [one for one in recorded if one.status is Status.HELD]
        if missing and not waiting:
            return self._unrecorded(story, missing[-1])
        if recorded:
            return self._end(story, (waiting or recorded)[0 if waiting else -1])
        if row is None:
            story.is_unknown = True
            return story.conclude(f"There is no {table}.id {number} in Moodle, and nothing about it was recorded.")
        story.conclude(
            f"Moodle has {table}.id {number}; no log row about it was found, and nothing of it was recorded. "
            f"{compared.say_compared(self._outbox, sync)}",
            self._sync_command(sync, None if user is None else number, row),
        )
        return self._unless_kept(story, lambda: self._kept.rows(kinds[0], [number]))

    def _row(self, kind: EventKind, number: int) -> Row | None:
        """Return the current row, or None."""
        return None if kind.facts is None else self._moodle.current(kind, [number]).of(kind.facts).get(number)

    def _rows_about(self, kinds: Sequence[EventKind], number: int, row: Row | None) -> list[LogRow]:
        if row is None:
            return []
        if "courseid" not in row:
            times = sorted({int(row["timecreated"] or 0), int(row["timemodified"] or 0)})
            return self._moodle.log_of(kinds, number, course=None, times=times)
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
            story.add(attempt.started_at, f"attempt {attempt.number}: {came_of(attempt)}")

    def _unrecorded(self, story: Story, row: LogRow) -> Story:
        """Say why a log row that is there has no event in the outbox."""
        kind, number = self._rules.kinds[row.event_type], row.object_id or 0
        return self._unless_kept(self._why_unrecorded(story, row), lambda: self._kept.rows(kind, [number]))

    def _why_unrecorded(self, story: Story, row: LogRow) -> Story:
        position = self._outbox.position()
        sync = self._sync_command(catalogue.sync_name(row.event_type), row.related_user_id or row.object_id, None)
        if position is None:
            return story.conclude(f"Relay has never run on this outbox, so log row {row.id} was not read.", "relay run")
        if row.origin is None:
            return story.conclude(
                f"Log row {row.id} was ignored: it is history that a course restore copied in (its origin is NULL), "
                "and Moodle fired no event for it."
            )
        if row.id > position.high:
            return story.conclude(
                f"Log row {row.id} has not been seen yet: relay has read up to {position.high}.", "relay status"
            )
        waits_since = json.loads(self._outbox.state("deferred") or "{}").get(str(row.id))
        if waits_since is not None:
            return story.conclude(
                f"Log row {row.id} was read at {times.show(waits_since)}, and what it points to was not there yet: it "
                "is looked at again until it is a minute old.",
                "relay status",
            )
        if row.event_type in self._rules.disabled:
            return story.conclude(
                f"Log row {row.id} was ignored: events.{row.event_type}.enabled is false in the config.",
                f"enable it, and fill what is missing: {sync}",
            )
        if row.actor_id in self._rules.ignore_actors:
            return story.conclude(
                f"Log row {row.id} was ignored: user {row.actor_id} did it, who is one of events.ignore_actors.", sync
            )
        return self._passed_over(story, row, position, sync)

    def _passed_over(self, story: Story, row: LogRow, position: Position, sync: str) -> Story:
        """Say why a log row that was seen, and is not ignored by today's config, has no event in the outbox."""
        last_id, before = json.loads(self._outbox.state("history") or "[0, 0]")
        if row.id <= int(self._outbox.state("start_id") or 0):
            return story.conclude(
                f"Log row {row.id} was there before relay's first start: relay began behind log row "
                f"{self._outbox.state('start_id')}.",
                sync,
            )
        if row.id <= last_id and row.created_at < before:
            return story.conclude(
                f"Log row {row.id} is older than what relay was to send: it began with {times.show(before)}.", sync
            )
        if cursor.is_open(position, row.id):
            return story.conclude(f"Log row {row.id} appeared late, and is about to be read.", "relay status")
        return story.conclude(
            f"Log row {row.id} was passed over when it was read: its type was disabled, or its actor ignored, at that "
            "time; or it was delivered and purged.",
            sync,
        )

    def _sync_command(self, sync: str, user: int | None, row: Row | None) -> str:
        if not sync:
            return ""
        if user is None and row is not None:
            user = int(row["userid"])
        return f"relay sync {sync}" + (f" --user {user}" if user else "")

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
        again = f"relay run --replay {one.event_id}"
        last = one.attempts[-1] if one.attempts else None
        if one.last_error.get("forgotten"):
            return story.conclude(forgotten(name, one.status))
        if one.status is Status.SUCCESS:
            how = " as a duplicate: it had it already" if last and last.outcome == "duplicate" else ""
            at = one.found_at
            found = "" if at is None else f"Changed without a log row; found at {times.show(at)}, sent. "
            return story.conclude(f"{found}The backend took {name}{how}.")
        if one.status is Status.SKIPPED:
            sync = self._sync_command(catalogue.sync_name(one.event_type), one.user_id or None, None)
            return story.conclude(f"No event was sent: {one.last_error.get('reason', 'no reason is recorded')}.", sync)
        if one.status is Status.GAVE_UP:
            return self._gave_up(story, one, last, again)
        return self._waiting(story, one, last, name)

    def _gave_up(self, story: Story, one: Recorded, last: Attempt | None, again: str) -> Story:
        if last is not None and last.outcome == "refused":
            answer = str(one.last_error.get("answer", ""))
            said = f": {answer[:300]}" if answer else ""
            return story.conclude(
                f"The backend refused it for good with {last.http_code}{said}", f"mend that, then: {again}"
            )
        why = "" if last is None else f"; the last one: {came_of(last)}"
        return story.conclude(f"It was given up after {one.failures} failed attempts{why}.", again)

    def _waiting(self, story: Story, one: Recorded, last: Attempt | None, name: str) -> Story:
        circuit = self._breaker.backend or self._breaker.paths.get(one.event_type)
        if one.event_type not in self._rules.kinds:
            return story.conclude(
                f"{name} is kept: this version of relay does not know the type {one.event_type}.",
                "relay --version, and start the version that recorded it",
            )
        if one.is_under_way:
            return story.conclude(f"{name} is being sent at this moment.", "relay status")
        if self._rules.is_paused:
            return story.conclude(f"{name} waits: `enabled: false` in the config is a pause.", "set enabled: true")
        if circuit is not None:
            scope = "to the backend" if self._breaker.backend else f"for {one.event_type}"
            return story.conclude(
                f"{name} waits: the circuit {scope} has been open since {times.show(circuit.opened_at)}, because "
                f"{circuit.reason}; the next probe is due at {times.show(circuit.probe_at)}.",
                "relay check",
            )
        if one.waits_for is not None:
            return story.conclude(
                f"{name} waits behind an earlier event of its user, {one.waits_for}.", f"relay explain {one.waits_for}"
            )
        if last is not None and last.outcome == "unknown":
            return story.conclude(
                f"Nobody knows what came of the last attempt of {name}: relay was ended during it. It is sent again "
                "with the same id as soon as relay runs.",
                "systemctl start relay",
            )
        if one.due_at is not None and one.due_at > self._now:
            return story.conclude(
                f"{name} is retried: the next attempt is due at {times.show(one.due_at)}, {one.failures} have failed.",
                f"relay run --replay {one.event_id}",
            )
        return story.conclude(f"{name} is due, and is sent as soon as a relay runs.", "systemctl status relay")
