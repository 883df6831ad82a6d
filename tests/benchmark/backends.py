"""Backends in processes of their own: nginx, which answers at once, and one that takes its time."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import HERE

from relay.demo.mariadb import SEARCH, free_port
from relay.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench import Bench

# The time of each request is kept in memory until the end: the file is written when nginx stops.
NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    log_format arrival '$msec';
    access_log {folder}/arrivals.log arrival buffer=16m;
    client_body_temp_path {folder}/body;
    client_max_body_size 16m;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    server {{
        listen 127.0.0.1:{port};
        location = /requests {{ stub_status; access_log off; }}
        location / {{ default_type application/json; return 200 '{{}}'; }}
    }}
}}
"""
#: How long nginx may take to start or to end, in seconds.
PATIENCE_S = 10.0


class Nginx:
    """A running nginx that takes everything."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._process = process
        self._looks = 0

    def count(self) -> int:
        """Return how many requests have arrived so far."""
        with urllib.request.urlopen(f"{self.url}/requests", timeout=PATIENCE_S) as answer:
            # Accepted connections, handled ones, and requests: this one and those before it are among them.
            found = int(answer.read().split(b"\n")[2].split()[2])
        self._looks += 1
        return found - self._looks

    def arrivals(self) -> list[float]:
        """End it, and return when each request was answered (unix seconds, to the millisecond), in that order."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(PATIENCE_S)
        return sorted(float(line) for line in (self._folder / "arrivals.log").read_text().split())


@contextlib.contextmanager
def nginx(bench: Bench) -> Iterator[Nginx]:
    """Run an nginx within."""
    folder, port = bench.new_folder("nginx"), free_port()
    program = shutil.which("nginx", path=SEARCH)
    if program is None:
        raise RelayError("There is no nginx on this machine.", hint="Install it: apt install nginx-light.")
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port))
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait_for(port)
        yield Nginx(folder, process, port)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _wait_for(port: int) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > ends_at:
            raise RelayError("nginx did not start.")
        time.sleep(0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamps:
    """What the slow backend has seen."""

    #: When each request had arrived (unix seconds), and the `userid` in its data.
    arrivals: Sequence[tuple[float, int]]
    #: How long it was kept waiting on average, in seconds, as the backend itself measured it.
    latency_s: float


class Slow:
    """A running backend that answers each request after a while."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def stamps(self) -> Stamps:
        """Return what it has seen so far."""
        with urllib.request.urlopen(f"{self.url}/stamps", timeout=30) as answer:
            found = json.loads(answer.read())
        return Stamps(arrivals=[(at, user) for at, user in found["arrivals"]], latency_s=found["latency_s"])


@contextlib.contextmanager
def slow(latency_s: float) -> Iterator[Slow]:
    """Run a backend within that answers after `latency_s` seconds."""
    command = [sys.executable, str(HERE / "slow_backend.py"), str(latency_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Slow(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
