"""The log: each line at once and whole, or many with one write; the time is of the clock that is handed in."""

from __future__ import annotations

import io
import json
import threading

import pytest

from relay.config.schema import LogConfig
from relay.service.logs import Lines, make_log


class Recording(io.StringIO):
    """A stream that keeps each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)


def test_a_line_is_written_at_once_and_those_of_a_pass_as_one() -> None:
    stream = Recording()
    lines = Lines(stream)
    lines.line("one")
    assert stream.writes == ["one\n"]
    with lines.buffered():
        lines.line("two")
        lines.line("three")
        other = threading.Thread(target=lines.line, args=("another thread's",))
        other.start()
        other.join()
        assert stream.writes[1:] == ["another thread's\n"]
    lines.line("four")
    assert stream.writes[2:] == ["two\nthree\n", "four\n"]


def test_lines_of_a_pass_that_fails_are_written_all_the_same() -> None:
    stream = Recording()
    lines = Lines(stream)

    def run_pass() -> None:
        with lines.buffered():
            lines.line("one")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_pass()
    assert stream.writes == ["one\n"]


def test_a_line_of_json_begins_with_the_time_the_level_and_the_slug() -> None:
    stream = Recording()
    log = make_log(LogConfig(format="json", level="warning"), stream, lambda: 1_770_000_000.25)
    log.info("delivery.succeeded", attempt=1)
    with log.buffered():
        log.warning("delivery.failed", attempt=1, hint="zoë")
        log.error("delivery.gave_up")
    (written,) = stream.writes
    first, second = written.splitlines()
    assert first == (
        '{"timestamp": "2026-02-02T02:40:00.250000Z", "level": "warning", "event": "delivery.failed", "attempt": 1, '
        '"hint": "zo\\u00eb"}'
    )
    assert list(json.loads(second)) == ["timestamp", "level", "event"]
