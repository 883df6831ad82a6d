"""`relay demo`, as people run it: what it shows, and that nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.demo.mariadb import find_program
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
def demo(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a demo as a shell does: in a process group of its own, which Ctrl-C is sent to."""
    with subprocess.Popen(
        [sys.executable, "-m", "relay", "demo", "--seconds", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


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
    assert counts["seen"] == counts["delivered"] == 12 * 4 + 2
    assert counts["lost"] == 0
    assert counts["retried"] >= 1
    assert counts["duplicates"] >= 1
    assert re.search(r"relay +grade_updated of log row \d+ -> answer 503; again in [\d.]+ s$", output, re.MULTILINE)
    assert re.search(r"-> delivered at attempt \d+", output)
    assert "which the backend had already" in output
    assert re.search(r"user_created of log row \d+ turned up late, and is captured$", output, re.MULTILINE)
    assert re.search(r"^  accounts .*: they hold$", output, re.MULTILINE)
    assert "\x1b" not in output, "colours are for terminals"
    assert list(temporary.iterdir()) == []
    assert still_running(temporary) == {}


def test_ctrl_c_in_the_middle_ends_it_and_leaves_nothing(temporary: Path) -> None:
    with demo(temporary) as process:
        assert process.stdout is not None
        assert any("-> delivered" in line for line in process.stdout)
        commands = " ".join(still_running(temporary).values())
        assert "mariadbd" in commands
        assert "relay --config" in commands
        end_by_ctrl_c(process, temporary)


def test_ctrl_c_while_the_database_is_made_ends_it_and_leaves_nothing(temporary: Path) -> None:
    with demo(temporary) as process:
        making: list[int] = []
        while not making:
            assert process.poll() is None
            making = [one for one, command in still_running(temporary).items() if " --bootstrap " in command]
        # As on a machine that is too busy to finish it meanwhile.
        os.kill(making[0], signal.SIGSTOP)
        end_by_ctrl_c(process, temporary)
