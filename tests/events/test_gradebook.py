"""What is sent of the gradebook: held as an assignment's grade is, and let out when Moodle shows it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness import Relay
from receiver import Receiver
from stepped import AT, Captured

from relay import config
from relay.capture import held as releasing
from relay.demo.moodle import College
from relay.outbox.values import Judged

ITEM = {"itemtype": "mod", "itemmodule": "quiz", "iteminstance": 8, "itemname": "Quiz <b>1</b>"}


class Book:
    """Ada's grade for a quiz."""

    def __init__(self, college: College) -> None:
        self.college = college
        self.course = college.course("Computing", "C1")
        self.ada = college.sign_up("Ada", "Lovelace", AT)
        college.enrol(self.ada, self.course, AT)
        self.item = college.insert("grade_items", courseid=self.course, grademin=10, grademax=40, **ITEM)
        self.grade = college.insert("grade_grades", itemid=self.item, userid=self.ada, timemodified=9)

    def change(self, **columns: Any) -> None:
        for name, value in columns.items():
            self.college.run(f"UPDATE {{p}}grade_grades SET {name} = %s", value)

    def log(self, at: int = AT + 5) -> None:
        columns = {"courseid": self.course, "other": '{"itemid": "1", "finalgrade": "77.77000"}'}
        self.college.log("gradebook_grade_updated", self.grade, user=self.ada, at=at, **columns)


@pytest.fixture
def book(relay: Relay, college: College) -> Book:
    relay.set("events.gradebook_grade_updated", {"enabled": True})
    return Book(college)


def sent(backend: Receiver) -> list[dict[str, Any]]:
    posts = [post.envelope for post in backend.posts]
    return [post["data"] for post in posts if post["event_type"] == "gradebook_grade_updated"]


def test_each_of_its_fields(relay: Relay, backend: Receiver, book: Book) -> None:
    book.change(finalgrade="35.00000", overridden=1_770_000_000, feedback="<p>Well &amp; done</p>")
    book.log()
    relay.once()
    (data,) = sent(backend)
    assert list(data.items()) == [
        ("gradeid", book.grade),
        ("itemid", book.item),
        ("itemtype", "mod"),
        ("itemmodule", "quiz"),
        ("iteminstance", 8),
        ("itemname", "Quiz 1"),
        ("courseid", book.course),
        ("coursename", "Computing"),
        ("courseshortname", "C1"),
        ("userid", book.ada),
        ("finalgrade", 35.0),
        ("grademin", 10.0),
        ("grademax", 40.0),
        ("scaleid", None),
        ("percent", 83.33),
        ("overridden", True),
        ("hidden", False),
        ("feedback", "Well &amp; done"),
        ("timemodified", 9),
    ]


@pytest.mark.parametrize(
    ("grade", "low", "high", "percent"),
    [("-5", "0", "10", -50.0), ("5", "10", "10", None), ("99999.99999", "0", "0.00001", 999999999900.0)],
)
def test_odd_numbers_are_sent_as_they_are(
    relay: Relay,
    college: College,
    backend: Receiver,
    book: Book,
    grade: str,
    low: str,
    high: str,
    percent: float | None,
) -> None:
    book.change(finalgrade=grade)
    college.run("UPDATE {p}grade_items SET grademin = %s, grademax = %s, scaleid = 3, itemmodule = NULL", low, high)
    book.log()
    relay.once()
    (data,) = sent(backend)
    assert (data["finalgrade"], data["percent"], data["scaleid"], data["itemmodule"]) == (
        float(grade),
        percent,
        3,
        None,
    )


def test_an_item_that_is_gone_when_it_is_read_is_a_skip(relay: Relay, college: College, book: Book) -> None:
    book.change(finalgrade="35")
    book.log()
    college.run("DELETE FROM {p}grade_items")
    relay.once()
    ((error,),) = relay.rows("SELECT last_error FROM {log} WHERE status = 'skipped'")
    assert json.loads(error)["reason"] == "the row is gone: its grade item (table grade_items) is no longer there"


@pytest.mark.parametrize(
    ("table", "hide", "show"),
    [("grade_items", "hidden = 1", "hidden = 0"), ("grade_grades", "finalgrade = NULL", "finalgrade = 35")],
)
def test_it_is_held_as_long_as_moodle_keeps_it_and_nothing_of_it_is_seen(
    relay: Relay, college: College, book: Book, table: str, hide: str, show: str
) -> None:
    captured = Captured(config.load(relay.write()))
    book.change(finalgrade="77.77", feedback="canary")
    college.run(f"UPDATE {{p}}{table} SET {hide}")
    book.log()
    captured.read()
    assert captured.data("gradebook_grade_updated") == [{}]
    assert captured.log.slugs().count("event.held") == 1
    assert "canary" not in repr(captured.log.lines)
    assert "77.77" not in repr(captured.log.lines)
    captured.read(releasing.LOOK_EVERY_S + 1)
    assert captured.data("gradebook_grade_updated") == [{}]
    college.run(f"UPDATE {{p}}{table} SET {show}")
    captured.read(releasing.LOOK_EVERY_S + 1)
    (data,) = captured.data("gradebook_grade_updated")
    assert data["gradeid"] == book.grade
    assert data["hidden"] is False
    counts = captured.outbox.counts()
    assert counts.seen_holds
    assert counts.captured_holds
    captured.close()


def test_the_config_may_send_it_all_the_same(relay: Relay, backend: Receiver, book: Book) -> None:
    relay.set("events.gradebook_grade_updated", {"enabled": True, "unreleased": "send"})
    book.change(finalgrade="35", hidden=1)
    book.log()
    book.change(finalgrade=None)
    book.log(AT + 6)
    relay.once()
    assert [(data["finalgrade"], data["percent"], data["hidden"]) for data in sent(backend)] == [(None, None, True)] * 2


def test_a_grade_that_was_hidden_is_not_told_by_its_end(
    relay: Relay, college: College, backend: Receiver, book: Book
) -> None:
    relay.set("events.gradebook_grade_deleted", {"enabled": True})
    other = json.dumps({"itemid": str(book.item), "finalgrade": "77.77000"})
    for at, hidden in enumerate((1, AT + 99, AT - 99)):
        item = college.insert("grade_items", courseid=book.course, hidden=hidden, **ITEM)
        columns = {"courseid": book.course, "other": other.replace(f'"{book.item}"', f'"{item}"')}
        college.log("gradebook_grade_deleted", 70 + at, user=book.ada, at=AT + at, **columns)
    relay.once()
    ends = [post.envelope["data"] for post in backend.posts if "finalgrade" in post.envelope["data"]]
    assert [(data["gradeid"], data["finalgrade"]) for data in ends] == [(70, None), (71, None), (72, 77.77)]


DELETED = 3


def delete(college: College, book: Book, *, at: int, with_item: bool = False, has_history: bool = True) -> None:
    """Take the grade out of the gradebook, with its item or not, as Moodle does."""
    ((finalgrade, hidden),) = college.rows("SELECT finalgrade, hidden FROM {p}grade_grades WHERE id = %s", book.grade)
    ((item_hidden,),) = college.rows("SELECT hidden FROM {p}grade_items WHERE id = %s", book.item)
    college.run("DELETE FROM {p}grade_grades WHERE id = %s", book.grade)
    if has_history:
        was = {"oldid": book.grade, "itemid": book.item, "userid": book.ada, "finalgrade": finalgrade, "hidden": hidden}
        college.insert("grade_grades_history", action=1, **{**was, "hidden": 0})
        college.insert("grade_grades_history", action=DELETED, **was)
    if with_item:
        college.run("DELETE FROM {p}grade_items WHERE id = %s", book.item)
    if with_item and has_history:
        college.insert("grade_items_history", action=1, oldid=book.item, hidden=1 - item_hidden)
        college.insert("grade_items_history", action=DELETED, oldid=book.item, hidden=item_hidden)
    other = json.dumps({"itemid": str(book.item), "overridden": False, "finalgrade": str(finalgrade)})
    columns = {"courseid": book.course, "other": other}
    college.log("gradebook_grade_deleted", book.grade, user=book.ada, at=at, **columns)


def told_at_the_end(backend: Receiver) -> list[float | None]:
    return [post.envelope["data"]["finalgrade"] for post in backend.posts if "grade_deleted" in post.path]


@pytest.mark.parametrize("with_item", [False, True])
@pytest.mark.parametrize(("table", "is_told"), [("grade_grades", False), ("grade_items", False), ("", True)])
def test_the_history_tells_whether_a_grade_that_is_gone_was_hidden(
    relay: Relay, college: College, backend: Receiver, book: Book, table: str, *, is_told: bool, with_item: bool
) -> None:
    """Nothing was ever recorded of it before: the other kinds are switched off, or relay was not there."""
    relay.config["events"] = {"gradebook_grade_deleted": {"enabled": True}}
    book.change(finalgrade="61.37")
    if table:
        college.run(f"UPDATE {{p}}{table} SET hidden = 1")
    delete(college, book, at=AT + 5, with_item=with_item)
    relay.once()
    assert told_at_the_end(backend) == [61.37 if is_told else None]


@pytest.mark.parametrize("with_item", [False, True])
@pytest.mark.parametrize("table", ["grade_grades", "grade_items"])
def test_without_a_history_what_is_held_tells_it(
    relay: Relay, college: College, backend: Receiver, book: Book, table: str, *, with_item: bool
) -> None:
    relay.set("events.gradebook_grade_deleted", {"enabled": True})
    book.change(finalgrade="61.37")
    college.run(f"UPDATE {{p}}{table} SET hidden = 1")
    book.log()
    relay.once()
    delete(college, book, at=AT + 9, with_item=with_item, has_history=False)
    relay.once()
    assert told_at_the_end(backend) == [None]
    assert "61.37" not in "".join(post.body.decode() for post in backend.posts)


def test_what_is_shown_together_is_released_together_and_in_its_order(
    book: Book, captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its types: a later event of a user must not be due before an earlier one."""
    book.change(finalgrade="35.00000")
    book.log()
    essay = book.college.assignment(book.course, "Essay")
    book.college.grade(book.ada, essay, 61, AT + 6, "")
    book.college.run("UPDATE {p}grade_items SET hidden = 1")
    captured.read()
    book.college.run("UPDATE {p}grade_items SET hidden = 0")
    judged: list[list[str]] = []
    judge = captured.outbox.judge

    def keep(given: Judged, now: float) -> Judged:
        judged.append([one.event_type for one, _ in given.released])
        return judge(given, now)

    monkeypatch.setattr(captured.outbox, "judge", keep)
    captured.read(releasing.LOOK_EVERY_S + 1)
    assert judged == [["gradebook_grade_updated", "grade_updated"]]
