"""The kinds of event that relay knows, in order: a new kind is one value in one file, and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.events.completions import COURSE_COMPLETED
from relay.events.courses import COURSE_CREATED, COURSE_DELETED, COURSE_UPDATED
from relay.events.enrolments import ENROLLMENT_CREATED, ENROLLMENT_DELETED, ENROLLMENT_UPDATED
from relay.events.gradebook import GRADEBOOK_GRADE_DELETED, GRADEBOOK_GRADE_UPDATED
from relay.events.grades import GRADE_UPDATED
from relay.events.roles import ROLE_ASSIGNED, ROLE_UNASSIGNED
from relay.events.submissions import SUBMISSION_SUBMITTED
from relay.events.users import USER_CREATED, USER_DELETED, USER_UPDATED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from relay.events.kind import EventKind, Options, Trigger

KINDS: Mapping[str, EventKind] = {
    kind.name: kind
    for kind in (
        USER_CREATED,
        USER_UPDATED,
        ENROLLMENT_CREATED,
        GRADE_UPDATED,
        USER_DELETED,
        ENROLLMENT_UPDATED,
        ENROLLMENT_DELETED,
        COURSE_COMPLETED,
        GRADEBOOK_GRADE_UPDATED,
        GRADEBOOK_GRADE_DELETED,
        ROLE_ASSIGNED,
        ROLE_UNASSIGNED,
        COURSE_CREATED,
        COURSE_UPDATED,
        COURSE_DELETED,
        SUBMISSION_SUBMITTED,
    )
}
#: What `relay sync` sends, by the name of the rows.
SYNCED: Mapping[str, EventKind] = {
    kind.current.name: kind for kind in KINDS.values() if kind.current is not None and kind.current.name
}


def watched(kinds: Iterable[EventKind], disabled: Collection[str]) -> tuple[EventKind, ...]:
    """Return those of the kinds whose log rows are read, given the names of those that the config does not send.

    One that is sent by default is read even where it is switched off: its rows are counted as ignored.
    """
    return tuple(kind for kind in kinds if kind.is_default or kind.name not in disabled)


def triggered(kinds: Iterable[EventKind], options: Options) -> tuple[EventKind, ...]:
    """Return those of the kinds that log rows of other events are read for, as the config has it.

    Of kinds that share a trigger, the last one tells what it has changed.
    """
    found: dict[Trigger, EventKind] = {}
    for kind in kinds:
        if kind.trigger is not None and kind.is_chosen(options, kind.trigger.option):
            found[kind.trigger] = kind
    return tuple(found.values())


def by_subject(kinds: Iterable[EventKind]) -> dict[str, tuple[EventKind, ...]]:
    """Return the kinds by what `relay explain` calls the rows that they are about."""
    found: dict[str, tuple[EventKind, ...]] = {}
    for kind in kinds:
        if kind.explain:
            found[kind.explain] = (*found.get(kind.explain, ()), kind)
    return found


def sync_name(name: str) -> str:
    """Return what `relay sync` calls the rows that tell what events of a type tell; '' where it sends none of them."""
    kind = KINDS.get(name)
    if kind is None or not (kind.is_default or kind.current):
        return ""
    return next((rows for rows, one in SYNCED.items() if one.row_table == kind.row_table), "")


def teller_of_change(kind: EventKind, kinds: Iterable[EventKind]) -> EventKind:
    """Return which of the kinds tells that a row of a kind's table has changed: one that does that alone, or it."""
    return next(
        (one for one in kinds if one.row_table == kind.row_table and one.current and not one.current.name), kind
    )


def teller_of_gone(kind: EventKind, kinds: Iterable[EventKind]) -> EventKind | None:
    """Return which of the kinds tells that a row of another kind's table is gone, None where none does."""
    return next((one for one in kinds if one.gone is not None and one.row_table == kind.row_table), None)


def is_end(name: str) -> bool:
    """Say whether events of a type tell that a row is gone."""
    return name in KINDS and KINDS[name].gone is not None


def newer_columns(kinds: Iterable[EventKind]) -> dict[str, tuple[str, ...]]:
    """Return the columns, by table, that are read where the site's Moodle is new enough to have them."""
    return {table.table: tuple(table.newer) for kind in kinds for table in kind.tables() if table.newer}


def columns(kinds: Iterable[EventKind]) -> dict[str, tuple[str, ...]]:
    """Return every column that is read for these kinds, by table, each once."""
    found: dict[str, dict[str, None]] = {}
    for kind in kinds:
        read = (*(table.reads() for table in kind.tables()), *(lookup.reads for lookup in kind.lookups))
        for one in read:
            for table, names in one.items():
                found.setdefault(table, {}).update(dict.fromkeys(names))
    return {table: tuple(names) for table, names in found.items()}
