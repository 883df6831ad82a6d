"""Connects to a host of several addresses, so that one that swallows packets costs a quarter of a second (RFC 8305).

It serves `transport`. RFC 8305 is also called Happy Eyeballs: where an address does not answer soon, the next one is
tried beside it, and the first connection that is made is used.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Socket = TypeVar("Socket", bound=socket.socket)

#: How long an address is waited for before the next one is tried too, in seconds (RFC 8305, section 5).
NEXT_AFTER_S = 0.25
#: How long an address that failed is tried after the others of its host, in seconds.
REMEMBERED_S = 600.0


class Connector(Generic[Socket]):
    """Looks up a host and connects to it, and remembers which addresses have failed. Safe to use from several threads.

    `resolve` has the parameters and the result of `socket.getaddrinfo`, `monotonic` gives seconds that never go back.
    """

    def __init__(
        self,
        *,
        make_socket: Callable[[int, int, int], Socket],
        resolve: Callable[..., Sequence[Any]] | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._make_socket = make_socket
        self._resolve = resolve
        self._monotonic = monotonic
        #: When an address last failed, by the monotonic clock.
        self._failed_at: dict[Any, float] = {}

    def connect(self, host: str, port: int, remaining_s: Callable[[], float]) -> tuple[Socket, Any]:
        """Return a connection that does not block, and the address that it leads to.

        `remaining_s` says how many seconds are left, and raises OSError where none are; it is asked again and again.
        Raises OSError.
        """
        resolve = self._resolve or socket.getaddrinfo
        waiting = deque(self._in_order(resolve(host, port, type=socket.SOCK_STREAM)))
        race = _Race(self._make_socket)
        try:
            while waiting or race.is_on:
                if waiting:
                    race.start(waiting.popleft())
                won = race.wait(min(NEXT_AFTER_S, remaining_s()))
                if won is not None:
                    return won
            raise race.error or OSError("the name has no address")
        finally:
            for address in race.end():
                self.has_failed(address)

    def has_failed(self, address: Any) -> None:
        """Try an address after the others of its host from now on: it did not connect, or answered badly."""
        now = self._monotonic()
        recent = {one: at for one, at in self._failed_at.items() if now - at < REMEMBERED_S}
        self._failed_at = {**recent, address: now}

    def _in_order(self, found: Sequence[Any]) -> list[Any]:
        """Return addresses in the resolver's order, those that failed last of all, the latest failure at the end."""
        now = self._monotonic()
        failed_at = {one: at for one, at in self._failed_at.items() if now - at < REMEMBERED_S}
        return sorted(found, key=lambda one: failed_at.get(one[4], float("-inf")))


class _Race(Generic[Socket]):
    """Connections that are being made, the first of which is used."""

    def __init__(self, make_socket: Callable[[int, int, int], Socket]) -> None:
        self._make_socket = make_socket
        self._poll = select.poll()
        #: By the file's number, in the order in which they were begun.
        self._open: dict[int, tuple[Socket, Any]] = {}
        #: The addresses that have not connected.
        self._failed: list[Any] = []
        #: Why the last of them did not.
        self.error: OSError | None = None

    @property
    def is_on(self) -> bool:
        """Whether any connection is being made."""
        return bool(self._open)

    def start(self, info: Any) -> None:
        """Begin to connect to an address, as `socket.getaddrinfo` describes it."""
        family, kind, protocol, _, address = info
        try:
            connection = self._make_socket(family, kind, protocol)
        except OSError as error:  # a machine without IPv6
            self._note(address, error)
            return
        number = connection.fileno()
        self._open[number] = (connection, address)
        try:
            connection.setblocking(False)  # noqa: FBT003 -- the socket's own name for it
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = connection.connect_ex(address)
        except OSError as error:
            code = error.errno or errno.EIO
        if code in (0, errno.EINPROGRESS):
            self._poll.register(number, select.POLLOUT)
        else:
            self._lose(number, code)

    def wait(self, seconds: float) -> tuple[Socket, Any] | None:
        """Wait until a connection is made, one fails, or the time is over; return the one that is made, if any."""
        if not self._open:
            return None
        # Rounded up: no wait ends just before its time, to begin anew.
        for number, _ in self._poll.poll(int(seconds * 1000) + 1):
            code = self._open[number][0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                return self._win(number)
            self._poll.unregister(number)
            self._lose(number, code)
        return None

    def end(self) -> Sequence[Any]:
        """Give up the connections that are still being made; return the addresses that have not connected."""
        for connection, address in self._open.values():
            connection.close()
            self._failed.append(address)
        self._open.clear()
        return self._failed

    def _win(self, number: int) -> tuple[Socket, Any]:
        numbers = list(self._open)
        won = self._open.pop(number)
        # Who began later than the winner has had no chance, and has not failed.
        for later in numbers[numbers.index(number) + 1 :]:
            self._open.pop(later)[0].close()
        return won

    def _lose(self, number: int, code: int) -> None:
        connection, address = self._open.pop(number)
        connection.close()
        self._note(address, OSError(code, os.strerror(code)))

    def _note(self, address: Any, error: OSError) -> None:
        self._failed.append(address)
        self.error = error
