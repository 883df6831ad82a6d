"""The benchmark: measures relay beside other ways to do the same, and prints a table."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import backlog
import cost
import drains
import latency
import passing
import peers
import resting
from bench import Bench
from figures import HEADER
from harness import fresh_moodle

from relay.demo.mariadb import throwaway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from figures import Row

SECTIONS: dict[int, tuple[str, Callable[[Bench], Iterator[Row]]]] = {
    1: ("drain, a backend that answers at once", drains.at_once),
    2: ("drain, a backend that takes 50 or 200 ms", drains.taking_time),
    3: ("commit in Moodle to arrival", latency.commit_to_arrival),
    4: ("passing over a long log", passing.passing),
    5: ("idle", resting.idle),
    6: ("memory", resting.memory),
    7: ("a large outbox", backlog.backlog),
    8: ("what it costs Moodle", cost.cost),
    9: ("synchronous=FULL beside NORMAL", drains.unsynced),
    10: ("start to first poll", latency.start),
    11: ("drain beside task queues", peers.beside),
    12: ("commit to arrival beside a purge", latency.beside_a_purge),
}
#: A server that holds the log of section 4 in memory, as Moodle's would.
SERVER = ("--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=768M")
LIST = "\n".join(f"  {number:2} {title}" for number, (title, _) in SECTIONS.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tests/benchmark.sh",
        description=__doc__,
        epilog=f"sections:\n{LIST}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="N,N", type=_numbers, default=list(SECTIONS), help="these sections alone")
    parser.add_argument("--events", metavar="N", type=int, help="how many events are drained (20,000)")
    parser.add_argument("--runs", metavar="N", type=int, help="how often what is compared is measured (5)")
    parser.add_argument("--quick", action="store_true", help="small and short: to see that it works, not for figures")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-benchmark-") as folder, throwaway(SERVER) as mariadb:
        bench = Bench(
            folder=Path(folder),
            mariadb=mariadb,
            events=given.events or (2000 if given.quick else 20_000),
            runs=given.runs or (2 if given.quick else 5),
            is_quick=given.quick,
        )
        print(f"{_machine(bench.folder)}\n\n{HEADER}", flush=True)
        for number in given.only:
            title, section = SECTIONS[number]
            bench.say(f"section {number}: {title}")
            with fresh_moodle(mariadb):
                for row in section(bench):
                    print(row, flush=True)


def _numbers(text: str) -> list[int]:
    found = [int(number) for number in text.split(",")]
    unknown = [number for number in found if number not in SECTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no section {unknown[0]}")
    return found


def _machine(folder: Path) -> str:
    """Return what was measured on, and when."""
    info = Path("/proc/cpuinfo").read_text().split("\n")
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), "unknown CPU")
    return (
        f"{os.cpu_count()} cores, {model}, {_sync_ms(folder):.2f} ms to sync 4 KiB to disk, "
        f"Python {platform.python_version()}, {datetime.now(UTC).date()}, load {os.getloadavg()[0]:.1f} before."
    )


def _sync_ms(folder: Path) -> float:
    """Return how long the disk takes to have a block for good, in milliseconds: each commit waits so long."""
    took = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(4096))
            began_at = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began_at) * 1000)
    return statistics.median(took)


if __name__ == "__main__":
    main()
