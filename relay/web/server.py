"""The server: cheroot on a unix socket, where it is known who asks, or on a port of this machine.

cheroot and not waitress: it tells which account is at the other end of a unix socket
(SO_PEERCRED), and the page goes by that.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cheroot.server
import cheroot.wsgi

from relay.errors import RelayError
from relay.service import parts
from relay.service.exporter import remove_left_over
from relay.service.logs import make_log
from relay.service.threads import Pool
from relay.web import actions, pages
from relay.web.exchange import BODY_BYTES
from relay.web.jobs import Jobs
from relay.web.site import Site

if TYPE_CHECKING:
    from relay.config import Config
    from relay.model import Log
    from relay.service.daemon import Signals
    from relay.service.lines import Lines

#: So many requests are answered at once, and so long a request may take to come, in seconds.
THREADS, REQUEST_S = 8, 10
#: The longest head of a request, in bytes.
HEAD_BYTES = 16 * 1024
#: A page that systemd has started ends when nobody has asked for anything for so long, in seconds.
IDLE_S = 300.0
#: How often it is looked whether it is to end, in seconds.
LOOK_S = 0.25
#: How long is waited for what is being answered at the end, in seconds.
END_S = 5.0


class _Headers(cheroot.server.HeaderReader):
    """Passes over `X_Remote_User`, which WSGI would take for the proxy's `X-Remote-User`.

    cheroot's own reader for that compares bytes with a text, and fails.
    """

    def _allow_header(self, key_name: bytes) -> bool:
        return b"_" not in key_name


class _Request(cheroot.server.HTTPRequest):
    header_reader = _Headers()


class _Connection(cheroot.server.HTTPConnection):
    RequestHandlerClass = _Request


class Server(cheroot.wsgi.Server):
    """Answers with the page on a socket that listens already."""

    ConnectionClass = _Connection
    max_request_body_size = BODY_BYTES
    max_request_header_size = HEAD_BYTES

    def __init__(self, listening: socket.socket, site: Site, log: Log) -> None:
        super().__init__(
            listening.getsockname(),
            site,
            numthreads=THREADS,
            server_name="relay",
            timeout=REQUEST_S,
            peercreds_enabled=True,
        )
        self.software = "relay"
        self._listening = listening
        self._log = log

    def bind_unix_socket(self, bind_addr: Any) -> socket.socket:  # noqa: ARG002 -- the name is cheroot's
        """Take the socket that is there."""
        self.socket = self._listening
        return self._listening

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002, ARG002 -- as above
        """Take the socket that is there."""
        self.socket = self._listening
        return self._listening

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Say that something of a connection went wrong, where that is a fault; not what stood in it."""
        if level >= logging.ERROR:
            self._log.error("web.failed", error="a connection", hint="This is a fault in relay: please report it.")


def listen(where: str | tuple[str, int], given: int | None) -> socket.socket:
    """Return a socket that listens: the one that systemd has given, by its number, or a new one. Raises RelayError."""
    if given is not None:
        return socket.socket(fileno=given)
    try:
        with contextlib.ExitStack() as stack:
            if isinstance(where, str):
                path = Path(where)
                remove_left_over(path)
                made = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                made.bind(where)
                # Anybody may knock: the account at the other end decides who is let in.
                path.chmod(0o666)
            else:
                family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
                made = stack.enter_context(socket.create_server(where, family=family))
            made.listen(128)
            stack.pop_all()
    except OSError as error:
        hint = "Is another `relay web` there? Mend web.listen in the config."
        if error.errno == errno.ENOENT:
            hint = (
                "Its folder is made by relay-web.socket (systemd); or name another place in web.listen in the config."
            )
        raise RelayError(f"{address(where)} cannot be used for the page: {error.strerror}.", hint=hint) from None
    return made


def address(where: str | tuple[str, int]) -> str:
    """Return where the page is, as people write it."""
    if isinstance(where, str):
        return where
    host = f"[{where[0]}]" if ":" in where[0] else where[0]
    return f"http://{host}:{where[1]}/"


def serve(config: Config, signals: Signals, lines: Lines, *, given: int | None = None) -> None:
    """Serve the page until a signal asks for the end. Raises RelayError where it cannot begin.

    `given`: the number of the socket that systemd has handed over; the end comes then when nobody asks any more, too.
    """
    machine = parts.REAL
    log = make_log(config.log, lines, machine.now)
    jobs = Jobs(machine.now, log)
    site = Site(config, (*pages.ROUTES, *actions.ROUTES), jobs, log)
    where = config.web.listen
    server = Server(listen(where, given), site, log)
    serving: Pool[Server] = Pool(1, lambda one: one.serve(), "web")
    try:
        server.prepare()
        serving.submit(server)
        log.info("web.started", at=address(where))
        _wait(signals, site, jobs, is_lasting=given is None)
    finally:
        server.stop()
        serving.close(END_S)
        site.close()
        if given is None and isinstance(where, str):
            Path(where).unlink(missing_ok=True)
    log.info("web.stopped")


def _wait(signals: Signals, site: Site, jobs: Jobs, *, is_lasting: bool) -> None:
    """Wait for a signal, or, unless it is to last, until nobody has asked for anything for a while."""
    monotonic = parts.REAL.monotonic
    requests, since = site.requests, monotonic()
    while not signals.stop.wait(LOOK_S) and not signals.reload.is_set():
        if site.requests != requests or jobs.is_busy:
            requests, since = site.requests, monotonic()
        elif not is_lasting and monotonic() - since > IDLE_S:
            return
