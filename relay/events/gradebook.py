"""Events about the gradebook: the grades of every activity, of categories and of whole courses."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

from relay.events import held, other, text
from relay.events.kind import EventKind, FactsTable, Field, Join, Related
from relay.events.rows import NotThere, find, integer, match, named, related_user

if TYPE_CHECKING:
    from relay.events.kind import Facts, Options
    from relay.events.rows import Row
    from relay.model import LogRow

GRADES = FactsTable(
    table="grade_grades",
    columns=("id", "itemid", "userid", "finalgrade", "hidden", "overridden", "feedback", "timemodified"),
    joins=(
        Join(
            table="grade_items",
            alias="i",
            on="i.id = t.itemid",
            columns={
                **{name: name for name in ("courseid", "itemtype", "itemmodule", "iteminstance", "itemname")},
                **{name: name for name in ("grademin", "grademax", "scaleid")},
                "item_hidden": "hidden",
            },
            keys=("id",),
        ),
        Join(
            table="course",
            alias="c",
            on="c.id = i.courseid",
            columns={"fullname": "fullname", "shortname": "shortname"},
            keys=("id",),
        ),
    ),
)
#: What a grade that is gone was for.
ITEMS = FactsTable(table="grade_items", columns=("id", "itemtype", "itemmodule", "iteminstance", "itemname", "hidden"))
#: What a grade, and an item, was when it was last changed or deleted; empty where Moodle keeps no history of grades
#: (`disablegradehistory`), and cut off where it is cleaned up (`gradehistorylifetime`).
GRADES_HISTORY, ITEMS_HISTORY = (
    FactsTable(table=f"{table}_history", columns=("id", "oldid", "hidden"), by="oldid", order="t.id")
    for table in ("grade_grades", "grade_items")
)


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


def _grade(row: LogRow, facts: Facts, options: Options) -> dict[str, Any]:
    """Return the `data` of gradebook_grade_updated. Raises Held where Moodle keeps the grade from the student."""
    grade = find(facts.of(GRADES), row, "grade_grades")
    match("user", row.related_user_id, grade["userid"])
    if grade["itemtype"] is None:
        raise NotThere("the row is gone: its grade item (table grade_items) is no longer there")
    match("course", row.course_id, grade["courseid"])
    hidden = {"item": grade["item_hidden"], "grade": grade["hidden"]}
    held.check(GRADEBOOK_GRADE_UPDATED, options, facts, finalgrade=grade["finalgrade"], **hidden)
    is_gone = grade["fullname"] is None
    return {
        "gradeid": integer(grade["id"]),
        "itemid": integer(grade["itemid"]),
        **item_data(grade),
        "courseid": integer(grade["courseid"]),
        "coursename": None if is_gone else text.param_text(grade["fullname"]),
        "courseshortname": None if is_gone else text.param_text(grade["shortname"]),
        "userid": integer(grade["userid"]),
        "finalgrade": None if grade["finalgrade"] is None else float(grade["finalgrade"]),
        "grademin": float(grade["grademin"]),
        "grademax": float(grade["grademax"]),
        "scaleid": None if grade["scaleid"] is None else integer(grade["scaleid"]),
        "percent": _percent(grade["finalgrade"], grade["grademin"], grade["grademax"]),
        "overridden": bool(integer(grade["overridden"])),
        "hidden": any(integer(one) == 1 or integer(one) > facts.now for one in hidden.values()),
        "feedback": None if grade["feedback"] is None else text.feedback(grade["feedback"]),
        "timemodified": None if grade["timemodified"] is None else integer(grade["timemodified"]),
    }


def _percent(grade: Decimal | None, low: Decimal, high: Decimal) -> float | None:
    """Return where a grade lies between the least and the most (percent, two decimals, half up)."""
    if grade is None or high <= low:
        return None
    return float(((grade - low) * 100 / (high - low)).quantize(Decimal("0.01"), ROUND_HALF_UP))


def _item_id(row: LogRow) -> int | None:
    return other.integer(other.parse(row.other), "itemid")


def _deleted(row: LogRow, facts: Facts, _options: Options) -> dict[str, Any]:
    """Return the `data` of gradebook_grade_deleted: the row is gone, and `other` has what it was.

    A grade that Moodle kept from the student is not told by its end either.
    """
    item_id, grade_id = _item_id(row) or 0, row.object_id or 0
    item = facts.of(ITEMS).get(item_id)
    finalgrade = other.number(other.parse(row.other), "finalgrade")
    hidden_item = (item or facts.of(ITEMS_HISTORY).get(item_id) or {}).get("hidden")
    hidden_grade = facts.of(GRADES_HISTORY).get(grade_id, {}).get("hidden")
    is_held = grade_id in facts.held.get(GRADES.table, ())
    is_kept = is_held or held.kept_back(finalgrade, hidden_item, hidden_grade, row.created_at) is not None
    return {
        "gradeid": named("grade", row.object_id),
        "itemid": _item_id(row),
        "userid": named("user", row.related_user_id),
        "courseid": row.course_id or 0,
        "finalgrade": None if is_kept else finalgrade,
        **item_data(item),
    }


GRADEBOOK_GRADE_UPDATED = EventKind(
    name="gradebook_grade_updated",
    moodle_event=r"\core\event\user_graded",
    meaning="a grade in the gradebook was changed: of an activity, of a category or of a whole course",
    facts=GRADES,
    row_table=GRADES.table,
    subject=related_user,
    build=_grade,
    fields=(
        Field("gradeid", "int", "grade_grades.id"),
        Field("itemid", "int", "grade_items.id of what it is for"),
        Field("itemtype", "str", "mod (an activity), manual, category or course"),
        Field("itemmodule", "str or null", "the kind of activity, such as assign or quiz; null for what is none"),
        Field(
            "iteminstance", "int or null", "its id in the table of that kind, or of the category; null for what is none"
        ),
        Field("itemname", "str or null", "its name, without tags; null for categories and courses"),
        Field("courseid", "int", "course.id"),
        Field("coursename", "str or null", "the course's full name, without tags; null where the course is gone"),
        Field("courseshortname", "str or null", "its short name, without tags; null where the course is gone"),
        Field("userid", "int", "user.id of the student"),
        Field("finalgrade", "float or null", "the grade, in the item's own points; on a scale, the position from 1"),
        Field("grademin", "float", "the least that can be had"),
        Field("grademax", "float", "the most that can be had"),
        Field("scaleid", "int or null", "scale.id where it is graded on a scale"),
        Field("percent", "float or null", "where it lies between the least and the most, two decimals, half up"),
        Field("overridden", "bool", "it was set in the gradebook, by hand"),
        Field("hidden", "bool", "Moodle hides it from the student; only with `unreleased: send`"),
        Field("feedback", "str or null", "the comment without its tags; `&`, `<`, `>` escaped"),
        Field("timemodified", "int or null", "when it was last changed, in unix seconds"),
    ),
    is_default=False,
    options=(held.UNRELEASED,),
    lookups=(held.ENROLLED,),
    id_field="gradeid",
    # A comment with each, perhaps a large one.
    most_in_page=100,
    sizes="SELECT t.id AS id, LENGTH(t.feedback) AS bytes FROM {p}grade_grades t WHERE t.id IN %s",
)
GRADEBOOK_GRADE_DELETED = EventKind(
    name="gradebook_grade_deleted",
    moodle_event=r"\core\event\grade_deleted",
    meaning="a grade was taken out of the gradebook, with its activity, its course or its student's enrolment mostly",
    related=(
        Related(table=ITEMS, id_of=_item_id),
        Related(table=ITEMS_HISTORY, id_of=_item_id),
        Related(table=GRADES_HISTORY, id_of=lambda row: row.object_id),
    ),
    held_of=GRADES.table,
    subject=related_user,
    build=_deleted,
    fields=(
        Field("gradeid", "int", "grade_grades.id, as it was"),
        Field("itemid", "int or null", "grade_items.id of what it was for"),
        Field("userid", "int", "user.id of the student"),
        Field("courseid", "int", "course.id"),
        Field(
            "finalgrade",
            "float or null",
            "the grade, as it was, in the item's own points; null where Moodle hid it, or its item, from the student",
        ),
        Field("itemtype", "str or null", "mod (an activity), manual, category or course; null where the item is gone"),
        Field("itemmodule", "str or null", "the kind of activity, such as assign or quiz; null for what is none"),
        Field("iteminstance", "int or null", "its id in the table of that kind, or of the category; null as above"),
        Field("itemname", "str or null", "its name, without tags; null for categories, courses, and what is gone"),
    ),
    is_default=False,
    log_columns=("other",),
    id_field="gradeid",
)
