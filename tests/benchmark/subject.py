"""The real relay as what is measured: the defaults of its config, its log into a file."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from harness import PATIENCE_S, Relay

from relay.delivery.width import MOST_AHEAD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench import Bench

#: How often it is looked whether relay is through, in seconds.
LOOK_S = 0.1
#: So many of the attempts' ids may be of claims that are not sent yet, or that an earlier stop has taken back.
CLAIMED_MOST = 2 * MOST_AHEAD


def subject(bench: Bench, url: str, stock: Path | None = None) -> Relay:
    """Return a relay with the config's defaults; it works on a copy of the stock, if one is given."""
    relay = Relay(bench.new_folder("relay"), bench.mariadb, url)
    for section, name in (("moodle", "poll_interval"), ("backend", "timeout")):
        del relay.config[section][name]
    del relay.config["retry"]
    if stock is not None:
        shutil.copy(stock, relay.outbox)
    return relay


@contextlib.contextmanager
def running(relay: Relay, command: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """Run the daemon within, by another command perhaps, and stop it as systemd would."""
    with (relay.folder / "relay.log").open("ab") as log:
        process = subprocess.Popen(command or relay.command("run"), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def drain(relay: Relay, count: int, command: Sequence[str] = ()) -> None:
    """Run the daemon until so many waiting events are delivered, or sure to be: some more may be, too."""
    before = attempts(relay)
    with running(relay, command) as process:
        while attempts(relay) < before + count + CLAIMED_MOST and has_undelivered(relay):
            if process.poll() is not None:
                raise AssertionError((relay.folder / "relay.log").read_text()[-2000:])
            time.sleep(LOOK_S)


def attempts(relay: Relay) -> int:
    """Return how many attempts have been made."""
    ((count,),) = relay.rows("SELECT COALESCE(MAX(id), 0) FROM {attempt}")
    return int(count)


def has_undelivered(relay: Relay) -> bool:
    """Say whether anything waits."""
    return bool(relay.rows("SELECT 1 FROM {log} WHERE status IN ('pending', 'failed') LIMIT 1"))
