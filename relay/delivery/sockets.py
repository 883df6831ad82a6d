"""Sockets that end with the attempt they serve, whatever timeouts urllib3 sets. It serves `transport`."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from relay.delivery.connect import Connector

#: By which share an attempt may last longer than it should.
SLACK = 0.005


class Owner(Protocol):
    """The transport that an attempt is made by."""

    @property
    def connector(self) -> Connector[PlainSocket]:
        """Makes the connections."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def keep(self, connection: Any) -> None:
        """Note a new connection, so that it can be broken off. Raises OSError where that has been asked for."""

    def is_fresh(self, made_at: float) -> bool:
        """Say whether a connection that was made at a time (by `monotonic`) may carry another request."""

    @property
    def is_aborted(self) -> bool:
        """Whether nothing more is to be sent."""


class Attempt(threading.local):
    """The attempt of this thread: the sockets below ask for its end before each read and write."""

    #: Whose attempt it is.
    transport: Owner | None = None
    #: By the transport's monotonic clock, in seconds.
    ends_at = 0.0
    #: The connection that was used last, an http.client.HTTPConnection; None before there is one.
    connection: Any = None

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

    def is_fresh(self, made_at: float) -> bool:
        """Say whether a connection that was made at a time may carry another request."""
        return self.transport is not None and self.transport.is_fresh(made_at)

    def connected(self, host: str, port: int) -> tuple[PlainSocket, Any, float]:
        """Return a socket that is connected to a host, the address, and what time it is. Raises OSError."""
        if self.transport is None:
            raise TimeoutError
        connection, address = self.transport.connector.connect(host, port, self._connecting_s)
        try:
            connection.settimeout(None)
        except TimeoutError:
            connection.close()
            raise
        return connection, address, self.transport.monotonic()

    def _connecting_s(self) -> float:
        if self.transport is not None and self.transport.is_aborted:
            raise ConnectionAbortedError
        return self.remaining_s()


attempt = Attempt()


class _Bounded(socket.socket):
    """A socket whose timeout is what the attempt has left, whatever timeout urllib3 asks for.

    urllib3 sets the timeout anew for each request. That is a system call, for which Python lets go of the GIL, so that
    another thread takes it: the call is made only where the timeout that is set differs from what is left.
    """

    _timeout_s = 0.0

    def settimeout(self, _value: float | None) -> None:
        """Set what is left of the attempt. Raises TimeoutError where nothing is."""
        remaining = attempt.remaining_s()
        if not remaining <= self._timeout_s <= remaining * (1 + 2 * SLACK):
            self._timeout_s = remaining * (1 + SLACK)
            self._limit(self._timeout_s)

    def _limit(self, seconds: float) -> None:
        """Let each read and write wait so long at the most."""
        super().settimeout(seconds)


class PlainSocket(_Bounded):
    """A plain one. Each read and write sets the timeout: a backend that sends a byte now and then gains no time.

    The system keeps the timeout (socket(7), SO_RCVTIMEO). Python's own is a call of poll(2) before each read and write,
    for which it lets go of the GIL once more.
    """

    def recv(self, *args: Any, **options: Any) -> bytes:
        """Read in the time that is left."""
        self.settimeout(None)
        try:
            return super().recv(*args, **options)
        except BlockingIOError:
            raise TimeoutError from None

    def recv_into(self, *args: Any, **options: Any) -> int:
        """Read in the time that is left."""
        self.settimeout(None)
        try:
            return super().recv_into(*args, **options)
        except BlockingIOError:
            raise TimeoutError from None

    def sendall(self, data: Any, *args: Any, **options: Any) -> None:
        """Write in the time that is left."""
        left = memoryview(data)
        while left:
            self.settimeout(None)
            try:
                left = left[super().send(left, *args, **options) :]
            except BlockingIOError:
                raise TimeoutError from None

    def _limit(self, seconds: float) -> None:
        self.setblocking(True)  # noqa: FBT003 -- the socket's own name for it
        whole = int(seconds)
        timeval = struct.pack("ll", whole, int((seconds - whole) * 1_000_000) or 1)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)


class TlsSocket(ssl.SSLSocket, _Bounded):
    """The same, encrypted."""

    def recv_into(self, *args: Any, **options: Any) -> int:
        """Read in the time that is left."""
        self.settimeout(None)
        return super().recv_into(*args, **options)

    def recv(self, *args: Any, **options: Any) -> bytes:
        """Read in the time that is left."""
        self.settimeout(None)
        return super().recv(*args, **options)

    def send(self, *args: Any, **options: Any) -> int:
        """Write in the time that is left."""
        self.settimeout(None)
        return super().send(*args, **options)
