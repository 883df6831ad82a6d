"""Reads an answer up to its body: the status line and the header fields, in a fraction of the standard library's time.

It serves `transport`. http.client has each head parsed as an e-mail, which took half of the time of a request. A head
that is written as RFC 9112 wants it is read here; any other one is left to the standard library, so that both always
say the same.
"""

from __future__ import annotations

import http.client
import io
import re
from typing import IO

#: After more 1xx answers than this the answer is taken for none.
INTERIM_MOST = 20
#: The longest line of a head, in bytes, and the most lines: what http.client allows.
LINE_MOST = 65536
LINES_MOST = 100
#: Field lines of a token, a colon and visible text, up to the empty line (RFC 9112, section 5; RFC 9110, section 5.5).
#: No line is folded, and none ends with a space: those are read differently here and there.
_PLAIN = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*(?<![\t ])\r\n)*\r\n")


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
    for text in head.decode("iso-8859-1").split("\r\n")[:-2]:
        name, _, value = text.partition(":")
        fields[name] = value.lstrip("\t ")
    return fields


def _length(text: str) -> int | None:
    try:
        length = int(text)
    except ValueError:
        return None
    return length if length >= 0 else None
