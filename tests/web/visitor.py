"""The real page in a process of its own, and those who ask it: over a port, or over a socket as an account."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import forked
from harness import PATIENCE_S, Daemon, Relay, fresh_moodle
from receiver import Receiver, receiver

from relay import config
from relay.demo.mariadb import free_port
from relay.web import login

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from relay.demo.mariadb import MariaDB
    from relay.demo.moodle import College

ORIGIN = {"Sec-Fetch-Site": "same-origin"}


def patience(pause_s: float = 0.02) -> Iterator[None]:
    """Yield again and again, with a pause, for as long as something is waited for that is sure to come."""
    ends_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends_at:
        yield
        # Without it, who asks takes the processor from what is waited for.
        time.sleep(pause_s)


@dataclass(frozen=True)
class Got:
    """An answer."""

    code: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Visitor:
    """Somebody who asks."""

    where: str | int
    host: str = "localhost"
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    #: The account, over a socket.
    uid: int | None = None

    def ask(self, method: str, path: str, form: Mapping[str, str] | None = None, **headers: str) -> Got:
        body = None if form is None else urlencode(form)
        given = {"Host": self.host, **self.headers, **{name.replace("_", "-"): one for name, one in headers.items()}}
        if self.cookie:
            given["Cookie"] = self.cookie
        if body is not None:
            given["Content-Type"] = "application/x-www-form-urlencoded"
        connection = _Connection(self.where, self.uid)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers={k: v for k, v in given.items() if v})
            answer = connection.getresponse()
            return Got(answer.status, dict(answer.getheaders()), answer.read().decode())

    def get(self, path: str) -> Got:
        """Ask for a page until it does not have to be waited for."""
        for _ in patience():
            got = self.ask("GET", path)
            if got.code != 202 and "A moment" not in got.text:
                return got
        raise AssertionError(f"{path} does not come")

    def token(self) -> str:
        found = re.search(r'name="token" value="([0-9a-f]{64})"', self.get("/sync").text + self.get("/").text)
        return found[1] if found else ""

    def post(self, path: str, **form: str) -> Got:
        """Send a form as the page's own forms do."""
        return self.ask("POST", path, {"token": self.token(), **form}, **ORIGIN)

    def done(self, path: str) -> dict[str, Any]:
        """Wait for what was asked for to be done; return it as JSON types."""
        for _ in patience():
            job: dict[str, Any] = self.get(f"{path}.json").json["job"]
            if job["has_ended"]:
                return job
        raise AssertionError(f"it does not end: {job}")


class _Connection(http.client.HTTPConnection):
    """A connection to a port, to a socket, or to a socket as another account."""

    def __init__(self, where: str | int, uid: int | None) -> None:
        super().__init__("localhost", where if isinstance(where, int) else 0, timeout=60)
        self._where = where
        self._uid = uid

    def connect(self) -> None:
        if isinstance(self._where, int):
            super().connect()
        elif self._uid is None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.connect(self._where)
        else:
            self.sock = _as_account(self._uid, self._where)


def _as_account(uid: int, path: str) -> socket.socket:
    """Return a connection to a socket that another account has made: the other end is told who this process is then."""
    made, groups = socket.socket(socket.AF_UNIX), os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        made.connect(path)
    except OSError:
        made.close()
        raise
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    return made


class Web(Daemon):
    """The page of a relay, in a process of its own."""

    def __init__(self, relay: Relay, listen: str = "") -> None:
        self.relay = relay
        self.where: str | int = listen or free_port()
        relay.set("web.listen", f"unix:{listen}" if listen else f"127.0.0.1:{self.where}")
        relay.set("moodle.poll_interval", "20ms")
        super().__init__(forked.Started(relay.arguments("web")))
        self.wait_for("web.started")

    def link(self, role: str | None = None, user: int | None = None) -> str:
        """Return the path of a new link, as `relay web login` makes it."""
        made = login.link(config.load(self.relay.write()), role, user)
        return made.partition(f":{self.where}")[2]

    def visitor(self, role: str | None = None, user: int | None = None) -> Visitor:
        """Return somebody who was let in by a link."""
        made = Visitor(self.where)
        got = made.ask("GET", self.link(role, user))
        assert got.code == 200, got.text
        made.cookie = got.headers["Set-Cookie"].partition(";")[0]
        return made

    def nobody(self) -> Visitor:
        return Visitor(self.where)

    def account(self, uid: int = 0, **headers: str) -> Visitor:
        """Return who asks over the socket as an account of this machine."""
        return Visitor(self.where, uid=uid or None, headers={k.replace("_", "-"): one for k, one in headers.items()})


@dataclass
class World:
    """A college, its relay, and a backend: for all tests of a module, as each start takes a while."""

    college: College
    relay: Relay
    backend: Receiver


@contextlib.contextmanager
def world(mariadb: MariaDB, folder: Path) -> Iterator[World]:
    """Make a world."""
    with fresh_moodle(mariadb) as college, receiver() as backend:
        yield World(college=college, relay=Relay(folder, mariadb, backend.url), backend=backend)
