"""`tests/setup.sh`, which installs what the demo and the tests need: what it shows, and that Ctrl-C leaves nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SETUP = Path(__file__).parents[1] / "setup.sh"
#: How long anything is waited for that is sure to come, in seconds.
PATIENCE_S = 30.0
#: Stands for apt-get, Python and pip: it is run as $0 with the arguments "$*", and may wait until it is ended.
PROGRAM = """#!/bin/sh
echo "$0 $*" >>"$CALLS"
case "$0 $*" in
*"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
esac
case "$0 $*" in
*"$WAITS_AT"*)
    echo "so far"
    touch "$TMPDIR/of-its-own"
    echo $$ >"$CALLS.waits"
    sleep 60
    ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine without MariaDB, whose programs are made up."""
    for folder in ("bin", "temporary", "checkout"):
        (tmp_path / folder).mkdir()
    for name in ("apt-get", "python3"):
        (tmp_path / "bin" / name).write_text(PROGRAM)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "bin" / "id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "bin" / "id").chmod(0o755)
    for name in (
        "sh",
        "cat",
        "cksum",
        "cp",
        "cut",
        "date",
        "mkdir",
        "mktemp",
        "rm",
        "setsid",
        "sleep",
        "tail",
        "touch",
        "tr",
    ):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / "bin" / name).symlink_to(found)
    (tmp_path / "checkout" / "pyproject.toml").touch()
    return tmp_path


@contextlib.contextmanager
def setup(machine: Path, waits_at: str = "nothing", stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    environment = {
        "PATH": str(machine / "bin"),
        "CALLS": str(machine / "calls"),
        "WAITS_AT": waits_at,
        "TMPDIR": str(machine / "temporary"),
    }
    with subprocess.Popen(
        ["/bin/sh", "-euc", f". {SETUP}; echo begins"],
        cwd=machine / "checkout",
        env={"extras": "", **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_first_start_says_what_it_installs_and_the_second_one_installs_nothing(machine: Path) -> None:
    with setup(machine) as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")
    first, *others = output.split("\n")
    assert re.fullmatch("1. apt looks for what this machine lacks:( mariadb-server-core)? mariadb-client-core", first)
    assert others == [
        "   apt unpacks them",
        "2. Python makes .venv, a folder for relay and its packages",
        "3. pip installs relay and the Python packages that it needs into .venv",
        "begins",
        "",
    ]
    assert list((machine / "temporary").iterdir()) == []
    for name in ("mariadbd", "my_print_defaults"):
        (machine / "bin" / name).symlink_to("/bin/true")
    (machine / "calls").unlink()
    with setup(machine) as process:
        assert process.communicate(timeout=PATIENCE_S) == ("begins\n", "")
    assert "install" not in (machine / "calls").read_text()


@pytest.mark.parametrize("doing", ["apt-get update", "--download-only", "-m venv", "-m pip install"])
def test_ctrl_c_ends_what_is_under_way_and_leaves_nothing(doing: str, machine: Path) -> None:
    with setup(machine, doing) as process:
        waiting = waits(machine)
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (130, "")
    assert output.endswith("\nStopped. What is installed stays: the next start goes on from there.\n")
    assert list((machine / "temporary").iterdir()) == []
    assert not Path(f"/proc/{waiting}").exists()
    # Half of a .venv is made anew, and the rest is done.
    with setup(machine) as process:
        assert process.communicate(timeout=PATIENCE_S)[0].endswith("\nbegins\n")


def test_ctrl_c_while_packages_are_unpacked_lets_apt_end_first(machine: Path) -> None:
    with setup(machine, "recommends mariadb") as process:
        waiting = waits(machine)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        output = ""
        while "Stopping, once apt has ended what it has begun ..." not in output:
            data = os.read(process.stdout.fileno(), 1000)
            assert data, output
            output += data.decode()
        assert Path(f"/proc/{waiting}").exists()
        os.kill(waiting, signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (130, "")
    assert output.startswith("\nStopped. ")
    assert list((machine / "temporary").iterdir()) == []


def test_what_fails_is_shown_with_what_to_do(machine: Path) -> None:
    (machine / "bin" / "apt-get").write_text("#!/bin/sh\necho no network here\nexit 7\n")
    with setup(machine) as process:
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert errors.startswith("no network here\n")
    assert "The first start needs a network." in errors
    assert list((machine / "temporary").iterdir()) == []


def waits(machine: Path) -> int:
    """Return the id of the program that waits, once it does."""
    place = machine / "calls.waits"
    while not (place.exists() and place.read_text()):
        os.sched_yield()
    return int(place.read_text())
