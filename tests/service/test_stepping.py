"""A whole relay, stepped through three days in one thread: its passes are functions of the time, and none waits."""

from __future__ import annotations

import contextlib
import io
import json
import math
import threading
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from receiver import Receiver, Reply, Request

from relay import config
from relay.capture import held
from relay.delivery import dispatch
from relay.service import parts, wiring
from relay.service.logs import make_log
from relay.service.machine import Machine
from relay.service.relay import PURGE_LOOK_S, QUIET_AFTER_S, QUIET_MOST_S, SLOW_REST_MAX_S, SOONER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import Relay

    from relay.demo.moodle import College

AT = 1_770_000_000
HOUR, DAY = 3600.0, 86400.0
#: How long the backend takes for an answer, in virtual seconds.
ANSWER_S = 0.05
SENDERS = 3


class VirtualClock:
    """The time goes on when it is told to."""

    def __init__(self) -> None:
        self.time = float(AT)

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class Senders:
    """A pool without threads: whoever steps it lets each of its senders do one item."""

    def __init__(self, width: int, work: Callable[[Any], None], name: str) -> None:
        assert name == "sender"
        self.width = width
        self.error: BaseException | None = None
        self._work = work
        self._items: deque[Any] = deque()
        #: The most senders that had something to do in one step.
        self.most = 0

    def submit(self, item: Any) -> None:
        self._items.append(item)

    def share_core(self, *, is_wanted: bool) -> None:
        """One thread is on one core."""

    def widen(self, width: int) -> None:
        self.width = width

    def backlog(self) -> int:
        return len(self._items)

    def close(self, timeout_s: float) -> None:
        assert timeout_s
        assert not self._items

    def step(self) -> int:
        """Let each sender take an item, and do all of them; return how many there were."""
        taken = [self._items.popleft() for _ in range(min(self.width, len(self._items)))]
        for item in taken:
            self._work(item)
        self.most = max(self.most, len(taken))
        return len(taken)


class Stepped:
    """A relay of its real parts on a virtual machine."""

    def __init__(self, loaded: config.Config) -> None:
        self.clock = VirtualClock()
        self.pools: list[Senders] = []
        machine = Machine(
            now=self.clock.now,
            monotonic=self.clock.now,
            sleep=self.clock.sleep,
            random=lambda: 0.5,
            make_pool=self._make_pool,
        )
        self.stream = io.StringIO()
        self._stack = contextlib.ExitStack()
        opened = self._stack.enter_context(parts.opened(loaded, machine, create=True))
        opened.outbox.hold(opened.now())
        self.relay = wiring.make_relay(loaded, opened, make_log(loaded.log, self.stream, machine.now))
        (self.senders,) = self.pools
        #: When each pass is wanted next, in unix seconds.
        self._capture_at = self._dispatch_at = self._purge_at = 0.0
        # A sender that has done all asks for the next pass, as a thread would.
        self.relay.wake_dispatch = self.relay.dispatch.wake = self._dispatch_now

    def _make_pool(self, width: int, work: Callable[[Any], None], name: str) -> Senders:
        self.pools.append(Senders(width, work, name))
        return self.pools[-1]

    def _dispatch_now(self) -> None:
        self._dispatch_at = self.clock.time

    def live(self, until: float) -> None:
        """Run each pass when it is wanted, and leap over the time in between."""
        while self.clock.time < until:
            now = self.clock.time
            if now >= self._capture_at:
                self._capture_at = now + self.relay.capture_pass(now)
            if now >= self._purge_at:
                delay = self.relay.purge_pass(now)
                # A purge that is under way goes on; else it is looked less often than a daemon does.
                self._purge_at = now + (delay if delay < PURGE_LOOK_S else HOUR)
            if now >= self._dispatch_at:
                delay = self.relay.dispatch_pass(now)
                self._dispatch_at = now + delay
                if not self.relay.dispatch.under_way:
                    self._dispatch_at = max(self._dispatch_at, self.relay.next_try(now))
            if not self.senders.step():
                self.clock.time = min(until, self._capture_at, self._dispatch_at, self._purge_at)

    def close(self) -> None:
        self.relay.dispatch.close()
        self.relay.sender.close()
        self.relay.capture.forget()
        self._stack.close()

    def lines(self, slug: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.stream.getvalue().split("\n") if line]
        return [line for line in lines if line["event"] == slug]


@pytest.fixture
def stepped(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stepped]:
    """Nobody else uses the outbox, and nothing is held: so nobody needs to look each second, or half minute."""
    monkeypatch.setattr(dispatch, "IDLE_S", math.inf)
    monkeypatch.setattr(held, "LOOK_EVERY_S", HOUR)
    relay.set("backend.concurrency", SENDERS)
    relay.set("moodle.poll_interval", "1h")
    relay.set("retry", {})
    made = Stepped(config.load(relay.write()))
    yield made
    made.close()


def enrol(college: College, count: int, at: float) -> list[int]:
    """Let people sign up, enrol and be graded; return their ids."""
    course = college.course("Computing", "C1")
    engine = college.assignment(course, "Engine")
    people = [college.sign_up("Ada", f"Number{i} of {at}", int(at) + i) for i in range(count)]
    for user in people:
        college.enrol(user, course, int(at) + 30)
        college.grade(user, engine, 70, int(at) + 60)
    return people


def whose(request: Request) -> int:
    return int(request.envelope["data"]["userid"])


def test_three_days_in_one_thread(stepped: Stepped, relay: Relay, college: College, backend: Receiver) -> None:
    clock = stepped.clock
    unlucky, *others = enrol(college, 7, AT)
    # The backend is away for ten minutes of the second day, and fails on one user for nearly three days.
    away_at, heals_at = AT + DAY, AT + 2.8 * DAY
    taken: list[Request] = []

    def answer(request: Request) -> Reply:
        clock.sleep(ANSWER_S)
        if (whose(request) == unlucky and clock.time < heals_at) or away_at <= clock.time < away_at + 600:
            return Reply(code=503)
        taken.append(request)
        return Reply()

    backend.answer = answer
    stepped.live(away_at)
    assert len(taken) == 3 * len(others)
    others += enrol(college, 5, away_at)
    stepped.live(AT + 3 * DAY)
    assert not {thread.name.split("-")[0] for thread in threading.enumerate()} & {"sender", "capture", "dispatch"}

    assert relay.statuses() == {"success": 3 * 12}
    assert len({request.event_id for request in taken}) == len(taken) == 3 * 12
    for user in (unlucky, *others):
        times = [request.envelope["timestamp"] for request in taken if whose(request) == user]
        assert times == sorted(times)
        assert len(times) == 3
    assert stepped.senders.most == SENDERS
    assert len(stepped.lines("circuit.opened")) == len(stepped.lines("circuit.closed")) == 1
    first = next(request.event_id for request in backend.posts if whose(request) == unlucky)
    tries = [at for (at,) in relay.rows("SELECT started_at FROM {attempt} WHERE event_id = ? ORDER BY id", first)]
    assert [later - earlier for earlier, later in pairwise(tries)][:6] == [5, 11, 21, 42, 84, 168]
    assert tries[-2] < heals_at <= tries[-1]
    counts = stepped.relay.outbox.counts()
    assert counts.seen_holds
    assert counts.captured_holds


@pytest.mark.parametrize(
    ("poll_s", "quiet_s"), [(0.01, 0.02), (0.1, QUIET_MOST_S), (0.15, QUIET_MOST_S), (0.2, 0.2), (5.0, 5.0)]
)
def test_the_log_is_read_half_as_often_where_nothing_came_for_a_while(
    poll_s: float, quiet_s: float, stepped: Stepped, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(stepped.relay.config.moodle), "poll_interval", poll_s)
    monkeypatch.setattr(stepped.relay.capture, "next_look_in", lambda _now: 60.0)
    assert stepped.relay.capture_pass(AT) == poll_s
    stepped.clock.sleep(QUIET_AFTER_S)
    assert stepped.relay.capture_pass(AT) == poll_s
    stepped.clock.sleep(0.1)
    assert stepped.relay.capture_pass(AT) == quiet_s
    college.sign_up("Ada", "Lovelace", AT)
    assert stepped.relay.capture_pass(AT) == poll_s / SOONER
    assert stepped.relay.capture_pass(AT) == poll_s


def test_the_log_is_read_sooner_where_something_came_and_later_where_the_server_is_slow(
    stepped: Stepped, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll_s = stepped.relay.config.moodle.poll_interval
    moodle: Any = stepped.relay.capture._moodle
    college.sign_up("Ada", "Lovelace", AT)
    monkeypatch.setattr(stepped.relay.capture, "next_look_in", lambda _now: 2 * poll_s)
    assert stepped.relay.capture_pass(AT) == poll_s / SOONER
    assert stepped.relay.capture_pass(AT) == poll_s

    monkeypatch.setattr(type(stepped.relay.config.moodle), "poll_interval", 0.1)
    quick = moodle.max_id

    takes_s = [0.001, 0.01, 0.05, 0.3, 60.0]
    takes = iter(takes_s)

    def slow() -> int:
        stepped.clock.sleep(next(takes))
        return int(quick())

    monkeypatch.setattr(moodle, "max_id", slow)
    waits = [round(stepped.relay.capture_pass(AT), 6) for _ in takes_s]
    assert waits == [0.1, 0.1, 0.5, 3.0, SLOW_REST_MAX_S]
