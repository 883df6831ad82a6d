"""Every sentence of the page is there in Arabic, with the same values in it."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

import relay.web
from relay.model import Status
from relay.operations.health import CONDITIONS
from relay.web import render, words

ROOT = Path(relay.web.__file__).parent


def said() -> set[str]:
    found = {
        sentence
        for path in (ROOT / "templates").glob("*.html")
        for sentence in re.findall(r't\("([^"]+)"', path.read_text())
    }
    for path in ROOT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place = {"say": 0, "Refused": 1}.get(name)
            given = None if place is None or len(node.args) <= place else node.args[place]
            if isinstance(given, ast.Constant):
                found.add(str(given.value))
    return found - {"about "}


@pytest.mark.parametrize("sentence", sorted(said()))
def test_every_sentence_is_there_in_arabic(sentence: str) -> None:
    def values(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text)} - {None}

    assert values(words.ARABIC[sentence]) == values(sentence)
    assert words.ARABIC[sentence].isascii() is (sentence == "{table} {id}: {kind}")


def test_nothing_is_translated_that_is_not_said() -> None:
    states = {str(status) for status in Status}
    conditions = {f"about {one.name}" for one in CONDITIONS}
    assert conditions <= words.ARABIC.keys()
    assert words.ARABIC.keys() - said() - states - conditions == {
        *("warning", "critical", "sync", "reconcile", "replay", "forget")
    }


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("ar", "ar"),
        ("ar-EG,en;q=0.5", "ar"),
        ("de,fr;q=0.9", "en"),
        ("en;q=0.2, ar;q=0.7", "ar"),
        ("ar;q=0, en", "en"),
        ("ar;q=x", "en"),
        ("*", "en"),
    ],
)
def test_the_language_is_the_one_that_is_wanted_most(header: str, language: str) -> None:
    assert render.language_of(header) == language


def test_values_are_escaped_and_keep_their_direction_to_themselves() -> None:
    made = render.translated("user {id}", "ar", {"id": "<b>\u202e"})
    assert str(made) == "المستخدم <bdi>&lt;b&gt;\u202e</bdi>"


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("`relay check` says why", "<code>relay check</code> says why"),
        ("run `a`; or `<b>`", "run <code>a</code>; or <code>&lt;b&gt;</code>"),
        ("one ` that is <never> closed", "one ` that is &lt;never&gt; closed"),
        ("none", "none"),
    ],
)
def test_commands_within_sentences_are_shown_as_commands_and_escaped(sentence: str, shown: str) -> None:
    assert render._commands(sentence) == shown
