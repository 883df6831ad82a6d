"""Changing keys in a config's text: these alone, with every other key and comment left as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import document, edit, parse
from relay.errors import ConfigError

SOURCE = Path("/etc/relay/config.yaml")
BLOCK = """\
# ours
moodle:
  url: https://old.example.edu   # the site
  database:
    # the server
    name: moodle
    password:
      file: pw   # the file

backend:
  # signing
  signing_keys:
  - {file: key}   # the key
  tenant_id: 'north'
# the end
"""


def changed(text: str, path: str, value: str) -> str:
    return edit.change(text, {path: value}, SOURCE)


def test_one_line_changes_and_the_others_stay() -> None:
    for path, value, old, new in (
        ("moodle.url", "https://new.example.edu", "https://old.example.edu ", "https://new.example.edu "),
        ("backend.tenant_id", "south", "'north'", "south"),
        ("moodle.database.name", "'a: b'", "name: moodle", "name: 'a: b'"),
    ):
        assert changed(BLOCK, path, value) == BLOCK.replace(old, new)


def test_a_key_is_added_behind_the_others_of_its_section() -> None:
    added = changed(BLOCK, "moodle.database.user", "relay")
    assert added == BLOCK.replace("file: pw   # the file\n", "file: pw   # the file\n    user: relay\n")
    assert changed(BLOCK, "outbox.url", "x").endswith("\n  tenant_id: 'north'\noutbox:\n  url: x\n# the end\n")
    assert changed("", "outbox.url", "x") == "outbox:\n  url: x\n"
    assert changed("moodle:\n", "moodle.database.name", "x") == "moodle: {database: {name: x}}\n"


def test_values_on_several_lines_are_replaced_as_a_whole() -> None:
    password = changed(BLOCK, "moodle.database.password", "{file: new}")
    assert edit.value_at(edit.values(password, SOURCE), "moodle.database") == {
        "name": "moodle",
        "password": {"file": "new"},
    }
    keys = changed(BLOCK, "backend.signing_keys", "[{file: new}]")
    assert edit.value_at(edit.values(keys, SOURCE), "backend.signing_keys") == [{"file": "new"}]
    assert "# the end" in keys
    assert "# signing" in keys


def test_a_section_on_one_line_is_changed_there() -> None:
    text = "moodle: {url: https://a.example, database: {name: moodle}} # all\n"
    text = changed(text, "moodle.database.name", "other")
    assert text == "moodle: {url: https://a.example, database: {name: other}} # all\n"
    assert changed(text, "moodle.database.host", "db") == (
        "moodle: {url: https://a.example, database: {host: db, name: other}} # all\n"
    )


def test_the_example_is_filled_in_where_its_lines_are() -> None:
    example = document.example()
    text = changed(example, "moodle.database.host", "db.college.example")
    assert text == example.replace("    # host: localhost\n", "    host: db.college.example\n")
    text = changed(example, "backend.ca_bundle", "/ca.pem")
    assert text == example.replace("  # ca_bundle: /etc/relay/backend-ca.pem\n", "  ca_bundle: /ca.pem\n")


@pytest.mark.parametrize("text", ["a: &x {url: y}\nmoodle: *x\nb: *x\n", "moodle: [1, 2]\n", "'moodle': 7\n"])
def test_what_cannot_be_changed_alone_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="written in a way that relay cannot change"):
        changed(text, "moodle.url", "z")


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20))
def test_any_text_can_be_a_value(value: str) -> None:
    text = changed(BLOCK, "backend.tenant_id", edit.quoted(value))
    assert edit.value_at(edit.values(text, SOURCE), "backend.tenant_id") == value


def test_a_value_that_a_key_does_not_take_says_why() -> None:
    assert edit.problem("backend.url", "http://backend.example.edu", SOURCE).startswith("must be https")
    assert edit.problem("moodle.database.port", "'70000'", SOURCE) == "must be a whole number from 1 to 65535"
    assert edit.problem("backend.url", "https://backend.example.edu", SOURCE) == ""


def test_the_example_filled_in_is_a_config() -> None:
    text = document.example()
    for path in ("backend.token", "moodle.database.password"):
        text = changed(text, path, "made-up")
    text = changed(text, "backend.signing_keys", "[]")
    assert parse(text, path=SOURCE).moodle.database.name == "moodle"
