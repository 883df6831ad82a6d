"""relay events: a table that fits the terminal, the newest first; times in the local zone on screens, UTC in JSON."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import time
from collections.abc import Iterator

import pytest
from harness import Relay, shared_outbox
from receiver import Receiver, Reply

from relay.cli import table
from relay.demo.moodle import College
from relay.model import Status
from relay.outbox.values import Listed, Selector
from relay.rules.server import Address

AT = 1_770_000_000
EVENT = Listed(
    event_id="6f1c0b52-5f0e-4b1e-9d53-0a2b3c4d5e6f",
    event_type="enrollment_created",
    log_id=9,
    user_id=123456,
    course_id=7,
    occurred_at=AT,
    created_at=AT + 1,
    status=Status.GAVE_UP,
    attempts=24,
    last_error={"http_code": 503, "error": "the backend answered 503"},
)
FINE = EVENT._replace(status=Status.SUCCESS, last_error={}, attempts=1, event_type="grade_updated")


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A zone of Cairo's kind, three hours ahead."""
    monkeypatch.setenv("TZ", "EET-3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_on_80_columns_each_line_fits_and_the_error_has_its_own() -> None:
    assert table.lines([EVENT, FINE], 80, in_colour=False) == [
        "time                      type            user   course status             tries",
        "2026-02-02 05:40:00+03:00 enrollment_cre… 123456 7      failed_all_retries 24",
        "    the backend answered 503",
        "2026-02-02 05:40:00+03:00 grade_updated   123456 7      success            1",
    ]


@pytest.mark.parametrize("width", [40, 79, 80, 100, 120, 200, None])
def test_no_line_is_wider_than_the_terminal(width: int | None) -> None:
    lines = table.lines([EVENT, FINE], width, in_colour=False)
    assert all(width is None or len(line) <= width for line in lines)
    assert len(lines) == (3 if width is None or width >= 110 else 4)


def test_the_error_stands_beside_where_there_is_room() -> None:
    first = table.lines([EVENT], 120, in_colour=False)[1]
    assert first.endswith("failed_all_retries 24    the backend answered 503")


def test_colours_change_no_width() -> None:
    plain = table.lines([EVENT, FINE], 80, in_colour=False)
    coloured = table.lines([EVENT, FINE], 80, in_colour=True)
    assert [re.sub(r"\x1b\[\d*m", "", line) for line in coloured] == plain
    assert "\x1b[31mfailed_all_retries\x1b[0m" in coloured[1]


def test_what_a_terminal_would_act_upon_is_not_shown() -> None:
    hostile = EVENT._replace(event_type="\x1b[2Jx", last_error={"error": "\x1b]0;title\x07<img onerror>\u202e"})
    shown = "".join(table.lines([hostile], None, in_colour=False))
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("env", "expected"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], *, expected: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert table.has_colours(Terminal()) is expected
    assert not table.has_colours(io.StringIO())


def test_the_events_of_a_relay(relay: Relay, college: College, backend: Receiver) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    grace = college.sign_up("Grace", "Hopper", AT + 1)
    course = college.course("Computing", "C1")
    college.enrol(ada, course, AT + 2)
    backend.answer = lambda request: Reply(code=422 if request.envelope["data"]["userid"] == grace else 200)
    assert relay.once(expect=1).slugs().count("event.captured") == 3
    listed = json.loads(relay.run("events", "--json").stdout)
    assert [(one["event_type"], one["user_id"], one["course_id"], one["status"]) for one in listed] == [
        ("enrollment_created", ada, course, "success"),
        ("user_created", grace, None, "failed_all_retries"),
        ("user_created", ada, None, "success"),
    ]
    assert listed[0]["timestamp"] == "2026-02-02T02:40:02Z"
    assert listed[1]["last_error"]["http_code"] == 422
    assert [one["user_id"] for one in json.loads(relay.run("events", "failed", "--json").stdout)] == [grace]
    (only,) = json.loads(relay.run("events", f"user={ada}", "--limit", "1", "--json").stdout)
    assert only["event_type"] == "enrollment_created"
    text = relay.run("events").stdout
    assert text.splitlines()[1].split()[:6] == [
        "2026-02-02",
        "05:40:02+03:00",
        "enrollment_created",
        str(ada),
        "1",
        "success",
    ]
    assert "Lovelace" not in text + json.dumps(listed)
    assert "events --limit 0" not in relay.run("events", "--limit", "0", expect=2).stderr
    assert "relay events does not know 'nonsense'" in relay.run("events", "nonsense=1", expect=2).stderr


def test_log_lines_name_user_and_course(relay: Relay, college: College) -> None:
    ada = college.sign_up("Ada", '","courseid":99,"x":"', AT)
    course = college.course("Computing", "C1")
    college.enrol(ada, course, AT + 2)
    lines = relay.once().log
    named = [(line["user_id"], line.get("course_id")) for line in lines if line["event"] == "delivery.succeeded"]
    assert named == [(ada, None), (ada, course)]
    named = [(line["user_id"], line.get("course_id")) for line in lines if line["event"] == "event.captured"]
    assert named == [(ada, None), (ada, course)]
    assert f"of user {ada} in course {course}) recorded" in relay.run("explain", f"user:{ada}").stdout


def test_a_terminal_of_80_columns_is_filled_and_not_overrun(relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    leader, follower = pty.openpty()
    env = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    env.pop("NO_COLOR", None)
    with subprocess.Popen(relay.command("events"), stdout=follower, env=env) as process:
        assert process.wait() == 0
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert "\x1b[32msuccess\x1b[0m" in shown
    assert all(len(re.sub(r"\x1b\[\d*m", "", line)) <= 80 for line in shown.splitlines())


def test_a_shared_outbox_lists_the_same(other: Relay, college: College, outbox_address: Address) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT)
    course = college.course("Computing", "C1")
    college.enrol(ada, course, AT + 2)
    other.once()
    opened = shared_outbox(outbox_address)
    try:
        found = opened.listed(Selector(status=Status.SUCCESS), 10)
        assert [(one.event_type, one.course_id) for one in found] == [
            ("enrollment_created", course),
            ("user_created", None),
        ]
        assert opened.numbers("figure")["attempts.success"] == 2
    finally:
        opened.close()
