"""The types that flow through relay: frozen, and made once; and what a log is to those who write to it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Status(StrEnum):
    """Where an event stands in the outbox (contract, section 4)."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"
    GAVE_UP = "failed_all_retries"
    SKIPPED = "skipped"
    #: Moodle keeps from the student what it says: nothing is made of it yet (contract, section 2).
    HELD = "held"


#: The states of an event that is still to be delivered.
UNDELIVERED = (Status.PENDING, Status.FAILED)


class LogRow(NamedTuple):
    """A row of Moodle's `logstore_standard_log`, the columns that relay reads."""

    #: The row's own id.
    id: int
    #: The name of its kind of event: a key of `events.catalogue.KINDS`.
    event_type: str
    #: What the event is about: the id of a row in the event type's own table. NULL and negative values occur.
    object_id: int | None
    #: Who did it (Moodle's user id; 0 for nobody).
    actor_id: int
    #: Whom it was done to.
    related_user_id: int | None
    #: The course it was done in (0 or NULL outside of courses).
    course_id: int | None
    #: When the event was triggered, in unix seconds.
    created_at: int
    #: web, cli, ws, restore; NULL for history that a course restore copied in.
    origin: str | None
    #: The column `other` as it stands; None unless the kind needs it.
    other: bytes | None = None
    #: The level of its context (10 the site, 50 a course, ...), and the table that `object_id` is an id of; None unless
    #: the kind needs them.
    context_level: int | None = None
    object_table: str | None = None
    #: It is of another event, after which the kind may say something else of rows that it is about.
    is_trigger: bool = False


class Event(NamedTuple):
    """An event that is ready to be sent: its body is made once, and sent as it is at every attempt."""

    #: Derived from the site and the log row (contract, section 2).
    event_id: str
    event_type: str
    #: The log row; None for an event that `relay sync` made of a current row.
    log_id: int | None
    #: Whom the event is about: events of one user are delivered in order. Minus the course's id where it is about one.
    user_id: int
    #: When it happened, in unix seconds.
    occurred_at: int
    #: The envelope's `data`, as JSON text.
    data: str
    #: The envelope's bytes.
    body: bytes
    #: The table and the id of the row of Moodle whose state it tells; '' and 0 where it tells none.
    row_table: str = ""
    row_id: int = 0
    #: The part of `data` that says whether the row has changed, as JSON text; '' for all of it.
    compared: str = ""

    @property
    def state(self) -> str:
        """What it says of the row, as JSON text: the same for two of which the later one says nothing new."""
        return self.compared or self.data


class Skip(NamedTuple):
    """A log row that no event can be made of, and why; it is recorded, not lost."""

    event_id: str
    event_type: str
    log_id: int | None
    user_id: int
    occurred_at: int
    #: A sentence without personal data.
    reason: str
    #: What the log row points to is not there, and may come yet.
    may_come: bool = False


class Hold(NamedTuple):
    """A log row about something that Moodle keeps from the student; nothing of that is in here."""

    event_id: str
    event_type: str
    log_id: int | None
    user_id: int
    occurred_at: int
    #: A sentence's end, without personal data or anything of the grade.
    reason: str
    #: When it ends by itself, in unix seconds; None where somebody has to do something.
    until: int | None
    #: The table and the id of the row of Moodle that it is about.
    row_table: str
    row_id: int


class Told(NamedTuple):
    """What an event that was recorded has told of its row."""

    event_type: str
    #: The envelope's `data`, as JSON text; None where nothing was sent.
    data: str | None


class Delivery(NamedTuple):
    """An event that has been claimed for one attempt."""

    #: The event's row in the outbox.
    id: int
    event_id: str
    event_type: str
    log_id: int | None
    user_id: int
    #: When it happened, in unix seconds.
    occurred_at: int
    body: bytes
    #: The number of this attempt, from 1.
    attempt: int
    #: The row of this attempt in the outbox.
    attempt_id: int
    #: How many attempts have been used up before this one.
    failures: int
    #: The state that the event had when it was claimed.
    status: Status = Status.PENDING


class Outcome(NamedTuple):
    """What came of one attempt; a network error is an outcome, not an exception."""

    #: The answer's status code; None where there was no answer.
    http_code: int | None = None
    #: What went wrong, as a short sentence without secrets or personal data; '' where an answer came.
    error: str = ""
    #: Why there was no answer: a key of `delivery.answer.SENTENCES`, such as timeout or dns; '' where one came.
    error_kind: str = ""
    #: The beginning of the answer's body, as text.
    answer: str = ""
    #: The answer's Retry-After, in seconds from the answer.
    retry_after_s: float | None = None
    #: The answer says that the backend had the event already.
    duplicate: bool = False
    #: How long the attempt took, in milliseconds.
    duration_ms: int = 0


class Gap(NamedTuple):
    """A stretch of log ids of which some have not been seen yet, and may still turn up."""

    #: The first and the last id of the stretch.
    low: int
    high: int
    #: When the gap was found, in unix seconds.
    opened_at: float
    #: Bit i says that id `low + i` has been seen. Always 0 for a stretch wider than `cursor.WINDOW`.
    seen: int = 0


class Position(NamedTuple):
    """How far the log is read."""

    #: Every id up to here has been seen, save for those in the gaps.
    high: int
    #: In ascending order, without overlap.
    gaps: tuple[Gap, ...] = ()


class Log(Protocol):
    """What structlog's loggers can do, as far as it is used here."""

    def info(self, event: str, **fields: Any) -> Any: ...  # noqa: D102
    def warning(self, event: str, **fields: Any) -> Any: ...  # noqa: D102
    def error(self, event: str, **fields: Any) -> Any: ...  # noqa: D102

    def buffered(self) -> AbstractContextManager[None]:
        """Keep the lines that this thread logs within, and write them at the end with one write."""
