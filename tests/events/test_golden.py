"""What is sent of Moodle's rows, from outside: rows in a real database, and what `relay run --dry-run` prints of them.

The expected values stand in golden.json, derived by hand from the contract (section 2), never from relay's output.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from harness import Finished, Relay, fresh_moodle
from jsonschema import Draft202012Validator

from relay.demo.mariadb import MariaDB
from relay.demo.moodle import College
from relay.events.catalogue import KINDS
from relay.receivers import schema

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
EVENTNAMES = {
    "user_created": r"\core\event\user_created",
    "user_updated": r"\core\event\user_updated",
    "enrollment_created": r"\core\event\user_enrolment_created",
    "grade_updated": r"\mod_assign\event\submission_graded",
}
EVENTS = {"users": "user_created", "enrolments": "enrollment_created", "grades": "grade_updated"}
#: When the log says that it happened, and how an envelope says that.
AT, TIMESTAMP = 1_769_956_200, "2026-02-01T14:30:00Z"
SITE = "siteOfTheGoldens"
#: Moodle's context level of a course.
COURSE_LEVEL = 50
#: Options that change what is sent, and whom it comes from and goes to.
OPTIONS: dict[str, Any] = {
    "moodle.url": "https://learn.college.example/moodle",
    "backend.tenant_id": "college-7",
    "events.enrollment_created": {"role": "actual"},
    "events.grade_updated": {"feedback": "plain", "unreleased": "send"},
    "btec": {"Starred": 85, "Fine": 65.5, "Fail": 0},
}
#: The columns that Moodle has as NOT NULL: a schema that was converted or repaired may have lost that.
NULLABLE = {
    "user": {
        **dict.fromkeys(("firstname", "lastname", "email", "idnumber", "phone1", "city", "country"), "VARCHAR(255)"),
        **dict.fromkeys(("suspended", "deleted", "timecreated", "timemodified"), "BIGINT"),
    },
    "user_enrolments": dict.fromkeys(("status", "timestart", "timeend", "timecreated"), "BIGINT"),
    "assign_grades": dict.fromkeys(("grader", "timecreated", "timemodified"), "BIGINT"),
}
#: The log row behind those of the cases: it says of the first case's user, at the same second, the same once more.
AGAIN = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One of golden.json's cases, with ids of its own."""

    #: From 1; the log row has this id, other rows have it in their last three digits.
    number: int
    #: users, enrolments or grades.
    kind: str
    written: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.kind}: {self.written['case']}"

    @property
    def is_sent(self) -> bool:
        return not self.written.keys() & {"skipped", "ignored"}

    @property
    def event_type(self) -> str:
        return str(self.written.get("event", EVENTS[self.kind]))

    def id(self, table: str) -> int:
        thousands = ("user", "course", "enrol", "user_enrolments", "assign", "assign_grades", "scale")
        return (thousands.index(table) + 1) * 1000 + self.number

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return a row for each table that has one."""
        base, changes = GOLDEN[self.kind]["rows"], self.written.get("rows", {})
        rows = {name: {**base.get(name, {}), **(changes.get(name) or {})} for name in {**base, **changes}}
        if scale := self.written.get("scale") or ",".join(f"item {i}" for i in range(self.written.get("scale_of", 0))):
            rows["scale"] = {"scale": scale}
            rows["assign"] = {**rows["assign"], "grade": -self.id("scale")}
        links = {
            "user": {"mnethostid": self.number},  # usernames are unique within a host
            "enrol": {"courseid": self.id("course")},
            "user_enrolments": {"enrolid": self.id("enrol"), "userid": self.id("user")},
            "assign": {"course": self.id("course")},
            "assign_grades": {"assignment": self.id("assign"), "userid": self.id("user")},
        }
        gone = {name for name, change in changes.items() if change is None}
        return {
            name: {"id": self.id(name), **links.get(name, {}), **row} for name, row in rows.items() if name not in gone
        }

    def log_row(self) -> dict[str, Any]:
        about = {"users": "user", "enrolments": "user_enrolments", "grades": "assign_grades"}[self.kind]
        return {
            "id": self.number,
            "eventname": EVENTNAMES[self.event_type],
            "objectid": self.id(about),
            "userid": 2,
            "relateduserid": self.id("user"),
            "courseid": 0 if self.kind == "users" else self.id("course"),
            "timecreated": AT,
            "origin": "web",
            **dict.fromkeys(("edulevel", "contextid", "contextlevel", "contextinstanceid"), 0),
            **self.written.get("log", {}),
        }

    def data(self, **options: Any) -> dict[str, Any]:
        """Return the `data` that must be sent, in order."""
        ids = {
            "userid": self.id("user"),
            "enrollmentid": self.id("user_enrolments"),
            "courseid": self.id("course"),
            "assignmentid": self.id("assign"),
            "gradeid": self.id("assign_grades"),
        }
        base = GOLDEN[self.kind]["data"]
        changes = {**{name: value for name, value in ids.items() if name in base}, **self.written.get("data", {})}
        assert changes.keys() | options.keys() <= base.keys(), "golden.json names a field that is never sent"
        return {**base, **changes, **options}

    def write(self, college: College) -> None:
        """Write its rows, then its log row."""
        for table, row in self.rows().items():
            college.insert(table, **row)
        for text in self.written.get("comments", ()):
            college.insert(
                "assignfeedback_comments",
                assignment=self.id("assign"),
                grade=self.id("assign_grades"),
                commenttext=text,
            )
        for role in self.written.get("role_assignments", ()):
            place = (role.get("contextlevel", COURSE_LEVEL), role.get("instanceid", self.id("course")))
            # A case with two roles has them in one context.
            college.run("INSERT IGNORE INTO {p}context (contextlevel, instanceid) VALUES (%s, %s)", *place)
            ((context,),) = college.rows(
                "SELECT id FROM {p}context WHERE contextlevel = %s AND instanceid = %s", *place
            )
            college.insert(
                "role_assignments", roleid=role["roleid"], contextid=context, userid=role.get("userid", self.id("user"))
            )
        college.insert("logstore_standard_log", **self.log_row())


CASES = [
    Case(number=number, kind=kind, written=written)
    for number, (kind, written) in enumerate(((kind, one) for kind in EVENTS for one in GOLDEN[kind]["cases"]), 1)
]
SENT = [case for case in CASES if case.is_sent]


@dataclass(frozen=True, slots=True)
class Printed:
    """What a dry run has printed, by the numbers of the cases."""

    text: str
    #: Envelopes as pairs of name and value: order, repetition and types are seen.
    envelopes: dict[int, list[list[tuple[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, finished: Finished) -> Printed:
        made = cls(finished.stdout)
        for line in finished.stdout.splitlines():
            envelope = json.loads(line, object_pairs_hook=list)
            # The first of `data` is the id of what it is about.
            made.envelopes[dict(envelope)["data"][0][1] % 1000].append(envelope)
        for line in finished.stderr.splitlines():
            found = re.fullmatch(r"relay: log row (\d+) would be skipped: (.+)", line)
            assert found, line
            made.skipped[int(found[1])] = found[2]
        return made

    def ids(self) -> dict[int, list[str]]:
        return {number: [dict(one)["event_id"] for one in found] for number, found in self.envelopes.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What relay has printed of the same rows under different circumstances."""

    plain: Printed
    #: On another machine, as it were: another folder, another time zone.
    again: Printed
    options: Printed
    other_site: Printed


@pytest.fixture(scope="module")
def runs(mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All cases in one database, each of the four runs a process."""

    def run(timezone: str, options: Mapping[str, Any] | None = None) -> Printed:
        # Nothing listens at port 9: a dry run asks nobody.
        relay = Relay(tmp_path_factory.mktemp("relay"), mariadb, "http://127.0.0.1:9")
        # Payloads are looked at here; what is held: test_releasing.
        relay.set("events.grade_updated.unreleased", "send")
        for path, value in (options or {}).items():
            relay.set(path, value)
        return Printed.of(relay.run("run", "--dry-run", "--from", "beginning", env={"TZ": timezone}))

    with fresh_moodle(mariadb) as college:
        for table, columns in NULLABLE.items():
            changes = ", ".join(f"MODIFY {name} {kind} NULL" for name, kind in columns.items())
            college.run(f"ALTER TABLE {{p}}{table} {changes}")
        college.run("UPDATE {p}config SET value = %s WHERE name = 'siteidentifier'", SITE)
        for case in CASES:
            case.write(college)
        college.insert("logstore_standard_log", **{**CASES[0].log_row(), "id": AGAIN})
        plain, again = run("Pacific/Auckland"), run("America/St_Johns")
        options = run("UTC", OPTIONS)
        college.run("UPDATE {p}config SET value = %s WHERE name = 'siteidentifier'", f"{SITE}2")
        yield Runs(plain=plain, again=again, options=options, other_site=run("UTC"))


def shown(pairs: Any, path: str = "") -> Iterator[str]:
    """Yield a line for each value, with its name and in JSON's own spelling: 70.0 is not 70, and true is not 1."""
    for name, value in pairs:
        if isinstance(value, list):
            yield from shown(value, f"{path}{name}.")
        else:
            yield f"{path}{name}: {json.dumps(value, ensure_ascii=False)}"


def expected(case: Case, event_id: str, data: Mapping[str, Any], **head: str) -> list[str]:
    """Return what an envelope must hold, in order (contract, section 2)."""
    envelope = {
        "event_id": event_id,
        "event_type": case.event_type,
        "timestamp": case.written.get("timestamp", TIMESTAMP),
        "source": "moodle",
        "moodle_url": "https://moodle.college.example",
        "tenant_id": "default",
        **head,
        "data": list(data.items()),
    }
    return list(shown(envelope.items()))


@pytest.mark.parametrize("case", SENT, ids=str)
def test_an_envelope_holds_what_the_contract_says(case: Case, runs: Runs) -> None:
    envelope = runs.plain.envelopes[case.number][0]
    assert list(shown(envelope)) == expected(case, str(dict(envelope)["event_id"]), case.data())


def test_every_envelope_fits_its_schema(runs: Runs) -> None:
    checks = {name: Draft202012Validator(schema.envelope(kind)) for name, kind in KINDS.items()}
    for run in (runs.plain, runs.options):
        envelopes = [json.loads(line) for line in run.text.splitlines()]
        assert len(envelopes) > len(SENT)
        for envelope in envelopes:
            checks[envelope["event_type"]].validate(envelope)


@pytest.mark.parametrize("case", [case for case in SENT if "options" in case.written], ids=str)
def test_options_change_what_they_name_and_nothing_else(case: Case, runs: Runs) -> None:
    envelope = runs.options.envelopes[case.number][0]
    head = {"moodle_url": OPTIONS["moodle.url"], "tenant_id": OPTIONS["backend.tenant_id"]}
    data = case.data(**case.written["options"])
    assert list(shown(envelope)) == expected(case, str(dict(envelope)["event_id"]), data, **head)


@pytest.mark.parametrize("case", [case for case in CASES if not case.is_sent], ids=str)
def test_what_nothing_is_sent_of_is_skipped_with_its_reason_or_ignored(case: Case, runs: Runs) -> None:
    for run in (runs.plain, runs.options):
        assert case.number not in run.envelopes
        if "skipped" in case.written:
            assert run.skipped[case.number].startswith(case.written["skipped"])
        else:
            assert case.number not in run.skipped


def test_no_case_is_missing_and_nothing_else_is_printed(runs: Runs) -> None:
    assert sorted(runs.plain.envelopes) == [case.number for case in SENT]
    assert sorted(runs.plain.skipped) == [case.number for case in CASES if "skipped" in case.written]


def test_an_event_id_is_laid_out_as_a_version_4_uuid_and_no_two_rows_share_one(runs: Runs) -> None:
    ids = [one for found in runs.plain.ids().values() for one in found]
    for event_id in ids:
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", event_id)
    assert len(set(ids)) == len(ids) == len(SENT) + 1


def test_the_same_row_gives_the_same_id_and_bytes_on_another_machine(runs: Runs) -> None:
    assert runs.again.text == runs.plain.text
    assert runs.again.skipped == runs.plain.skipped


def test_an_event_id_depends_on_no_option(runs: Runs) -> None:
    assert runs.options.ids() == runs.plain.ids()


def test_another_site_gives_other_ids_and_the_same_data(runs: Runs) -> None:
    ours = {one for found in runs.plain.ids().values() for one in found}
    theirs = {one for found in runs.other_site.ids().values() for one in found}
    assert len(theirs) == len(ours)
    assert not theirs & ours
    strip = r'"event_id": "[^"]+"'
    assert re.sub(strip, "", runs.other_site.text) == re.sub(strip, "", runs.plain.text)


def test_the_same_thing_said_twice_in_one_second_is_two_events(runs: Runs) -> None:
    first, second = (dict(one) for one in runs.plain.envelopes[1])
    assert first.pop("event_id") != second.pop("event_id")
    assert first == second


def test_an_event_id_is_the_one_that_earlier_releases_gave(runs: Runs) -> None:
    """A backend drops repeats by their id: an id that changes with a release lets old events in a second time.

    The contract leaves open how ids are derived. This is how the first release did it.
    """
    row = CASES[0].log_row()
    parts = json.dumps([SITE, "log", row["id"], row["eventname"], row["objectid"], row["timecreated"]])
    raw = bytearray(hashlib.sha256(parts.encode()).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x40  # the version
    raw[8] = raw[8] & 0x3F | 0x80  # the variant
    assert runs.plain.ids()[1][0] == str(uuid.UUID(bytes=bytes(raw)))
