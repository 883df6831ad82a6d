"""A backend as its developers would write it: it verifies the signature, and drops what it has already."""

from __future__ import annotations

import hmac
import http.server
import json
import threading
import time
from typing import TYPE_CHECKING, Any

from relay.rules import signing

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A signature that is older or younger than this, in seconds, is refused (Standard Webhooks asks for some bound).
TOLERANCE_S = 300


class Backend(http.server.ThreadingHTTPServer):
    """Takes events on a free port of 127.0.0.1; `url` says where."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, token: str, keys: Sequence[signing.Key]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.token = token
        self.keys = keys
        self.lock = threading.Lock()
        #: When each event arrived first (unix seconds), by its id.
        self.arrived: dict[str, float] = {}
        #: How many requests repeated an id, and how many were not signed as they must be.
        self.duplicates = 0
        self.forged = 0
        #: It answers 503 to everything.
        self.is_down = False
        #: It takes the next event, and breaks the connection before it answers.
        self.hangs_up = False

    def handle_error(self, *_: object) -> None:
        """Say nothing: a relay that is stopped closes its connections."""

    def verifies(self, headers: Any, body: bytes) -> bool:
        """Say whether a request carries our token and a signature of one of our keys."""
        token = headers.get("x-moodle-token", "").encode("latin-1")
        timestamp = headers.get("webhook-timestamp", "")
        if not hmac.compare_digest(token, self.token.encode()) or not timestamp.isdigit():
            return False
        if abs(time.time() - int(timestamp)) > TOLERANCE_S:
            return False
        given = headers.get("webhook-signature", "").split(" ")
        expected = signing.signatures(self.keys, headers.get("webhook-id", ""), int(timestamp), body).split(" ")
        return any(hmac.compare_digest(one, other) for one in given for other in expected)

    def take(self, event_id: str) -> str:
        """Take an event, or drop it where it is here already; return what to say."""
        with self.lock:
            if event_id in self.arrived:
                self.duplicates += 1
                return "duplicate"
            self.arrived[event_id] = time.time()
            return "accepted"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Backend
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.server.is_down:
            self._answer(503, "away")
        elif not self.server.verifies(self.headers, body):
            self.server.forged += 1
            self._answer(401, "who are you?")
        else:
            status = self.server.take(json.loads(body)["event_id"])
            if self.server.hangs_up:
                self.server.hangs_up = False
                self.close_connection = True
            else:
                self._answer(200, status)

    def do_GET(self) -> None:
        self._answer(200, "well")

    def _answer(self, code: int, status: str) -> None:
        body = json.dumps({"status": status}).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: relay's own log is what is shown."""
