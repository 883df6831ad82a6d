"""One request to the backend -> what came of it; a network error is an outcome, not an exception (contract, 3)."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
import weakref
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import requests.adapters
import requests.utils
import urllib3
import urllib3.connection
import urllib3.connectionpool
import urllib3.exceptions

from relay.model import Outcome
from relay.rules import signing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


#: Where the events go (contract, section 2).
EVENT_PATH = "/v1/events/moodle/"
#: At most this much of an answer is read, in bytes, ...
ANSWER_MOST = 64 * 1024
#: ... and so much of it is kept, in characters.
ANSWER_KEPT = 2000
#: By which share an attempt may last longer than it should.
SLACK = 0.005
#: A Retry-After is honoured up to a day, in seconds.
RETRY_AFTER_MOST = 86400.0
MASK = "********"

#: What stands for a network error, by its kind.
SENTENCES = {
    "timeout": "no answer in time",
    "refused": "the connection was refused",
    "reset": "the connection was closed before the answer was complete",
    "dns": "the backend's name cannot be resolved",
    "tls": "no secure connection",
    "proxy": "the proxy does not let us through",
    "protocol": "what came back is no HTTP",
    "unreachable": "the backend's network cannot be reached",
    "stopped": "relay was stopped",
}


@dataclass(slots=True, kw_only=True)
class Answer:
    """What came back for a request; without a code, `error` says why nothing did."""

    http_code: int | None = None
    #: Names in any case.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The beginning of the body, as it was sent.
    body: bytes = b""
    error: str = ""
    #: One of SENTENCES, or ''.
    error_kind: str = ""
    duration_ms: int = 0


class _Attempt(threading.local):
    """The attempt of this thread: the sockets below ask for its end before each read and write."""

    #: By the monotonic clock.
    ends_at = 0.0
    #: Whose attempt it is.
    sender: Sender | None = None

    def keep(self, connection: Any) -> None:
        """Note a new connection, so that it can be broken off."""
        if self.sender is not None:
            self.sender.keep(connection)


_attempt = _Attempt()


def _remaining_s() -> float:
    """Return how many seconds the attempt has left. Raises TimeoutError where it has none."""
    remaining = _attempt.ends_at - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


class _Bounded(socket.socket):
    """Whatever timeout is asked for, the attempt's end is meant.

    To set a socket's timeout is a call of the system, during which another thread takes the interpreter, and urllib3
    does so for each request anew. So it is done only where the timeout has come to be wrong.
    """

    _timeout_s = 0.0

    def settimeout(self, _value: float | None) -> None:
        remaining = _remaining_s()
        if not remaining <= self._timeout_s <= remaining * (1 + 2 * SLACK):
            self._timeout_s = remaining * (1 + SLACK)
            super().settimeout(self._timeout_s)


class _Socket(_Bounded):
    """A socket whose reads and writes end with the attempt: a byte now and then gains no time."""

    def recv_into(self, *args: Any, **options: Any) -> int:
        self.settimeout(None)
        return super().recv_into(*args, **options)

    def sendall(self, *args: Any, **options: Any) -> None:
        self.settimeout(None)
        super().sendall(*args, **options)


class _TlsSocket(ssl.SSLSocket, _Bounded):
    """The same for an encrypted one."""

    def recv_into(self, *args: Any, **options: Any) -> int:
        self.settimeout(None)
        return super().recv_into(*args, **options)

    def send(self, *args: Any, **options: Any) -> int:
        self.settimeout(None)
        return super().send(*args, **options)


def _connect(host: str, port: int) -> _Socket:
    """Connect to the first address of a host that takes us; all of them together have what the attempt has left."""
    failed: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = _Socket(family, kind, protocol)
        try:
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.connect(address)
        except OSError as error:
            connection.close()
            failed = error
        else:
            return connection
    raise failed or OSError("the name has no address")


class _OneWrite(http.client.HTTPConnection):
    """Sends a request's head together with its body: one packet, and one wait, in the place of two."""

    #: The head, while it waits for the body; None where there is none to wait for.
    _head: bytes | None = None

    def request(self, method: str, url: str, body: Any = None, *args: Any, **options: Any) -> None:
        self._head = b"" if body else None
        super().request(method, url, body, *args, **options)

    def send(self, data: Any) -> None:
        if self._head == b"":
            self._head = data
            return
        head, self._head = self._head or b"", None
        super().send(head + data)

    def connect(self) -> None:
        super().connect()
        _attempt.keep(self.sock)


class _Connection(_OneWrite, urllib3.connection.HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self._dns_host, self.port)


class _TlsConnection(_OneWrite, urllib3.connection.HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self._dns_host, self.port)


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(requests.adapters.HTTPAdapter):
    """Makes one pool of kept-alive connections, over our own sockets, through the proxy where there is one."""

    def __init__(self, url: str, *, size: int, context: ssl.SSLContext | None, proxy: str | None) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=size, max_retries=0)
        # The context verifies certificate and host name: what the base class would make of a `verify` is never asked.
        manager = self.proxy_manager_for(proxy, ssl_context=context) if proxy else self.poolmanager
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        #: What is sent goes in here: a Session's and an adapter's work on each request costs a third of the rate.
        self.pool = manager.connection_from_url(url)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)


def make_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """Return what verifies the backend: by the CAs of the bundle, else by the system's and those of requests."""
    context = ssl.create_default_context(cafile=None if ca_bundle is None else str(ca_bundle))
    if ca_bundle is None:
        context.load_verify_locations(requests.utils.DEFAULT_CA_BUNDLE_PATH)
    context.sslsocket_class = _TlsSocket
    return context


class Sender:
    """Sends requests to one backend. Safe to use from several threads.

    Redirects are not followed, cookies not kept, the environment's proxies not used, and nothing is sent twice.
    """

    def __init__(
        self,
        *,
        url: str,
        token: str,
        tenant_id: str,
        timeout_s: float,
        concurrency: int,
        ca_bundle: Path | None = None,
        proxy: str | None = None,
        signing_keys: Sequence[str] = (),
        version: str,
    ) -> None:
        """Take the backend's URL without a trailing slash; `timeout_s` bounds one request as a whole, in seconds."""
        self._timeout_s = timeout_s
        self._timeout = urllib3.Timeout(timeout_s)
        self._retries = urllib3.Retry(total=False, redirect=False)
        self._keys = [signing.parse_key(key) for key in signing_keys]
        parts = urlsplit(url)
        # A proxy is told the whole URL, unless it only tunnels TLS.
        self._base = url if proxy and parts.scheme == "http" else parts.path
        self._masked = {token, json.dumps(token)[1:-1]}
        context = make_context(ca_bundle) if parts.scheme == "https" else None
        self._adapter = _Adapter(url, size=concurrency, context=context, proxy=proxy)
        self._headers: dict[str, str | bytes] = {
            "Accept-Encoding": "identity",
            "User-Agent": f"moodle-relay/{version}",
            "X-Moodle-Token": token.encode(),
            "X-Tenant-ID": tenant_id.encode(),
        }
        self._live: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._is_aborted = False

    def post(self, event_type: str, event_id: str, body: bytes, now: float) -> Outcome:
        """Send an event in an attempt that begins `now` (unix seconds), and say what came of it."""
        timestamp = int(now)
        headers = {
            **self._headers,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "X-Event-ID": event_id,
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
        }
        if self._keys:
            headers["webhook-signature"] = signing.signatures(self._keys, event_id, timestamp, body)
        answer = self._send("POST", f"{self._base}{EVENT_PATH}{event_type}", headers, body)
        if answer.http_code is None:
            return Outcome(error=answer.error, error_kind=answer.error_kind, duration_ms=answer.duration_ms)
        return Outcome(
            http_code=answer.http_code,
            answer=self._shown(answer),
            retry_after_s=parse_retry_after(answer.headers.get("retry-after"), now + answer.duration_ms / 1000),
            duplicate=_is_duplicate(answer),
            duration_ms=answer.duration_ms,
        )

    def get(self, path: str, params: Mapping[str, str]) -> Answer:
        """Ask the backend for something."""
        query = f"?{urlencode(params)}" if params else ""
        return self._send("GET", f"{self._base}{path}{query}", self._headers, None)

    def abort(self) -> None:
        """Break off what is under way, and send nothing more."""
        self._is_aborted = True
        with self._lock:
            live = list(self._live)
        for connection in live:
            try:
                # On the socket below TLS: it may be in use by another thread.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue

    def keep(self, connection: Any) -> None:
        """Note a new connection for `abort`. Raises OSError where that has been called."""
        with self._lock:
            self._live.add(connection)
        if self._is_aborted:
            raise ConnectionAbortedError

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._adapter.close()

    def _send(self, method: str, target: str, headers: Mapping[str, str | bytes], body: bytes | None) -> Answer:
        began_at = time.monotonic()
        _attempt.sender, _attempt.ends_at = self, began_at + self._timeout_s
        answer = _failed("stopped") if self._is_aborted else self._answered(method, target, headers, body)
        if answer.http_code is None and self._is_aborted:
            answer = _failed("stopped")
        answer.duration_ms = round((time.monotonic() - began_at) * 1000)
        return answer

    def _answered(self, method: str, target: str, headers: Mapping[str, str | bytes], body: bytes | None) -> Answer:
        code: int | None = None
        try:
            response = self._adapter.pool.urlopen(
                method,
                target,
                body,
                headers,
                self._retries,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
            code = response.status
            read = _read(response) if code >= 200 else b""
            # A connection that has more to say is not used again; one that has not is back in the pool already.
            response.close()
        except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            return _explained(error, code)
        return Answer(http_code=code, headers=response.headers, body=read)

    def _shown(self, answer: Answer) -> str:
        """Return the beginning of the answer as text, without the token, should the backend repeat it."""
        encoding = answer.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity" and answer.body:
            return f"({len(answer.body)} bytes, encoded as {encoding[:20]})"
        text = answer.body.decode("utf-8", "replace")
        for form in self._masked:
            text = text.replace(form, MASK)
        return text[:ANSWER_KEPT].replace("\0", "")


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    """Return a body up to the most that is read, as it was sent: one that unpacks to gigabytes is not unpacked."""
    body = b""
    while len(body) < ANSWER_MOST and (piece := response.read(ANSWER_MOST - len(body), decode_content=False)):
        body += piece
    return body


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return a Retry-After (RFC 9110, section 10.2.3) in seconds from now, 0 to a day; None if it is none."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:20]), RETRY_AFTER_MOST))
    try:
        seconds = parsedate_to_datetime(value).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_MOST)


def _is_duplicate(answer: Answer) -> bool:
    """Say whether an answer is `{"status": "duplicate"}`, with whatever else beside it."""
    if answer.http_code is None or not 200 <= answer.http_code < 300 or b"duplicate" not in answer.body:
        return False
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("status") == "duplicate"


def _failed(kind: str, detail: str = "") -> Answer:
    sentence = SENTENCES[kind]
    return Answer(error=f"{sentence}: {detail}" if detail else sentence, error_kind=kind)


def _explained(error: BaseException, code: int | None) -> Answer:
    """Return our own words for a network error: the library's could quote the URL or what came back."""
    found = list(_chain(error))
    if code is not None and not any(isinstance(one, TimeoutError) for one in found):
        return _failed("reset", f"it had begun with status {code}")
    for kind, types in KINDS:
        match = next((one for one in found if isinstance(one, types)), None)
        if match is not None:
            return _failed(kind, _detail(match))
    if any("Tunnel connection failed" in str(one) for one in found):
        return _failed("proxy")
    return _failed("unreachable" if any(isinstance(one, OSError) for one in found) else "protocol")


#: Which error is which kind; the first that fits counts.
KINDS: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
    ("proxy", (urllib3.exceptions.ProxyError,)),
    ("timeout", (TimeoutError, urllib3.exceptions.TimeoutError)),
    ("dns", (socket.gaierror, UnicodeError)),
    ("tls", (ssl.SSLError,)),
    ("refused", (ConnectionRefusedError,)),
    ("reset", (http.client.RemoteDisconnected, ConnectionError, http.client.IncompleteRead)),
    ("protocol", (http.client.HTTPException, urllib3.exceptions.InvalidHeader)),
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it wraps, in whichever way."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
        waiting += [deeper for deeper in inner if isinstance(deeper, BaseException)]


def _detail(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message).rstrip(".")
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "").replace("_", " ").lower()
    return ""
