"""A story for a person: what happened, in the order of time, why it is where it is, and what moves it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from relay import times
from relay.model import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.outbox.values import Attempt, Recorded

#: The command that lets relay run; where it runs, it changes nothing.
START = "systemctl start relay"
#: What the commands have in them that send something.
SENDING = ("relay sync", "--replay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Something that happened."""

    #: Unix seconds; None for what holds now.
    at: float | None
    text: str


@dataclass(slots=True, kw_only=True)
class Story:
    """What happened, why it is where it is, and what moves it on."""

    lines: list[Line] = field(default_factory=list)
    conclusion: str = ""
    #: The command that moves it on; '' where nothing is to be done.
    command: str = ""
    #: Nothing of what was asked for is known.
    is_unknown: bool = False

    def add(self, at: float | None, text: str) -> None:
        """Add a line."""
        self.lines.append(Line(at=at, text=text))

    @property
    def sends(self) -> bool:
        """Whether the command sends something."""
        return any(part in self.command for part in SENDING)

    def conclude(self, conclusion: str, command: str = "") -> Story:
        """Set the end, bring the lines into order, and return the story."""
        self.conclusion, self.command = conclusion, command
        self.lines.sort(key=lambda line: float("inf") if line.at is None else line.at)
        return self


def came_about(event: Recorded) -> str:
    """Return that an event was recorded, whom it is about, and from what it was made."""
    which = "by relay sync" if event.log_id is None else f"from log row {event.log_id}"
    if event.found_at is not None:
        which = f"by reconcile: Moodle's row had changed without a log row; found at {times.show(event.found_at)}"
    course = "" if event.course_id is None else f" in course {event.course_id}"
    whose = f" of user {event.user_id}{course}" if event.user_id else course
    how = {Status.HELD: "held", Status.SKIPPED: "skipped"}.get(event.status, "recorded")
    return f"outbox: event {event.event_id} ({event.event_type}{whose}) {how} {which}"


def forgotten(name: str, status: Status) -> str:
    """Return what there is to say of an event whose data was taken out."""
    was = "the backend took it before" if status is Status.SUCCESS else "it was not delivered before"
    return f"The data of {name} was forgotten (relay forget): {was}. It cannot be sent again."


def came_of(attempt: Attempt) -> str:
    """Return what came of an attempt, in words."""
    took = "" if attempt.duration_ms is None else f" after {attempt.duration_ms} ms"
    if attempt.outcome == "unknown":
        return "outcome unknown: relay was ended during it, or it is under way"
    if attempt.http_code is None:
        return f"no answer{took}: {attempt.error}"
    meaning = {"success": "taken", "duplicate": "taken before", "refused": "refused for good"}
    return f"answer {attempt.http_code}{took}, {meaning.get(attempt.outcome, 'not taken')}"


#: Behind a moment, and what stands between.
WHEN = 27


def show(story: Story) -> Sequence[str]:
    """Return a story as lines of text: what happened stands behind its moment, from the column WHEN on."""
    lines = [f"{'now' if line.at is None else times.show(line.at):<{WHEN}}{line.text}" for line in story.lines]
    space = [""] if lines else []
    return [*lines, *space, story.conclusion, *([f"-> {story.command}"] if story.command else [])]


def as_json(story: Story) -> dict[str, Any]:
    """Return a story as JSON types: times in UTC, None for what holds now; and None where no command moves it on."""
    return {
        "story": [{"at": None if line.at is None else _utc(line.at), "text": line.text} for line in story.lines],
        "ending": story.conclusion,
        "command": story.command or None,
        "is_known": not story.is_unknown,
    }


def _utc(seconds: float) -> str:
    try:
        return times.iso(seconds)
    except (OverflowError, ValueError, OSError):  # Moodle's tables hold any number
        return str(seconds)
