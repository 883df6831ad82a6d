"""Reads an answer from a socket: the status, the header fields, and the beginning of the body.

It serves `transport`. http.client has each head parsed as an e-mail, which took half of the time of a request. An
answer that is written as RFC 9112 wants it, with a Content-Length, is read here at once; any other one is left to
http.client, so that both always say the same.
"""

from __future__ import annotations

import http.client
import io
import re
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from _typeshed import WriteableBuffer

#: At most this much of a body is read, in bytes.
BODY_MOST = 64 * 1024
#: How much is asked of the socket at once, in bytes.
READ_MOST = 16 * 1024
#: After more 1xx answers than this the answer is taken for none.
INTERIM_MOST = 20
#: The longest line of a head, in bytes, and the most lines: what http.client allows.
LINE_MOST = 65536
LINES_MOST = 100
#: Field lines of a token, a colon and visible text, up to the empty line (RFC 9112, section 5; RFC 9110, section 5.5).
#: No line is folded, and none ends with a space: those are read differently here and there.
_FIELDS = rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*(?<![\t ])\r\n)*\r\n"
_PLAIN = re.compile(_FIELDS)
#: A whole head of a final answer (RFC 9112, section 4).
_HEAD = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) [\t -~\x80-\xff]*\r\n(" + _FIELDS + rb")")
#: A field line of those.
_FIELD = re.compile(r"([^:]+):[\t ]*([^\r]*)\r\n")
_LENGTH = re.compile(r"[0-9]{1,5}", re.ASCII)
#: Answers with these codes have no body, whatever their Content-Length is (RFC 9112, section 6.3).
_NO_BODY = (204, 304)


class Socket(Protocol):
    """What is asked of a socket."""

    def recv(self, size: int, /) -> bytes:
        """Return some bytes, `size` at most, and none where there is no more to come."""


class Incoming:
    """The answer to a request that has been sent. `read` is called once."""

    #: The status code; None before the head has been read.
    code: int | None = None
    #: The header fields, their names in lower case; what comes several times is joined by commas.
    fields: Mapping[str, str]
    #: All of the answer has been read and nothing besides: the connection may carry another request.
    is_whole = False

    def __init__(self, source: Socket, method: str) -> None:
        self._source = source
        self._method = method
        self.fields = {}

    def read(self) -> bytes:
        """Read the answer; return its body, or as much of it as is read at the most, as it was sent.

        Raises HTTPException for what is no HTTP, or breaks off, and OSError.
        """
        data = self._source.recv(READ_MOST)
        if not data:
            raise http.client.RemoteDisconnected("no answer")
        begun = common(data)
        if begun is None or self._method == "HEAD":
            return self._read_uncommon(data)
        self.code, self.fields, start, length = begun
        body = bytearray(data[start:])
        while len(body) < length:
            piece = self._source.recv(length - len(body))
            if not piece:
                raise http.client.IncompleteRead(bytes(body), length - len(body))
            body += piece
        self.is_whole = len(body) == length
        return bytes(body[:length])

    def _read_uncommon(self, begun: bytes) -> bytes:
        source = _Begun(begun, self._source)
        file = _File(source)
        response = Response(file, method=self._method)  # type: ignore[arg-type] # of a socket, makefile is all it uses
        response.begin()
        fields = _joined(response.msg.items())
        lengths = {length.strip() for length in fields.get("content-length", "").split(",")}
        if len(lengths) > 1 and not response.chunked:
            raise http.client.HTTPException("two lengths of one body")
        self.code, self.fields = response.status, fields
        # A 101 has no body: what follows is of another protocol.
        if self.code < 200:
            return b""
        body = b""
        while len(body) < BODY_MOST and (piece := response.read(BODY_MOST - len(body))):
            body += piece
        if response.length and len(body) < BODY_MOST:
            raise http.client.IncompleteRead(body, response.length)
        source.is_over = True
        self.is_whole = response.isclosed() and not response.will_close and not file.peek(1)
        return body


def common(data: bytes) -> tuple[int, dict[str, str], int, int] | None:
    """Read the head at the beginning of `data`: the code, the fields, where the body begins, and how long that is.

    Returns None for a head that is not complete, or that http.client is to read.
    """
    found = _HEAD.match(data)
    if found is None:
        return None
    code = int(found[1])
    pairs = _FIELD.findall(found[2].decode("iso-8859-1"))
    fields = _joined(pairs)
    length = fields.get("content-length", "")
    if code in _NO_BODY or len(pairs) >= LINES_MOST or not _LENGTH.fullmatch(length) or int(length) > BODY_MOST:
        return None
    if "transfer-encoding" in fields or fields.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    return code, fields, found.end(), int(length)


def _joined(fields: Collection[tuple[str, str]]) -> dict[str, str]:
    """Return fields by their names in lower case; those of one name are joined (RFC 9110, section 5.3)."""
    found = {name.lower(): value for name, value in fields}
    if len(found) == len(fields):
        return found
    found = {}
    for name, value in fields:
        lower = name.lower()
        found[lower] = f"{found[lower]}, {value}" if lower in found else value
    return found


class _Begun(io.RawIOBase):
    """A socket of which some has been read already."""

    #: Nothing more is to be read from the socket.
    is_over = False

    def __init__(self, begun: bytes, source: Socket) -> None:
        self._begun = begun
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        size = len(memoryview(buffer))
        piece = self._begun[:size] if self._begun or self.is_over else self._source.recv(size)
        self._begun = self._begun[size:]
        memoryview(buffer)[: len(piece)] = piece
        return len(piece)


class _File(io.BufferedReader):
    """What http.client reads an answer from. It closes it behind the answer: what is left is looked at after that."""

    def makefile(self, _mode: str) -> _File:
        return self

    def close(self) -> None:
        """Stay open."""


class Response(http.client.HTTPResponse):
    """Reads on until the final answer: a 1xx comes before it and says nothing of it (RFC 9110, section 15.2).

    Except for 101: nobody asked for another protocol, so nothing that relay can read comes after it.
    """

    def begin(self) -> None:
        """Read up to the body. Raises HTTPException for what is no HTTP, and OSError."""
        if self.headers is not None:
            return
        version, status, reason = self._read_status()
        if not version.startswith(("HTTP/1.", "HTTP/0.9")):
            raise http.client.UnknownProtocol(version)
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.headers = self.msg = read_fields(self.fp)
        # How long the body is: RFC 9112, section 6.3.
        self.chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.will_close = self._check_close()
        self.length = None if self.chunked else _length(self.headers.get("content-length", ""))
        if status in (204, 304) or 100 <= status < 200 or self._method == "HEAD":
            self.length = 0
        if self.length is None and not self.chunked:
            self.will_close = True

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(INTERIM_MOST + 1):
            found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc] # of http.client, see transport
            if not 100 <= found[1] < 200 or found[1] == 101:
                return found
            read_fields(self.fp)
        raise http.client.HTTPException("no end of 1xx answers")


def read_fields(file: IO[bytes]) -> http.client.HTTPMessage:
    """Read the header fields, and the empty line behind them. Raises HTTPException where there is no end of them."""
    lines = []
    while True:
        line = file.readline(LINE_MOST + 1)
        if len(line) > LINE_MOST:
            raise http.client.LineTooLong("header line")
        lines.append(line)
        if len(lines) > LINES_MOST:
            raise http.client.HTTPException("too many header fields")
        if line in (b"\r\n", b"\n", b""):
            break
    head = b"".join(lines)
    if not _PLAIN.fullmatch(head):
        return http.client.parse_headers(io.BytesIO(head))
    fields = http.client.HTTPMessage()
    for name, value in _FIELD.findall(head.decode("iso-8859-1")):
        fields[name] = value
    return fields


def _length(text: str) -> int | None:
    try:
        length = int(text)
    except ValueError:
        return None
    return length if length >= 0 else None
