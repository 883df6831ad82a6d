"""What is made of current rows, of rows that are gone, and of what is held: value by value, without a database."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from relay.events import envelope, held, marks, rows
from relay.events.enrolments import (
    CHANGED_ENROLMENTS,
    COURSE_NAMES,
    ENROLLMENT_CREATED,
    ENROLLMENT_DELETED,
    ENROLLMENT_UPDATED,
    ENROLMENTS,
    ROLES,
)
from relay.events.grades import GRADE_UPDATED, GRADES, LATEST
from relay.events.held import ENROLLED, Held
from relay.events.kind import EventKind, Facts, Options
from relay.events.rows import NoEvent, NotThere
from relay.events.users import USER_CREATED, USER_DELETED, USER_UPDATED, USERS
from relay.model import Event, Hold, LogRow, Skip, Told

SITE, AT, NOW = "site", 1_769_956_200, 1_770_000_000
OPTIONS = Options(site=SITE, moodle_url="https://moodle.example", tenant_id="default")

USER: dict[str, Any] = {
    "id": 7,
    "username": b"ada",
    "firstname": b"Ada",
    "lastname": b"Lovelace",
    "email": b"ada@college.example",
    "idnumber": b"S-1",
    "phone1": b"1",
    "city": b"London",
    "country": b"GB",
    "suspended": 0,
    "deleted": 0,
    "timecreated": AT - 9,
    "timemodified": AT - 5,
}
USER_DATA = {
    "userid": 7,
    "username": "ada",
    "firstname": "Ada",
    "lastname": "Lovelace",
    "email": "ada@college.example",
    "idnumber": "S-1",
    "phone1": "1",
    "city": "London",
    "country": "GB",
    "suspended": False,
    "deleted": False,
    "timecreated": AT - 9,
    "timemodified": AT - 5,
}
ENROLMENT: dict[str, Any] = {
    "id": 3,
    "userid": 7,
    "enrolid": 4,
    "status": 1,
    "timestart": 10,
    "timeend": 20,
    "timecreated": 30,
    "courseid": 5,
    "methodstatus": 0,
    "fullname": b"<b>Computing</b>",
    "shortname": b"<i>C1</i>",
}
CHANGED = {**ENROLMENT, "timemodified": 40, "enrol": b"<b>manual</b>"}
ENROLMENT_DATA = {
    "enrollmentid": 3,
    "userid": 7,
    "courseid": 5,
    "coursename": "Computing",
    "courseshortname": "C1",
    "roleid": 5,
    "status": 1,
    "timestart": 10,
    "timeend": 20,
    "timecreated": 30,
}
CHANGED_DATA = {**ENROLMENT_DATA, "timemodified": 40, "enrol": "manual"}
GRADE: dict[str, Any] = {
    "id": 11,
    "userid": 7,
    "assignment": 12,
    "grade": Decimal(61),
    "grader": 2,
    "timecreated": 50,
    "timemodified": 60,
    "attemptnumber": 0,
    "courseid": 5,
    "name": b"Essay",
    "maximum": 100,
    "fullname": b"Computing",
    "scale": None,
    "commenttext": None,
    "item_hidden": 1,
    "finalgrade": Decimal(61),
    "grade_hidden": 0,
}
SHOWN = {**GRADE, "item_hidden": 0}
GRADE_DATA = {
    "gradeid": 11,
    "userid": 7,
    "assignmentid": 12,
    "assignmentname": "Essay",
    "courseid": 5,
    "coursename": "Computing",
    "score": 61.0,
    "btec_grade": "Merit",
    "feedback": "",
    "grader": 2,
    "timecreated": 50,
    "timemodified": 60,
}
REASON = "the grade item is hidden in Moodle's gradebook"


def log_row(kind: EventKind, object_id: int | None, **others: Any) -> LogRow:
    made = LogRow(
        id=900,
        event_type=kind.name,
        object_id=object_id,
        actor_id=2,
        related_user_id=7,
        course_id=5,
        created_at=AT,
        origin="web",
    )
    return made._replace(**others)


def made_of(kind: EventKind, row: LogRow, facts: Facts) -> dict[str, Any]:
    event = envelope.build(kind, row, facts, OPTIONS)
    assert isinstance(event, Event), event
    data: dict[str, Any] = json.loads(event.data)
    return data


def event(
    event_id: str, kind: EventKind, log_id: int | None, at: int, data: dict[str, Any], row_of: tuple[str, int]
) -> Event:
    """Return the event of user 7 as it must be."""
    text = json.dumps(data)
    head = {
        "event_id": event_id,
        "event_type": kind.name,
        "timestamp": envelope._timestamp(at),
        "source": "moodle",
        "moodle_url": "https://moodle.example",
        "tenant_id": "default",
    }
    compared = {name: data[name] for name in kind.compared}
    return Event(
        event_id=event_id,
        event_type=kind.name,
        log_id=log_id,
        user_id=7,
        occurred_at=at,
        data=text,
        body=json.dumps({**head, "data": data}).encode(),
        row_table=row_of[0],
        row_id=row_of[1],
        compared=json.dumps(compared) if compared else "",
    )


# -- current rows


@pytest.mark.parametrize(
    ("kind", "row", "data", "at"),
    [
        (USER_UPDATED, USER, USER_DATA, AT - 5),
        (ENROLLMENT_CREATED, ENROLMENT, ENROLMENT_DATA, 30),
        (ENROLLMENT_UPDATED, CHANGED, CHANGED_DATA, 40),
        (GRADE_UPDATED, SHOWN, GRADE_DATA, 60),
    ],
)
def test_a_current_row_has_an_id_of_its_data_and_one_that_follows_a_trigger_of_the_log_row(
    kind: EventKind, row: dict[str, Any], data: dict[str, Any], at: int
) -> None:
    row_of = (kind.row_table, row["id"])
    same = envelope.derive_id(SITE, "sync", kind.name, row["id"], json.dumps(data))
    assert envelope.build_current(kind, row, Facts(), OPTIONS) == event(same, kind, None, at, data, row_of)
    trigger = log_row(kind, None, is_trigger=True)
    changed = envelope.derive_id(SITE, "trigger", 900, kind.name, row["id"], AT)
    assert envelope.build_changed(kind, trigger, row, Facts(), OPTIONS) == event(changed, kind, 900, AT, data, row_of)
    assert envelope.current_data(kind, row, Facts(), OPTIONS) == json.dumps(data)
    first = event(same, kind, None, at, data, row_of)
    after = envelope.derive_id(SITE, "sync", kind.name, row["id"], json.dumps(data), "before")
    assert envelope.renamed(first, "before", OPTIONS) == event(after, kind, None, at, data, row_of)


@pytest.mark.parametrize(
    ("kind", "row", "data"),
    [
        (USER_UPDATED, USER, USER_DATA),
        (ENROLLMENT_CREATED, ENROLMENT, ENROLMENT_DATA),
        (ENROLLMENT_UPDATED, CHANGED, CHANGED_DATA),
        (GRADE_UPDATED, SHOWN, GRADE_DATA),
    ],
)
def test_a_log_row_has_an_id_of_its_own_or_the_one_that_it_was_held_under(
    kind: EventKind, row: dict[str, Any], data: dict[str, Any]
) -> None:
    facts, row_of = Facts(rows={kind.current_table.key: {row["id"]: row}}), (kind.row_table, row["id"])
    derived = envelope.derive_id(SITE, "log", 900, kind.moodle_event, row["id"], AT)
    for event_id in ("", "an-id"):
        found = envelope.build(kind, log_row(kind, row["id"]), facts, OPTIONS, event_id=event_id)
        assert found == event(event_id or derived, kind, 900, AT, data, row_of)
        gone = envelope.build(kind, log_row(kind, row["id"]), Facts(), OPTIONS, event_id=event_id)
        assert gone == Skip(
            event_id=event_id or derived,
            event_type=kind.name,
            log_id=900,
            user_id=7 if kind is not USER_UPDATED else row["id"],
            occurred_at=AT,
            reason=f"the row is gone: there is no {kind.row_table}.id {row['id']}",
            may_come=True,
        )


@pytest.mark.parametrize("row", [{**ENROLMENT, "fullname": None}, {**ENROLMENT, "status": b"x"}, {"id": 3}])
def test_of_a_current_row_that_nothing_can_be_made_of_there_is_no_event(row: dict[str, Any]) -> None:
    kind = ENROLLMENT_CREATED
    full = {**dict.fromkeys(ENROLMENT), **row}
    assert envelope.build_current(kind, full, Facts(), OPTIONS) is None
    assert envelope.build_changed(kind, log_row(kind, None), full, Facts(), OPTIONS) is None
    assert envelope.current_data(kind, full, Facts(), OPTIONS) is None


def test_a_kind_without_current_rows_or_an_end_says_so() -> None:
    with pytest.raises(LookupError, match=r"^user_created has no current rows$"):
        envelope.build_current(USER_CREATED, USER, Facts(), OPTIONS)
    with pytest.raises(LookupError, match=r"^user_created does not tell that a row is gone$"):
        envelope.build_gone(USER_CREATED, 7, None, None, "", AT, OPTIONS)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in another time zone."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("seconds", "text"),
    [(AT, "2026-02-01T14:30:00Z"), (0, "1970-01-01T00:00:00Z"), (-62_135_596_800, "0001-01-01T00:00:00Z")],
)
def test_a_time_is_told_in_utc_and_twenty_characters(seconds: int, text: str) -> None:
    made = envelope.make_event("an-id", "user_updated", None, 7, seconds, {"a": 1}, OPTIONS, row_of=("user", None))
    assert json.loads(made.body)["timestamp"] == text
    assert (made.row_table, made.row_id) == ("user", 0)


def test_an_id_is_derived_as_the_first_release_did() -> None:
    raw = bytearray(hashlib.sha256(b'["site", "log", 1]').digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x40  # the version
    raw[8] = raw[8] & 0x3F | 0x80  # the variant
    assert envelope.derive_id("site", "log", 1) == str(uuid.UUID(bytes=bytes(raw)))


# -- what is held


def test_a_current_row_that_is_held_has_an_id_of_nothing_that_is_kept_back() -> None:
    for until in (None, NOW):
        hold = envelope.hold_current(GRADE_UPDATED, GRADE, Held("it is hidden", until=until), "before", OPTIONS)
        assert hold == Hold(
            event_id=envelope.derive_id(SITE, "held", "grade_updated", 11, 60, "before"),
            event_type="grade_updated",
            log_id=None,
            user_id=7,
            occurred_at=60,
            reason="it is hidden",
            until=until,
            row_table="assign_grades",
            row_id=11,
        )


def test_what_is_kept_back_now_is_told_and_nothing_else() -> None:
    def kept(grade: dict[str, Any] | None, options: Options = OPTIONS) -> str | None:
        facts = Facts(rows={GRADES.key: {} if grade is None else {11: grade}}, now=NOW)
        found = envelope.kept_now(GRADE_UPDATED, 11, facts, options)
        return None if found is None else found.reason

    assert kept(GRADE) == REASON
    assert kept({**GRADE, "item_hidden": 0}) is None
    assert kept({**GRADE, "item_hidden": 0, "grade_hidden": 1}) == "the student's grade is hidden in Moodle's gradebook"
    assert kept({**GRADE, "grader": b"x", "item_hidden": 0}) is None
    for graded in ({"grade": Decimal(0)}, {"grade": Decimal("0.5")}, {"maximum": 1}, {"maximum": -3}):
        assert kept({**GRADE, **graded}) == REASON
    # Null is sent of it: there is nothing to keep back.
    for ungraded in ({"grade": None}, {"grade": Decimal(-1)}, {"maximum": 0}, {"maximum": None}):
        assert kept({**GRADE, **ungraded}) is None
    assert kept(None) is None
    assert kept(GRADE, held.released(GRADE_UPDATED, OPTIONS)) is None
    gone, nothing = Held("it is gone"), Facts(rows={GRADES.key: {}}, now=NOW)
    assert envelope.kept_now(GRADE_UPDATED, 11, nothing, OPTIONS, gone=gone) is gone
    unusable = Facts(rows={GRADES.key: {11: {**GRADE, "grader": b"x", "item_hidden": 0}}}, now=NOW)
    assert envelope.kept_now(GRADE_UPDATED, 11, unusable, OPTIONS, gone=gone) is None


@pytest.mark.parametrize(
    ("item", "grade", "expected"),
    [(0, 0, False), (1, 0, True), (0, 1, True), (NOW + 1, 0, True), (0, NOW + 1, True), (NOW, NOW, False)],
)
def test_a_comment_without_a_grade_is_hidden_by_the_gradebook_alone(item: int, grade: int, *, expected: bool) -> None:
    facts = Facts(rows={}, now=NOW)
    sending = held.released(GRADE_UPDATED, OPTIONS)
    assert held.is_hidden(GRADE_UPDATED, OPTIONS, facts, item=item, grade=grade) is expected
    assert not held.is_hidden(GRADE_UPDATED, sending, facts, item=item, grade=grade)
    hidden = {"item_hidden": item, "grade_hidden": grade, "commenttext": "Late"}
    for ungraded in ({"grade": None}, {"grade": Decimal(-1)}):
        row = {**GRADE, **ungraded, **hidden}
        for options, feedback in ((OPTIONS, "" if expected else "Late"), (sending, "Late")):
            made = envelope.build_current(GRADE_UPDATED, row, facts, options)
            assert made is not None
            assert (json.loads(made.data)["feedback"], json.loads(made.data)["score"]) == (feedback, None)


def test_a_log_row_about_what_is_kept_back_is_held() -> None:
    facts = Facts(rows={GRADES.key: {11: GRADE}}, now=NOW)
    for event_id in ("", "an-id"):
        row = log_row(GRADE_UPDATED, 11)
        derived = envelope.derive_id(SITE, "log", 900, GRADE_UPDATED.moodle_event, 11, AT)
        assert envelope.build(GRADE_UPDATED, row, facts, OPTIONS, event_id=event_id) == Hold(
            event_id=event_id or derived,
            event_type="grade_updated",
            log_id=900,
            user_id=7,
            occurred_at=AT,
            reason=REASON,
            until=None,
            row_table="assign_grades",
            row_id=11,
        )


def test_a_row_that_is_no_payload_says_only_what_kind_of_fault_it_has() -> None:
    facts = Facts(rows={USERS.key: {7: {**USER, "suspended": b"secret"}}})
    skip = envelope.build(USER_UPDATED, log_row(USER_UPDATED, 7), facts, OPTIONS)
    assert skip == Skip(
        event_id=envelope.derive_id(SITE, "log", 900, USER_UPDATED.moodle_event, 7, AT),
        event_type="user_updated",
        log_id=900,
        user_id=7,
        occurred_at=AT,
        reason="the row cannot be turned into a payload (ValueError)",
    )


def test_the_options_without_holding_keep_all_else() -> None:
    options = OPTIONS._replace(chosen={("grade_updated", "feedback"): "plain", ("grade_updated", "unreleased"): "hold"})
    assert held.released(GRADE_UPDATED, options) == options._replace(
        chosen={("grade_updated", "feedback"): "plain", ("grade_updated", "unreleased"): "send"}
    )


def test_an_enrolment_is_asked_for_by_user_and_course() -> None:
    assert ENROLLED.pair({"userid": 7, "courseid": b"5"}) == (7, 5)
    assert ENROLLED.pair({"userid": 7, "courseid": None}) is None
    assert ENROLLED.pair({"userid": 7}) is None


def test_a_penalty_for_lateness_is_taken_off_where_moodle_has_one() -> None:
    for penalty, score, name in ((Decimal(10), 54.9, "Pass"), (None, 61.0, "Merit")):
        facts = Facts(rows={GRADES.key: {11: {**SHOWN, "penalty": penalty}}})
        expected = {**GRADE_DATA, "score": score, "btec_grade": name}
        assert made_of(GRADE_UPDATED, log_row(GRADE_UPDATED, 11), facts) == expected


@pytest.mark.parametrize(("attempt", "newest", "latest"), [(0, 0, True), (2, 2, True), (0, 1, False), (0, None, False)])
def test_the_attempt_is_told_where_it_is_asked_for(attempt: int, newest: int | None, latest: bool) -> None:
    pairs = {} if newest is None else {LATEST.name: {(12, 7): newest}}
    facts = Facts(rows={GRADES.key: {11: {**SHOWN, "attemptnumber": attempt}}}, pairs=pairs)
    options = OPTIONS._replace(chosen={("grade_updated", "attempt"): "true"})
    event = envelope.build(GRADE_UPDATED, log_row(GRADE_UPDATED, 11), facts, options)
    assert isinstance(event, Event)
    data = json.loads(event.data)
    assert list(data.items()) == [*GRADE_DATA.items(), ("attemptnumber", attempt), ("latest", latest)]


def test_a_score_below_one_percent_has_the_grade_of_its_band() -> None:
    bands = ((Decimal("0.5"), "Seen"), (Decimal(0), "Nothing"))
    for grade, name in (("0.2", "Nothing"), ("0.5", "Seen"), ("0.7", "Seen")):
        assert marks.mark(Decimal(grade), 100, None, bands) == (float(grade), name)


# -- what is gone


def test_a_deleted_user_is_told_as_the_log_knew_them() -> None:
    other = json.dumps({"username": "ada", "email": "ada@college.example", "idnumber": "<b>S-1</b>"}).encode()
    row = log_row(USER_DELETED, 7, other=other)
    known = {"userid": 7, "username": "ada", "email": "ada@college.example", "idnumber": "S-1"}
    there = Facts(rows={USERS.key: {7: {"deleted": b"1", "timemodified": 99}}})
    assert made_of(USER_DELETED, row, there) == {**known, "deleted": True, "timemodified": 99}
    kept = Facts(rows={USERS.key: {7: {"deleted": 0, "timemodified": 98}}})
    assert made_of(USER_DELETED, row, kept) == {**known, "deleted": False, "timemodified": 98}
    assert made_of(USER_DELETED, row, Facts()) == {**known, "deleted": None, "timemodified": None}
    nothing = dict.fromkeys(("username", "email", "idnumber", "deleted", "timemodified"))
    assert made_of(USER_DELETED, log_row(USER_DELETED, 7), Facts()) == {"userid": 7, **nothing}
    assert made_of(USER_DELETED, log_row(USER_DELETED, 1), Facts())["userid"] == 1
    for nobody in (None, 0, -7):
        skip = envelope.build(USER_DELETED, log_row(USER_DELETED, nobody), Facts(), OPTIONS)
        assert isinstance(skip, Skip)
        assert skip.reason == "the log row names no user"


def test_a_user_who_is_found_gone_is_told_as_last_sent() -> None:
    def gone(row: dict[str, Any] | None, last: Told | None, after: str) -> Event | None:
        return envelope.build_gone(USER_DELETED, 7, row, last, after, AT, OPTIONS)

    def expected(after: str, data: dict[str, Any]) -> Event:
        event_id = envelope.derive_id(SITE, "gone", "user_deleted", 7, after)
        return event(event_id, USER_DELETED, None, AT, {"userid": 7, **data}, ("user", 7))

    last = Told(
        event_type="user_updated", data=json.dumps({"username": "ada", "email": "a@b.example", "idnumber": "1"})
    )
    known = {"username": "ada", "email": "a@b.example", "idnumber": "1"}
    unknown = dict.fromkeys(known)
    assert gone(None, last, "before") == expected("before", {**known, "deleted": None, "timemodified": None})
    marked = {"deleted": 1, "timemodified": 99}
    assert gone(marked, last, "") == expected("", {**known, "deleted": True, "timemodified": 99})
    for nothing in (None, Told(event_type="user_updated", data=None)):
        assert gone(None, nothing, "") == expected("", {**unknown, "deleted": None, "timemodified": None})
    assert gone({"deleted": b"x", "timemodified": 0}, last, "") is None


ENROLMENT_LEFT = {"status": "1", "timestart": 10, "timeend": 20, "timecreated": 30, "lastenrol": True}


def test_a_deleted_enrolment_is_told_as_the_log_knew_it() -> None:
    other = json.dumps({"userenrolment": ENROLMENT_LEFT, "enrol": "<b>manual</b>"}).encode()
    row = log_row(ENROLLMENT_DELETED, 3, other=other)
    course = Facts(rows={COURSE_NAMES.key: {5: {"fullname": b"<b>Computing</b>", "shortname": b"<i>C1</i>"}}})
    known = {
        "enrollmentid": 3,
        "userid": 7,
        "courseid": 5,
        "coursename": "Computing",
        "courseshortname": "C1",
        "enrol": "manual",
        "status": 1,
        "timestart": 10,
        "timeend": 20,
        "timecreated": 30,
        "lastenrol": True,
        "timedeleted": AT,
    }
    assert made_of(ENROLLMENT_DELETED, row, course) == known
    assert list(made_of(ENROLLMENT_DELETED, row, course)) == list(known)
    gone = {**known, "coursename": None, "courseshortname": None}
    assert made_of(ENROLLMENT_DELETED, row, Facts()) == gone
    within = json.dumps({"userenrolment": {**ENROLMENT_LEFT, "enrol": "self"}, "enrol": "manual"}).encode()
    assert made_of(ENROLLMENT_DELETED, row._replace(other=within), Facts()) == {**gone, "enrol": "self"}


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("enrolment", {"object_id": None}),
        ("enrolment", {"object_id": 0}),
        ("user", {"related_user_id": None}),
        ("course", {"course_id": 0}),
    ],
)
def test_a_deleted_enrolment_that_the_log_row_does_not_name_is_skipped(what: str, changes: dict[str, Any]) -> None:
    row = log_row(ENROLLMENT_DELETED, 3)._replace(**changes)
    skip = envelope.build(ENROLLMENT_DELETED, row, Facts(), OPTIONS)
    assert isinstance(skip, Skip)
    assert skip.reason == f"the log row names no {what}"


def test_an_enrolment_that_is_found_gone_is_told_as_last_sent() -> None:
    last = Told(event_type="enrollment_updated", data=json.dumps(CHANGED_DATA))
    made = envelope.build_gone(ENROLLMENT_DELETED, 3, None, last, "before", AT, OPTIONS)
    data = {
        "enrollmentid": 3,
        "userid": 7,
        "courseid": 5,
        "coursename": "Computing",
        "courseshortname": "C1",
        "enrol": "manual",
        "status": 1,
        "timestart": 10,
        "timeend": 20,
        "timecreated": 30,
        "lastenrol": None,
        "timedeleted": AT,
    }
    event_id = envelope.derive_id(SITE, "gone", "enrollment_deleted", 3, "before")
    assert made == event(event_id, ENROLLMENT_DELETED, None, AT, data, ("user_enrolments", 3))
    unknown = envelope.build_gone(ENROLLMENT_DELETED, 3, None, None, "", AT, OPTIONS)
    assert unknown is not None
    assert unknown.user_id == 0
    assert json.loads(unknown.data) == {**dict.fromkeys(data), "enrollmentid": 3, "timedeleted": AT}


# -- roles that come later


def test_a_changed_enrolment_is_told_with_its_role() -> None:
    facts = Facts(rows={CHANGED_ENROLMENTS.key: {3: CHANGED}}, pairs={ROLES.name: {(7, 5): 4}})
    assert made_of(ENROLLMENT_UPDATED, log_row(ENROLLMENT_UPDATED, 3), facts) == {**CHANGED_DATA, "roleid": 4}


@pytest.mark.parametrize(
    ("kind", "table", "row"),
    [(ENROLLMENT_CREATED, ENROLMENTS, ENROLMENT), (ENROLLMENT_UPDATED, CHANGED_ENROLMENTS, CHANGED)],
)
def test_an_enrolment_is_early_while_its_role_is_missing(kind: EventKind, table: Any, row: dict[str, Any]) -> None:
    def is_early(
        found: dict[str, Any] | None, pairs: dict[str, dict[tuple[int, int], int]], object_id: int | None
    ) -> bool:
        assert kind.is_early is not None
        there = {} if found is None else {3: found, 1: found}
        return kind.is_early(log_row(kind, object_id), Facts(rows={table.key: there}, pairs=pairs))

    asked: dict[str, dict[tuple[int, int], int]] = {ROLES.name: {}}
    assert is_early(row, asked, 3) is True
    assert is_early(row, {ROLES.name: {(7, 5): 4}}, 3) is False
    assert is_early(row, {}, 3) is False, "roles are not read"
    assert is_early(None, asked, 3) is False
    assert is_early(row, asked, None) is False
    assert is_early({**row, "courseid": None}, asked, 3) is False


# -- what is read of rows and bodies


def test_what_a_log_row_names_is_a_positive_number() -> None:
    assert [rows.named("user", one) for one in (1, 7)] == [1, 7]
    for nobody in (None, 0, -1):
        with pytest.raises(NoEvent, match=r"^the log row names no user$"):
            rows.named("user", nobody)


def test_a_log_row_that_names_no_row_finds_none() -> None:
    with pytest.raises(NotThere, match=r"^the row is gone: there is no user.id None$"):
        rows.find({1: USER}, log_row(USER_UPDATED, None), "user")


def test_a_row_of_somebody_else_is_named_with_whom_the_log_row_says() -> None:
    with pytest.raises(NoEvent, match=r"^the row does not match the log row: user 8, not 7$"):
        rows.match("user", 7, b"8")
    for silent in (None, 0):
        rows.match("user", silent, 8)
    rows.match("user", 8, b"8")


@pytest.mark.parametrize(("object_id", "order"), [(5, -5), (1, -1), (0, 0), (None, 0), (-31337, 0)])
def test_events_of_a_course_are_kept_in_order_by_minus_its_id(object_id: int | None, order: int) -> None:
    assert rows.object_course(log_row(USER_UPDATED, object_id)) == order


@pytest.mark.parametrize(
    ("user_id", "body", "about"),
    [
        (7, b'{"data": {"userid": 7, "courseid": 15, "x": 1}}', {"user_id": 7, "course_id": 15}),
        (7, b'{"data": {"courseid":15}}', {"user_id": 7, "course_id": 15}),
        (0, b'{"data": {"courseid": 15}}', {"course_id": 15}),
        (7, b'{"data": {"userid": 7}}', {"user_id": 7}),
        (7, b'{"data": {"x": "say \\"courseid\\": 15"}}', {"user_id": 7}),
        (7, None, {"user_id": 7}),
        (0, None, {}),
    ],
)
def test_a_log_line_names_user_and_course_where_there_is_one(
    user_id: int, body: bytes | None, about: dict[str, int]
) -> None:
    assert envelope.about(user_id, body) == about
    assert envelope.course_of(body or b"") == about.get("course_id")
