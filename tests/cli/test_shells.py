"""Completion in a real bash, and a man page that groff takes: of every command and option that the parser has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from relay.cli import shells
from relay.cli.commands import NAMES
from relay.cli.parser import parsers


def completed(folder: Path, *words: str) -> list[str]:
    """Return what bash offers for the last of these words."""
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _relay; printf "%s\\n" "${COMPREPLY[@]}"'
    (folder / "relay.bash").write_text(shells.bash())
    command = ["bash", "--norc", "-c", script, "bash", str(folder / "relay.bash"), "relay", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout.split()


def test_bash_completes_commands_options_and_values(tmp_path: Path) -> None:
    assert completed(tmp_path, "sta") == ["status"]
    assert set(completed(tmp_path, "")) >= {*NAMES, "--config", "--once"}
    assert completed(tmp_path, "--config", "x.yaml", "status", "--na") == ["--nagios"]
    assert completed(tmp_path, "sync", "enr") == ["enrolments"]
    assert completed(tmp_path, "receive", "--print", "p") == ["php", "python"]
    assert completed(tmp_path, "run", "--timeout", "") == []


def test_bash_completes_files_where_a_file_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").touch()
    for words in (["--config"], ["check", "--config"], ["init", "--backend-token-file"], ["move-outbox"]):
        assert completed(tmp_path, *words, "som") == ["some.yaml"]
    assert completed(tmp_path, "move-outbox", "--conf") == ["--config"]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_offered_and_in_the_man_page(tmp_path: Path, name: str) -> None:
    options = {form for one in shells.arguments(parsers({name})[1][name]) for form in one.forms}
    assert options <= set(completed(tmp_path, name, "-"))
    page = shells.man().split(f'.SS "relay {name.replace("-", chr(92) + "-")}"')[1].split("\n.SS ")[0]
    for option in options - {"-h", "--help", "--config", "--debug"}:
        assert f"\\fB{option.replace('-', chr(92) + '-')}\\fR" in page


def test_groff_has_nothing_to_say_about_the_man_page() -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    command = ["groff", "-ww", "-man", "-K", "utf8", "-T", "utf8"]
    done = subprocess.run(command, input=shells.man(), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    shown = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
    assert "relay run --replay user=42,since=2026-02-01" in shown


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_theirs(tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "made").write_text(getattr(shells, shell)())
    assert subprocess.run([shell, "-n", tmp_path / "made"], check=False).returncode == 0
