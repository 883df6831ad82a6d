"""Every sentence of the page is there in Arabic, with the same values in it."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

import relay.web
from relay.model import Status
from relay.operations import conditions
from relay.operations.health import Problem
from relay.web import render, words

ROOT = Path(relay.web.__file__).parent


def said() -> set[str]:
    found = {
        sentence
        for path in (ROOT / "templates").glob("*.html")
        for sentence in re.findall(r't\("([^"]+)"', path.read_text())
    }
    for path in (*ROOT.glob("*.py"), Path(conditions.__file__)):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place = {"say": 0, "Refused": 1, "Found": 0}.get(name)
            given = None if place is None or len(node.args) <= place else node.args[place]
            if isinstance(given, ast.Constant):
                found.add(str(given.value))
    # An error's own sentence is told behind what it is about.
    about = {"about moodle", "about outbox"}
    return (found | about | {one.hint for one in conditions.CONDITIONS}) - {"about ", "{error}"}


@pytest.mark.parametrize("sentence", sorted(said()))
def test_every_sentence_is_there_in_arabic(sentence: str) -> None:
    def values(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text)} - {None}

    assert values(words.ARABIC[sentence]) == values(sentence)
    assert words.ARABIC[sentence].isascii() is (sentence == "{table} {id}: {kind}")


def test_nothing_is_translated_that_is_not_said() -> None:
    states = {str(status) for status in Status}
    assert words.ARABIC.keys() - said() - states == {*("warning", "critical", "sync", "reconcile", "replay", "forget")}


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


@pytest.mark.parametrize(
    ("seconds", "english", "arabic"),
    [(1, "1 s", "1 ثانية"), (120, "2 min", "دقيقتين"), (7 * 3600, "7 h", "7 ساعات"), (20 * 86400, "20 d", "20 يومًا")],
)
def test_how_long_something_lasts_is_said_in_both_languages(seconds: int, english: str, arabic: str) -> None:
    assert (render.Speech("en").span(seconds), render.Speech("ar").span(seconds)) == (english, arabic)


def test_a_reason_that_is_there_in_english_alone_is_marked_as_such() -> None:
    found = conditions.Found("nothing is delivered: {reason}", {"reason": "it said <b>"})
    one = Problem(name="circuit", level=conditions.Level.CRITICAL, found=found, hint="no translation of <this>")
    arabic = render.Speech("ar")
    assert '<bdi lang="en" dir="ltr">it said &lt;b&gt;</bdi>' in arabic.problem(one)
    assert arabic.hint(one.hint) == '<bdi lang="en" dir="ltr">No translation of &lt;this&gt;.</bdi>'


def test_values_are_escaped_and_keep_their_direction_to_themselves() -> None:
    made = render.translated("user {id}", "ar", {"id": "<b>\u202e"})
    assert str(made) == "المستخدم <bdi>&lt;b&gt;\u202e</bdi>"


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("`relay check` says why", '<code dir="ltr">relay check</code> says why'),
        ("run `a`; or `<b>`", 'run <code dir="ltr">a</code>; or <code dir="ltr">&lt;b&gt;</code>'),
        ("one ` that is <never> closed", "one ` that is &lt;never&gt; closed"),
        ("none", "none"),
    ],
)
def test_commands_within_sentences_are_shown_as_commands_and_escaped(sentence: str, shown: str) -> None:
    assert render._commands(sentence) == shown
