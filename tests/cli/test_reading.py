"""What the command line reads of itself: who asks for one command does not wait for what the others need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from relay import __version__
from relay.cli import main
from relay.cli.commands import GROUPS, load


def read_by(*arguments: str) -> set[str]:
    """Run a command in a process of its own; return which modules it has imported."""
    command = [sys.executable, "-X", "importtime", "-m", "relay", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {line.rsplit("|", 1)[1].strip() for line in done.stderr.split("\n") if line.startswith("import time:")}


def test_the_version_is_told_without_what_the_commands_need() -> None:
    found = read_by("--version")
    assert "relay.cli.parser" in found
    assert found & {"yaml", "requests", "pymysql", "structlog", "cryptography"} == set()
    assert not any(name.startswith("relay.cli.commands.") for name in found)


def test_a_key_is_made_without_a_database_or_a_backend() -> None:
    found = read_by("keygen")
    assert "relay.rules.signing" in found
    assert found & {"yaml", "requests", "pymysql", "structlog"} == set()


def test_the_help_has_every_command_in_its_group_with_its_summary() -> None:
    command = [sys.executable, "-m", "relay", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for title, names in GROUPS.items():
        part = text.split(f"\n{title}:\n")[1].split("\n\n")[0]
        assert [line.split()[0] for line in part.split("\n")] == list(names)
        assert all(load(name).summary in part for name in names)


@pytest.mark.parametrize("name", [name for names in GROUPS.values() for name in names])
def test_a_name_loads_the_command_of_that_name(name: str) -> None:
    assert load(name).name == name


def test_the_version_is_the_package_s() -> None:
    done = subprocess.run([sys.executable, "-m", "relay", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"moodle-relay {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["statsu"], "relay: There is no command 'statsu'. Did you mean `relay status`?\n  See `relay --help`.\n"),
        (["--config", "x.yaml", "exlain"], "relay: There is no command 'exlain'. Did you mean `relay explain`?\n"),
        (["--debug", "zzzz", "--json"], "relay: There is no command 'zzzz'.\n"),
    ],
)
def test_a_mistyped_command_names_the_nearest_one(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err
