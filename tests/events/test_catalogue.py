"""One kind of event is one value: whoever lists, reads or explains kinds asks the catalogue, and names none."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import relay
from relay.events import catalogue
from relay.events.catalogue import KINDS
from relay.events.kind import EventKind, FactsTable
from relay.moodle.rights import columns

ROOT = Path(relay.__file__).parent
#: The demo's script makes some kinds happen.
OUTSIDE = sorted(path for path in ROOT.rglob("*.py") if not {"events", "demo"} & set(path.relative_to(ROOT).parts))
#: What a database user needs for a config that switches nothing on.
GRANTED = {
    "config": {"name", "value"},
    "config_plugins": {"plugin", "name", "value"},
    "logstore_standard_log": {
        *("id", "eventname", "objectid", "userid", "relateduserid", "courseid", "timecreated", "origin"),
    },
    "user": {
        *("id", "username", "firstname", "lastname", "email", "idnumber", "phone1", "city", "country"),
        *("suspended", "deleted", "timecreated", "timemodified"),
    },
    "user_enrolments": {"id", "userid", "enrolid", "status", "timestart", "timeend", "timecreated", "timemodified"},
    "enrol": {"id", "courseid", "status"},
    "course": {"id", "fullname", "shortname"},
    "assign": {"id", "course", "name", "grade"},
    "assign_grades": {
        *("id", "userid", "assignment", "grade", "grader", "timecreated", "timemodified", "attemptnumber"),
    },
    "assignfeedback_comments": {"id", "grade", "commenttext"},
    "grade_items": {"id", "courseid", "itemtype", "itemmodule", "iteminstance", "itemnumber", "hidden"},
    "grade_grades": {"itemid", "userid", "finalgrade", "hidden"},
    "scale": {"id", "scale"},
    "role_assignments": {"id", "userid", "contextid", "roleid"},
    "context": {"id", "contextlevel", "instanceid"},
}


@pytest.mark.parametrize("path", OUTSIDE, ids=[str(path.relative_to(ROOT)) for path in OUTSIDE])
def test_no_module_outside_of_events_names_a_kind(path: Path) -> None:
    tree = list(ast.walk(ast.parse(path.read_text())))
    texts = [node.value for node in tree if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    texts += [node.id.lower() for node in tree if isinstance(node, ast.Name)]
    texts += [node.attr.lower() for node in tree if isinstance(node, ast.Attribute)]
    names = {name for kind in KINDS.values() for name in (kind.name, kind.moodle_event)}
    assert {name for name in names for text in texts if name in text} == set()


def test_a_kind_can_be_held_to_its_fields() -> None:
    """The row's id is one of the fields, and no field comes twice."""
    for kind in KINDS.values():
        names = [field.name for field in kind.fields]
        assert kind.id_field in names, kind.name
        assert len(set(names)) == len(names), kind.name
        assert {field.type.removesuffix(" or null") for field in kind.fields} <= {"int", "str", "bool", "float"}


def test_no_two_kinds_share_a_name_or_an_event_of_moodle() -> None:
    assert list(KINDS) == [kind.name for kind in KINDS.values()]
    assert len({kind.moodle_event for kind in KINDS.values()}) == len(KINDS)


def test_kinds_about_one_table_read_it_alike() -> None:
    """Facts are kept by the key of their table: two statements for one would write over each other."""
    found: dict[str, FactsTable] = {}
    for kind in KINDS.values():
        for table in kind.tables():
            assert found.setdefault(table.key, table) is table


def test_rows_that_can_be_synced_are_of_one_kind_each() -> None:
    named = [kind.current.name for kind in KINDS.values() if kind.current is not None and kind.current.name]
    assert sorted(named) == sorted(catalogue.SYNCED)


def test_a_config_that_switches_nothing_on_needs_these_rights() -> None:
    off = [kind.name for kind in KINDS.values() if not kind.is_default]
    read = columns(catalogue.watched(KINDS.values(), off))
    assert {table: set(names) for table, names in read.items()} == GRANTED
    assert all(len(set(names)) == len(names) for names in read.values())


def test_further_columns_of_the_log_are_read_only_where_a_kind_needs_them() -> None:
    read = columns(tuple(KINDS.values()))["logstore_standard_log"]
    assert set(read) - GRANTED["logstore_standard_log"] == {"other", "contextlevel"}


def test_what_is_switched_off_is_still_counted_where_it_was_sent_by_default() -> None:
    everything = set(KINDS)
    assert {kind.name for kind in catalogue.watched(KINDS.values(), everything)} == {
        kind.name for kind in KINDS.values() if kind.is_default
    }
    assert {kind.name for kind in catalogue.watched(KINDS.values(), ())} == everything


def test_a_kind_is_frozen() -> None:
    kind: EventKind = KINDS["user_created"]
    with pytest.raises(AttributeError):
        kind.name = "another"  # type: ignore[misc]
