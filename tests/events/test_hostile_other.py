"""Whatever stands in a log row and its column `other`: an event, or a skip with its reason, and never an exception."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.events import envelope
from relay.events.catalogue import KINDS
from relay.events.custom import custom_kind
from relay.events.kind import EventKind, Facts, Options
from relay.model import Event, Hold, LogRow, Skip
from relay.outbox.rows import split

OPTIONS = Options(site="s", moodle_url="https://m.example", tenant_id="t")
CUSTOM = custom_kind("own", r"\own\event\happened", ("quizid", "userenrolment", "finalgrade", "id"))
#: The kinds that read `other`.
READING = [kind for kind in (*KINDS.values(), CUSTOM) if "other" in kind.log_columns]
#: What builders look for, and what stands in Moodle's own.
NAMES = [
    *("id", "itemid", "finalgrade", "overridden", "userenrolment", "enrol", "status", "timestart", "timeend"),
    *("timecreated", "lastenrol", "username", "email", "idnumber", "fullname", "shortname", "component", "quizid"),
]
#: As near to what is expected as to what is not.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, -(2**63) - 1, 10**4000, 0, -1]),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.sampled_from(
        ["\ud800", "<b", "1e999", "-1", "00012", "٣", "55.00000", "-0.0", "9" * 30, "NaN", "\0", "a@b.example"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner),
    max_leaves=4,
)
FACTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)


def php(value: Any) -> bytes:
    """Return a value as PHP's serialize() writes it."""
    if value is None:
        return b"N;"
    if isinstance(value, bool):
        return b"b:%d;" % value
    if isinstance(value, int):
        return f"i:{value:d};".encode() if abs(value) < 10**40 else b"i:9;"
    if isinstance(value, float):
        return f"d:{value};".encode()
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        return b"a:%d:{%b}" % (len(value), b"".join(php(key) + php(one) for key, one in value.items()))
    text = str(value).encode("utf-8", "surrogatepass")
    return b's:%d:"%b";' % (len(text), text)


def as_json(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except ValueError:  # more digits than Python writes
        return b'{"id": %b}' % (b"9" * 5000)


#: Whole ones, and ones that were cut off or damaged.
WHOLE = st.builds(lambda value, write: write(value), FACTS | VALUES, st.sampled_from([as_json, php]))
DAMAGED = st.builds(
    lambda raw, at, new, gone: raw[: at % (len(raw) + 1)] + new + raw[at % (len(raw) + 1) + gone :],
    WHOLE,
    st.integers(0, 400),
    st.binary(max_size=4),
    st.integers(0, 5),
)
OTHERS = st.none() | WHOLE | DAMAGED | st.binary(max_size=60)
IDS = st.none() | st.sampled_from([0, 1, -1, 7, -31337, 2**63 - 1, -(2**63)])
TIMES = st.sampled_from([0, 1_770_000_000, -1, 2**40, 2**63 - 1])


def check(kind: EventKind, made: Event | Hold | Skip) -> None:
    """Check that what was made can be kept and sent, and has the fields that it says."""
    assert -(2**63) <= made.user_id < 2**63
    if isinstance(made, Hold | Skip):
        assert made.reason
        return
    assert split(made.body, made.data), "it can be kept and put together again"
    data = json.loads(made.body)["data"]
    assert list(data) == [field.name for field in kind.fields]
    for field in kind.fields:
        kinds = {"int": int, "str": str, "bool": bool, "float": float, "any": object}
        allowed = kinds[field.type.removesuffix(" or null")]
        is_null = data[field.name] is None and field.type.endswith(" or null")
        assert is_null or isinstance(data[field.name], allowed), field.name
        assert not isinstance(data[field.name], bool) or allowed in (bool, object), field.name


def log_row(
    kind: EventKind, raw: bytes | None, object_id: int | None, user: int | None, course: int | None, at: int
) -> LogRow:
    return LogRow(
        id=5,
        event_type=kind.name,
        object_id=object_id,
        actor_id=2,
        related_user_id=user,
        course_id=course,
        created_at=at,
        origin="web",
        other=raw,
        context_level=50,
    )


#: Ten thousand of them with --full, and three hundred without.
MANY = 10_000 if settings().max_examples >= 1000 else 300


@settings(max_examples=MANY, deadline=None, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(READING), raw=OTHERS, object_id=IDS, user=IDS, course=IDS, at=TIMES)
def test_whatever_stands_there_is_an_event_or_a_skip(
    kind: EventKind, raw: bytes | None, object_id: int | None, user: int | None, course: int | None, at: int
) -> None:
    row = log_row(kind, raw, object_id, user, course, at)
    for _, row_id in kind.rows_of(row):
        assert 0 < row_id < 2**63, "it is put into a statement"
    check(kind, envelope.build(kind, row, Facts(), OPTIONS))


#: What columns may hold, whatever their type should be.
COLUMNS = st.one_of(
    st.none(),
    st.sampled_from([0, 1, -1, 7, 2**63 - 1, -(2**63), Decimal(-5), Decimal("99999.99999")]),
    st.sampled_from([b"", b"\xff\xfe", b"<b>x", b"a&amp;b", b"12", "\N{ARABIC LETTER MEEM}".encode(), b"\0"]),
    st.binary(max_size=6),
)
FURTHER = [kind for kind in KINDS.values() if not kind.is_default]


@settings(max_examples=MANY // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), kind=st.sampled_from(FURTHER), object_id=IDS, user=IDS)
def test_rows_that_no_moodle_has(data: st.DataObject, kind: EventKind, object_id: int | None, user: int | None) -> None:
    """A schema that was converted or repaired may have lost what its columns promise."""
    row = log_row(kind, b'{"id": 7, "itemid": "7"}', object_id, user, 7, 1_770_000_000)
    rows = {}
    for table, row_id in kind.rows_of(row):
        names = [*table.columns, *(name for join in table.joins for name in join.columns)]
        rows[table.key] = {row_id: {name: data.draw(COLUMNS) for name in names}}
    check(kind, envelope.build(kind, row, Facts(rows=rows), OPTIONS))


@pytest.mark.parametrize("kind", READING, ids=[kind.name for kind in READING])
def test_what_is_sound_is_read_among_them(kind: EventKind) -> None:
    """The generated ones would prove nothing where nothing were ever read."""
    facts = {"id": "7", "itemid": "7", "username": "ada", "shortname": "C1", "userenrolment": {"status": "1"}}
    row = log_row(kind, json.dumps(facts).encode(), 3, 3, 4, 1_770_000_000)
    made = envelope.build(kind, row, Facts(), OPTIONS)
    assert isinstance(made, Event)
    values = json.loads(made.data).values()
    assert {7, "7", "ada", "C1", 1} & {
        one for one in values if isinstance(one, int | str) and not isinstance(one, bool)
    }
