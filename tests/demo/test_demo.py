"""`relay demo`, as people run it: what it shows, and that nothing of it is left."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.demo.mariadb import find_program
from relay.demo.show import Show
from relay.errors import RelayError

#: How long anything is waited for that is sure to come, in seconds.
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def needs_a_server() -> None:
    """The demo starts a server of its own. Where none is installed: skipped by a person, failed in CI."""
    try:
        find_program("mariadbd")
    except RelayError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{error} {error.hint}")


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The demo's temporary folder, with a short name: the path of a socket has at most 107 characters."""
    folder = tmp_path_factory.mktemp("d")
    yield folder
    for process_id in still_running(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)


@contextlib.contextmanager
def demo(temporary: Path, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """Run a demo as a shell does: in a process group of its own, which Ctrl-C is sent to."""
    with subprocess.Popen(
        [sys.executable, "-m", "relay", "demo", "--seconds", "2"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def terminal() -> tuple[int, int]:
    """Return both ends of a terminal of 80 columns."""
    try:
        leader, follower = pty.openpty()
    except OSError as error:
        pytest.skip(f"this machine has no terminals to give: {error}")
    termios.tcsetwinsize(follower, (24, 80))
    return leader, follower


def read_all(leader: int) -> str:
    """Return what is shown on a terminal until nobody holds its other end any more."""
    shown = b""
    with os.fdopen(leader, "rb", buffering=0) as end, contextlib.suppress(OSError):  # so Linux says that it is closed
        while data := end.read(65536):
            shown += data
    return shown.decode()


def still_running(temporary: Path) -> dict[int, str]:
    """Return the processes whose command lines name this folder: the demo's relay and its database, by their ids."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return {process_id: command for process_id, command in found.items() if f"{temporary}/" in command}


def end_by_ctrl_c(process: subprocess.Popen[str], temporary: Path) -> None:
    """End a demo with Ctrl-C, and see that nothing of it is left."""
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (130, "")
    assert output.endswith("\nStopped. Nothing of the demo is left on this machine.\n")
    assert list(temporary.iterdir()) == []
    assert still_running(temporary) == {}


def test_every_event_arrives_through_all_troubles_and_nothing_is_left(temporary: Path) -> None:
    with demo(temporary) as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")
    counts = {name: int(count) for name, count in re.findall(r"^  (\w+) +(\d+)   ", output, re.MULTILINE)}
    # 12 people sign up, enrol, and are graded twice; one comes late and one moves.
    assert counts["seen"] == counts["taken"] == 12 * 4 + 2
    assert counts["lost"] == 0
    assert counts["refused"] >= 1
    assert counts["duplicates"] >= 1
    assert re.search(r"relay +grade_updated of log row \d+ -> refused: 503; again in [\d.]+ s$", output, re.MULTILINE)
    assert re.search(r"-> taken at attempt \d+", output)
    # What is too long for one line goes on in the next one.
    assert "which the backend had already" in re.sub("\n {19}", " ", output)
    assert re.search(r"user_created of log row \d+ turned up late, and is captured$", output, re.MULTILINE)
    assert re.search(r"^  accounts .*: they hold$", output, re.MULTILINE)
    assert "\x1b" not in output, "colours are for terminals"
    assert [line for line in output.split("\n") if len(line) > 80] == []
    shows_an_event_with_its_signature_and_its_story(output)
    assert list(temporary.iterdir()) == []
    assert still_running(temporary) == {}


def shows_an_event_with_its_signature_and_its_story(output: str) -> None:
    (log_id,) = re.findall(r"^What the backend got: the event of log row (\d+)$", output, re.MULTILINE)
    assert re.search(rf"log row {log_id} -> (refused|no answer): ", output)
    shown = output.partition("What the backend got")[2]
    body = json.loads("{" + shown.partition("\n{")[2].partition("\n}\n")[0] + "}")
    assert f"POST /v1/events/moodle/{body['event_type']}\n" in shown
    assert f"webhook-id: {body['event_id']}\n" in shown
    assert re.search(r"^webhook-signature: v1,", shown, re.MULTILINE)
    assert re.search(r"^  as it came +good$", shown, re.MULTILINE)
    assert re.search(r"^  with one letter changed +refused: no signature fits", shown, re.MULTILINE)
    status, _, story = shown.partition("$ relay status\n")[2].partition(f"$ relay explain log:{log_id}\n")
    assert "undelivered  0" in status
    assert "no relay runs" not in status
    # Where relay is killed before the answer comes, it is taken "as a duplicate" behind that.
    assert f"The backend took {body['event_type']} {body['event_id']}" in story


@pytest.mark.full
def test_on_a_terminal_colours_say_what_is_taken_waits_and_was_refused(temporary: Path) -> None:
    leader, follower = terminal()
    with demo(temporary, stdout=follower) as process:
        os.close(follower)
        shown = read_all(leader)
    assert process.returncode == 0
    assert re.search(r"\x1b\[32m\S+ of log row \d+ -> taken\x1b\[0m", shown)
    assert re.search(r"\x1b\[31m\S+ of log row \d+ -> refused: 503; ", shown)
    assert re.search(r"\x1b\[33m\S+ of log row \d+ turned up late", shown)
    assert re.search(r"\x1b\[33mwaiting [1-9]", shown)
    plain = re.sub(r"\x1b\[[0-9]*m", "", shown)
    lines = [line for shown in plain.split("\r\n") for line in shown.split("\r\x1b[K")]
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("columns", [80, 40])
def test_whoever_wants_no_colours_gets_none_and_no_line_is_too_long(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    leader, follower = terminal()
    with os.fdopen(follower, "w") as stream:
        show = Show(stream)
        with show.waiting("waits for something, and says so with many words of which each one has its place"):
            show.count(("log rows 12345", ""), ("taken 12345", "taken"), ("refused 1", "refused"), ("backend up", ""))
        show.line("relay", "user_created of log row 1 -> refused: 503; again in 0.4 s", "refused")
        show.text("a word " * 30)
        show.title("a word " * 30)
    shown = read_all(leader)
    assert "\x1b[3" not in shown
    assert "\x1b[1m" not in shown
    assert "refused: 503; again in 0.4 s" in " ".join(shown.split())
    lines = [line for shown in shown.split("\r\n") for line in shown.split("\r\x1b[K")]
    assert [line for line in lines if len(line) > columns] == []


def test_where_nobody_looks_a_long_wait_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.demo.show.REPORT_S", 0.0)
    reading, writing = os.pipe()
    with os.fdopen(reading) as said, os.fdopen(writing, "w") as stream, Show(stream).waiting("starts relay"):
        assert said.readline().endswith("demo     starts relay\n")
        assert said.readline().endswith("demo     0 s so far\n")


@pytest.mark.parametrize(
    "doing", [" --bootstrap ", pytest.param("--pid-file=", marks=pytest.mark.full), " relay --config "]
)
def test_ctrl_c_while_something_starts_ends_it_and_leaves_nothing(doing: str, temporary: Path) -> None:
    """While the database is made, while its server starts, and while relay does."""
    with demo(temporary) as process:
        starting: list[int] = []
        while not starting:
            assert process.poll() is None
            starting = [one for one, command in still_running(temporary).items() if doing in command]
        # As on a machine that is too busy to finish it meanwhile.
        os.kill(starting[0], signal.SIGSTOP)
        end_by_ctrl_c(process, temporary)


@pytest.mark.parametrize(
    "said",
    [
        *(pytest.param(text, marks=pytest.mark.full) for text in ("relay demo: ", "starts relay", "-> taken")),
        pytest.param("What the backend got", marks=pytest.mark.full),
        "$ relay explain",
    ],
)
def test_ctrl_c_at_whatever_it_says_ends_it_and_leaves_nothing(said: str, temporary: Path) -> None:
    with demo(temporary) as process:
        assert process.stdout is not None
        assert any(said in line for line in process.stdout)
        end_by_ctrl_c(process, temporary)


@pytest.mark.full
def test_ctrl_c_twice_tidies_up_once(temporary: Path) -> None:
    with demo(temporary) as process:
        assert process.stdout is not None
        assert any("-> taken" in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        end_by_ctrl_c(process, temporary)
