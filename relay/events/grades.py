"""Events about the grades of assignments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.events import held, text
from relay.events.kind import CurrentRows, EventKind, FactsTable, Field, Join, Lookup, Option
from relay.events.marks import mark
from relay.events.rows import NotThere, find, integer, integers, match, related_user

if TYPE_CHECKING:
    from relay.events.kind import Facts, Options
    from relay.events.rows import Row
    from relay.model import LogRow

GRADES = FactsTable(
    table="assign_grades",
    columns=("id", "userid", "assignment", "grade", "grader", "timecreated", "timemodified", "attemptnumber"),
    joins=(
        Join(
            table="assign",
            alias="a",
            on="a.id = t.assignment",
            columns={"courseid": "course", "name": "name", "maximum": "grade"},
            keys=("id",),
        ),
        Join(table="course", alias="c", on="c.id = a.course", columns={"fullname": "fullname"}, keys=("id",)),
        # As BIGINT, the lowest number cannot be negated, and the query would fail: a DECIMAL can.
        Join(
            table="scale",
            alias="s",
            on="s.id = -CAST(a.grade AS DECIMAL(20))",
            columns={"scale": "scale"},
            keys=("id",),
        ),
        Join(
            table="assignfeedback_comments",
            alias="f",
            on="f.grade = t.id",
            columns={"commenttext": "commenttext"},
            keys=("id", "grade"),
        ),
        # The gradebook says what the student may see. By the course too: older Moodles have no other index for it.
        Join(
            table="grade_items",
            alias="gi",
            on="gi.itemtype = 'mod' AND gi.itemmodule = 'assign' AND gi.iteminstance = t.assignment "
            "AND gi.courseid = a.course AND gi.itemnumber = 0",
            columns={"item_hidden": "hidden"},
            keys=("id", "itemtype", "itemmodule", "iteminstance", "courseid", "itemnumber"),
        ),
        Join(
            table="grade_grades",
            alias="gg",
            on="gg.itemid = gi.id AND gg.userid = t.userid",
            columns={"finalgrade": "finalgrade", "grade_hidden": "hidden"},
            keys=("itemid", "userid"),
        ),
    ),
    # Where there is more than one comment, the first one counts: the rows come in reverse, and the last one read stays.
    order="f.id DESC",
    # What is taken off for lateness, in percent of the grade: Moodle 5.1.
    newer={"penalty": 2025100600},
)
#: The option under which the attempt is told.
ATTEMPT = ("attempt", "true")
#: The latest attempt of a student at an assignment.
LATEST = Lookup(
    name="latest attempts",
    statement="""
SELECT n.assignment AS first, n.userid AS second, MAX(n.attemptnumber) AS value
FROM {p}assign_grades n WHERE n.assignment IN %s AND n.userid IN %s GROUP BY n.assignment, n.userid
""",
    pair=lambda grade: (integer(grade["assignment"]), integer(grade["userid"])),
    value="(SELECT MAX(n.attemptnumber) FROM {p}assign_grades n WHERE n.assignment = t.assignment "
    "AND n.userid = t.userid)",
    option=ATTEMPT,
    reads={"assign_grades": ("assignment", "userid", "attemptnumber")},
)


def grade_data(grade: Row, facts: Facts, options: Options) -> dict[str, Any]:
    """Return the `data` of grade_updated. Raises NotThere where the course is gone, Held where the grade is held."""
    if grade["fullname"] is None:
        raise NotThere("the row is gone: its course is no longer there")
    hidden = {"item": grade["item_hidden"], "grade": grade["grade_hidden"]}
    if is_graded := _is_graded(grade):
        held.check(GRADE_UPDATED, options, facts, finalgrade=grade["finalgrade"], **hidden)
    # Without a grade there is nothing to hold, and the comment may be hidden all the same.
    is_said = is_graded or not held.is_hidden(GRADE_UPDATED, options, facts, **hidden)
    scale = None if grade["scale"] is None else text.as_stored(grade["scale"])
    score, btec = mark(grade["grade"], grade["maximum"], scale, options.btec, penalty=grade.get("penalty"))
    is_plain = GRADE_UPDATED.chosen(options, "feedback") == "plain"
    data = {
        "gradeid": integer(grade["id"]),
        "userid": integer(grade["userid"]),
        "assignmentid": integer(grade["assignment"]),
        "assignmentname": text.shared_name(grade["name"]),
        "courseid": integer(grade["courseid"]),
        "coursename": text.shared_name(grade["fullname"]),
        "score": score,
        "btec_grade": btec,
        "feedback": text.feedback(grade["commenttext"], plain=is_plain) if is_said else "",
        **integers(grade, "grader", "timecreated", "timemodified"),
    }
    if GRADE_UPDATED.is_chosen(options, ATTEMPT):
        attempt = integer(grade["attemptnumber"])
        data |= {"attemptnumber": attempt, "latest": attempt == facts.value_of(LATEST, grade)}
    return data


def _is_graded(grade: Row) -> bool:
    """Say whether there is a grade that could be kept back: else null is sent (contract, section 2)."""
    return grade["grade"] is not None and grade["grade"] >= 0 and integer(grade["maximum"]) != 0


def _grade(row: LogRow, facts: Facts, options: Options) -> dict[str, Any]:
    grade = find(facts.of(GRADES), row, "assign_grades")
    match("user", row.related_user_id, grade["userid"])
    if grade["courseid"] is None:
        raise NotThere("the row is gone: its assignment (table assign) is no longer there")
    match("course", row.course_id, grade["courseid"])
    return grade_data(grade, facts, options)


GRADE_UPDATED = EventKind(
    name="grade_updated",
    moodle_event=r"\mod_assign\event\submission_graded",
    meaning="an assignment was graded, or graded anew",
    facts=GRADES,
    row_table="assign_grades",
    subject=related_user,
    build=_grade,
    fields=(
        Field("gradeid", "int", "assign_grades.id"),
        Field("userid", "int", "user.id of the student"),
        Field("assignmentid", "int", "assign.id"),
        Field("assignmentname", "str", "without tags"),
        Field("courseid", "int", "course.id"),
        Field("coursename", "str", "the course's full name, without tags"),
        Field("score", "float or null", "percent, two decimals, half up; null where nothing is graded"),
        Field("btec_grade", "str or null", "the grade that the score, or the scale's item, gives"),
        Field(
            "feedback",
            "str",
            "the teacher's comment without its tags; `&`, `<`, `>` escaped; '' where it is hidden and nothing graded",
        ),
        Field("grader", "int", "user.id of the teacher"),
        Field("timecreated", "int", "when the grade was made, in unix seconds"),
        Field("timemodified", "int", "when it was last changed, in unix seconds"),
        Field("attemptnumber", "int", "the attempt, from 0", ATTEMPT),
        Field("latest", "bool", "no later attempt has a row in assign_grades", ATTEMPT),
    ),
    options=(
        Option(
            name="feedback",
            choices=("escaped", "plain"),
            meaning="`escaped` leaves `&amp;`, `&lt;`, `&gt;` as Moodle does; `plain` decodes them",
        ),
        Option(
            name="attempt",
            choices=("false", "true"),
            meaning="`true` sends also which attempt was graded, and whether it is the latest",
        ),
        held.UNRELEASED,
    ),
    lookups=(LATEST, held.ENROLLED),
    current=CurrentRows(
        name="grades",
        # An older attempt is not the student's grade any more.
        only="NOT EXISTS (SELECT 1 FROM {p}assign_grades n WHERE n.assignment = t.assignment AND n.userid = t.userid "
        "AND n.attemptnumber > t.attemptnumber)",
        user="userid",
        time="timemodified",
        in_course="t.assignment IN (SELECT a.id FROM {p}assign a WHERE a.course = %s)",
        build=grade_data,
        # Moodle makes a row without a grade when a teacher looks at the work.
        changing=("gi.hidden", "gg.hidden"),
        is_news=lambda grade: grade["grade"] is not None and grade["grade"] >= 0,
    ),
    explain="grade",
    id_field="gradeid",
    # A megabyte of feedback with each, perhaps.
    most_in_page=100,
    sizes="SELECT f.grade AS id, SUM(LENGTH(f.commenttext)) AS bytes FROM {p}assignfeedback_comments f "
    "WHERE f.grade IN %s GROUP BY f.grade",
)
