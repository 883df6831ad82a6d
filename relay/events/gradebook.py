"""Events about the gradebook: the grades of every activity, of categories and of whole courses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.events import other, text
from relay.events.kind import EventKind, FactsTable, Field, Related
from relay.events.rows import integer, named, related_user

if TYPE_CHECKING:
    from relay.events.kind import Facts, Options
    from relay.events.rows import Row
    from relay.model import LogRow

#: What a grade that is gone was for.
ITEMS = FactsTable(table="grade_items", columns=("id", "itemtype", "itemmodule", "iteminstance", "itemname"))


def item_data(item: Row | None) -> dict[str, Any]:
    """Return the fields that say what a grade is for; null where there is no item."""
    row: Row = item or dict.fromkeys(ITEMS.columns)
    texts = {name: row[name] for name in ("itemtype", "itemmodule", "itemname")}
    cleaned = {name: None if value is None else text.param_text(value) for name, value in texts.items()}
    instance = None if row["iteminstance"] is None else integer(row["iteminstance"])
    return {
        "itemtype": cleaned["itemtype"],
        "itemmodule": cleaned["itemmodule"],
        "iteminstance": instance,
        "itemname": cleaned["itemname"],
    }


def _item_id(row: LogRow) -> int | None:
    return other.integer(other.parse(row.other), "itemid")


def _deleted(row: LogRow, facts: Facts, _options: Options) -> dict[str, Any]:
    """Return the `data` of gradebook_grade_deleted: the row is gone, and `other` has what it was."""
    return {
        "gradeid": named("grade", row.object_id),
        "itemid": _item_id(row),
        "userid": named("user", row.related_user_id),
        "courseid": row.course_id or 0,
        "finalgrade": other.number(other.parse(row.other), "finalgrade"),
        **item_data(facts.of(ITEMS).get(_item_id(row) or 0)),
    }


GRADEBOOK_GRADE_DELETED = EventKind(
    name="gradebook_grade_deleted",
    moodle_event=r"\core\event\grade_deleted",
    meaning="a grade was taken out of the gradebook, with its activity, its course or its student's enrolment mostly",
    related=(Related(table=ITEMS, id_of=_item_id),),
    subject=related_user,
    build=_deleted,
    fields=(
        Field("gradeid", "int", "grade_grades.id, as it was"),
        Field("itemid", "int or null", "grade_items.id of what it was for"),
        Field("userid", "int", "user.id of the student"),
        Field("courseid", "int", "course.id"),
        Field("finalgrade", "float or null", "the grade, as it was, in the item's own points"),
        Field("itemtype", "str or null", "mod (an activity), manual, category or course; null where the item is gone"),
        Field("itemmodule", "str or null", "the kind of activity, such as assign or quiz; null for what is none"),
        Field("iteminstance", "int or null", "its id in the table of that kind, or of the category; null as above"),
        Field("itemname", "str or null", "its name, without tags; null for categories, courses, and what is gone"),
    ),
    is_default=False,
    log_columns=("other",),
    id_field="gradeid",
)
