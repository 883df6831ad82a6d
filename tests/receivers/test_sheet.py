"""`relay test-backend`: a right receiver passes, and each planted fault is found by the check that is meant for it."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import faulty
import pytest

from relay.cli import main
from relay.demo.backend import Backend
from relay.receivers import sheet

SECRET = b"made up for tests, and 32 bytes."
KEY = "whsec_" + base64.b64encode(SECRET).decode()


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    for name, text in (("key", KEY), ("token", faulty.TOKEN)):
        (tmp_path / name).write_text(text)
    return ["--secret-file", str(tmp_path / "key"), "--token-file", str(tmp_path / "token")]


def verdicts(url: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, str]]]:
    code = main(["test-backend", url, *options, "--json"])
    found: list[dict[str, str]] = json.loads(capsys.readouterr().out)
    return code, found


def test_a_right_receiver_passes_everything(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with faulty.serving(SECRET) as backend:
        code, lines = verdicts(backend.url, options, capsys)
    assert [line for line in lines if line["verdict"] != "ok"] == []
    assert (code, len(lines)) == (0, len(sheet.CHECKS))
    assert len(lines) >= 20


#: The first fault that each check is to find; the others are planted with --full.
FIRST = {check: fault for fault, check in reversed(faulty.FAULTS.items())}.values()


@pytest.mark.parametrize(
    "fault", [pytest.param(one, marks=() if one in FIRST else pytest.mark.full) for one in faulty.FAULTS]
)
def test_a_planted_fault_is_found(fault: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with faulty.serving(SECRET, fault) as backend:
        code, lines = verdicts(backend.url, options, capsys)
    wrong = [line for line in lines if line["verdict"] != "ok"]
    assert code == 1
    assert faulty.FAULTS[fault] in [line["name"] for line in wrong if line["verdict"] == "fail"]
    assert all(line["found"] and line["remedy"] for line in wrong)


def test_nobody_there_is_one_line(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = verdicts("http://127.0.0.1:9", options, capsys)
    assert (code, len(lines)) == (1, 1)
    assert lines[0]["found"].startswith("no answer: the connection was refused")
    assert lines[0]["remedy"] == "Nobody answers there: start the receiver, or mend the URL."
    assert main(["test-backend", "http://127.0.0.1:9", *options]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("Nothing else was tried")


@pytest.mark.parametrize(
    ("fault", "wrong", "found", "remedy"),
    [
        ("", "token", '401 {"status": "token"}', "The token is another one than the receiver's"),
        ("health without a token", "token", '401 {"status": "token"}', "The token is another one"),
        (
            "health is open",
            "token",
            "401",
            "The token (--token-file) or the signing key (--secret-file) is another one",
        ),
        (
            "",
            "key",
            '401 {"status": "signature"}',
            "It knows the token, so the signing key (--secret-file) is another one",
        ),
        ("health is open", "key", "401", "The token (--token-file) or the signing key (--secret-file) is another one"),
        ("", "tenant", "403", "the signing key (--secret-file) or the tenant (--tenant) is another one"),
        ("refuses all", "", "422", "Perhaps its tenant is not default"),
        ("takes nothing", "", "404", "It has no /v1/events/moodle/user_created: add it, or mend the URL"),
        ("hangs up", "", "no answer", "It answers to GET /v1/health, and breaks off at an event"),
        ("redirects", "", "308", "relay follows no redirect: mend the URL"),
        ("is broken", "", "500", "see the receiver's own log"),
    ],
)
def test_a_good_event_that_is_not_taken_is_one_line_that_says_why(
    fault: str,
    wrong: str,
    found: str,
    remedy: str,
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    others = {"key": "whsec_b25lIHRoYXQgbm9ib2R5IGhhcywgbWFkZSB1cCBoZXJl", "token": "another"}
    if wrong in others:
        (tmp_path / wrong).write_text(others[wrong])
    more = ["--tenant", "another"] if wrong == "tenant" else []
    with faulty.serving(SECRET, fault) as backend:
        code, lines = verdicts(backend.url, [*options, *more], capsys)
    assert (code, [line["verdict"] for line in lines]) == (1, ["fail"])
    assert lines[0]["found"].startswith(found)
    assert remedy in lines[0]["remedy"]


def test_a_line_a_check_with_its_remedy(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with faulty.serving(SECRET, "stores repeats") as backend:
        assert main(["test-backend", backend.url, *options]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "ok    a good event" in lines
    at = lines.index('fail  the same event again: 200; right is 2xx with {"status": "duplicate"}')
    assert lines[at + 1].startswith("      -> Drop what you have by event_id")
    assert lines[-1].startswith(f"{len(sheet.CHECKS) - 4} of {len(sheet.CHECKS)} checks passed, 4 failed")


def test_the_configs_backend_is_not_tried_unless_that_is_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with faulty.serving(SECRET) as backend:
        config = tmp_path / "config.yaml"
        config.write_text(json.dumps({"backend": {"url": backend.url, "token": faulty.TOKEN, "signing_keys": [KEY]}}))
        assert main(["--config", str(config), "test-backend"]) == 2
        assert "Nothing was sent" in capsys.readouterr().err
        assert backend.seen == set()
        assert main(["--config", str(config), "test-backend", "--yes"]) == 0
        assert backend.seen


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"\n", 2)])
def test_on_a_terminal_it_asks_first(answer: bytes, code: int, tmp_path: Path) -> None:
    with faulty.serving(SECRET) as backend:
        config = tmp_path / "config.yaml"
        config.write_text(json.dumps({"backend": {"url": backend.url, "token": faulty.TOKEN, "signing_keys": [KEY]}}))
        ours, theirs = pty.openpty()
        os.write(ours, answer)
        command = [sys.executable, "-m", "relay", "--config", str(config), "test-backend"]
        done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, check=False)
        os.close(ours)
        os.close(theirs)
        assert done.returncode == code, done.stderr
        assert f"Send made-up events to {backend.url}, the config's backend? [y/N]" in done.stderr
        assert bool(backend.seen) == (code == 0)


def test_every_check_has_a_name_of_its_own_and_a_remedy() -> None:
    names = [check.name for check in sheet.CHECKS]
    assert len(set(names)) == len(names)
    assert all(check.remedy.endswith((".", "`.")) for check in sheet.CHECKS)


def test_the_demos_backend_passes(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    backend = Backend(faulty.TOKEN, [KEY])
    with backend, faulty.threaded(backend):
        code, lines = verdicts(backend.url, options, capsys)
    assert [line for line in lines if line["verdict"] != "ok"] == []
    assert code == 0
