"""Backends that behave badly: each attempt ends in time, as the contract says, and the token goes nowhere else."""

from __future__ import annotations

import contextlib
import gzip
import resource
import socket
import struct
import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from certificates import Certificates
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from receiver import Receiver, Reply, receiver

from relay.delivery import sender, sockets
from relay.delivery.sender import Sender
from relay.delivery.transport import Transport
from relay.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

TOKEN = "a-token-made-up-for-tests"
BODY = b'{"event_id": "e-1", "data": {}}'
NOW = 1_770_000_000.0


def make_sender(url: str, *, timeout_s: float = 5.0, ca_bundle: Path | None = None, proxy: str | None = None) -> Sender:
    made = Transport(
        url=url, timeout_s=timeout_s, connections=2, monotonic=time.monotonic, ca_bundle=ca_bundle, proxy=proxy
    )
    return Sender(transport=made, token=TOKEN, tenant_id="default", version="test")


@contextlib.contextmanager
def posting(
    url: str, *, timeout_s: float = 5.0, ca_bundle: Path | None = None, proxy: str | None = None
) -> Iterator[Callable[[], Outcome]]:
    """Yield what posts one event to a URL."""
    made = make_sender(url, timeout_s=timeout_s, ca_bundle=ca_bundle, proxy=proxy)
    try:
        yield lambda: made.post("grade_updated", "e-1", BODY, NOW)
    finally:
        made.close()


Script = "Callable[[socket.socket], None]"


@contextlib.contextmanager
def server(*scripts: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """Run a script for each connection, the last one for all further ones; yield the URL and what was received."""
    received: list[bytes] = []
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        left = list(scripts)
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            script = left.pop(0) if len(left) > 1 else left[0]
            with connection, contextlib.suppress(OSError):
                connection.settimeout(10)
                received.append(read_request(connection))
                script(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
        finally:
            over.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def read_request(connection: socket.socket) -> bytes:
    raw = b""
    while not raw.endswith(BODY):
        piece = connection.recv(65536)
        if not piece:
            break
        raw += piece
    return raw


def says(*pieces: bytes) -> Callable[[socket.socket], None]:
    def script(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return script


def drips(start: bytes, piece: bytes, pause_s: float = 0.05) -> Callable[[socket.socket], None]:
    """Send a piece now and then, until the other side has had enough."""

    def script(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)
            connection.settimeout(pause_s)
            with contextlib.suppress(TimeoutError):
                if not connection.recv(1):
                    return

    return script


def floods(start: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def script(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)

    return script


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def stays_silent(connection: socket.socket) -> None:
    connection.recv(1)


OK = b"HTTP/1.1 200 OK\r\n"
HEADER_BOMB = OK + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 60000) for i in range(40)) + b"\r\n"
BOMB = gzip.compress(b"\0" * 50_000_000)


@pytest.mark.parametrize(
    ("script", "code", "kind"),
    [
        pytest.param(stays_silent, None, "timeout", id="never answers"),
        pytest.param(drips(b"", b"H"), None, "timeout", id="a status line without an end"),
        pytest.param(drips(OK, b"X: y\r\n"), None, "timeout", id="headers without an end"),
        pytest.param(drips(OK + b"Content-Length: 9999\r\n\r\n", b"."), None, "timeout", id="drips the body"),
        pytest.param(drips(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"), None, "timeout", id="drips"),
        pytest.param(floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), None, "protocol", id="a flood of 100"),
        pytest.param(drips(b"", b"HTTP/1.1 102 Processing\r\n\r\n", 0.2), None, "timeout", id="102 now and then"),
        pytest.param(says(b"HTTP/1.1 103 Early Hints\r\n\r\n"), None, "reset", id="103 and nothing more"),
        pytest.param(says(b"HTTP/1.1 103 Early"), None, "reset", id="closes within a 103"),
        pytest.param(
            floods(b"HTTP/1.1 103 Early Hints\r\n", b"Link: </a>\r\n"), None, "protocol", id="103 without an end"
        ),
        pytest.param(says(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), 101, "", id="101"),
        pytest.param(floods(OK + b"\r\n", b"x" * 65536), 200, "", id="a body without an end"),
        pytest.param(floods(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n"), 200, "", id="endless"),
        pytest.param(floods(OK, b"X: " + b"y" * 60000 + b"\r\n"), None, "protocol", id="headers without measure"),
        pytest.param(says(HEADER_BOMB), 200, "", id="megabytes of headers"),
        pytest.param(floods(OK + b"X: ", b"y" * 65536), None, "protocol", id="a header without an end"),
        pytest.param(
            says(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB), BOMB), 200, "", id="gzip"
        ),
        pytest.param(says(OK + b"Content-Length: 50\r\n\r\nshort"), None, "reset", id="a body shorter than said"),
        pytest.param(says(OK + b"Content-Length: 2\r\n\r\n"), None, "reset", id="no body where one was said"),
        pytest.param(
            says(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"), None, "reset", id="closes within a chunk"
        ),
        pytest.param(
            says(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), None, "reset", id="no last chunk"
        ),
        pytest.param(says(OK + b"Content-Length: 2\r\n\r\nlonger"), 200, "", id="a body longer than said"),
        pytest.param(says(OK + b"Content-Length: -5\r\n\r\n"), 200, "", id="a negative length"),
        pytest.param(says(OK + b"Content-Length: many\r\n\r\n"), 200, "", id="a length that is no number"),
        pytest.param(says(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), None, "protocol", id="lengths"),
        pytest.param(says(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), None, "reset", id="chunks that are none"),
        pytest.param(says(OK + b"\r\n\xff\xfe\0"), 200, "", id="a body that is no UTF-8"),
        pytest.param(says(b"hello, this is no HTTP\r\n\r\n"), None, "protocol", id="HTTP/0.9"),
        pytest.param(says(b"HTTP/1.1 abc OK\r\n\r\n"), None, "protocol", id="a status that is no number"),
        pytest.param(says(b"HTTP/1.1 99999 OK\r\n\r\n"), None, "protocol", id="a status too high"),
        pytest.param(says(b"HTTP/9.9 200 OK\r\n\r\n"), None, "protocol", id="HTTP of another time"),
        pytest.param(says(b"SSH-2.0-OpenSSH_9.2\r\n"), None, "protocol", id="another protocol"),
        pytest.param(says(b"\r\n\r\n\r\n"), None, "protocol", id="empty lines"),
        pytest.param(says(), None, "reset", id="closes without an answer"),
        pytest.param(resets, None, "reset", id="resets"),
        pytest.param(says(b"HTTP/1.1 2"), None, "protocol", id="closes within the status"),
        pytest.param(says(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"), 204, "", id="204 with a body"),
        pytest.param(says(b"HTTP/1.0 500 No\r\nRetry-After: soon\r\n\r\n"), 500, "", id="garbage as Retry-After"),
        pytest.param(
            says(b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), 302, "", id="302"
        ),
        pytest.param(
            says(b"HTTP/1.1 307 F\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"), 307, "", id="file:"
        ),
        pytest.param(says(b"HTTP/1.1 308 F\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), 308, "", id="308 in a loop"),
        pytest.param(
            says(b"HTTP/1.1 401 F\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"), 401, "", id="asks for more"
        ),
    ],
)  # fmt: skip
def test_what_comes_of_a_hostile_answer(script: Callable[[socket.socket], None], code: int | None, kind: str) -> None:
    with server(script) as (url, received), posting(url, timeout_s=0.6) as post:
        outcome = post()
    if kind or code is not None:
        assert (outcome.http_code, outcome.error_kind) == (code, kind)
    assert (outcome.http_code is None) == bool(outcome.error_kind)
    assert len(outcome.answer) <= sender.ANSWER_KEPT
    assert len(received) == 1
    assert outcome.retry_after_s is None


@pytest.mark.parametrize("codes", [(100,), (102,), (103,), (100, 103, 103), (199,), (102,) * 20])
@pytest.mark.parametrize(("final", "code"), [(OK, 200), (b"HTTP/1.1 503 No\r\n", 503)])
def test_the_answer_is_the_final_one(codes: Sequence[int], final: bytes, code: int) -> None:
    """What comes before it says nothing of it (RFC 9110, section 15.2), and the connection is good for more."""
    interim = b"".join(b"HTTP/1.1 %d Wait\r\nLink: </style.css>; rel=preload\r\n\r\n" % one for one in codes)
    answer = interim + final + b"Content-Length: 5\r\n\r\nhello"

    def script(connection: socket.socket) -> None:
        connection.sendall(answer)
        if code == 200:
            received.append(read_request(connection))
            connection.sendall(answer)

    with server(script) as (url, received), posting(url) as post:
        outcomes = [post() for _ in range(2)]
    assert [(outcome.http_code, outcome.answer) for outcome in outcomes] == [(code, "hello")] * 2
    assert len(received) == 2


def test_memory_stays_bounded() -> None:
    """A hundred megabytes at hand would show: the resident size may grow by a fraction of it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with server(floods(OK + b"\r\n", b"x" * 1_000_000)) as (url, _), posting(url) as post:
        for _ in range(20):
            assert post().http_code == 200
    bomb = says(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB), BOMB)
    with server(bomb) as (url, _), posting(url) as post:
        assert post().answer.endswith("encoded as gzip)")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB


def test_a_second_answer_is_not_taken_for_the_next_request() -> None:
    two = OK + b"Content-Length: 0\r\n\r\n"
    answers = [two + two, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"]

    def first(connection: socket.socket) -> None:
        connection.sendall(answers[0])
        # Until the other side has done with the connection.
        connection.recv(1)

    with server(first, says(answers[1])) as (url, received), posting(url) as post:
        assert post().http_code == 200
        assert post().http_code != 200
        assert post().http_code == 503
    assert received


def test_a_connection_closed_between_requests_is_replaced() -> None:
    keep = OK + b"Content-Length: 0\r\nConnection: keep-alive\r\n\r\n"
    with server(says(keep)) as (url, received), posting(url) as post:
        for _ in range(3):
            assert post().http_code == 200
            # The server closes right behind its answer: until that has arrived, there is nothing to notice.
            wait_for_close(post)
    assert len(received) == 3


def wait_for_close(_: object) -> None:
    time.sleep(0.05)


def test_a_request_is_one_write(backend: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    sendall = sockets.PlainSocket.sendall

    def keep(connection: sockets.PlainSocket, data: bytes) -> None:
        written.append(data)
        sendall(connection, data)

    monkeypatch.setattr(sockets.PlainSocket, "sendall", keep)
    with posting(backend.url) as post:
        assert [post().http_code for _ in range(2)] == [200, 200]
    assert [(data[:5], data.endswith(b"\r\n\r\n" + BODY)) for data in written] == [(b"POST ", True)] * 2
    assert len(backend.posts) == 2


def test_a_sockets_timeout_follows_the_attempts_end() -> None:
    own = Transport(url="http://127.0.0.1:9", timeout_s=1000, connections=1, monotonic=lambda: 0.0)
    with contextlib.closing(own), sockets.PlainSocket() as connection:

        def timeout(seconds: float) -> float:
            sockets.attempt.transport, sockets.attempt.ends_at = own, seconds
            connection.settimeout(1e6)
            options = (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO)
            found = {struct.unpack("ll", connection.getsockopt(socket.SOL_SOCKET, name, 16)) for name in options}
            ((whole, micro),) = found
            return float(whole + micro / 1e6)

        first = timeout(1000)
        assert 1000 <= first <= 1000 * (1 + 2 * sockets.SLACK)
        # What is set already serves as long as it differs by little: no call of the system.
        assert timeout(1000 * (1 + sockets.SLACK / 2)) == first
        assert 100 <= timeout(100) <= 100 * (1 + 2 * sockets.SLACK)
        assert 1000 <= timeout(1000) <= 1000 * (1 + 2 * sockets.SLACK)
        with pytest.raises(TimeoutError):
            timeout(0)


def test_an_attempt_on_a_kept_connection_has_an_end_of_its_own() -> None:
    keep = OK + b"Content-Length: 0\r\n\r\n"

    def script(connection: socket.socket) -> None:
        connection.sendall(keep)
        read_request(connection)
        drips(OK, b"X: y\r\n")(connection)

    with server(script) as (url, received), posting(url, timeout_s=0.6) as post:
        assert post().http_code == 200
        assert post().error_kind == "timeout"
    assert len(received) == 1


def test_cookies_are_not_kept(backend: Receiver) -> None:
    backend.answer = lambda _: Reply(headers={"Set-Cookie": "session=1; Path=/"})
    with posting(backend.url) as post:
        post()
        post()
    assert all("cookie" not in request.headers for request in backend.requests)


def test_the_headers_are_those_of_the_contract(backend: Receiver) -> None:
    with posting(backend.url) as post:
        post()
    (request,) = backend.requests
    assert request.path == "/v1/events/moodle/grade_updated"
    assert request.body == BODY
    expected = {
        "content-type": "application/json",
        "user-agent": "moodle-relay/test",
        "x-moodle-token": TOKEN,
        "x-tenant-id": "default",
        "x-event-id": "e-1",
        "webhook-id": "e-1",
        "webhook-timestamp": "1770000000",
    }
    assert expected.items() <= request.headers.items()
    assert "webhook-signature" not in request.headers


def test_the_environments_proxies_are_ignored(backend: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with posting(backend.url) as post:
        assert post().http_code == 200


def test_the_proxy_of_the_config_is_used(backend: Receiver) -> None:
    with posting("http://127.0.0.1:9", proxy=backend.url) as post:
        assert post().http_code == 200
    assert backend.requests[0].path == "http://127.0.0.1:9/v1/events/moodle/grade_updated"


def test_a_proxy_that_refuses_a_tunnel_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def serve() -> None:
            connection, _ = proxy.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with posting("https://backend.example.edu", proxy=f"http://127.0.0.1:{proxy.getsockname()[1]}") as post:
            outcome = post()
        thread.join()
    assert outcome.error_kind == "proxy"


def test_an_answer_that_repeats_the_token_is_kept_without_it(backend: Receiver) -> None:
    backend.answer = lambda request: Reply(code=422, body=f"who is {request.headers['x-moodle-token']}?".encode())
    with posting(backend.url) as post:
        assert post().answer == f"who is {sender.MASK}?"


def test_nobody_there_is_refused_and_no_name_is_dns() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with posting(f"http://127.0.0.1:{nobody.getsockname()[1]}") as post:
            assert post().error_kind == "refused"
    with posting("https://no-such-name.invalid", timeout_s=20) as post:
        assert post().error_kind == "dns"


def test_abort_breaks_off_what_is_under_way() -> None:
    arrived = threading.Event()

    def script(connection: socket.socket) -> None:
        arrived.set()
        connection.recv(1)

    with server(script) as (url, _):
        made = make_sender(url, timeout_s=60)
        found: list[Outcome] = []
        thread = threading.Thread(target=lambda: found.append(made.post("user_created", "e", BODY, NOW)))
        thread.start()
        assert arrived.wait(10)
        made.abort()
        thread.join(10)
        made.close()
    assert [outcome.error_kind for outcome in found] == ["stopped"]


# -- TLS


HERE = x509.IPAddress(IPv4Address("127.0.0.1"))
ELSEWHERE = x509.DNSName("elsewhere.example")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def test_a_certificate_of_the_bundle_is_trusted(certificates: Certificates) -> None:
    with receiver(tls=certificates.context(HERE)) as server_:
        with posting(server_.url, ca_bundle=certificates.ca) as post:
            assert [post().http_code for _ in range(3)] == [200, 200, 200]
        assert server_.requests[0].headers["x-moodle-token"] == TOKEN


@pytest.mark.parametrize(
    ("name", "options", "is_bundle", "said"),
    [
        (ELSEWHERE, {}, True, "IP address mismatch"),
        (HERE, {"days": 0}, True, "has expired"),
        (HERE, {"is_self_signed": True}, True, "self-signed certificate"),
        (HERE, {}, False, "unable to get local issuer certificate"),
    ],
)
def test_a_certificate_that_is_wrong_is_refused_before_anything_is_sent(
    name: x509.GeneralName, options: dict[str, int], is_bundle: bool, said: str, certificates: Certificates
) -> None:
    with receiver(tls=certificates.context(name, **options)) as server_:  # type: ignore[arg-type] # by name
        bundle = certificates.ca if is_bundle else None
        with posting(server_.url, ca_bundle=bundle) as post:
            outcome = post()
        assert server_.requests == []
    assert outcome.error_kind == "tls"
    assert said in outcome.error


@pytest.mark.parametrize(("script", "kinds"), [(says(b"no TLS at all\r\n"), {"tls"}), (says(), {"tls", "reset"})])
def test_what_is_no_tls(
    script: Callable[[socket.socket], None], kinds: Sequence[str], certificates: Certificates
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1)
                script(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        with posting(f"https://127.0.0.1:{listener.getsockname()[1]}", ca_bundle=certificates.ca) as post:
            outcome = post()
        thread.join()
    assert outcome.error_kind in kinds


def test_a_handshake_that_never_ends_ends_in_time(certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with posting(url, ca_bundle=certificates.ca, timeout_s=0.3) as post:
            assert post().error_kind == "timeout"


# -- Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("9" * 400, 86400),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Mon, 02 Feb 2026 02:41:00 GMT", 60),
        ("Mon, 02 Feb 2026 02:30:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
        ("Mon, 99 Feb 2026 02:41:00 GMT", None),
        ("Mon, 02 Feb 99999999 02:41:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert sender.parse_retry_after(value, NOW) == seconds


@given(st.text())
def test_any_retry_after_is_none_or_within_a_day(value: str) -> None:
    found = sender.parse_retry_after(value, NOW)
    assert found is None or 0 <= found <= 86400


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_any_http_date_is_a_floor_within_a_day(moment: datetime) -> None:
    found = sender.parse_retry_after(format_datetime(moment, usegmt=True), NOW)
    assert found == min(max(int(moment.timestamp()) - NOW, 0), 86400)
