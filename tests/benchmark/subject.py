"""The real relay as what is measured: the defaults of its config, its log into a file."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import PATIENCE_S, Relay

from relay.delivery.width import MOST_AHEAD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


def drain(relay: Relay, count: int, command: Sequence[str] = ()) -> float:
    """Run the daemon until so many waiting events are delivered, or sure to be: some more may be, too.

    Returns the CPU time that it took for an event, in milliseconds, its start left out.
    """
    before = attempts(relay)
    begun: tuple[int, float] | None = None
    with running(relay, command) as process:
        while (now := attempts(relay)) < before + count + CLAIMED_MOST and has_undelivered(relay):
            if process.poll() is not None:
                raise AssertionError((relay.folder / "relay.log").read_text()[-2000:])
            if begun is None and now > before:
                begun = now, cpu_s(process.pid)
            time.sleep(LOOK_S)
        done = attempts(relay), cpu_s(process.pid)
    return 1000 * (done[1] - begun[1]) / (done[0] - begun[0]) if begun is not None and done[0] > begun[0] else 0.0


def cpu_s(pid: int) -> float:
    """Return how many seconds of CPU a process has taken (proc_pid_stat(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def attempts(relay: Relay) -> int:
    """Return how many attempts have been made."""
    ((count,),) = relay.rows("SELECT COALESCE(MAX(id), 0) FROM {attempt}")
    return int(count)


def has_undelivered(relay: Relay) -> bool:
    """Say whether anything waits."""
    return bool(relay.rows("SELECT 1 FROM {log} WHERE status IN ('pending', 'failed') LIMIT 1"))
