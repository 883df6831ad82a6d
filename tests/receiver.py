"""A backend on loopback for the tests: a real HTTP or TLS server that records requests and answers as it is told."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it arrived."""

    method: str
    path: str
    #: Names in lower case.
    headers: Mapping[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        return self.headers["x-event-id"]

    @property
    def envelope(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What to answer."""

    code: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Close the connection without an answer.
    hangs_up: bool = False
    #: Keep the client waiting so many seconds, or until the receiver ends, and close then.
    stalls_s: float = 0.0


class Receiver(http.server.ThreadingHTTPServer):
    """Answers each request with what `answer` returns for it; 200 by default."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.scheme = "https" if tls else "http"
        self._tls = tls
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Reply] = lambda _request: Reply()
        self._arrived = threading.Condition()
        self.is_over = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def get_request(self) -> Any:
        connection, address = super().get_request()
        if self._tls:
            connection.settimeout(10)
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that goes away is part of many tests."""

    def take(self, request: Request) -> Reply:
        with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
        return self.answer(request)

    @property
    def posts(self) -> list[Request]:
        with self._arrived:
            return [request for request in self.requests if request.method == "POST"]

    def wait_for(self, count: int, timeout_s: float = 30.0) -> list[Request]:
        """Return the posts, once there are so many."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.requests) >= count, timeout_s):
                raise AssertionError(f"only {len(self.requests)} of {count} requests arrived")
        return self.posts

    def forget(self) -> None:
        with self._arrived:
            self.requests.clear()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            # The client was killed while it sent: no backend would take that.
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.take(Request(method=self.command, path=self.path, headers=headers, body=body))
        if reply.stalls_s or reply.hangs_up:
            self.server.is_over.wait(reply.stalls_s)
            self.close_connection = True
            return
        if "Date" in reply.headers:
            self.send_response_only(reply.code)
        else:
            self.send_response(reply.code)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    do_GET = do_POST  # noqa: N815 -- the base class looks for this name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def receiver(*, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """Run a receiver within."""
    server = Receiver(tls=tls, port=port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    try:
        yield server
    finally:
        server.is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()
