"""Section 11: relay beside task queues whose tasks send the same events."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import stock
from backends import nginx
from bench import HERE
from drains import alternate, rate, relay_rate
from figures import Row, at_least, judged, plain

from relay.demo.mariadb import SEARCH, free_port
from relay.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from backends import Nginx
    from bench import Bench

ROOT = HERE.parent.parent
VENV = ROOT / ".venv-peers"
PYTHON = VENV / "bin" / "python"
#: Debian keeps PostgreSQL's programs where nobody's PATH looks.
PROGRAMS = os.pathsep.join([SEARCH, *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
#: How long a server may take to start, and workers to send one more event, in seconds.
PATIENCE_S = 30.0
#: How often it is looked for that, in seconds.
LOOK_S, START_LOOK_S = 0.2, 0.05
#: How long what is told to end may take, in seconds; then it is killed.
END_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A task queue, with its workers run as its manual says for tasks that wait for others."""

    name: str
    #: How it is set up: where its queue is, and how many tasks run at once.
    setup: str
    #: Makes an empty queue, and says where it is: a file, or a URL.
    queue: Callable[[Bench], AbstractContextManager[str]]
    #: What is run in its environment; `{queue}` stands for where the queue is.
    worker: Sequence[str]
    #: What becomes of an event whose worker dies, and in which order a user's events go out.
    promise: str
    #: The server that it needs.
    server: str = ""
    #: Each event costs it the same: one in so many of them gives the same rate.
    part: int = 8


@contextlib.contextmanager
def _file(bench: Bench) -> Iterator[str]:
    folder = bench.new_folder("queue")
    yield str(folder / "queue.db")
    shutil.rmtree(folder)


@contextlib.contextmanager
def _redis(bench: Bench) -> Iterator[str]:
    """Run a Redis that writes all down, and syncs it once a second: the default of its append-only file."""
    folder, port = bench.new_folder("redis"), free_port()
    options = {"port": port, "bind": "127.0.0.1", "dir": folder, "appendonly": "yes", "save": ""}
    command = [
        _program("redis-server"),
        *(part for name, value in options.items() for part in (f"--{name}", str(value))),
    ]
    with _running(command, folder):
        _wait_until_up([_program("redis-cli"), "-p", str(port), "ping"])
        yield f"redis://127.0.0.1:{port}/0"
    shutil.rmtree(folder)


@contextlib.contextmanager
def _postgres(_: Bench) -> Iterator[str]:
    """Run a PostgreSQL with its defaults, by the user of Debian's package where we are root: it refuses root."""
    user = "postgres" if os.geteuid() == 0 else None
    programs, port = {name: _program(name) for name in ("initdb", "postgres", "pg_isready")}, free_port()
    with tempfile.TemporaryDirectory(prefix="relay-benchmark-postgres-") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        made = [programs["initdb"], "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "--no-instructions"]
        subprocess.run(made, check=True, cwd=folder, user=user, stdout=subprocess.DEVNULL)
        command = [programs["postgres"], "-D", f"{folder}/data", "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
        with _running(command, folder, user=user, ends_by=signal.SIGINT):
            _wait_until_up([programs["pg_isready"], "-q", "-h", "127.0.0.1", "-p", str(port)])
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


PEERS = (
    Peer(
        name="huey",
        setup="SQLite, all synced, 8 threads",
        queue=_file,
        worker=("huey_consumer", "peer.app", "-k", "thread", "-w", "8", "-q"),
        promise="at most once: what a dead worker had is gone; no order, no record of attempts",
    ),
    Peer(
        name="rq",
        setup="Redis, synced once a second, 2 SimpleWorkers: it has no threads",
        queue=_redis,
        server="redis-server",
        worker=("rq", "worker-pool", "-b", "-q", "-n", "2", "-w", "rq.worker.SimpleWorker", "-u", "{queue}"),
        promise="at most once: what a dead worker had is marked failed (without `retry`); no order; starts recorded",
    ),
    Peer(
        name="dramatiq",
        setup="Redis, synced once a second, 2 processes of 8 threads",
        queue=_redis,
        server="redis-server",
        worker=("dramatiq", "peer", "--processes", "2", "--threads", "8"),
        # Its second process starts a little later than the first.
        part=2,
        promise="at least once: what a dead worker had is sent again after a minute; no order, no record of attempts",
    ),
    Peer(
        name="celery",
        setup="Redis, synced once a second, acks_late, 8 threads",
        queue=_redis,
        server="redis-server",
        worker=("celery", "-A", "peer", "worker", "-P", "threads", "-c", "8", "-l", "ERROR"),
        promise="at least once: what a dead worker had is sent again after an hour; no order, no record of attempts",
    ),
    Peer(
        name="procrastinate",
        setup="PostgreSQL, all synced, concurrency 8",
        queue=_postgres,
        server="postgres",
        worker=("procrastinate", "--log-level", "error", "--app", "peer.app", "worker", "--concurrency", "8"),
        promise="at most once: what a dead worker had waits for own code to retry it; order by locks; starts recorded",
    ),
)


def beside(bench: Bench) -> Iterator[Row]:
    """Section 11: relay, and tasks that send the same events from queues of their own."""
    count, lacking = bench.events, _lacking()
    full = stock.waiting(bench, count)
    contestants: dict[str, Callable[[], float]] = {"relay": lambda: relay_rate(bench, full, count)}
    contestants |= {peer.name: _measured(bench, peer, count // peer.part) for peer in PEERS if peer.name not in lacking}
    rates = alternate(bench, contestants)
    promise = "at least once; each user's events in order; each attempt recorded before its request; all synced to disk"
    yield plain(11, f"drain of {count:,} waiting events: relay ({promise})", rates["relay"], unit=" events/s")
    for peer in PEERS:
        what = f"{peer.name} ({peer.setup}; {peer.promise})"
        if peer.name in lacking:
            yield Row(11, what, f"not measured: {lacking[peer.name]}")
        else:
            yield plain(11, what, rates[peer.name], unit=" events/s")
    if others := [name for name in rates if name != "relay"]:
        fastest = max(others, key=lambda name: rates[name].median)
        ratio = rates["relay"].over(rates[fastest])
        yield judged(11, f"relay / the fastest of these, {fastest}", ratio, at_least(3))


def _lacking() -> dict[str, str]:
    """Install the peers' packages, and return which peers can't be run, with the reason."""
    try:
        if not PYTHON.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]
        # `peer` makes the events and their signatures by relay's own code.
        command = [str(PYTHON), *install, str(HERE / "peers.txt"), "--editable", str(ROOT)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    except subprocess.CalledProcessError:
        return {peer.name: "pip can't install tests/benchmark/peers.txt here" for peer in PEERS}
    servers = {peer.name: peer.server for peer in PEERS if peer.server}
    return {
        name: f"there is no {server} on this machine"
        for name, server in servers.items()
        if shutil.which(server, path=PROGRAMS) is None
    }


def _measured(bench: Bench, peer: Peer, count: int) -> Callable[[], float]:
    def measure() -> float:
        folder = bench.new_folder(peer.name)
        with nginx(bench) as backend, peer.queue(bench) as queue:
            env = {
                **os.environ,
                "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
                "PEER": peer.name,
                "PEER_QUEUE": queue,
                "PEER_BACKEND": backend.url,
            }
            filling = [str(PYTHON), "-c", f"import peer; peer.fill({count})"]
            subprocess.run(filling, env=env, cwd=folder, check=True)
            worker = [part.format(queue=queue) for part in peer.worker]
            with _running([str(VENV / "bin" / worker[0]), *worker[1:]], folder, env=env):
                _wait_for(backend, count, peer.name)
            found = rate(backend.arrivals(), count)
        shutil.rmtree(folder)
        return found

    return measure


def _wait_for(backend: Nginx, count: int, name: str) -> None:
    """Return when so many events have arrived. Raises RelayError where no more come."""
    seen, ends_at = 0, time.monotonic() + PATIENCE_S
    while (now := backend.count()) < count:
        if now > seen:
            seen, ends_at = now, time.monotonic() + PATIENCE_S
        if time.monotonic() > ends_at:
            raise RelayError(f"{name} has sent {seen} of {count} events, and sends no more.")
        time.sleep(LOOK_S)


@contextlib.contextmanager
def _running(
    command: Sequence[str],
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    ends_by: int = signal.SIGTERM,
) -> Iterator[None]:
    """Run a program within, and end it with all that it has started."""
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=env, user=user, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield
    except RelayError:
        print((folder / "output").read_text()[-2000:], file=sys.stderr)
        raise
    finally:
        process.send_signal(ends_by)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _program(name: str) -> str:
    found = shutil.which(name, path=PROGRAMS)
    if found is None:
        raise RelayError(f"There is no {name} on this machine.")
    return found


def _wait_until_up(command: Sequence[str]) -> None:
    """Return when a command that looks for a server finds it. Raises RelayError."""
    ends_at = time.monotonic() + PATIENCE_S
    while subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        if time.monotonic() > ends_at:
            raise RelayError(f"{command[0]} finds no server.")
        time.sleep(START_LOOK_S)
