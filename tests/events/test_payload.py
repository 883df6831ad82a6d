"""What the builders alone make of rows: the cases of golden.json without a database, in no time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from test_golden import CASES, COURSE_LEVEL, SENT, SITE, Case, expected, shown

from relay.events import envelope
from relay.events.catalogue import KINDS
from relay.events.enrolments import ROLES
from relay.events.kind import EventKind, Facts, Options
from relay.model import Event, LogRow, Skip

PLAIN = Options(
    site=SITE,
    moodle_url="https://moodle.college.example",
    tenant_id="default",
    chosen={("grade_updated", "unreleased"): "send"},
)
OPTIONS = Options(
    site=SITE,
    moodle_url="https://learn.college.example/moodle",
    tenant_id="college-7",
    btec=((Decimal(85), "Starred"), (Decimal("65.5"), "Fine"), (Decimal(0), "Fail")),
    chosen={
        ("grade_updated", "unreleased"): "send",
        ("grade_updated", "feedback"): "plain",
        ("enrollment_created", "role"): "actual",
    },
)
#: What a database gives where a case names no value: these columns have a default, or the row has no neighbour.
DEFAULTS = {"attemptnumber": 0}
DECIMALS = ("grade", "penalty")
#: The rows that each table is joined with, by the condition.
BY_ID = {"enrol": "enrolid", "assign": "assignment"}


def kind_of(case: Case) -> EventKind:
    return KINDS[case.event_type]


def fact(case: Case) -> dict[str, Any]:
    """Return the row that the case is about, with its neighbours' columns, as the statement for facts gives them."""
    rows = dict(case.rows())
    table = kind_of(case).current_table if kind_of(case).facts else None
    assert table is not None
    row = rows[table.table]
    found = {name: row.get(name, DEFAULTS.get(name)) for name in table.columns}
    if (comments := case.written.get("comments")) is not None:
        rows["assignfeedback_comments"] = {"commenttext": comments[0] if comments else None}
    middle = next((name for name in BY_ID if name in {join.table for join in table.joins}), None)
    is_alone = middle is not None and rows.get(middle, {}).get("id") != row.get(BY_ID[middle])
    for join in table.joins:
        neighbour = {} if is_alone and join.table != "assignfeedback_comments" else rows.get(join.table, {})
        found |= {name: neighbour.get(column) for name, column in join.columns.items()}
    found |= {name: row[name] for name in table.newer if name in row}
    decimals = {name: Decimal(str(found[name])) for name in DECIMALS if found.get(name) is not None}
    return found | decimals


def facts(case: Case, options: Options) -> Facts:
    table = kind_of(case).current_table
    rows = {} if table.table not in case.rows() else {case.id(table.table): fact(case)}
    pairs = {}
    if options is OPTIONS:
        here = (case.id("user"), case.id("course"))
        given = [
            role["roleid"]
            for role in case.written.get("role_assignments", ())
            if role.get("contextlevel", COURSE_LEVEL) == COURSE_LEVEL
            and (role.get("userid", here[0]), role.get("instanceid", here[1])) == here
        ]
        pairs = {ROLES.name: {here: given[0]} if given else {}}
    return Facts(rows={table.key: rows}, pairs=pairs)


def log_row(case: Case) -> LogRow:
    row = case.log_row()
    return LogRow(
        id=row["id"],
        event_type=case.event_type,
        object_id=row["objectid"],
        actor_id=row["userid"],
        related_user_id=row["relateduserid"],
        course_id=row["courseid"],
        created_at=row["timecreated"],
        origin=row["origin"],
    )


def made(case: Case, options: Options) -> Event:
    event = envelope.build(kind_of(case), log_row(case), facts(case, options), options)
    assert isinstance(event, Event), event
    return event


def lines(event: Event) -> list[str]:
    return list(shown(json.loads(event.body, object_pairs_hook=list)))


@pytest.mark.parametrize("case", SENT, ids=str)
def test_a_builder_makes_what_the_contract_says(case: Case) -> None:
    event = made(case, PLAIN)
    assert lines(event) == expected(case, event.event_id, case.data())
    assert json.loads(event.data) == case.data()
    about = case.log_row()
    user = about["objectid"] if case.kind == "users" else about["relateduserid"]
    assert (event.log_id, event.user_id, event.occurred_at) == (case.number, user or 0, about["timecreated"])
    assert (event.row_table, event.row_id) == (kind_of(case).row_table, about["objectid"])


@pytest.mark.parametrize("case", [case for case in SENT if "options" in case.written], ids=str)
def test_a_builder_goes_by_the_options(case: Case) -> None:
    event = made(case, OPTIONS)
    head: Mapping[str, str] = {"moodle_url": OPTIONS.moodle_url, "tenant_id": OPTIONS.tenant_id}
    assert lines(event) == expected(case, event.event_id, case.data(**case.written["options"]), **head)


@pytest.mark.parametrize("case", [case for case in CASES if "skipped" in case.written], ids=str)
def test_a_builder_says_why_it_makes_nothing(case: Case) -> None:
    skip = envelope.build(kind_of(case), log_row(case), facts(case, PLAIN), PLAIN)
    assert isinstance(skip, Skip)
    assert skip.reason.startswith(case.written["skipped"])
    if not facts(case, PLAIN).of(kind_of(case).current_table).get(case.log_row()["objectid"] or 0):
        table = kind_of(case).row_table
        assert skip.reason == f"the row is gone: there is no {table}.id {case.log_row()['objectid']}"
    assert skip.may_come is ("gone" in case.written["skipped"])
    assert (skip.event_type, skip.log_id, skip.occurred_at) == (
        case.event_type,
        case.number,
        case.log_row()["timecreated"],
    )
