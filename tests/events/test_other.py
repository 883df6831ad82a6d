"""The column `other` of a log row: what is read of it, and that nothing in it can do harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.events import other

JSON = b'{"username":"ada","email":"ada@college.example","idnumber":"","picture":"0","deleted":true,"n":7,"x":null}'
PHP = b'a:4:{s:8:"username";s:3:"ada";s:4:"name";s:5:"Zo\xc3\xab!";s:1:"n";i:-7;s:4:"deep";a:1:{i:0;b:1;}}'


def test_json_is_read() -> None:
    facts = other.parse(JSON)
    assert (facts["username"], facts["n"], facts["deleted"], facts["x"]) == ("ada", 7, True, None)


def test_phps_serialisation_is_read_by_bytes() -> None:
    """The length of a text counts bytes, not characters."""
    assert other.parse(PHP) == {"username": "ada", "name": "Zoë!", "n": -7, "deep": {0: True}}


@pytest.mark.parametrize(
    ("raw", "value"),
    [(b"d:1.5;", 1.5), (b"b:0;", False), (b"i:12;", 12), (b"N;", None), (b's:0:"";', "")],
)
def test_each_kind_of_value_is_read(raw: bytes, value: object) -> None:
    assert other.parse(b'a:1:{s:1:"v";' + raw + b"}") == {"v": value}


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"",
        b"N;",
        b"null",
        b"[1, 2]",
        b'"text"',
        b"{",
        b'{"a": 1} and more',
        b"a:1:{i:0;i:1;}x",  # something behind it
        b'a:2:{s:1:"a";i:1;}',  # fewer than it says
        b'a:1:{s:9:"a";i:1;}',  # a text shorter than it says
        b'O:8:"stdClass":1:{s:1:"a";i:1;}',  # an object
        b'a:1:{s:1:"a";O:8:"stdClass":0:{}}',
        b'a:1:{s:1:"a";R:1;}',  # a reference
        b'a:1:{s:1:"a";C:3:"Foo":0:{}}',
        b"a:1:{d:1.5;i:1;}",  # a key that is none
        b'a:1:{s:1:"a";b:;}',
        b'a:1:{s:1:"v";d:1.2.3;}',
        b'{"a": ' + b"[" * 100_000 + b"}",
        b'a:1:{s:1:"a";' * 20 + b"N;" + b"}" * 20,  # deeper than is read
        b'{"a": "' + b"x" * other.MOST_BYTES + b'"}',
    ],
)
def test_what_is_no_map_of_facts_has_none(raw: bytes | None) -> None:
    assert other.parse(raw) == {}


@pytest.mark.parametrize(
    ("value", "text"), [("Ada", "ADA"), (7, "7"), (None, None), (True, None), ([1], None), ({"a": 1}, None)]
)
def test_a_fact_is_text_or_nothing(value: object, text: str | None) -> None:
    assert other.text({"name": value}, "name", str.upper) == text
    assert other.text({}, "name", str.upper) is None


@given(st.binary(max_size=300))
def test_no_bytes_do_harm(raw: bytes) -> None:
    assert isinstance(other.parse(raw), dict)


@given(st.sampled_from([JSON, PHP]), st.integers(0, 120), st.binary(max_size=4), st.integers(0, 4))
def test_no_damage_does_harm(raw: bytes, at: int, new: bytes, gone: int) -> None:
    assert isinstance(other.parse(raw[:at] + new + raw[at + gone :]), dict)
