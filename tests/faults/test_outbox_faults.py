"""The outbox's disk and file: full, locked, damaged, taken away. A clear sentence each time, and nothing lost."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import SHORT_LOCKS, Relay
from receiver import Reply

from relay.errors import OutboxError
from relay.outbox.sqlite import SqliteOutbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from receiver import Receiver

    from relay.demo.moodle import College

AT = 1_770_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_once_and_what_waits_goes_on_when_there_is_room(
    relay: Relay, college: College, backend: Receiver, small_disk: Path
) -> None:
    relay.outbox = small_disk / "outbox.db"
    relay.set("outbox.url", f"sqlite:///{relay.outbox}")
    college.sign_up("Ada", "Lovelace", AT)
    with relay.start() as daemon:
        daemon.wait_for("delivery.succeeded")
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        for i in range(400):
            college.sign_up("Grace", f"Number{i}", AT + i)
        said = daemon.wait_for("outbox.unavailable")
        assert "full" in said["error"] or "disk" in said["error"]
        ballast.unlink()
        daemon.wait_for("outbox.recovered")
        daemon.wait_until(lambda lines: sum(line["event"] == "delivery.succeeded" for line in lines) >= 200)
        assert daemon.count("outbox.unavailable") == daemon.count("outbox.recovered")
        assert daemon.stop() == 0
    assert len({post.event_id for post in backend.posts}) == len(backend.posts)


def test_a_lock_held_by_another_process_is_waited_for(relay: Relay, college: College, backend: Receiver) -> None:
    relay.constants = SHORT_LOCKS
    with relay.start() as daemon:
        daemon.wait_for("relay.started")
        other = sqlite3.connect(relay.outbox, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        college.sign_up("Ada", "Lovelace", AT)
        daemon.wait_for("outbox.unavailable")
        other.execute("ROLLBACK")
        other.close()
        assert len(backend.wait_for(1)) == 1
        daemon.wait_for("delivery.succeeded")
        assert daemon.stop() == 0


def test_a_file_that_is_moved_away_is_missed_and_goes_on_once_it_is_back(
    relay: Relay, college: College, backend: Receiver
) -> None:
    """What is written to a file that has no name any more would be lost with the process."""
    college.sign_up("Ada", "Lovelace", AT)
    with relay.start() as daemon:
        daemon.wait_for("delivery.succeeded")
        away = relay.outbox.rename(relay.folder / "away.db")
        said = daemon.wait_for("outbox.unavailable")
        assert "was deleted or moved away while relay used it" in said["error"]
        college.sign_up("Grace", "Hopper", AT + 1)
        away.rename(relay.outbox)
        daemon.wait_for("outbox.recovered")
        daemon.wait_for("delivery.succeeded", 2)
        assert daemon.stop() == 0
    assert relay.statuses() == {"success": 2}
    assert len({one.event_id for one in backend.posts}) == 2


def test_a_wal_left_by_a_crash_is_taken_up(relay: Relay, college: College, backend: Receiver) -> None:
    arrived = threading.Event()

    def answer(_: object) -> Reply:
        arrived.set()
        return Reply(stalls_s=30)

    backend.answer = answer
    college.sign_up("Ada", "Lovelace", AT)
    with relay.start() as daemon:
        assert arrived.wait(30)
        daemon.stop(signal.SIGKILL)
    assert (relay.folder / "outbox.db-wal").stat().st_size > 0
    backend.answer = lambda _: Reply()
    relay.once()
    assert relay.statuses() == {"success": 1}


def test_a_file_that_is_no_outbox_is_not_left_open(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(b"\xff" * 8192)
    with pytest.raises(OutboxError) as caught:
        SqliteOutbox(path)
    # As long as the error is held, nobody but relay itself would close it.
    held = {str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()}
    assert str(path) not in held
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "a page", "another database"])
def test_a_damaged_file_is_a_sentence_and_is_never_replaced(damage: str, relay: Relay, college: College) -> None:
    for i in range(200):
        college.sign_up("Ada", f"Number{i}", AT + i)
    relay.once()
    for extra in ("outbox.db-wal", "outbox.db-shm"):
        (relay.folder / extra).unlink(missing_ok=True)
    raw = relay.outbox.read_bytes()
    if damage == "another database":
        relay.outbox.unlink()
        other = sqlite3.connect(relay.outbox)
        other.execute("CREATE TABLE notes (text)")
        other.commit()
        other.close()
    else:
        broken = {
            "garbage": b"\xff" * len(raw),
            "empty": b"",
            "cut": raw[: len(raw) // 3],
            "a page": raw[:4096] + b"\xff" * (len(raw) - 4096),
        }
        relay.outbox.write_bytes(broken[damage])
    before = relay.outbox.read_bytes()
    college.sign_up("Grace", "Hopper", AT + 900)
    finished = relay.once(expect=3)
    first, remedy, *_ = finished.stderr.splitlines()
    assert first.startswith("relay: ")
    assert str(relay.outbox) in first
    assert remedy.startswith("  ")
    if damage != "cut":
        assert relay.outbox.read_bytes()[:4096] == before[:4096]


def test_a_folder_that_may_not_be_written_is_a_sentence(relay: Relay, college: College) -> None:
    assert college.connection.open
    relay.set("outbox.url", "sqlite:////proc/relay/outbox.db")
    finished = relay.once(expect=3)
    assert "/proc/relay" in finished.stderr
