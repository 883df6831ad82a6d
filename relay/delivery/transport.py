"""One request over the network, which ends in time: kept connections, addresses, sockets, TLS, the proxy.

It serves `sender`, and is the only module that imports requests and urllib3. These make the connections, with TLS and
the proxy. They are kept here, requests are written in `rules.request` and answers read in `head`: that takes a third of
the time that urllib3 does. urllib3's own timeouts begin anew with each read, so relay's sockets ask for the attempt's
end instead. For all this more is used of urllib3 than its manual promises; try a new release against
tests/delivery/test_sender.py:

- `HTTPConnection._new_conn` (overridden): it makes the socket; ours is one whose timeouts are the attempt's.
- `HTTPConnection._dns_host` (read): the host to connect to, with the dot at its end where there is one.
- `HTTPConnection.proxy`, `has_connected_to_proxy`, `connect`, `close`, `sock` (used).
- `PoolManager.pool_classes_by_scheme` (set), `HTTPConnectionPool.ConnectionCls` (set): which classes are made.
- `HTTPConnectionPool._new_conn`, `_prepare_proxy` and `proxy_headers` (used), as its `urlopen` does.
- `HTTPConnection.response_class` (set), `HTTPResponse.begin` and `_read_status` (overridden), `_check_close` and
  `_method` (used), of http.client: heads of answers, in `head`.
"""

from __future__ import annotations

import http.client
import math
import re
import select
import socket
import ssl
import threading
import weakref
from typing import TYPE_CHECKING, Any

import requests.adapters
import requests.utils
import urllib3
import urllib3.connection
import urllib3.connectionpool
import urllib3.exceptions
import urllib3.util

from relay.config.tls import trusting
from relay.delivery.answer import Answer, explained, failed
from relay.delivery.connect import Connector
from relay.delivery.head import Incoming, Response
from relay.delivery.sockets import PlainSocket, TlsSocket, attempt
from relay.errors import RelayError
from relay.rules import request
from relay.rules.retry import VERDICTS, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from relay.rules.request import Fields

#: The oldest urllib3 that is used, as pyproject.toml declares it.
URLLIB3_LEAST = (2, 0, 2)
#: A connection that is older is not used for another request, in seconds: the backend's name may lead elsewhere by now.
CONNECTION_MOST_S = 60.0
#: A failed answer ends all connections that were made before it, but no more often than this, in seconds.
RENEW_S = 5.0
#: The port that is not said in a request.
PORTS = {"http": 80, "https": 443}
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


class _Aged(http.client.HTTPConnection):
    """A connection that knows how old it is, and where it leads to."""

    #: http.client uses it for what a proxy says to CONNECT.
    response_class = Response
    #: When it was made, by the transport's monotonic clock, and the address that it leads to.
    made_at = -math.inf
    address: Any = None
    #: Says whether the backend has sent something that was not asked for, or hung up.
    _poll: select.poll | None = None

    @property
    def is_usable(self) -> bool:
        """Whether it may carry another request."""
        return self._poll is not None and not self._poll.poll(0) and attempt.is_fresh(self.made_at)

    def connect(self) -> None:
        super().connect()
        attempt.keep(self.sock)
        self._poll = select.poll()
        self._poll.register(self.sock, select.POLLIN)

    def close(self) -> None:
        self._poll = None
        super().close()

    def connected(self, host: str, port: int) -> socket.socket:
        """Return a socket that is connected to the host. Raises OSError."""
        attempt.connection, self.address = self, None
        connection, self.address, self.made_at = attempt.connected(host, port)
        return connection


class _Connection(_Aged, urllib3.connection.HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return self.connected(self._dns_host, self.port)


class _TlsConnection(_Aged, urllib3.connection.HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return self.connected(self._dns_host, self.port)


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
        #: Makes connections. It keeps none: its queue costs a request about as much as signing it.
        self.pool: Any = manager.connection_from_url(url)
        self._size = size
        #: Those that no request has; the last one that was used is the first to be used again.
        self._idle: list[Any] = []
        self._is_closed = False
        #: Each connection through the proxy is to the backend itself: it is made by a CONNECT.
        self.tunnels = proxy is not None and context is not None

    def take(self) -> Any:
        """Return a connection that may carry a request. Raises OSError, HTTPException, and urllib3's HTTPError."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.pool._new_conn()  # noqa: SLF001 -- as urllib3's urlopen does, see above
        attempt.connection = connection
        if connection.is_usable:
            return connection
        connection.close()
        try:
            if self.tunnels:
                self.pool._prepare_proxy(connection)  # noqa: SLF001 -- see above
            else:
                connection.connect()
        except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            is_of_proxy = connection.proxy and not connection.has_connected_to_proxy
            self.put(connection, is_usable=False)
            if is_of_proxy:
                raise urllib3.exceptions.ProxyError("no connection to the proxy", error) from error
            raise
        return connection

    def put(self, connection: Any, *, is_usable: bool) -> None:
        """Keep a connection for another request, or end it."""
        if is_usable and len(self._idle) < self._size and not self._is_closed:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """End the connections that are kept."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()
        super().close()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)


def make_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """Return what verifies the backend: by the CAs of the bundle, else by the system's and those of requests."""
    context = trusting(ca_bundle)
    if ca_bundle is None:
        context.load_verify_locations(requests.utils.DEFAULT_CA_BUNDLE_PATH)
    context.sslsocket_class = TlsSocket
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
        resolve: Callable[..., Sequence[Any]] | None = None,
    ) -> None:
        """Take the backend's URL without a trailing slash, and how many connections are kept alive at the most.

        `timeout_s` bounds one request as a whole, in seconds of the clock `monotonic`. `resolve` stands in for
        `socket.getaddrinfo`. Raises RelayError where the installed urllib3 is too old.
        """
        _check_library()
        #: Gives seconds that never go back.
        self.monotonic = monotonic
        self._timeout_s = timeout_s
        parts = urllib3.util.parse_url(url)
        context = make_context(ca_bundle) if parts.scheme == "https" else None
        self._adapter = _Adapter(url, size=connections, context=context, proxy=proxy)
        authority = _authority(parts)
        self._host, self._base = authority, parts.path or ""
        #: What a proxy wants to know with each request: the whole URL, and who asks. One that tunnels has been told so.
        self._proxy_headers: Fields = ()
        if proxy and context is None:
            self._base = f"http://{authority}{self._base}"
            self._proxy_headers = tuple(self._adapter.pool.proxy_headers.items())
        #: Makes the connections.
        self.connector = Connector(make_socket=PlainSocket, resolve=resolve, monotonic=monotonic)
        #: Connections that were made before this moment are not used for another request.
        self._renewed_at = -math.inf
        self._live: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()
        #: Nothing more is to be sent.
        self.is_aborted = False

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, caller: Fields = ()
    ) -> Answer:
        """Send a request to a path below the backend's URL; a network error is an answer without a code.

        The headers of `caller` come before the others, and are those of many requests.
        """
        began_at = self.monotonic()
        attempt.transport, attempt.ends_at, attempt.connection = self, began_at + self._timeout_s, None
        answer = failed("stopped") if self.is_aborted else self._answer(began_at, method, path, headers, body, caller)
        if answer.http_code is None and self.is_aborted:
            answer = failed("stopped")
        if _is_failed(answer.http_code):
            self._renew()
        return answer._replace(duration_ms=self._ms_since(began_at)) if answer.http_code is None else answer

    def abort(self) -> None:
        """Break off what is under way, and send nothing more."""
        self.is_aborted = True
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
        if self.is_aborted:
            raise ConnectionAbortedError

    def is_fresh(self, made_at: float) -> bool:
        """Say whether a connection that was made at a time (by `monotonic`) may carry another request."""
        return made_at >= self._renewed_at and self.monotonic() - made_at < CONNECTION_MOST_S

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._adapter.close()

    def _renew(self) -> None:
        """Look up the backend's name for the next request, and connect anew: what answered badly may be an old server.

        So do the other connections that are kept; not each time, as single events may fail beside many that don't.
        """
        now = self.monotonic()
        if attempt.connection is not None and attempt.connection.address is not None:
            attempt.connection.made_at = -math.inf
            self.connector.has_failed(attempt.connection.address)
        if now - self._renewed_at >= RENEW_S:
            self._renewed_at = now

    def _answer(
        self, began_at: float, method: str, path: str, headers: Mapping[str, str], body: bytes | None, caller: Fields
    ) -> Answer:
        try:
            begun = request.begun(method, self._base, path, self._host, caller + self._proxy_headers)
            asked = begun + request.rest(headers, body or b"")
            connection = self._adapter.take()
        except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            return explained(error, None, ERROR_KINDS)
        answer = Incoming(connection.sock, method)
        is_usable = False
        try:
            is_sent = _sent(connection.sock, asked)
            read = answer.read()
            is_usable = is_sent and answer.is_whole
        except (OSError, ValueError, http.client.HTTPException) as error:
            return explained(error, answer.code, ERROR_KINDS)
        finally:
            self._adapter.put(connection, is_usable=is_usable)
        return Answer(http_code=answer.code, headers=answer.fields, body=read, duration_ms=self._ms_since(began_at))

    def _ms_since(self, began_at: float) -> int:
        return round((self.monotonic() - began_at) * 1000)


def _sent(connection: socket.socket, request: bytes) -> bool:
    """Send a request; say whether all of it went: a backend may answer and hang up before. Raises OSError."""
    try:
        connection.sendall(request)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _authority(parts: urllib3.util.Url) -> str:
    """Return the host, and the port where it is not the scheme's own, as they stand in a request (RFC 9110, 7.2)."""
    # A dot at the end is for the resolver, a zone (RFC 6874) for this machine.
    host = re.sub("%.*\\]", "]", parts.host or "").rstrip(".")
    return host if parts.port in (None, PORTS[parts.scheme or "http"]) else f"{host}:{parts.port}"


def _is_failed(code: int | None) -> bool:
    """Say whether an answer, or None for none, may be that of a server that is not the backend any more."""
    if code is None:
        return True
    # Who refuses one event for what is in it, or asks for fewer of them (429), is well.
    return not (200 <= code < 300 or code == 429 or VERDICTS.get(code) is Verdict.REFUSED)


def _check_library() -> None:
    """Raise RelayError where the installed urllib3 is too old: it takes an answer that breaks off for a whole one."""
    installed = urllib3.__version__  # type: ignore[attr-defined] # it is not declared, but always there
    found = tuple(int(number) for number in re.findall(r"\d+", installed)[:3])
    if found < URLLIB3_LEAST:
        least = ".".join(map(str, URLLIB3_LEAST))
        raise RelayError(
            f"urllib3 {installed} is installed, which relay cannot deliver with: it needs {least} or later.",
            hint=f"pip install 'urllib3>={least},<3', in the environment that relay runs in.",
        )
