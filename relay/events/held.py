"""Grades that Moodle keeps from the student: they are held, and nothing of them is sent, shown or logged meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay import times
from relay.events.kind import Lookup, Option
from relay.events.rows import integer

if TYPE_CHECKING:
    from relay.events.kind import EventKind, Facts, Options
    from relay.events.rows import Row

#: The option of each kind whose events may be held.
UNRELEASED = Option(
    name="unreleased",
    choices=("hold", "send"),
    meaning="a grade that Moodle keeps from the student: `hold` sends it once Moodle shows it; `send` sends it at once",
)


#: The choice that holds.
HOLD = (UNRELEASED.name, UNRELEASED.choices[0])


def _user_and_course(grade: Row) -> tuple[int, int] | None:
    course = grade.get("courseid")
    return None if course is None else (integer(grade["userid"]), integer(course))


#: Whether a student has an enrolment in the course of a grade, whatever its state: without one, Moodle deletes the
#: gradebook's row. A fact of such a kind has a `userid` and a `courseid`. It is asked about what is held alone.
ENROLLED = Lookup(
    name="enrolled",
    statement="""
SELECT ue.userid AS first, e.courseid AS second, 1 AS value
FROM {p}user_enrolments ue JOIN {p}enrol e ON e.id = ue.enrolid WHERE ue.userid IN %s AND e.courseid IN %s
""",
    pair=_user_and_course,
    option=None,
    reads={"user_enrolments": ("userid", "enrolid"), "enrol": ("id", "courseid")},
)


class Held(Exception):
    """Moodle keeps a grade from the student now: no event is made of it before that changes."""

    def __init__(self, reason: str, *, until: int | None = None, is_absent: bool = False) -> None:
        super().__init__(reason)
        #: Why, in words: neither personal data, nor anything of the grade.
        self.reason = reason
        #: When it ends by itself, in unix seconds; None where somebody has to do something.
        self.until = until
        #: The gradebook has no row of it at all: not yet, or no more, as the student has left the course.
        self.is_absent = is_absent


def kept_back(finalgrade: Any, hidden_item: Any, hidden_grade: Any, now: int) -> Held | None:
    """Return why Moodle keeps a grade from the student at `now` (unix seconds), or None where it shows it.

    Given `grade_grades.finalgrade`, and `hidden` of the item and of the grade: 0, 1, or the time until which it is
    hidden; None where the gradebook has no row. Contract, section 2 ("A grade that Moodle keeps from the student"); the
    first three lines of rule 1 in Moodle's RULES.md. `hidden` is judged as grade_grade::is_hidden does
    (lib/grade/grade_grade.php). What workflow and blind marking keep back has no finalgrade.
    """
    if finalgrade is None:
        reason = "Moodle's gradebook has no grade for the student: it is not released, or still marked anonymously"
        return Held(reason, is_absent=hidden_grade is None)
    hidden = {"grade item": integer(hidden_item), "student's grade": integer(hidden_grade)}
    kept = {name: value for name, value in hidden.items() if value == 1 or value > now}
    if not kept:
        return None
    if (name := next((name for name, value in kept.items() if value == 1), None)) is not None:
        return Held(f"the {name} is hidden in Moodle's gradebook")
    until = max(kept.values())
    name = next(name for name, value in kept.items() if value == until)
    return Held(f"the {name} is hidden in Moodle's gradebook until {times.show(until)}", until=until)


def released(kind: EventKind, options: Options) -> Options:
    """Return the options under which nothing of a kind is held: to compare with what was sent, never to send."""
    return options._replace(chosen={**options.chosen, (kind.name, UNRELEASED.name): "send"})


def holds(kind: EventKind, options: Options) -> bool:
    """Say whether the config holds what Moodle keeps back of a kind."""
    return kind.may_be_held and kind.is_chosen(options, HOLD)


def is_hidden(kind: EventKind, options: Options, facts: Facts, *, item: Any, grade: Any) -> bool:
    """Say whether `hidden` of an item or a grade keeps from the student what is said without a grade, as a comment."""
    return holds(kind, options) and kept_back(0, item, grade, facts.now) is not None


def check(kind: EventKind, options: Options, facts: Facts, *, finalgrade: Any, item: Any, grade: Any) -> None:
    """Raise Held where Moodle keeps a grade back, as `kept_back` finds it, unless the config sends it all the same.

    `item` and `grade` are the columns `hidden` of both.
    """
    if holds(kind, options):
        held = kept_back(finalgrade, item, grade, facts.now)
        if held is not None:
            raise held
