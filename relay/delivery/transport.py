"""One request over the network, which ends in time: kept connections, addresses, sockets, TLS, the proxy.

It serves `sender`, and is the only module that imports requests and urllib3. urllib3's own timeouts begin anew with
each read, so the sockets here ask for the attempt's end instead. For this, and for the rate, more is used of urllib3
than its manual promises; a new release of it is tried against tests/delivery/test_sender.py:

- `HTTPConnection._new_conn` (overridden): it makes the socket; ours is one whose timeouts are the attempt's.
- `HTTPConnection._dns_host` (read): the host to connect to, with the dot at its end where there is one.
- `HTTPConnection.send` (overridden, of http.client): the head of a request comes in one call, its body in the next.
- `PoolManager.pool_classes_by_scheme` (set), `HTTPConnectionPool.ConnectionCls` (set): which classes are made.
- `HTTPConnectionPool.urlopen` (called, without a Session or PoolManager around it), as `requests.HTTPAdapter` does.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests.adapters
import requests.utils
import urllib3
import urllib3.connection
import urllib3.connectionpool
import urllib3.exceptions

from relay.delivery.answer import Answer, explained, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

#: At most this much of an answer is read, in bytes.
ANSWER_MOST = 64 * 1024
#: By which share an attempt may last longer than it should.
SLACK = 0.005
#: Which error is which kind of answer.SENTENCES; the first that fits counts.
ERROR_KINDS: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
    ("proxy", (urllib3.exceptions.ProxyError,)),
    ("timeout", (TimeoutError, urllib3.exceptions.TimeoutError)),
    ("dns", (socket.gaierror, UnicodeError)),
    ("tls", (ssl.SSLError,)),
    ("refused", (ConnectionRefusedError,)),
    ("reset", (http.client.RemoteDisconnected, ConnectionError, http.client.IncompleteRead)),
    ("protocol", (http.client.HTTPException, urllib3.exceptions.InvalidHeader)),
)


class _Attempt(threading.local):
    """The attempt of this thread: the sockets below ask for its end before each read and write."""

    #: Whose attempt it is.
    transport: Transport | None = None
    #: By the transport's monotonic clock, in seconds.
    ends_at = 0.0

    def remaining_s(self) -> float:
        """Return how many seconds the attempt has left. Raises TimeoutError where it has none."""
        remaining = 0.0 if self.transport is None else self.ends_at - self.transport.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining

    def keep(self, connection: Any) -> None:
        """Note a new connection, so that it can be broken off."""
        if self.transport is not None:
            self.transport.keep(connection)


_attempt = _Attempt()


class _Bounded(socket.socket):
    """A socket whose timeout is what the attempt has left, whatever timeout urllib3 asks for.

    urllib3 sets the timeout anew for each request. That is a system call, for which Python lets go of the GIL, so that
    another thread takes it: the call is made only where the timeout that is set differs from what is left.
    """

    _timeout_s = 0.0

    def settimeout(self, _value: float | None) -> None:
        remaining = _attempt.remaining_s()
        if not remaining <= self._timeout_s <= remaining * (1 + 2 * SLACK):
            self._timeout_s = remaining * (1 + SLACK)
            super().settimeout(self._timeout_s)


class _Socket(_Bounded):
    """A plain one. Each read and write sets the timeout: a backend that sends a byte now and then gains no time."""

    def recv_into(self, *args: Any, **options: Any) -> int:
        self.settimeout(None)
        return super().recv_into(*args, **options)

    def sendall(self, *args: Any, **options: Any) -> None:
        self.settimeout(None)
        super().sendall(*args, **options)


class _TlsSocket(ssl.SSLSocket, _Bounded):
    """The same, encrypted."""

    def recv_into(self, *args: Any, **options: Any) -> int:
        self.settimeout(None)
        return super().recv_into(*args, **options)

    def send(self, *args: Any, **options: Any) -> int:
        self.settimeout(None)
        return super().send(*args, **options)


def _connect(host: str, port: int) -> _Socket:
    """Connect to the first address of a host that takes us; all of them share the time that the attempt has left."""
    last_error: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = _Socket(family, kind, protocol)
        try:
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.connect(address)
        except OSError as error:
            connection.close()
            last_error = error
        else:
            return connection
    raise last_error or OSError("the name has no address")


class _OneWrite(http.client.HTTPConnection):
    """Sends a request's head together with its body: one packet, and one wait, in the place of two."""

    #: The head while it waits for the body; b'' while the head is to come, None where it is not to wait.
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
        #: Requests are sent by this pool: what a Session and an adapter do for each one costs a third of the rate.
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


class Transport:
    """Connections to one backend. Safe to use from several threads.

    Redirects are not followed, cookies not kept, the environment's proxies not used, and nothing is sent twice.
    """

    def __init__(
        self,
        *,
        url: str,
        timeout_s: float,
        connections: int,
        monotonic: Callable[[], float],
        ca_bundle: Path | None = None,
        proxy: str | None = None,
    ) -> None:
        """Take the backend's URL without a trailing slash, and how many connections are kept alive at the most.

        `timeout_s` bounds one request as a whole, in seconds of the clock `monotonic`.
        """
        #: Gives seconds that never go back.
        self.monotonic = monotonic
        self._timeout_s = timeout_s
        self._timeout = urllib3.Timeout(timeout_s)
        self._retries = urllib3.Retry(total=False, redirect=False)
        parts = urlsplit(url)
        # A proxy is told the whole URL, unless it only tunnels TLS.
        self._base = url if proxy and parts.scheme == "http" else parts.path
        context = make_context(ca_bundle) if parts.scheme == "https" else None
        self._adapter = _Adapter(url, size=connections, context=context, proxy=proxy)
        self._live: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._is_aborted = False

    def send(self, method: str, path: str, headers: Mapping[str, str | bytes], body: bytes | None) -> Answer:
        """Send a request to a path below the backend's URL; a network error is an answer without a code."""
        began_at = self.monotonic()
        _attempt.transport, _attempt.ends_at = self, began_at + self._timeout_s
        answer = failed("stopped") if self._is_aborted else self._answer(method, path, headers, body)
        if answer.http_code is None and self._is_aborted:
            answer = failed("stopped")
        return replace(answer, duration_ms=round((self.monotonic() - began_at) * 1000))

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

    def _answer(self, method: str, path: str, headers: Mapping[str, str | bytes], body: bytes | None) -> Answer:
        code: int | None = None
        try:
            response = self._adapter.pool.urlopen(
                method,
                f"{self._base}{path}",
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
            # A 1xx that is taken for the answer (101, 103) has no body: what follows is another answer.
            read = _read(response) if code >= 200 else b""
            # Closes a connection that has more to say; one that has not is back in the pool already.
            response.close()
        except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            return explained(error, code, ERROR_KINDS)
        return Answer(http_code=code, headers=response.headers, body=read)


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    """Return a body up to the most that is read, as it was sent: one that unpacks to gigabytes is not unpacked."""
    body = b""
    while len(body) < ANSWER_MOST and (piece := response.read(ANSWER_MOST - len(body), decode_content=False)):
        body += piece
    return body
