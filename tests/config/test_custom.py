"""Events of the config's own: what is taken, and each mistake with its path and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay import config
from relay.config.events import EventsConfig
from relay.errors import ConfigError
from relay.events.catalogue import KINDS

HERE = Path("config.yaml")


def events(tmp_path: Path, text: str) -> EventsConfig:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return config.load_events(path)


def test_one_is_a_kind_like_any_other(tmp_path: Path) -> None:
    text = r"""
events:
  custom:
    - {type: quiz_attempted, eventname: '\mod_quiz\event\attempt_submitted', fields: [quizid, submitterid]}
    - {type: viewed, eventname: \core\event\course_viewed}
"""
    found = events(tmp_path, text)
    assert list(found.kinds) == [*KINDS, "quiz_attempted", "viewed"]
    kind = found.kinds["quiz_attempted"]
    assert kind.moodle_event == r"\mod_quiz\event\attempt_submitted"
    assert [field.name for field in kind.fields][-3:] == ["timecreated", "quizid", "submitterid"]
    assert kind.log_columns == ("objecttable", "other")
    assert found.kinds["viewed"].log_columns == ("objecttable",), "what is not sent is not read"
    assert "viewed" not in found.disabled
    assert found == events(tmp_path, text), "a reload must see that nothing has changed"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (r"{type: a, eventname: '\a\b', color: red}", "events.custom[0].color: is no known key; known here: type, "),
        (r"{type: a, eventname: '\a\b', feilds: [x]}", "events.custom[0].feilds: is no known key; did you mean fields"),
        (r"{type: a, eventname: 'core\event\x'}", "events.custom[0].eventname: must begin with a backslash, as in"),
        (r"{type: a, eventname: '\core\event\x y'}", "events.custom[0].eventname: is no name of an event"),
        (r"{type: a, eventname: '\'}", "events.custom[0].eventname: is no name of an event"),
        (
            r"{type: a, eventname: '\core\event\user_created'}",
            "events.custom[0].eventname: is what events.user_created",
        ),
        (r"{type: a}", "events.custom[0].eventname: is missing"),
        (r"{eventname: '\a\b'}", "events.custom[0].type: is missing"),
        (r"{type: user_created, eventname: '\a\b'}", "events.custom[0].type: is a type that relay has already"),
        (r"{type: Quiz, eventname: '\a\b'}", "events.custom[0].type: must be made of a to z"),
        (rf"{{type: {'a' * 33}, eventname: '\a\b'}}", "events.custom[0].type: must be made of a to z"),
        (r"{type: ../x, eventname: '\a\b'}", "events.custom[0].type: must be made of a to z"),
        (r"{type: a, eventname: '\a\b', fields: x}", "events.custom[0].fields: must be a list"),
        (r"{type: a, eventname: '\a\b', fields: [userid]}", "events.custom[0].fields[0]: is sent with each of these"),
        (r"{type: a, eventname: '\a\b', fields: [x, x]}", "events.custom[0].fields[1]: is given twice"),
        (r"{type: a, eventname: '\a\b', fields: [{}]}", "events.custom[0].fields[0]: must be the name of a fact"),
        ("hello", "events.custom[0]: must be a mapping of keys to values"),
        (r"{type: a, eventname: '\a\b'}, {type: a, eventname: '\a\c'}", "events.custom[1].type: is given twice"),
        (r"{type: a, eventname: '\a\b'}, {type: b, eventname: '\a\b'}", "events.custom[1].eventname: is given twice"),
    ],
)
def test_a_mistake_is_named_with_its_path_and_line(written: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(f"events:\n  custom: [{written}]\n", path=HERE)
    (mistake,) = [one for one in caught.value.mistakes if one.startswith(expected)]
    assert mistake.endswith("(line 2)")


def test_no_list_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        events(tmp_path, "events: {custom: quiz}")
    assert caught.value.mistakes == ("events.custom: must be a list (line 1)",)
