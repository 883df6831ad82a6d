"""A random schedule of faults, from a seed, and an audit at its end."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest
from audit import audit
from harness import Relay
from world import (
    Backend,
    LoneFaults,
    Proxy,
    Reader,
    Supervised,
    Writers,
    by_seed,
    read_file,
    wait_for_all,
    wait_for_outbox,
)

from relay.demo.mariadb import throwaway
from relay.demo.moodle import College

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from receiver import Receiver

    from relay.demo.mariadb import MariaDB

#: Seeds, and seconds of faults for each: in the short version, and with --full.
SHORT, FULL = ((1,), 4), (tuple(range(1, 61)), 120)
#: What still waits after the faults is waited for so long, in seconds.
PATIENCE_S = 120


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    by_seed(metafunc, SHORT, FULL)


@pytest.fixture
def killable() -> Iterator[MariaDB]:
    """A server of its own: it is killed again and again."""
    with throwaway() as server:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE moodle CHARACTER SET utf8mb4")
        with server.connect("moodle") as connection:
            College(connection).build()
        yield server


# The driver leaves its socket open where the server was killed while it connected.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_whatever_happens_all_is_delivered_and_accounted_for(
    seed: int, seconds: int, killable: MariaDB, backend: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(seed)
    relay = Relay(tmp_path, killable, backend.url)
    proxy = Proxy(killable.port)
    relay.set("moodle.database.port", proxy.port)
    relay.set("moodle.database.host", "127.0.0.1")
    relay.set("backend.timeout", "2s")
    relay.set("backend.concurrency", 4)
    relay.set("retry", {"first_delay": "50ms", "max_delay": "1s", "max_attempts": 1000})
    relay.set("log.level", "warning")
    relay.write()
    clock = tmp_path / "clock"
    clock.write_text("0")
    answers = Backend(backend, chance)
    supervised = Supervised(relay, clock)
    writers = Writers(killable, 4, seed)
    reader = Reader(lambda: read_file(relay.outbox))
    faults = LoneFaults(killable, proxy, answers, supervised, clock, relay.outbox)
    for one in (supervised, writers, reader):
        one.start()
    try:
        wait_for_outbox(relay, PATIENCE_S)
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            time.sleep(chance.random() * 0.8)
            faults.one(chance)
            supervised.measure()
        writers.stop()
        clock.write_text("0")
        recovery_s = wait_for_all(relay, PATIENCE_S)
        supervised.measure()
    finally:
        writers.stop()
        supervised.stop()
        reader.stop()
        proxy.close()
    relay.set("moodle.database.port", killable.port)
    relay.run("run", "--replay", "failed")
    relay.once()
    with killable.connect("moodle") as connection:
        figures = audit(relay, College(connection), backend.posts, answers.taken, writers.late)
    with capsys.disabled():
        print(f"\nseed {seed}: {figures.rows} events; lost {figures.lost}, doubled ids {figures.doubled}, ", end="")
        print(
            f"requests without a row {figures.unrecorded}, repeated {figures.repeated}; {supervised.starts} starts; ",
            end="",
        )
        print(f"recovery {recovery_s:.1f} s; peak {supervised.peak_kib // 1024} MiB; {reader.readings} readings")
        print(f"  {faults}")
    assert figures.faults() == {}, f"run it again with --seed {seed}"
    assert reader.wrong == []
    assert supervised.errors == []
    assert relay.status()["conservation"]["holds"]
