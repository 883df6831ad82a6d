"""Answers: what is read in the short way, and what is left to the standard library, say the same."""

from __future__ import annotations

import http.client
import io
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.delivery import head
from relay.delivery.head import Incoming, Response, common, read_fields

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


# -- the short way


def fuzzed(chance: random.Random) -> bytes:
    """Return a head and a body: as servers write them, most of them with a mistake or two."""

    def one(usual: bytes, *unusual: bytes) -> bytes:
        return chance.choice(unusual) if chance.random() < 0.06 else usual

    status = one(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"http/1.1") + one(b" 200", b" 204", b" 304", b" 100", b" 2000")
    lines = [status + one(b" OK", b" ", b"", b" \xff", b" \x00")]
    for _ in range(chance.randrange(4)):
        name = chance.choice(
            [b"Content-Length", b"content-length", b"Connection", b"Date", b"X-\xe9", b"Transfer-Encoding"]
        )
        value = {b"Connection": b"keep-alive", b"Transfer-Encoding": b"chunked"}.get(name, b"5")
        value = one(value, b"0", b"05", b"+5", b"5, 5", b"70000", b"-1", b"gzip, chunked", b"close", b"x", b"")
        lines.append(
            name
            + one(b": ", b":", b":\t", b" : ", b"", b": ,")
            + value
            + one(b"", b" ", b"\t", b"\x0b", b"\r", b"\n y")
        )
    if chance.random() < 0.7:
        lines.append(b"Content-Length: 5")
    data = one(b"\r\n", b"\n", b"\r").join([*lines, b"", b"hello"])
    at = chance.randrange(len(data))
    return (
        data[:at] + bytes([chance.randrange(256)]) + data[at + chance.randrange(2) :] if chance.random() < 0.2 else data
    )


def test_a_head_that_is_read_in_the_short_way_is_read_as_the_standard_library_reads_it(*, is_full: bool) -> None:
    chance, short = random.Random(20_261_126), 0
    count = 100_000 if is_full else 5_000
    for _ in range(count):
        data = fuzzed(chance)
        found = common(data)
        if found is None:
            continue
        short += 1
        response = http.client.HTTPResponse(Source(data), method="POST")  # type: ignore[arg-type] # as above
        response.begin()
        joined: dict[str, list[str]] = {}
        for name, value in response.msg.items():
            joined.setdefault(name.lower(), []).append(value)
        fields = {name: ", ".join(values) for name, values in joined.items()}
        framing = (response.status, response.length, response.chunked, response.will_close)
        assert framing == (found[0], found[3], False, False), data
        assert (fields, response.fp.read()) == (found[1], data[found[2] :]), data
    assert short > count / 10


class Pieces:
    """A socket that gives an answer in pieces of these sizes, and what is left at once."""

    def __init__(self, answer: bytes, sizes: list[int]) -> None:
        self._answer = answer
        self._sizes = iter(sizes)

    def recv(self, size: int, /) -> bytes:
        piece = self._answer[: min(size, next(self._sizes, size))]
        self._answer = self._answer[len(piece) :]
        return piece


def incoming(answer: bytes, sizes: list[int], method: str = "POST") -> Any:
    """Return what is made of an answer that comes in such pieces."""
    reading = Incoming(Pieces(answer, sizes), method)
    try:
        body = reading.read()
    except http.client.HTTPException as error:
        return type(error), reading.code
    return reading.code, reading.fields, body, reading.is_whole


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = [
    (OK + b"Date: x\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello", b"hello", True),
    (OK + b"Content-Length: 0\r\n\r\n", b"", True),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello", True),
    (OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nhi", b"hi", True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    (OK + b"Content-Length: 5\r\nConnection: close\r\n\r\nhello", b"hello", False),
    (OK + b"\r\nup to the end", b"up to the end", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    (OK + b"Content-Length: 70000\r\n\r\n" + b"x" * 70000, b"x" * head.BODY_MOST, False),
]


@given(st.sampled_from(ANSWERS), st.lists(st.integers(1, 40), max_size=12))
def test_an_answer_may_come_in_any_pieces(answer: tuple[bytes, bytes, bool], sizes: list[int]) -> None:
    data, body, is_whole = answer
    found = incoming(data, sizes)
    assert found == incoming(data, [])
    assert found[2:] == (body, is_whole)


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\n\r\n", b"x"], ids=["another answer", "a byte"])
@pytest.mark.parametrize("answer", [ANSWERS[0][0], ANSWERS[2][0], ANSWERS[5][0]], ids=["length", "chunked", "none"])
def test_a_connection_that_has_more_to_say_is_not_used_again(answer: bytes, more: bytes) -> None:
    assert incoming(answer, [])[3] is True
    assert incoming(answer + more, [])[3] is False


@pytest.mark.parametrize("answer", [ANSWERS[0][0], ANSWERS[2][0]], ids=["length", "chunked"])
def test_a_body_that_breaks_off_is_no_answer(answer: bytes) -> None:
    body_at = answer.index(b"\r\n\r\n") + 4
    # The standard library takes a last chunk without its line end for one.
    for end in range(body_at, answer.index(b"hello") + 5 + answer.endswith(b"0\r\n\r\n") * 2):
        assert incoming(answer[:end], []) == (http.client.IncompleteRead, 200)
