"""The further kinds on a live Moodle's database: each log row ends as Moodle's own state says it must."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Relay, load_dump, with_password
from jsonschema import Draft202012Validator
from receiver import Receiver, receiver

from relay.demo.mariadb import MariaDB
from relay.events.catalogue import KINDS
from relay.events.custom import custom_kind
from relay.events.kind import EventKind
from relay.receivers import schema

REAL = Path(__file__).parents[3] / "shared" / "moodle"
DUMP, TRUTH = REAL / "moodle-live-4.4.sql.gz", REAL / "truth-4.4.jsonl.gz"
FURTHER = [kind for kind in KINDS.values() if not kind.is_default]
#: The truth proposes an enrolment's event for these; the contract's table has events of their own.
ROLES = {"role_assigned", "role_unassigned"}


#: An event of the config's own.
OWN: dict[str, Any] = {
    "type": "quiz_attempted",
    "eventname": r"\mod_quiz\event\attempt_submitted",
    "fields": ["quizid"],
}


@pytest.fixture(scope="module")
def truth() -> list[dict[str, Any]]:
    if not TRUTH.exists():
        pytest.skip(f"what a live Moodle says is not here: {TRUTH.name}")
    lines = [json.loads(line) for line in gzip.decompress(TRUTH.read_bytes()).splitlines()]
    return [line for line in lines if line["kind"] == "log"]


@pytest.fixture(scope="module")
def arrived() -> Iterator[Receiver]:
    """A backend that takes everything."""
    with receiver() as backend:
        yield backend


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB, truth: list[dict[str, Any]], arrived: Receiver
) -> Relay:
    """What a relay with all kinds on makes of it, delivered."""
    assert truth
    load_dump(mariadb, DUMP)
    made = Relay(tmp_path_factory.mktemp("live"), mariadb, arrived.url)
    for kind in FURTHER:
        made.set(f"events.{kind.name}", {"enabled": True})
    made.set("events.grade_updated", {"attempt": True})
    made.set("events.custom", [OWN])
    read_with_least_rights(made, mariadb)
    made.once()
    return made


def test_each_event_fits_its_schema(live: Relay, arrived: Receiver) -> None:
    assert live
    own = custom_kind(OWN["type"], OWN["eventname"], tuple(OWN["fields"]))
    validators = {kind.name: Draft202012Validator(schema.envelope(kind)) for kind in (*KINDS.values(), own)}
    for post in arrived.posts:
        validators[post.envelope["event_type"]].validate(post.envelope)
    assert {post.envelope["event_type"] for post in arrived.posts} >= {kind.name for kind in FURTHER}


def read_with_least_rights(relay: Relay, mariadb: MariaDB) -> None:
    """Let a relay read as the database user that it asks for."""
    printed = relay.run("grants", "--user", "further", "--host", "127.0.0.1").stdout
    with mariadb.connect("moodle") as connection, connection.cursor() as cursor:
        cursor.execute("DROP USER IF EXISTS further@'127.0.0.1'")
        for statement in with_password(printed).strip().split("\n"):
            cursor.execute(statement)
    relay.set("moodle.database.user", "further")
    relay.set("moodle.database.password", "made-up")


def expected(kind: EventKind, line: dict[str, Any]) -> dict[str, Any] | None:
    """Return the data that the truth has for a log row, as far as the contract's table has it; None for none."""
    for one in line["send"]:
        if one["event_type"] == kind.name:
            names = [field.name for field in kind.fields]
            return {name: one["data"][name] for name in names if name in one["data"]}
    return None


def in_gradebook(kind: EventKind, line: dict[str, Any]) -> str:
    """Return what must become of a gradebook's log row: the truth proposes another event for an assignment's grade."""
    if line["outcome"] == "skip":
        return "skipped"
    found = expected(kind, line) or line["grade"]["gradebook"]
    if found is None:
        return "skipped"
    hidden = [int(found["hidden"]), int(found.get("item_hidden", 0))]
    is_hidden = any(one == 1 or one > time.time() for one in hidden)
    return "held" if is_hidden or found["finalgrade"] is None else "success"


@pytest.mark.parametrize("kind", FURTHER, ids=[kind.name for kind in FURTHER])
def test_each_log_row_ends_as_the_truth_says(live: Relay, truth: list[dict[str, Any]], kind: EventKind) -> None:
    found = {
        log_id: (status, json.loads(data or "{}"))
        for log_id, status, data in live.rows(
            "SELECT log_id, status, event_data FROM {log} WHERE event_type = ? AND log_id IS NOT NULL", kind.name
        )
    }
    lines = {line["log_id"]: line for line in truth if line["eventname"] == kind.moodle_event}
    assert lines, "the truth has no such log row"
    for log_id, line in lines.items():
        if line["origin"] is None:
            assert log_id not in found
            continue
        status, data = found[log_id]
        if kind.may_be_held:
            assert status == in_gradebook(kind, line), (log_id, line["what"])
            wanted = expected(kind, line) if status == "success" else {}
            assert wanted is None or data == wanted, (log_id, line["what"])
        elif kind.name in ROLES or line["outcome"] == "send":
            assert status == "success", (log_id, line["what"])
            assert list(data) == [field.name for field in kind.fields]
            wanted = expected(kind, line)
            assert wanted is not None or kind.name in ROLES
            assert {name: data[name] for name in wanted or {}} == (wanted or {}), (log_id, line["what"])
        else:
            assert (status, line["outcome"]) == ("skipped", "skip"), (log_id, line["what"])


@pytest.mark.parametrize("name", sorted(ROLES))
def test_a_role_is_what_its_log_row_says(live: Relay, truth: list[dict[str, Any]], name: str) -> None:
    lines = {line["log_id"]: line for line in truth if line["eventname"] == KINDS[name].moodle_event}
    rows = live.rows("SELECT log_id, event_data FROM {log} WHERE event_type = ?", name)
    checked = 0
    for log_id, data in rows:
        line, found = lines.get(log_id), json.loads(data)
        if line is None:
            continue
        checked += 1
        assert found["assignmentid"] == int(line["other"]["id"])
        assert (found["userid"], found["roleid"]) == (line["relateduserid"], line["objectid"])
        assert (found["courseid"], found["contextlevel"]) == (line["courseid"], line["contextlevel"])
        assert found["component"] == line["other"]["component"]
        assert found["roleshortname"]
        assert found["timemodified"] is None or name == "role_assigned"
    assert checked == len(lines)


def test_an_event_of_the_configs_own_is_sent(live: Relay, truth: list[dict[str, Any]]) -> None:
    (line,) = [line for line in truth if line["eventname"] == OWN["eventname"]]
    ((data,),) = live.rows("SELECT event_data FROM {log} WHERE event_type = ?", OWN["type"])
    found = json.loads(data)
    assert {name: found[name] for name in ("logid", "objecttable", "objectid", "actor", "courseid", "quizid")} == {
        "logid": line["log_id"],
        "objecttable": line["objecttable"],
        "objectid": line["objectid"],
        "actor": line["userid"],
        "courseid": line["courseid"],
        "quizid": line["other"]["quizid"],
    }


def test_all_is_accounted_for(live: Relay) -> None:
    assert live.status()["conservation"]["holds"]
