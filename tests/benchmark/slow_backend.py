"""A backend that answers after a while, and stamps what arrives: `python slow_backend.py SECONDS` prints its port.

A GET returns the stamps as JSON. It parses no more of HTTP than it must, so that it is not what limits a measurement.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
USER = re.compile(rb'"userid": *(\d+)')
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class Stamps:
    """What has arrived, and how long answers really took."""

    def __init__(self) -> None:
        #: When each request had arrived (unix seconds), and its body.
        self.arrived: list[tuple[float, bytes]] = []
        self.held_s = 0.0
        self.answered = 0

    def dump(self) -> bytes:
        """Return them as JSON."""
        arrivals = [(at, int(found[1]) if (found := USER.search(body)) else 0) for at, body in self.arrived]
        return json.dumps({"arrivals": arrivals, "latency_s": self.held_s / max(1, self.answered)}).encode()


class Connection(asyncio.Protocol):
    """One connection, kept alive; a request is answered before the next one comes."""

    transport: asyncio.Transport

    def __init__(self, stamps: Stamps, latency_s: float) -> None:
        self._stamps = stamps
        self._latency_s = latency_s
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or len(body) < int(length[1] if length else 0):
            return
        self._received = b""
        if head.startswith(b"GET "):
            dump = self._stamps.dump()
            self.transport.write(ANSWER % (len(dump), dump))
            return
        self._stamps.arrived.append((time.time(), body))
        asyncio.get_running_loop().call_later(self._latency_s, self._answer, time.monotonic())

    def _answer(self, arrived_at: float) -> None:
        self._stamps.held_s += time.monotonic() - arrived_at
        self._stamps.answered += 1
        self.transport.write(ANSWER % (2, b"{}"))


async def serve(latency_s: float) -> None:
    """Serve for ever on a free port."""
    stamps = Stamps()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(stamps, latency_s), "127.0.0.1", 0, backlog=512
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
