"""Which server a request reaches: addresses that swallow packets, backends that move, connections that are kept."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from receiver import Receiver, Reply, Request, receiver

from relay.delivery import connect, transport
from relay.delivery.connect import NEXT_AFTER_S, REMEMBERED_S
from relay.delivery.sender import Sender
from relay.delivery.transport import CONNECTION_MOST_S, RENEW_S, Transport
from relay.errors import RelayError
from relay.service.threads import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from relay.model import Outcome

BODY = b'{"event_id": "e-1", "data": {}}'
#: What is not waited for by far: an attempt that hangs fails the test by its time.
TIMEOUT_S = 10.0


class Clock:
    """The real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


class Name:
    """A host name, whose addresses the test may change."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        self.addresses: Sequence[tuple[str, int]] = addresses
        self.asked = 0

    def resolve(self, host: str, _port: int, **options: Any) -> list[Any]:
        assert (host, options) == ("backend.example", {"type": socket.SOCK_STREAM})
        self.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", one) for one in self.addresses]


class Posting:
    """A sender to a name, and the time."""

    def __init__(self, name: Name, timeout_s: float) -> None:
        self.clock = Clock()
        self.transport = Transport(
            url="http://backend.example",
            timeout_s=timeout_s,
            connections=4,
            monotonic=self.clock,
            resolve=name.resolve,
        )
        self.sender = Sender(transport=self.transport, token="made-up", tenant_id="default", version="test")

    def post(self) -> Outcome:
        return self.sender.post("grade_updated", "e-1", BODY, 0.0)

    def took_s(self) -> float:
        """Return how long one event takes that is delivered, in seconds."""
        outcome = self.post()
        assert outcome.http_code == 200, outcome
        return outcome.duration_ms / 1000


@pytest.fixture
def posting() -> Iterator[Callable[..., Posting]]:
    with contextlib.ExitStack() as stack:

        def make(name: Name, timeout_s: float = TIMEOUT_S) -> Posting:
            made = Posting(name, timeout_s)
            stack.callback(made.sender.close)
            return made

        yield make


@contextlib.contextmanager
def swallowing(host: str = "127.0.0.2") -> Iterator[tuple[str, int]]:
    """Yield an address that answers no packet: its queue of connections is full, and nobody takes one from it."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, 0))
        listener.listen(0)
        address: tuple[str, int] = listener.getsockname()
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        probe = stack.enter_context(socket.socket())
        probe.settimeout(0.1)
        with pytest.raises(TimeoutError):
            probe.connect(address)
        yield address


def address(server: Receiver) -> tuple[str, int]:
    return "127.0.0.1", server.port


def nobody() -> tuple[str, int]:
    """Return an address that refuses connections."""
    with socket.socket() as found:
        found.bind(("127.0.0.3", 0))
        refusing: tuple[str, int] = found.getsockname()
    return refusing


# -- several addresses


def test_an_address_that_swallows_packets_costs_a_quarter_of_a_second_once(
    backend: Receiver, posting: Callable[..., Posting]
) -> None:
    with swallowing() as silent:
        sending = posting(Name(silent, address(backend)))
        assert NEXT_AFTER_S <= sending.took_s() < TIMEOUT_S / 2
        # The next connection begins with the address that served.
        sending.clock.ahead_s += CONNECTION_MOST_S
        assert sending.took_s() < NEXT_AFTER_S
        # It is not avoided for ever.
        sending.clock.ahead_s += REMEMBERED_S
        assert NEXT_AFTER_S <= sending.took_s() < TIMEOUT_S / 2
    assert len(backend.posts) == 3


def test_many_addresses_that_swallow_packets_leave_time_for_the_last(
    backend: Receiver, posting: Callable[..., Posting]
) -> None:
    with swallowing("127.0.0.2") as one, swallowing("127.0.0.4") as two, swallowing("127.0.0.5") as three:
        assert posting(Name(one, two, three, address(backend))).took_s() < TIMEOUT_S / 2


def test_an_address_that_refuses_is_passed_over_at_once(backend: Receiver, posting: Callable[..., Posting]) -> None:
    assert posting(Name(nobody(), address(backend))).took_s() < NEXT_AFTER_S


def test_an_address_of_a_family_that_this_machine_lacks_is_passed_over(
    backend: Receiver, posting: Callable[..., Posting]
) -> None:
    name = Name()
    sending = posting(name)
    sending.transport.connector._resolve = lambda *_, **__: [
        (socket.AF_INET6, socket.SOCK_STREAM, 99, "", ("::1", backend.port, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", address(backend)),
    ]
    assert sending.took_s() < NEXT_AFTER_S


@pytest.mark.parametrize(("addresses", "kind"), [([nobody(), nobody()], "refused"), ([], "unreachable")])
def test_no_address_that_serves_is_an_error(
    addresses: Sequence[tuple[str, int]], kind: str, posting: Callable[..., Posting]
) -> None:
    assert posting(Name(*addresses)).post().error_kind == kind


def test_addresses_that_all_swallow_packets_end_with_the_attempt(posting: Callable[..., Posting]) -> None:
    with swallowing("127.0.0.2") as one, swallowing("127.0.0.4") as two:
        outcome = posting(Name(one, two), timeout_s=0.6).post()
    assert outcome.error_kind == "timeout"
    assert outcome.duration_ms < 2000


def test_of_two_that_are_slow_the_first_to_connect_is_used(
    backend: Receiver, posting: Callable[..., Posting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one connects while the second is being tried: the request goes out once."""
    with receiver() as slow, swallowing() as silent:
        started: list[Any] = []
        start = connect._Race.start

        def note(race: connect._Race[Any], info: Any) -> None:
            start(race, info)
            started.append(info[4])

        monkeypatch.setattr(connect._Race, "start", note)
        sending = posting(Name(silent, address(backend), address(slow)))
        assert sending.took_s() < TIMEOUT_S / 2
        assert started == [silent, address(backend)]
        assert slow.requests == []


def test_an_address_that_connects_and_never_answers_is_tried_last(
    backend: Receiver, posting: Callable[..., Posting]
) -> None:
    with socket.create_server(("127.0.0.2", 0)) as mute:
        sending = posting(Name(mute.getsockname(), address(backend)), timeout_s=0.3)
        assert sending.post().error_kind == "timeout"
        assert sending.took_s() < 0.3


def test_an_abort_does_not_wait_for_an_address_that_swallows_packets(posting: Callable[..., Posting]) -> None:
    with swallowing() as silent:
        name = Name(silent)
        sending = posting(name, timeout_s=60)
        found: list[Outcome] = []
        thread = threading.Thread(target=lambda: found.append(sending.post()))
        thread.start()
        while not name.asked:
            time.sleep(0.01)
        time.sleep(0.1)
        sending.sender.abort()
        thread.join(10)
        assert [outcome.error_kind for outcome in found] == ["stopped"]


def test_what_was_looking_up_the_name_when_relay_stopped_is_not_sent(
    backend: Receiver, posting: Callable[..., Posting]
) -> None:
    name = Name(address(backend))
    sending = posting(name)
    resolve = name.resolve

    def resolve_and_stop(*arguments: Any, **options: Any) -> list[Any]:
        sending.sender.abort()
        return resolve(*arguments, **options)

    sending.transport.connector._resolve = resolve_and_stop
    assert sending.post().error_kind == "stopped"
    assert backend.requests == []


def test_a_resolver_that_hangs_ends_with_the_attempt(backend: Receiver, posting: Callable[..., Posting]) -> None:
    name, goes_on = Name(address(backend)), threading.Event()
    sending = posting(name)

    def hangs(*arguments: Any, **options: Any) -> list[Any]:
        goes_on.wait(TIMEOUT_S / 5)
        return name.resolve(*arguments, **options)

    sending.transport.connector._resolve = within(0.1, hangs)
    try:
        assert sending.post().error_kind == "timeout"
    finally:
        goes_on.set()
    assert backend.requests == []
    sending.transport.connector._resolve = within(TIMEOUT_S, name.resolve)
    assert sending.post().http_code == 200


def test_what_the_resolver_says_no_with_is_said_though_its_time_is_bounded(posting: Callable[..., Posting]) -> None:
    def resolve(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "made up")

    sending = posting(Name())
    sending.transport.connector._resolve = within(TIMEOUT_S, resolve)
    assert sending.post().error_kind == "dns"


# -- a backend that moves


@pytest.mark.parametrize("code", [503, 500, 404, 403, 301, 101])
def test_after_a_failed_answer_the_name_is_looked_up_anew(
    code: int, backend: Receiver, posting: Callable[..., Posting]
) -> None:
    with receiver() as old:
        name = Name(address(old))
        sending = posting(name)
        assert sending.post().http_code == 200
        name.addresses = [address(backend)]
        old.answer = lambda _: Reply(code=code)
        assert [sending.post().http_code for _ in range(3)] == [code, 200, 200]
        assert len(old.posts) == 2
    assert name.asked == 2


def test_a_failed_answer_ends_the_other_connections_too(backend: Receiver, posting: Callable[..., Posting]) -> None:
    """With many connections to the old server, each would fail once."""
    meeting = threading.Barrier(4)
    with receiver() as old:

        def meet(_: Request) -> Reply:
            meeting.wait(10)
            return Reply()

        old.answer = meet
        name = Name(address(old))
        sending = posting(name)
        threads = [threading.Thread(target=sending.post) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        name.addresses = [address(backend)]
        old.answer = lambda _: Reply(code=503)
        assert [sending.post().http_code for _ in range(5)] == [503, 200, 200, 200, 200]


def test_events_that_fail_among_many_do_not_end_all_connections_each_time(
    backend: Receiver, posting: Callable[..., Posting]
) -> None:
    name = Name(address(backend))
    sending = posting(name)
    codes = iter([503, 200, 503, 200, 200, 503, 200])
    backend.answer = lambda _: Reply(code=next(codes))
    assert sending.post().http_code == 503
    other = sending.transport._adapter.take()  # kept aside: another worker's
    assert [sending.post().http_code for _ in range(3)] == [200, 503, 200]
    assert other.is_usable
    sending.clock.ahead_s += RENEW_S
    assert [sending.post().http_code for _ in range(2)] == [200, 503]
    assert not other.is_usable
    other.close()


def test_no_more_connections_are_kept_than_were_asked_for_and_none_once_it_is_closed(
    backend: Receiver, posting: Callable[..., Posting]
) -> None:
    sending = posting(Name(address(backend)))
    assert sending.post().http_code == 200
    adapter = sending.transport._adapter
    taken = [adapter.take() for _ in range(adapter._size + 2)]
    late = taken.pop()
    for one in taken:
        adapter.put(one, is_usable=True)
    assert [one.is_usable for one in taken] == [True] * adapter._size + [False]
    sending.transport.close()
    adapter.put(late, is_usable=True)
    assert not any(one.is_usable for one in [*taken, late])


@pytest.mark.parametrize("code", [200, 422, 429])
def test_a_connection_is_kept_after_any_other_answer(
    code: int, backend: Receiver, posting: Callable[..., Posting]
) -> None:
    name = Name(address(backend))
    backend.answer = lambda _: Reply(code=code)
    sending = posting(name)
    for _ in range(3):
        assert sending.post().http_code == code
    assert name.asked == 1


def test_a_connection_is_used_for_a_minute_at_the_most(backend: Receiver, posting: Callable[..., Posting]) -> None:
    with receiver() as old:
        name = Name(address(old))
        sending = posting(name)
        sending.took_s()
        name.addresses = [address(backend)]
        sending.clock.ahead_s += CONNECTION_MOST_S - 10
        sending.took_s()
        assert len(old.posts) == 2
        sending.clock.ahead_s += 10
        sending.took_s()
        assert len(old.posts) == 2
    assert len(backend.posts) == 1


# -- the library


def declared() -> str:
    """Return the lowest urllib3 that pyproject.toml allows."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    (found,) = [re.match(r"urllib3>=([\d.]+)", one) for one in project["project"]["dependencies"] if "urllib3" in one]
    assert found is not None
    return found[1]


@pytest.mark.parametrize("version", ["1.26.20", "2.0.1", "2.0.0rc1"])
def test_an_older_urllib3_is_refused_with_a_sentence(
    version: str, monkeypatch: pytest.MonkeyPatch, posting: Callable[..., Posting]
) -> None:
    monkeypatch.setattr(urllib3, "__version__", version)
    with pytest.raises(RelayError, match=f"urllib3 {version} is installed") as found:
        posting(Name())
    assert f"urllib3>={declared()}" in found.value.hint


@pytest.mark.parametrize("version", [declared(), "2.10", "2.8.1.dev5"])
def test_what_is_declared_is_what_is_needed(
    version: str, monkeypatch: pytest.MonkeyPatch, posting: Callable[..., Posting]
) -> None:
    assert ".".join(map(str, transport.URLLIB3_LEAST)) == declared()
    monkeypatch.setattr(urllib3, "__version__", version)
    posting(Name())
