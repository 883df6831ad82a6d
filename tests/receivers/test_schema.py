"""The schemas are true: what relay sends fits, and nothing else does; they validate by independent libraries."""

from __future__ import annotations

import gzip
import json
import random
import re
import uuid
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from relay.cli import main
from relay.demo.moodle import SCHEMA
from relay.events.catalogue import KINDS
from relay.events.custom import custom_kind
from relay.events.envelope import build, make_event
from relay.events.kind import Facts, Field, Options
from relay.model import Event, LogRow
from relay.receivers import openapi, samples, schema
from relay.rules.retry import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from relay.events.kind import EventKind, FactsTable

PUBLISHED = Path(__file__).with_name("published.json")
REAL = Path(__file__).parents[3] / "shared" / "moodle"
GOLDEN, TRUTH = REAL / "golden-4.4.jsonl", REAL / "truth-4.4.jsonl.gz"
OPTIONS = Options(site="made up", moodle_url="https://moodle.example.edu", tenant_id="default")
AT = 1_770_000_000
#: What stands in the place of a value, by JSON type.
OTHERS: dict[str, Any] = {"string": "x", "number": 1.5, "boolean": True, "null": None, "array": [], "object": {}}


def validator(kind: EventKind) -> Draft202012Validator:
    return Draft202012Validator(schema.envelope(kind))


def sample(kind: EventKind) -> dict[str, Any]:
    return samples.document(kind, str(uuid.uuid4()), AT, moodle_url=OPTIONS.moodle_url, tenant_id="default")


def allowed(rule: dict[str, Any]) -> set[str]:
    """Return the JSON types that a property may have; what a constant is."""
    found = rule.get("type", "string")
    names = {found} if isinstance(found, str) else set(found)
    return names | ({"number"} if "integer" in names else set())


def mutations(envelope: dict[str, Any], rules: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the object with each of its fields dropped, given another type, and with one more."""
    yield "one more", {**envelope, "one_more": 1}
    for name, value in envelope.items():
        yield f"{name} dropped", {key: one for key, one in envelope.items() if key != name}
        yield f"{name} called otherwise", {f"{key}_" if key == name else key: one for key, one in envelope.items()}
        for kind, other in OTHERS.items():
            if kind not in allowed(rules[name]):
                yield f"{name} as {kind}", {**envelope, name: other}
        if "integer" in allowed(rules[name]):
            yield f"{name} as a fraction", {**envelope, name: value + 0.5}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_made_up_event_fits_and_each_single_mutation_does_not(kind: EventKind) -> None:
    rules = schema.envelope(kind)["properties"]
    check, whole = validator(kind), sample(kind)
    check.validate(whole)
    done = 0
    for what, wrong in mutations(whole, rules):
        assert not check.is_valid(wrong), what
        done += 1
    for what, wrong in mutations(whole["data"], rules["data"]["properties"]):
        assert not check.is_valid({**whole, "data": wrong}), f"data.{what}"
        done += 1
    assert done > 5 * len(whole)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_id", "6F9619FF-8B86-4011-B42D-00C04FC964FF"),
        ("event_id", "6f9619ff-8b86-1011-b42d-00c04fc964ff"),
        ("event_id", "6f9619ff-8b86-4011-342d-00c04fc964ff"),
        ("event_id", "6f9619ff-8b86-4011-b42d-00c04fc964ff\n"),
        ("event_type", "another"),
        ("timestamp", "2026-02-01T14:30:00+00:00"),
        ("timestamp", "2026-02-01 14:30:00Z"),
        ("timestamp", "2026-13-01T14:30:00Z"),
        ("timestamp", "2026-02-01T14:30:00Z\n"),
        ("source", "Moodle"),
        ("moodle_url", "moodle.example.edu"),
        ("tenant_id", ""),
    ],
)
def test_the_head_is_held_to_its_form(name: str, value: str) -> None:
    kind = next(iter(KINDS.values()))
    assert not validator(kind).is_valid({**sample(kind), name: value})


def column_types() -> dict[tuple[str, str], str]:
    """Return the type of each column of the demo's Moodle."""
    found = {}
    for statement in SCHEMA:
        table = re.findall(r"CREATE TABLE \{p\}(\w+)", statement)[0]
        for name, kind in re.findall(r"[(,]\s*(\w+) (\w+)", statement):
            found[table, name] = kind
    return found


def value(kind: str, chance: random.Random) -> Any:
    """Return what a column of a type may hold, NULL among it: a schema may have been converted."""
    if chance.random() < 0.05:
        return None
    if kind.startswith(("VARCHAR", "LONGTEXT")):
        pieces = ("A", "ä", "<b>", "&amp;", "\u0645", "\U0001f600", "\u200f", " ", "<", "60", ",", "\\", '"', "\x00")
        return "".join(chance.choices(pieces, k=chance.randrange(12))).encode()
    if kind == "DECIMAL":
        return Decimal(chance.randrange(-100, 20_000_000)) / 100000
    return chance.choice((0, 1, 5, chance.randrange(2**31), -1, 100))


def fact(table: FactsTable, row_id: int, types: Mapping[tuple[str, str], str], chance: random.Random) -> dict[str, Any]:
    """Return a row of a table as it may be read."""
    columns = {name: (table.table, name) for name in (*table.columns, *table.newer)}
    columns |= {name: (join.table, column) for join in table.joins for name, column in join.columns.items()}
    return {name: value(types.get(place, "BIGINT"), chance) for name, place in columns.items()} | {"id": row_id}


def test_ten_thousand_generated_rows_fit(is_full: bool) -> None:
    chance, types = random.Random(16), column_types()
    checks, fit = {name: validator(kind) for name, kind in KINDS.items()}, Counter[str]()
    count = 10_000 if is_full else 2_000
    for number in range(1, count + 1):
        kind = chance.choice(list(KINDS.values()))
        rows = {} if kind.facts is None else {kind.facts.key: {number: fact(kind.facts, number, types, chance)}}
        about = next(iter(rows.values()))[number] if rows else {}
        other = {field.name: chance.choice(("made up", "5", 7, True)) for field in kind.fields}
        row = LogRow(
            id=number,
            event_type=kind.name,
            object_id=number,
            actor_id=2,
            related_user_id=number if kind.id_field == "userid" else about.get("userid", chance.randrange(1, 9)),
            course_id=about.get("courseid", chance.randrange(9)),
            created_at=AT + number,
            origin="web",
            other=json.dumps(other).encode() if "other" in kind.log_columns else None,
        )
        for related in kind.related:
            row_id = related.id_of(row)
            if row_id is not None:
                found = fact(related.table, row_id, types, chance)
                whose = {"userid": row.related_user_id} if "userid" in found else {}
                rows.setdefault(related.table.key, {})[row_id] = {**found, **whose}
        pairs = {
            lookup.name: {pair: chance.randrange(9)}
            for lookup in kind.lookups
            if (pair := lookup.pair(about)) is not None
        }
        event = build(kind, row, Facts(rows=rows, pairs=pairs), OPTIONS)
        if isinstance(event, Event):
            checks[kind.name].validate(json.loads(event.body))
            fit[kind.name] += 1
    assert set(fit) == set(KINDS)
    assert fit.total() > count / 2, fit


@pytest.mark.parametrize("file", [GOLDEN, TRUTH], ids=["golden", "truth"])
def test_what_a_real_moodle_sends_fits(file: Path) -> None:
    if not file.exists():
        pytest.skip(f"the events of a real Moodle are not here: {file.name}")
    text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    lines = [json.loads(line) for line in text.splitlines()]
    # One file has an event a line, the other one a list of them; of further kinds it has proposals.
    events = [one for line in lines for one in line.get("send", [line] if line["outcome"] == "event" else [])]
    sent = [one for one in events if KINDS[one["event_type"]].is_default]
    for one in sent:
        kind = KINDS[one["event_type"]]
        event = make_event(str(uuid.uuid4()), kind.name, 1, 1, AT, one["data"], OPTIONS)
        validator(kind).validate(json.loads(event.body))
    assert {one["event_type"] for one in sent} == {kind.name for kind in KINDS.values() if kind.is_default}
    assert len(sent) > 200


@pytest.mark.parametrize("name", KINDS)
def test_a_published_payload_changes_with_its_version_only(name: str) -> None:
    """Backends are built on it: what they were told in one version stays so."""
    published = json.loads(PUBLISHED.read_text())
    kind = KINDS[name]
    assert published.get(name, {}).get(str(kind.version)) == schema.fingerprint(kind), (
        f"The payload of {name} is not what was published as version {kind.version}. If that is meant: raise `version` "
        "in its EventKind, tell the backends in CHANGELOG.md, and run tests/write_docs.py, which adds the new version "
        "to tests/receivers/published.json. Never change what stands there."
    )


def test_a_fingerprint_changes_with_the_payload_and_not_with_its_description() -> None:
    kind = next(iter(KINDS.values()))

    def with_fields(*fields: Field) -> str:
        return schema.fingerprint(kind._replace(fields=fields))

    first, *rest = kind.fields
    same = Field(first.name, first.type, "said in other words")
    assert with_fields(same, *rest) == schema.fingerprint(kind)
    for changed in (Field(first.name, "str", ""), Field(f"{first.name}s", first.type, "")):
        assert with_fields(changed, *rest) != schema.fingerprint(kind)
    assert with_fields(*rest) != schema.fingerprint(kind)


def undescribed(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each description that is empty, and of each property, parameter and answer without one."""
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from undescribed(one, f"{path}[{index}]")
    if not isinstance(value, dict):
        return
    if "description" in value and not value["description"]:
        yield f"{path}.description"
    for name, one in value.items():
        is_named = name in ("properties", "responses", "parameters", "headers") and isinstance(one, dict)
        for part, rule in one.items() if is_named else ():
            if not {"description", "$ref"} & rule.keys():
                yield f"{path}.{name}.{part}"
        yield from undescribed(one, f"{path}.{name}")


def test_everything_is_described() -> None:
    custom = custom_kind("quiz_attempted", "\\mod_quiz\\event\\attempt_submitted", ("quizid",))
    kinds = {**KINDS, custom.name: custom}
    document = openapi.document(kinds)
    assert list(undescribed(document)) == []
    assert list(undescribed(schema.any_envelope(kinds.values()))) == []
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    assert [one["operationId"] for one in operations if not (one["description"] and one["summary"])] == []
    # It finds what it is to find.
    assert list(undescribed({"properties": {"a": {}, "b": {"description": ""}}})) == [
        ".properties.a",
        ".properties.b.description",
    ]


def test_the_openapi_document_is_valid_and_complete() -> None:
    document = openapi.document()
    OpenAPIV31SpecValidator(document).validate()
    assert {f"/v1/events/moodle/{name}" for name in KINDS} < set(document["paths"])
    assert {"/v1/health", "/v1/students/profile"} < set(document["paths"])
    for name in KINDS:
        answers = document["paths"][f"/v1/events/moodle/{name}"]["post"]["responses"]
        assert set(answers) == {"2XX", "default", *(str(code) for code in VERDICTS)}


def test_the_command_prints_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    for name, kind in KINDS.items():
        assert main(["schema", name]) == 0
        assert json.loads(capsys.readouterr().out) == schema.envelope(kind)
    assert main(["schema"]) == 0
    every = Draft202012Validator(json.loads(capsys.readouterr().out))
    Draft202012Validator.check_schema(every.schema)
    for kind in KINDS.values():
        every.validate(sample(kind))
    assert main(["schema", "--openapi"]) == 0
    assert json.loads(capsys.readouterr().out) == openapi.document()
    assert main(["schema", f"{next(iter(KINDS))}d"]) == 2
    assert f"Did you mean {next(iter(KINDS))}?" in capsys.readouterr().err


def test_the_configs_own_types_are_among_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    eventname = "'\\mod_quiz\\event\\attempt_submitted'"
    config.write_text(f"events: {{custom: [{{type: quiz_attempted, eventname: {eventname}, fields: [quizid]}}]}}")
    assert main(["--config", str(config), "schema", "quiz_attempted"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["properties"]["data"]["required"][-1] == "quizid"
    assert main(["--config", str(config), "schema", "--openapi"]) == 0
    document = json.loads(capsys.readouterr().out)
    OpenAPIV31SpecValidator(document).validate()
    assert "/v1/events/moodle/quiz_attempted" in document["paths"]


def test_a_config_that_nobody_named_and_that_is_of_no_use_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("events: [")
    monkeypatch.chdir(tmp_path)
    assert main(["schema"]) == 0
    capsys.readouterr()
    assert main(["--config", "config.yaml", "schema"]) == 2
