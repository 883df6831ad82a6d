"""Letters of any alphabet, in any locale: JSON is UTF-8, and text for people never ends a command."""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path

import pytest
from harness import Relay, within
from receiver import Receiver, Reply

from relay.cli.printing import fitted
from relay.demo.moodle import College

AT = 1_770_000_000
NAME = "Ærøskøbing €uro كلمة"


def raw(relay: Relay, *arguments: str, encoding: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process whose standard streams have an encoding."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(relay.command(*arguments), capture_output=True, check=False, env=environment, input=stdin)


@pytest.mark.parametrize("encoding", [pytest.param("latin-1", marks=pytest.mark.full), "ascii"])
def test_json_is_utf_8_whatever_the_locale(encoding: str, relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT, city=NAME)
    dry = raw(relay, "run", "--dry-run", "--from", "beginning", encoding=encoding)
    assert (dry.returncode, dry.stderr) == (0, b"")
    assert json.loads(dry.stdout.decode("utf-8"))["data"]["city"] == NAME
    backend.answer = lambda _: Reply(body=json.dumps({"city": NAME}, ensure_ascii=False).encode())
    assert json.loads(raw(relay, "profile", "1", "--json", encoding=encoding).stdout.decode("utf-8")) == {"city": NAME}
    shown = raw(relay, "profile", "1", encoding=encoding)
    assert shown.returncode == 0
    assert shown.stdout.decode(encoding).startswith("city: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",), ("check",), ("status",), ("explain", "log:1"), ("sync", "users"), ("profile", "1"), ("purge",),
        ("grants",), ("grants", "--outbox"), ("import-plugin",),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_folder", [True, False])
def test_a_config_that_cannot_be_read_is_a_sentence(
    arguments: tuple[str, ...], is_folder: bool, tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    if is_folder:
        path.mkdir()
    else:
        path.write_bytes("moodle: {url: 'https://Ü'}".encode("latin-1"))
    done = within(["--config", str(path), *arguments])
    assert done.returncode == 2, done.stderr
    assert str(path) in done.stdout + done.stderr
    assert "does not know" not in done.stderr


def test_a_secret_that_is_no_utf_8_is_not_sealed(relay: Relay) -> None:
    done = raw(relay, "seal", encoding="utf-8", stdin=b"canary\xff7\n")
    assert done.returncode == 2
    assert b"no UTF-8" in done.stderr
    assert b"canary" not in done.stdout + done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("check", "--json"),
        *(pytest.param(one, marks=pytest.mark.full) for one in (("grants",), ("status", "--json"), ("check",))),
    ],
)
def test_a_full_disk_behind_stdout_is_a_sentence(arguments: tuple[str, ...], relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(relay.command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "could not be written: No space left on device" in done.stderr


def test_a_sentence_fits_the_terminal_and_is_one_line_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "40")
    text = f"fail  backend: {'one of many words ' * 8}https://backend.college.example/{'a' * 40}"
    assert fitted(text, io.StringIO()) == text
    lines = fitted(text, Terminal(), "      ").split("\n")
    assert all(len(line) <= 40 for line in lines[:-1])
    assert all(line.startswith("      ") for line in lines[1:])
    assert " ".join(line.strip() for line in lines) == text
    assert lines[-1].endswith("a" * 40), "what has no spaces stays whole, to be copied"
