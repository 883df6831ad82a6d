"""Heads of answers: what is read in the short way, and what is left to the standard library, say the same."""

from __future__ import annotations

import http.client
import io
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.delivery import head
from relay.delivery.head import Response, read_fields

NAMES = st.sampled_from(
    [
        b"Content-Length",
        b"content-length",
        b"Transfer-Encoding",
        b"Connection",
        b"Date",
        b"X-\xe9",
        b"A B",
        b"",
        b"From ",
    ]
)
VALUES = st.sampled_from(
    [
        b"5",
        b"-1",
        b"+5",
        b"1_0",
        b"chunked",
        b"Chunked",
        b"gzip, chunked",
        b"close",
        b"keep-alive",
        b"",
        b"a\xffb",
        b"\x0b",
    ]
) | st.binary(max_size=6)
COLONS = st.sampled_from([b":", b": ", b":\t ", b" :", b"", b"::"])
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b" \r\n", b"\r\n ", b"\r", b"\r\n\t"])
LINES = st.tuples(NAMES, COLONS, VALUES, ENDS).map(b"".join)
STATUS_LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 204\r\n",
        b"HTTP/1.1 304 x\r\n",
        b"HTTP/2 200\r\n",
        b"HTTP/0.9 200\r\n",
        b"x\r\n",
    ]
)


class Source:
    """A socket that has the bytes of an answer to give."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._answer)


def seen(kind: type[http.client.HTTPResponse], answer: bytes, method: str) -> Any:
    """Return all that is known of an answer when its head has been read, and what is left of it."""
    response = kind(Source(answer), method=method)  # type: ignore[arg-type] # of a socket, this is all that is used
    try:
        response.begin()
    except http.client.HTTPException as error:
        return type(error)
    framing = (response.length, response.chunked, response.will_close)
    return (
        (response.status, response.version, response.reason, *framing),
        (response.msg.items(), response.msg.get_all("date")),
        response.fp.read() if response.fp else None,
    )


@settings(max_examples=5 * settings().max_examples, deadline=None)
@given(
    STATUS_LINES, st.lists(LINES, max_size=5), st.sampled_from([b"\r\n", b"\n", b""]), st.sampled_from(["POST", "HEAD"])
)
@example(b"HTTP/1.1 200 OK\r\n", [b"Date: x\r\n", b"Content-Length: 5\r\n"], b"\r\n", "POST")
def test_whatever_comes_is_read_as_the_standard_library_reads_it(
    status_line: bytes, lines: list[bytes], end: bytes, method: str
) -> None:
    answer = b"".join([status_line, *lines, end, b"hello"])
    assert seen(Response, answer, method) == seen(http.client.HTTPResponse, answer, method)


def test_a_common_head_is_not_left_to_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(http.client, "parse_headers")
    fields = read_fields(
        io.BytesIO(b"Server: nginx/1.22.1\r\nContent-Length: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n")
    )
    assert fields.items() == [
        ("Server", "nginx/1.22.1"),
        ("Content-Length", "2"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
    ]


@pytest.mark.parametrize(
    "fields",
    [b"X: " + b"a" * head.LINE_MOST + b"\r\n", b"X: a\r\n" * (head.LINES_MOST + 1)],
    ids=["a long line", "many lines"],
)
def test_a_head_without_an_end_is_no_http(fields: bytes) -> None:
    with pytest.raises(http.client.HTTPException):
        read_fields(io.BytesIO(fields + b"\r\n"))
