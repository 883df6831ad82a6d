"""What the README tells those who receive is true: its receiver runs and passes the sheet, its sample verifies."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import relay
from relay.cli import main
from relay.demo.mariadb import free_port
from relay.events.catalogue import KINDS
from relay.receivers import schema, sheet
from relay.receivers.verifiers import verifier
from relay.rules.retry import VERDICTS

README = (Path(relay.__file__).parents[1] / "README.md").read_text()
SECTION = README.split("## For those who receive the events")[1].split("\n## ")[0]
SECRET = b"made up for tests, and 32 bytes."


def block(language: str) -> str:
    return SECTION.split(f"```{language}\n")[1].split("```")[0]


def test_the_sample_request_verifies_and_fits_its_schema() -> None:
    head, _, body = block("http").rstrip("\n").partition("\n\n")
    first, *lines = head.splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    (key,) = re.findall(r"`(whsec_\S+)`:", SECTION)
    at = int(headers["webhook-timestamp"])
    envelope = json.loads(body)
    assert verifier.verify([key], headers, body.encode(), now=at) == envelope["event_id"] == headers["X-Event-ID"]
    assert int(headers["Content-Length"]) == len(body.encode())
    assert first == f"POST /v1/events/moodle/{envelope['event_type']} HTTP/1.1"
    Draft202012Validator(schema.envelope(KINDS[envelope["event_type"]])).validate(envelope)


def test_the_receiver_in_the_readme_is_short_runs_and_passes_the_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = block("python")
    assert len([line for line in text.splitlines() if line.strip()]) <= 25
    for name, command in (("verifier.py", ["receive", "--print", "python"]), ("schema.json", ["schema"])):
        assert main(command) == 0
        (tmp_path / name).write_text(capsys.readouterr().out)
        assert f"relay {' '.join(command)} > {name}" in SECTION
    key = "whsec_" + base64.b64encode(SECRET).decode()
    for name, value in (("key", key), ("token", "a-token")):
        (tmp_path / name).write_text(value)
    port = free_port()
    # The very text, at a port that is free here.
    assert text.count("8088") == 1
    (tmp_path / "receiver.py").write_text(text.replace("8088", str(port)))
    environment = {**os.environ, "RELAY_KEY": key, "RELAY_TOKEN": "a-token"}
    with subprocess.Popen(
        [sys.executable, "receiver.py"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for(port)
            options = ["--secret-file", str(tmp_path / "key"), "--token-file", str(tmp_path / "token"), "--json"]
            code = main(["test-backend", f"http://127.0.0.1:{port}", *options])
            found = json.loads(capsys.readouterr().out)
        finally:
            process.kill()
            errors = process.communicate()[1]
    assert [line for line in found if line["verdict"] == "fail"] == [], errors[-2000:]
    assert (code, len(found)) == (0, len(sheet.CHECKS))


def test_the_vectors_are_printed_and_are_as_the_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["receive", "--print", "vectors"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) > 50
    table = SECTION.split("relay receive --print vectors > vectors.json")[1].split("\n\n")[1].split("\n\n")[0]
    types = {"str": str, "int": int, "object": dict, "list of str": list}
    fields = dict(re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", table, re.MULTILINE))
    for vector in found:
        assert {name: type(value) for name, value in vector.items()} == {name: types[fields[name]] for name in fields}
        assert f"`{vector['expect']}`" in table


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(600):
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("nobody listens")


def test_every_answer_that_means_something_is_in_the_readme() -> None:
    table = SECTION.split("| your answer | what relay does |")[1].split("\n\n")[0]
    assert {str(code) for code in VERDICTS} <= set(re.findall(r"\d{3}", table))


@pytest.mark.parametrize("path", ["/v1/health", "/v1/students/profile", "/v1/events/moodle/"])
def test_every_path_is_in_the_readme(path: str) -> None:
    assert path in SECTION
