"""Log row + facts -> Event, or the reason why there is none (contract, section 2). Pure."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from relay.events import clean
from relay.model import Event, LogRow, Skip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    #: A row of facts, by column name, as the database gave it.
    Row = Mapping[str, Any]


class EventType(StrEnum):
    """The four kinds of event that relay delivers (contract, section 2)."""

    USER_CREATED = "user_created"
    USER_UPDATED = "user_updated"
    ENROLLMENT_CREATED = "enrollment_created"
    GRADE_UPDATED = "grade_updated"


#: What `relay sync` calls the rows that events of each type are about.
SYNC_KINDS: dict[str, str] = {
    EventType.USER_CREATED: "users",
    EventType.USER_UPDATED: "users",
    EventType.ENROLLMENT_CREATED: "enrolments",
    EventType.GRADE_UPDATED: "grades",
}
#: Moodle's event names, to the letter as they stand in `logstore_standard_log.eventname`.
MOODLE_EVENTS: dict[str, str] = {
    EventType.USER_CREATED: r"\core\event\user_created",
    EventType.USER_UPDATED: r"\core\event\user_updated",
    EventType.ENROLLMENT_CREATED: r"\core\event\user_enrolment_created",
    EventType.GRADE_UPDATED: r"\mod_assign\event\submission_graded",
}
#: Moodle's stock student role.
STUDENT_ROLE = 5
#: The items of a scale that name a BTEC grade, in lower case.
BTEC_ITEMS = frozenset({"distinction", "merit", "pass", "refer", "d", "m", "p", "r"})
CENT = Decimal("0.01")
#: Made once: json.dumps makes an encoder at each call.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
HUNDRED = Decimal(100)

#: From high to low: the score from which a grade is given, and its name.
BTEC = ((Decimal(70), "Distinction"), (Decimal(60), "Merit"), (Decimal(40), "Pass"), (Decimal(0), "Refer"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the config says about envelopes and payloads."""

    #: Moodle's `siteidentifier`: event ids are derived from it.
    site: str
    moodle_url: str
    tenant_id: str
    btec: tuple[tuple[Decimal, str], ...] = BTEC
    #: Send the role that the user has in the course, not always 5.
    actual_role: bool = False
    #: Decode the escapes in feedback.
    plain_feedback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What Moodle's tables say about a batch of log rows; rows by primary key, roles by (user, course)."""

    users: Mapping[int, Row] = field(default_factory=dict)
    enrolments: Mapping[int, Row] = field(default_factory=dict)
    grades: Mapping[int, Row] = field(default_factory=dict)
    roles: Mapping[tuple[int, int], int] = field(default_factory=dict)


class NoEvent(Exception):
    """No event can be made of a row; the text says why, without personal data."""


def build(row: LogRow, facts: Facts, options: Options) -> Event | Skip:
    """Return the event of a log row, or a Skip with the reason; never raises on what a table may hold."""
    event_id = derive_id(options.site, "log", row.id, MOODLE_EVENTS[row.event_type], row.object_id, row.created_at)
    user_id = _user_of(row)
    try:
        data = KINDS[row.event_type](row, facts, options)
        return make_event(event_id, row.event_type, row.id, user_id, row.created_at, data, options)
    except NoEvent as reason:
        why = str(reason)
    except (ValueError, TypeError, ArithmeticError, KeyError) as error:
        # Only the error's kind: its text could hold what stands in the row.
        why = f"the row cannot be turned into a payload ({type(error).__name__})"
    return Skip(
        event_id=event_id,
        event_type=row.event_type,
        log_id=row.id,
        user_id=user_id,
        occurred_at=row.created_at,
        reason=why,
    )


#: How the data of a current row is built, without a log row, and which of its columns says when it was so.
CURRENT: dict[str, tuple[Callable[[Row, Facts, Options], dict[str, Any]], str, str]] = {
    EventType.USER_UPDATED: (lambda row, _facts, _options: user_data(row), "id", "timemodified"),
    EventType.ENROLLMENT_CREATED: (
        lambda row, facts, options: enrolment_data(row, facts.roles, options),
        "userid",
        "timecreated",
    ),
    EventType.GRADE_UPDATED: (lambda row, _facts, options: grade_data(row, options), "userid", "timemodified"),
}


def build_current(event_type: str, row: Row, facts: Facts, options: Options) -> Event | None:
    """Return the event of a current row, or None where none can be made of it.

    The id is derived from the data: as long as the row is unchanged, it is the same.
    """
    make, user, time = CURRENT[event_type]
    try:
        data = make(row, facts, options)
        event_id = derive_id(options.site, "sync", event_type, _int(row["id"]), json.dumps(data))
        return make_event(event_id, event_type, None, _int(row[user]), _int(row[time]), data, options)
    except (NoEvent, ValueError, TypeError, ArithmeticError, KeyError):
        return None


def derive_id(site: str, *parts: object) -> str:
    """Return the id of an event: derived from the site and the parts, laid out as a UUID version 4 (RFC 9562)."""
    digest = hashlib.sha256(json.dumps([site, *parts]).encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def make_event(
    event_id: str,
    event_type: str,
    log_id: int | None,
    user_id: int,
    occurred_at: int,
    data: Mapping[str, Any],
    options: Options,
) -> Event:
    """Return the event with its envelope; `data` comes last in it.

    Raises ValueError where the time lies outside of the calendar.
    """
    head = {
        "event_id": event_id,
        "event_type": event_type,
        "timestamp": _timestamp(occurred_at),
        "source": "moodle",
        "moodle_url": options.moodle_url,
        "tenant_id": options.tenant_id,
    }
    text = _encode(data)
    envelope = f'{_encode(head)[:-1]}, "data": {text}}}'
    return Event(
        event_id=event_id,
        event_type=event_type,
        log_id=log_id,
        user_id=user_id,
        occurred_at=occurred_at,
        data=text,
        body=envelope.encode(),
    )


def _timestamp(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    except (OverflowError, OSError, ValueError):
        raise NoEvent("its time lies outside of the calendar") from None


def _user_of(row: LogRow) -> int:
    """Return whom a log row is about, for the order of deliveries."""
    if row.event_type in (EventType.USER_CREATED, EventType.USER_UPDATED):
        return row.object_id or 0
    return row.related_user_id or 0


def _int(value: Any) -> int:
    """Return a column as PHP's (int) would; NULL is 0."""
    return int(value or 0)


def _find(rows: Mapping[int, Row], row: LogRow, table: str) -> Row:
    found = rows.get(row.object_id or 0)
    if found is None:
        raise NoEvent(f"the row is gone: there is no {table}.id {row.object_id}")
    return found


def _match(name: str, logged: int | None, found: Any) -> None:
    """Check that the log row and the table's row speak of the same user or course; NULL or 0 says nothing."""
    if logged and logged != _int(found):
        raise NoEvent(f"the row does not match the log row: {name} {_int(found)}, not {logged}")


def _user(row: LogRow, facts: Facts, _options: Options) -> dict[str, Any]:
    user = _find(facts.users, row, "user")
    _match("user", row.related_user_id, user["id"])
    return user_data(user)


def _enrolment(row: LogRow, facts: Facts, options: Options) -> dict[str, Any]:
    enrolment = _find(facts.enrolments, row, "user_enrolments")
    _match("user", row.related_user_id, enrolment["userid"])
    if enrolment["courseid"] is None:
        raise NoEvent("the row is gone: its enrolment method (table enrol) is no longer there")
    _match("course", row.course_id, enrolment["courseid"])
    return enrolment_data(enrolment, facts.roles, options)


def _grade(row: LogRow, facts: Facts, options: Options) -> dict[str, Any]:
    grade = _find(facts.grades, row, "assign_grades")
    _match("user", row.related_user_id, grade["userid"])
    if grade["courseid"] is None:
        raise NoEvent("the row is gone: its assignment (table assign) is no longer there")
    _match("course", row.course_id, grade["courseid"])
    return grade_data(grade, options)


#: How the data of each event type is built.
KINDS: dict[str, Callable[[LogRow, Facts, Options], dict[str, Any]]] = {
    EventType.USER_CREATED: _user,
    EventType.USER_UPDATED: _user,
    EventType.ENROLLMENT_CREATED: _enrolment,
    EventType.GRADE_UPDATED: _grade,
}


def user_data(user: Row) -> dict[str, Any]:
    """Return the `data` of user_created and user_updated."""
    texts = ("firstname", "lastname", "email", "idnumber", "phone1", "city", "country")
    return {
        "userid": _int(user["id"]),
        "username": clean.username(user["username"]),
        **{name: (clean.param_email if name == "email" else clean.param_text)(user[name]) for name in texts},
        "suspended": bool(_int(user["suspended"])),
        "deleted": bool(_int(user["deleted"])),
        "timecreated": _int(user["timecreated"]),
        "timemodified": _int(user["timemodified"]),
    }


def enrolment_data(enrolment: Row, roles: Mapping[tuple[int, int], int], options: Options) -> dict[str, Any]:
    """Return the `data` of enrollment_created. Raises NoEvent where the course is gone."""
    if enrolment["fullname"] is None:
        raise NoEvent("the row is gone: its course is no longer there")
    user_id, course_id = _int(enrolment["userid"]), _int(enrolment["courseid"])
    role = roles.get((user_id, course_id), STUDENT_ROLE) if options.actual_role else STUDENT_ROLE
    return {
        "enrollmentid": _int(enrolment["id"]),
        "userid": user_id,
        "courseid": course_id,
        "coursename": clean.param_text(enrolment["fullname"]),
        "courseshortname": clean.param_text(enrolment["shortname"]),
        "roleid": role,
        **{name: _int(enrolment[name]) for name in ("status", "timestart", "timeend", "timecreated")},
    }


def grade_data(grade: Row, options: Options) -> dict[str, Any]:
    """Return the `data` of grade_updated. Raises NoEvent where the course is gone."""
    if grade["fullname"] is None:
        raise NoEvent("the row is gone: its course is no longer there")
    scale = None if grade["scale"] is None else clean.username(grade["scale"])
    score, btec = mark(grade["grade"], grade["maximum"], scale, options.btec)
    return {
        "gradeid": _int(grade["id"]),
        "userid": _int(grade["userid"]),
        "assignmentid": _int(grade["assignment"]),
        "assignmentname": clean.param_text(grade["name"]),
        "courseid": _int(grade["courseid"]),
        "coursename": clean.param_text(grade["fullname"]),
        "score": score,
        "btec_grade": btec,
        "feedback": clean.feedback(grade["commenttext"], plain=options.plain_feedback),
        **{name: _int(grade[name]) for name in ("grader", "timecreated", "timemodified")},
    }


def mark(
    grade: Decimal | None, maximum: int | None, scale: str | None, bands: tuple[tuple[Decimal, str], ...] = BTEC
) -> tuple[float | None, str | None]:
    """Return score (percent, two decimals, half up) and BTEC grade of an assign_grades row; None, None if ungraded.

    `maximum` is assign.grade: the points to be had, 0 for none, or minus the id of the scale whose list is `scale`.
    """
    if grade is None or grade < 0 or not maximum:
        return None, None
    if maximum < 0:
        return _mark_on_scale(Decimal(grade), scale or "", bands)
    percent = Decimal(grade) * HUNDRED / Decimal(maximum)
    return _rounded(percent), _band(percent, bands)


def _mark_on_scale(
    grade: Decimal, scale: str, bands: tuple[tuple[Decimal, str], ...]
) -> tuple[float | None, str | None]:
    items = [item.strip() for item in scale.split(",")]
    position = int(grade)
    if not scale.strip() or position != grade or not 1 <= position <= len(items):
        return None, None
    percent = HUNDRED if len(items) == 1 else Decimal(position - 1) * HUNDRED / Decimal(len(items) - 1)
    item = items[position - 1]
    names_btec = item.casefold() in BTEC_ITEMS or any(item.casefold() == name.casefold() for _, name in bands)
    return _rounded(percent), item if names_btec else _band(percent, bands)


def _rounded(percent: Decimal) -> float:
    return float(percent.quantize(CENT, ROUND_HALF_UP))


def _band(percent: Decimal, bands: tuple[tuple[Decimal, str], ...]) -> str:
    clamped = min(HUNDRED, max(Decimal(0), percent))
    return next(name for threshold, name in bands if clamped >= threshold)
