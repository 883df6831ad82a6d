"""A log, or an output, that cannot be written: the daemon goes on, and a command ends with a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from harness import PATIENCE_S

if TYPE_CHECKING:
    from harness import Relay
    from receiver import Receiver

    from relay.demo.moodle import College

AT = 1_770_000_000


@contextlib.contextmanager
def started(command: list[str], stdout: IO[Any] | int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a relay within."""
    process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_daemon_whose_log_disk_is_full_delivers_and_ends_well(
    relay: Relay, college: College, backend: Receiver
) -> None:
    with Path("/dev/full").open("w") as full, started(relay.command("run"), full) as daemon:
        for i in range(3):
            college.sign_up("Ada", f"Number{i}", AT + i)
            backend.wait_for(i + 1)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(PATIENCE_S) == 0
        assert daemon.stderr is not None
        assert daemon.stderr.read() == b""
    assert relay.statuses() == {"success": 3}


def test_a_daemon_goes_on_without_a_reader_and_says_what_was_lost_once_there_is_one(
    relay: Relay, college: College, backend: Receiver, tmp_path: Path
) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    # Both ends, as neither waits for the other one then.
    first = fifo.open("r+b", buffering=0)
    with fifo.open("wb", buffering=0) as stdout, started(relay.command("run"), stdout) as daemon:
        stdout.close()
        assert b"relay.started" in read_until(first, b"relay.started")
        first.close()
        for i in range(3):
            college.sign_up("Ada", f"Number{i}", AT + i)
            backend.wait_for(i + 1)
        with fifo.open("rb", buffering=0) as second:
            daemon.send_signal(signal.SIGTERM)
            text = second.read(1 << 20)
            while piece := second.read(1 << 20):
                text += piece
        assert daemon.wait(PATIENCE_S) == 0
    lines = [json.loads(line) for line in text.splitlines()]
    said, stopped = [line for line in lines if line["event"] in ("log.dropped", "relay.stopped")]
    assert said["lines"] == stopped["log_lines_dropped"] >= 3


def read_until(stream: IO[bytes], mark: bytes) -> bytes:
    text = b""
    while mark not in text:
        text += stream.read(1 << 16)
    return text


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("grants",)])
def test_what_cannot_be_printed_is_a_sentence(arguments: tuple[str, ...], relay: Relay, college: College) -> None:
    assert college.connection.open
    relay.once()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            relay.command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE_S
        )
    assert done.returncode == 1
    assert done.stderr == "relay: what was to be printed could not be written: No space left on device.\n"


def test_a_command_whose_reader_has_gone_ends_quietly(relay: Relay, college: College, backend: Receiver) -> None:
    for i in range(3):
        college.sign_up("Ada", f"Number{i}", AT + i)
    for arguments, code in ((("run", "--once"), 0), (("status",), 1), (("grants",), 1)):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as nobody:
            done = subprocess.run(
                relay.command(*arguments), stdout=nobody, stderr=subprocess.PIPE, check=False, timeout=PATIENCE_S
            )
        assert (arguments, done.returncode, done.stderr) == (arguments, code, b"")
    # A log without a reader is no reason not to deliver.
    assert len(backend.posts) == 3


def test_a_process_without_stdout_and_stderr_delivers(relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *relay.command("run", "--once")], check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 0
    assert len(backend.posts) == 1
