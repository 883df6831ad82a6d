"""Serves the figures to Prometheus over HTTP, on an address of this machine or a socket: the text that is kept."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import stat
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay.operations.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.model import Log

#: How long a pass waits for a request, and for one that has begun to be complete, in seconds.
WAIT_S = 0.5
REQUEST_S = 1.0
#: How long after an address that cannot be had is tried again, in seconds.
AGAIN_S = 10.0


class Exporter:
    """Answers a request in each pass. For one thread. What goes wrong here never ends the relay."""

    def __init__(self, where: str | tuple[str, int], text: Callable[[], str], log: Log) -> None:
        """Take the path of a socket, or a host and a port, and what returns the text; '' where there is none yet."""
        self._where = where
        self._text = text
        self._log = log
        self._server: socketserver.BaseServer | None = None
        self._has_failed = False

    def run_once(self) -> float:
        """Answer a request, if one comes; return after how many seconds the next pass is wanted."""
        self.open()
        if self._server is None:
            return AGAIN_S
        self._server.handle_request()
        return 0.0

    def open(self) -> None:
        """Listen, unless it does; where the address cannot be had, say so once."""
        if self._server is not None:
            return
        try:
            self._server = self._listen()
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                hint = "Is something else there? Mend metrics.listen; relay tries again by itself."
                self._log.warning("metrics.failed", error=f"{self._name()}: {error.strerror}", hint=hint)

    def close(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.server_close()
            self._server = None
            if isinstance(self._where, str):
                Path(self._where).unlink(missing_ok=True)

    def _name(self) -> str:
        return self._where if isinstance(self._where, str) else f"{self._where[0]}:{self._where[1]}"

    def _listen(self) -> socketserver.BaseServer:
        if isinstance(self._where, str):
            path = Path(self._where)
            remove_left_over(path)
            server: socketserver.BaseServer = _OnSocket(self._where, _Request)
            # The figures are nobody's secret, and a scraper is another user.
            path.chmod(0o666)
        else:
            host, port = self._where
            kind = _OnIpv6 if ":" in host else _Server
            server = kind((host, port), _Request)
        setattr(server, _TEXT, self._text)
        return server


#: Where a server keeps what returns the text.
_TEXT = "relay_text"


class _Server(socketserver.TCPServer):
    allow_reuse_address = True
    timeout = WAIT_S

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a scraper that goes away is none of relay's faults."""


class _OnIpv6(_Server):
    address_family = socket.AF_INET6


class _OnSocket(socketserver.UnixStreamServer):
    timeout = WAIT_S
    handle_error = _Server.handle_error


class _Request(BaseHTTPRequestHandler):
    timeout = REQUEST_S

    def do_GET(self) -> None:
        """Answer with the figures."""
        if self.path.partition("?")[0] != "/metrics":
            self._answer(404, "text/plain; charset=utf-8", "The figures are at /metrics.\n")
            return
        text = str(getattr(self.server, _TEXT)())
        if text:
            self._answer(200, CONTENT_TYPE, text)
        else:
            self._answer(503, "text/plain; charset=utf-8", "relay has just been started: the figures come at once.\n")

    do_HEAD = do_GET  # noqa: N815 -- the name is http.server's

    def _answer(self, code: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Say who answers."""
        return "relay"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the name is http.server's
        """Say nothing: a scrape every few seconds is no news."""


def remove_left_over(path: Path) -> None:
    """Remove a socket that a relay which was killed has left; one that somebody listens on stays."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            try:
                asked.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
