"""The log: each line at once and whole, or many with one write; the time is of the clock that is handed in."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay.config import parse
from relay.config.schema import LogConfig
from relay.service import lines as lines_module
from relay.service.lines import Lines
from relay.service.logs import make_log


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


@contextlib.contextmanager
def files_may_hold(count: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes within: a write of more ends in the midst, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_drops_lines_and_the_next_line_that_is_written_says_how_many(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        lines = Lines(stream)
        log = make_log(LogConfig(format="json", level="info"), lines, lambda: 0.0)
        log.info("relay.started")
        whole = path.stat().st_size
        with files_may_hold(whole + 10):
            log.info("event.captured", log_id=1)
            log.info("event.captured", log_id=2)
            with log.buffered():
                log.info("event.captured", log_id=3)
                log.info("event.captured", log_id=4)
        assert lines.dropped == 4
        log.info("event.captured", log_id=5)
        log.info("event.captured", log_id=6)
    first, torn, *rest = path.read_text().splitlines()
    assert json.loads(first)["event"] == "relay.started"
    assert len(torn) == 10
    said, *later = [json.loads(line) for line in rest]
    assert (said["event"], said["level"], said["lines"]) == ("log.dropped", "warning", 4)
    assert [line["log_id"] for line in later] == [5, 6]


def test_of_lines_written_at_once_those_that_fitted_are_not_counted_as_dropped(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        lines = Lines(stream)
        with files_may_hold(12), lines.buffered():
            for text in ("one", "two", "three", "four"):
                lines.line(text)
        # "one\ntwo\nthre": the third is torn.
        assert lines.dropped == 2


def full() -> int:
    """Return a device that is full, opened for writing."""
    return os.open("/dev/full", os.O_WRONLY)


def gone() -> int:
    """Return the end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("make", [full, gone])
def test_a_full_device_and_a_pipe_that_nobody_reads_drop_and_count(make: Callable[[], int]) -> None:
    # Nothing may be left at the end that closing would try to write again.
    with os.fdopen(make(), "w") as stream:
        lines = Lines(stream)
        lines.line("one")
        lines.line("two")
        assert lines.dropped == 2


def test_a_reader_that_does_not_read_is_waited_for_once_and_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "STALL_S", 0.05)
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb", buffering=0) as other:
        lines = Lines(stream)
        log = make_log(LogConfig(format="json", level="info"), lines, lambda: 0.0)
        count = 0
        while not lines.dropped:
            log.info("event.captured", log_id=count)
            count += 1
        other.read(1 << 20)
        log.info("event.captured", log_id=count)
        said, last = (json.loads(line) for line in other.read(1 << 20).decode().splitlines() if line[:1] == "{")
    assert said["event"] == "log.dropped"
    assert last["log_id"] == count


def test_a_process_without_stdout_has_a_log_that_goes_nowhere() -> None:
    lines = Lines(None)
    make_log(LogConfig(format="auto", level="info"), lines, lambda: 0.0).info("relay.started")
    assert lines.dropped == 1


def test_a_character_that_the_stream_does_not_know_is_escaped() -> None:
    raw = io.BytesIO()
    lines = Lines(io.TextIOWrapper(raw, "ascii", write_through=True))
    lines.line("zo\u00eb \udc80")
    assert raw.getvalue() == b"zo\\xeb \\udc80\n"


class Terminal(io.StringIO):
    """A terminal, as a stream says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "name", "value", "is_coloured"),
    [
        (Terminal(), "NO_COLOR", "", True),
        (Terminal(), "NO_COLOR", "1", False),
        (Terminal(), "TERM", "dumb", False),
        (io.StringIO(), "NO_COLOR", "", False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    stream: io.StringIO, name: str, value: str, is_coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    minimal = (
        "moodle: {url: 'https://m.example', database: {name: moodle, user: relay}}\n"
        "backend: {url: 'https://b.example', token: made-up}\nlog: {format: console}\n"
    )
    make_log(parse(minimal, path=Path("config.yaml")).log, stream, lambda: 0.0).info("relay.started")
    assert ("\x1b[" in stream.getvalue()) is is_coloured


@pytest.mark.parametrize(("is_journal", "marks"), [(True, ["", "<4>", "<3>"]), (False, ["", "", ""])])
def test_on_the_journal_a_line_carries_its_priority(tmp_path: Path, *, is_journal: bool, marks: list[str]) -> None:
    with (tmp_path / "log").open("w") as stream:
        found = os.fstat(stream.fileno())
        other = 0 if is_journal else 1
        lines = Lines(stream, journal=f"{found.st_dev}:{found.st_ino + other}")
        log = make_log(LogConfig(level="info", format="json"), lines, lambda: 0.0)
        log.info("relay.started")
        log.warning("delivery.failed")
        log.error("delivery.gave_up")
    written = (tmp_path / "log").read_text().splitlines()
    assert [line.partition("{")[0] for line in written] == marks
    assert [json.loads(line[line.index("{") :])["level"] for line in written] == ["info", "warning", "error"]


def test_the_line_that_tells_of_dropped_ones_is_a_warning_on_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        found = os.fstat(stream.fileno())
        lines = Lines(stream, journal=f"{found.st_dev}:{found.st_ino}")
        log = make_log(LogConfig(level="info", format="json"), lines, lambda: 0.0)
        lines.dropped = 1
        log.info("relay.started")
    first, _ = (tmp_path / "log").read_text().splitlines()
    assert first.startswith('<4>{"timestamp"')
