"""A receiver over HTTP: the paths that a backend offers, answered as the judge says, or as whoever runs it wants."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from relay.receivers.judge import Judge, Judged, Request, Verdict, answer_body
from relay.rules import request

if TYPE_CHECKING:
    from collections.abc import Callable

#: The largest body that is read, in bytes.
LARGEST = 64 * 1024 * 1024
#: How a client begins that wants HTTPS: a record of the handshake (RFC 8446, section 5.1), of a version 3.x.
TLS_HANDSHAKE = "\x16\x03"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is answered."""

    code: int
    body: bytes = b""
    #: The connection is closed without an answer.
    hangs_up: bool = False
    #: Why it is not the judge's answer, as a sentence; '' where there is nothing to say.
    why: str = ""


class Receiver(http.server.ThreadingHTTPServer):
    """Takes events on an address of this machine, one at a time; `url` says where.

    `now` tells unix seconds. `decide` may answer otherwise than the judge would: it returns None to leave it to the
    judge. `tell` is told of each delivery, and of each request that was turned away unread.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        address: tuple[str, int],
        judge: Judge,
        *,
        now: Callable[[], float],
        decide: Callable[[Request, Judged], Reply | None] = lambda _delivery, _judged: None,
        tell: Callable[[Request, Judged, Reply], None] = lambda _delivery, _judged, _reply: None,
    ) -> None:
        self._judge = judge
        self._now = now
        self._decide = decide
        self._tell = tell
        self._turn, self._telling = threading.Lock(), threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.url = f"http://{host}:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Say nothing: a relay that is stopped closes its connections."""

    def deliver(self, delivery: Request) -> tuple[Judged, Reply]:
        """Return what a POST is, and the answer; an event counts as taken where that is 2xx."""
        with self._turn:
            judged = self._judge.judge(delivery, self._now())
            reply = self._decide(delivery, judged) or Reply(code=judged.code, body=answer_body(judged))
            if 200 <= reply.code < 300 and judged.verdict is Verdict.GOOD:
                self._judge.taken.add(delivery.headers["webhook-id"])
        return judged, reply

    def tell(self, delivery: Request, judged: Judged, reply: Reply) -> None:
        """Say what a POST was, after its answer: whoever listens may take long."""
        with self._telling:
            self._tell(delivery, judged, reply)

    def ask(self, asked: Request) -> Reply:
        """Return the answer to a GET or HEAD."""
        parts = urlsplit(asked.path)
        if parts.path not in (request.HEALTH, request.PROFILE):
            return Reply(code=404, body=b'{"status": "no such path"}')
        if not self._judge.knows(asked.headers):
            return Reply(code=401, body=b'{"status": "who are you?"}')
        if parts.path == request.HEALTH:
            return Reply(code=200, body=b'{"status": "well"}')
        (user, *_) = parse_qs(parts.query).get("moodle_user_id", [""])
        if not (user.isascii() and user.isdigit()):
            return Reply(code=400, body=b'{"status": "moodle_user_id is missing"}')
        profile = {"moodle_user_id": int(user[:18]), "made_up": True, "events_taken": len(self._judge.taken)}
        return Reply(code=200, body=json.dumps(profile).encode())


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        length = self.headers.get("content-length")
        if length is None:
            self._turn_away(411, "There is no Content-Length: chunked bodies are not taken here.")
            return
        if not (length.isascii() and length.isdigit()):
            self._turn_away(400, "Content-Length is no number.")
            return
        if int(length[:12]) > LARGEST:
            self._turn_away(413, f"The body is larger than {LARGEST} bytes.")
            return
        try:
            body = self.rfile.read(int(length))
        except OSError:
            body = b""
        if len(body) < int(length):
            why = (
                f"It broke off after {len(body)} bytes of {length}: its sender was stopped, or Content-Length is wrong."
            )
            self._turn_away(0, why)
            return
        delivery = self._request(body)
        judged, reply = self.server.deliver(delivery)
        self._answer(reply)
        self.server.tell(delivery, judged, reply)

    def do_GET(self) -> None:
        self._answer(self.server.ask(self._request(b"")))

    do_HEAD = do_GET  # noqa: N815 -- the base class looks for this name

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Turn away what the base class cannot read: another method, or what is no HTTP."""
        del explain
        why = "Events come by POST." if code == HTTPStatus.NOT_IMPLEMENTED else f"{message}."
        if getattr(self, "requestline", "").startswith(TLS_HANDSHAKE):
            why = "It speaks TLS, and this receiver does not: send to http://, or let a proxy end TLS in front of it."
        self._turn_away(int(code), why)

    def _turn_away(self, code: int, why: str) -> None:
        """Refuse a request whose body is not read, and tell of it; code 0 for one whose sender is gone."""
        self.close_connection = True
        reply = Reply(code=code, body=b'{"status": "not read"}', hangs_up=code == 0)
        self._answer(reply)
        self.server.tell(self._request(b""), Judged(verdict=Verdict.UNREAD, why=why), reply)

    def _request(self, body: bytes) -> Request:
        # What is no HTTP has neither a path nor headers.
        given = self.headers.items() if hasattr(self, "headers") else ()
        # The bytes of a header come as Latin-1; relay sends UTF-8.
        headers = {name.lower(): value.encode("latin-1", "replace").decode("utf-8", "replace") for name, value in given}
        return Request(method=self.command or "", path=getattr(self, "path", ""), headers=headers, body=body)

    def _answer(self, reply: Reply) -> None:
        if reply.hangs_up:
            self.close_connection = True
            return
        self.send_response(reply.code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        """Say nothing: `tell` does."""
