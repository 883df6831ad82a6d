"""What `relay explain` is asked for by the names that people see in Moodle: e-mail, username, a course's short name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.events import catalogue
from relay.moodle.contract import Filters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.events.kind import EventKind
    from relay.moodle.contract import Moodle
    from relay.outbox.contract import Reports

SUBJECTS = [f"{name}:ID" for name in catalogue.by_subject(catalogue.KINDS.values())]
#: What can be asked for.
FORMS = (
    f"an event id, log:ID, {', '.join(SUBJECTS[:-1])} or {SUBJECTS[-1]}; user:EMAIL, user:USERNAME; "
    "and of a user in a course USER@COURSE in the place of an ID, each by id, e-mail or short name"
)
#: How many grades or enrolments of a user in a course are told, at the most.
MOST = 100


def by_id(what: str, moodle: Moodle, outbox: Reports, now: float) -> Sequence[str]:
    """Return what is meant, each by its id, as `explain` takes it; what is no name is returned as it is.

    Nothing is returned where the names mean nothing that is there, or was recorded. Raises MoodleError and OutboxError.
    """
    subject, _, name = what.strip().partition(":")
    subject = "enrolment" if subject == "enrollment" else subject
    if not name or _is_id(name):
        return [what]
    kinds = catalogue.by_subject(moodle.kinds).get(subject, ())
    if subject == "user":
        return [f"user:{user}" for user in moodle.users_named(name)]
    if not kinds or "@" not in name:
        return [what]
    found: list[str] = []
    for user, course in _pairs(name, moodle):
        found += _of_user_in_course(subject, kinds, user, course, moodle) or [
            one.event_id
            for one in outbox.recorded(now, user_id=user, data=("courseid", course))
            if one.event_type in {kind.name for kind in kinds}
        ]
    return list(dict.fromkeys(found))


def _pairs(name: str, moodle: Moodle) -> Iterator[tuple[int, int]]:
    """Yield the users and courses that USER@COURSE may mean: both may hold an @, and the last one is tried first."""
    parts = name.split("@")
    for end in range(len(parts) - 1, 0, -1):
        user, course = "@".join(parts[:end]), "@".join(parts[end:])
        # What Moodle has deleted may have been recorded.
        users = moodle.users_named(user) or ([int(user)] if _is_id(user) else [])
        courses = moodle.courses_named(course) or ([int(course)] if _is_id(course) else [])
        if users and courses:
            yield from ((one, other) for one in users for other in courses)
            return


def _of_user_in_course(subject: str, kinds: Sequence[EventKind], user: int, course: int, moodle: Moodle) -> list[str]:
    """Return the current rows of a user in a course, which these kinds are about."""
    listed = next((kind for kind in kinds if kind.current is not None), None)
    if listed is None:
        return []
    return [f"{subject}:{row}" for row in moodle.current_ids(listed, 0, MOST, Filters(user=user, course=course))]


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
