"""`relay demo`: the whole thing on a throwaway Moodle database and a throwaway backend."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay.demo import ending
from relay.demo.backend import Backend
from relay.demo.interrupts import ONCE_S, Interrupts
from relay.demo.life import Life
from relay.demo.mariadb import MariaDB, throwaway
from relay.demo.show import Show
from relay.errors import RelayError
from relay.rules import signing
from relay.service.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

#: How long after the last step everything may take to arrive, in seconds.
PATIENCE_S = 30.0
#: How often the counting line is drawn, in seconds.
FRAME_S = 0.1

BEGINNING = """\
relay demo: what a college does in Moodle arrives at a backend, whatever happens.
The Moodle database, relay and the backend are made for this, and removed after.
Ctrl-C ends it at any moment."""
CONFIG = """\
moodle:
  url: https://moodle.college.example
  database: {{unix_socket: {socket}, name: moodle, user: root}}
  poll_interval: 100ms
  start_from: beginning
backend:
  url: {url}
  token: {{file: token}}
  signing_keys: [{{file: key}}]
retry: {{first_delay: 300ms, max_delay: 2s}}
outbox: {{url: 'sqlite:///outbox.db'}}
log: {{format: json}}
"""


@dataclass(slots=True)
class Seen:
    """What relay's log has said."""

    #: The log row of each event, by its id.
    log_ids: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    retried: int = 0
    #: The ids of those that were refused, in this order.
    refused: dict[str, None] = field(default_factory=dict)


def run(*, stream: TextIO, seconds: float) -> int:
    """Let a college live for some seconds, and show its events on their way.

    Returns 0 where all of them arrived, 1 where not. Raises KeyboardInterrupt after Ctrl-C, with nothing left, and
    RelayError.
    """
    show = Show(stream)
    with Interrupts() as interrupts:
        try:
            return _run(show, interrupts, seconds)
        finally:
            show.count()


def _run(show: Show, interrupts: Interrupts, seconds: float) -> int:
    show.text(BEGINNING)
    if show.is_coloured:
        show.text(f"Of each event: {', '.join(show.coloured(word, word) for word in ('taken', 'waiting', 'refused'))}.")
    show.text("")
    token, (key,) = f"demo-{secrets.token_hex(8)}", signing.symmetric_texts(secrets.token_bytes(signing.SEED))
    with tempfile.TemporaryDirectory(prefix="relay-demo-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        with show.waiting("starts a MariaDB server of its own, in a temporary folder"):
            server = stack.enter_context(throwaway(heard=interrupts.heard))
        _make_schema(server)
        backend = stack.enter_context(_serving(Backend(token, [key])))
        for file, value in (("token", token), ("key", key)):
            _write(folder / file, value)
        config = folder / "config.yaml"
        _write(config, CONFIG.format(socket=server.socket, url=backend.url))
        life = Life(server, backend)
        stack.callback(life.close)
        life.prepare()
        seen = Seen()
        with _relaying(show, interrupts, config, lambda line: _tell(show, seen, line)):
            _live(show, interrupts, life, backend, seen, seconds)
            _wait(show, interrupts, life, backend, seen)
            show.count()
            ask = partial(ending.said, config, interrupts.heard)
            holds = ending.show_all(show, ask, backend, key, seen.log_ids, seen.refused)
        return _tally(show, life, backend, seen, holds=holds)


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _make_schema(server: MariaDB) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE moodle CHARACTER SET utf8mb4")


@contextlib.contextmanager
def _serving(backend: Backend) -> Iterator[Backend]:
    """Let the backend serve within."""
    pool: Pool[Callable[[], None]] = Pool(1, lambda work: work(), "backend")
    pool.submit(lambda: backend.serve_forever(poll_interval=0.05))
    try:
        yield backend
    finally:
        backend.shutdown()
        backend.server_close()
        pool.close(timeout_s=1.0)


@contextlib.contextmanager
def _relaying(
    show: Show, interrupts: Interrupts, config: Path, tell: Callable[[dict[str, Any]], None]
) -> Iterator[None]:
    """Run the real relay within, and hand on each line of its log. Raises RelayError where it does not start."""
    process = subprocess.Popen(  # noqa: S603 -- this very program
        [sys.executable, "-m", "relay", "--config", str(config), "run"],
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us to handle
        text=True,
    )
    started = threading.Event()

    def read() -> None:
        for line in process.stdout or ():
            fields = json.loads(line)
            if fields["event"] == "relay.started":
                started.set()
            tell(fields)
        started.set()

    pool: Pool[Callable[[], None]] = Pool(1, lambda work: work(), "log")
    pool.submit(read)
    try:
        with show.waiting("starts relay"), interrupts.heard():
            while not started.wait(ONCE_S):
                pass
        if process.poll() is not None:
            raise RelayError("The demo's relay did not start.", hint="What it said stands above.")
        yield
        process.send_signal(signal.SIGTERM)
        with interrupts.heard():
            while process.poll() is None:
                time.sleep(FRAME_S)
    finally:
        process.kill()
        process.wait()
        pool.close(timeout_s=1.0)
        if process.stdout is not None:
            process.stdout.close()


def _tell(show: Show, seen: Seen, line: dict[str, Any]) -> None:
    """Show what a line of relay's log says."""
    slug = line["event"]
    what = f"{line.get('event_type', '')} of log row {line.get('log_id')}"
    if slug == "event.captured":
        seen.log_ids[line["event_id"]] = line["log_id"]
        if line.get("late"):
            show.line("relay", f"{what} turned up late, and is captured", "waiting")
    elif slug == "delivery.succeeded":
        seen.delivered += 1
        tries = f" at attempt {line['attempt']}" if line["attempt"] > 1 else ""
        again = ", which the backend had already" if line.get("duplicate") else ""
        show.line("relay", f"{what} -> taken{tries}{again}", "taken")
    elif slug == "delivery.failed":
        seen.retried += 1
        seen.refused.setdefault(line["event_id"])
        why = f"refused: {line['http_code']}" if line.get("http_code") else f"no answer: {line.get('error')}"
        show.line("relay", f"{what} -> {why}; again in {line['retry_in_s']} s", "refused")
    elif slug == "circuit.opened":
        show.line("relay", "too many failures: the circuit opens, one event at a time probes the backend", "waiting")
    elif slug == "circuit.closed":
        show.line("relay", f"the circuit closes after {line['open_for_s']} s: all that waited goes out", "taken")


def _live(show: Show, interrupts: Interrupts, life: Life, backend: Backend, seen: Seen, seconds: float) -> None:
    """Let the steps happen, each at its time."""
    began_at = time.monotonic()
    for step in life.steps():
        while (wait := began_at + step.at * seconds - time.monotonic()) > 0:
            with interrupts.heard():
                time.sleep(min(wait, FRAME_S))
            _count(show, life, backend, seen)
        show.line("backend" if step.is_backend else "college", step.says)
        step.act()
        _count(show, life, backend, seen)


def _wait(show: Show, interrupts: Interrupts, life: Life, backend: Backend, seen: Seen) -> None:
    """Wait until all has been delivered, or for so long that something is lost."""
    ends_at = time.monotonic() + PATIENCE_S
    while seen.delivered < life.note() and time.monotonic() < ends_at:
        with interrupts.heard():
            time.sleep(FRAME_S)
        _count(show, life, backend, seen)


def _count(show: Show, life: Life, backend: Backend, seen: Seen) -> None:
    rows = life.note()
    waiting = rows - seen.delivered
    show.count(
        (f"log rows {rows}", ""),
        (f"taken {seen.delivered}", "taken"),
        (f"waiting {waiting}", "waiting" if waiting else ""),
        (f"refused {seen.retried}", "refused" if seen.retried else ""),
        ("backend down", "refused") if backend.is_down else ("backend up", ""),
    )


def _tally(show: Show, life: Life, backend: Backend, seen: Seen, *, holds: bool) -> int:
    """Show what came of it all; return the exit code."""
    rows = life.note()
    arrived = {seen.log_ids[event_id]: at for event_id, at in backend.arrived.items() if event_id in seen.log_ids}
    latencies = [at - life.committed[log_id] for log_id, at in arrived.items()]
    lost = rows - len(arrived)
    show.title("What came of it")
    for name, count, meaning in (
        ("seen", rows, "log rows that Moodle wrote"),
        ("taken", len(arrived), "events that the backend took, each with a valid signature"),
        ("refused", seen.retried, "attempts that failed, and were made again"),
        ("duplicates", backend.duplicates, "events that arrived again, and were dropped by their id"),
        ("lost", lost, "log rows whose event never arrived"),
    ):
        show.text(f"  {name:<11} {count:>4}   {meaning}")
    if latencies:
        median, worst = statistics.median(latencies), max(latencies)
        show.text(f"  latency     median {max(median, 0):.2f} s, worst {worst:.2f} s, from Moodle's commit on")
    show.text(f"  accounts    seen = captured + skipped + ignored: {'they hold' if holds else 'THEY DO NOT'}")
    return 0 if lost == 0 and holds and not backend.forged else 1
