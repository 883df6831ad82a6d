"""Delivery stepped in one thread, by a clock that only the test moves: days of retries in an instant, on a real outbox.

Whoever runs the passes brings two clocks and the pool. Here both clocks are one number, and the pool's workers are
functions that are called in turn.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from relay.delivery.dispatch import Dispatch, Settings
from relay.events import envelope
from relay.events.kind import Options
from relay.model import Delivery, Outcome, Position
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.values import Batch
from relay.rules import retry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from relay.delivery.workers import UserQueue

OPTIONS = Options(site="site", moodle_url="https://moodle.example", tenant_id="default")
POLICY = retry.Policy()
START = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
#: How many workers there are, and how long each request takes, in seconds.
WORKERS, REQUEST_S = 3, 0.05
USERS, EVENTS_EACH = 12, 5
JITTER = 0.5


class Stepped:
    """A pool whose workers take a step when they are told to, in the test's own thread.

    Those that take a step together begin at the same moment, and the clock stands at the end of the longest then.
    """

    error = None

    def __init__(self, world: World, width: int, work: Callable[[UserQueue], None]) -> None:
        self.width = width
        self._world = world
        self._work = work
        self._items: deque[UserQueue] = deque()

    def submit(self, item: UserQueue) -> None:
        self._items.append(item)

    def share_core(self, *, is_wanted: bool) -> None:
        """One thread is on one core."""

    def widen(self, width: int) -> None:
        self.width = width

    def backlog(self) -> int:
        return len(self._items)

    def close(self, timeout_s: float) -> None:
        assert not self._items, f"left, whatever {timeout_s} s are for"

    def step(self) -> int:
        """Let each worker do its next item; return how many had one."""
        began_at = ended_at = self._world.now
        busy = min(self.width, len(self._items))
        for _ in range(busy):
            self._world.now = began_at
            self._work(self._items.popleft())
            ended_at = max(ended_at, self._world.now)
        self._world.now = ended_at
        return busy


class World:
    """An outbox full of events, a backend that is a function, and the time."""

    def __init__(
        self,
        folder: Path,
        answer: Callable[[Delivery, float], Outcome],
        stored: str = "",
        *,
        users: int = USERS,
        events_each: int = EVENTS_EACH,
        workers: int = WORKERS,
    ) -> None:
        """Take what the backend answers, given a delivery and how many seconds have passed, and stored circuits."""
        self.now = START
        self.users, self.events = users, users * events_each
        self._answer = answer
        #: Each request, as it arrived: after how many seconds, for which event, and the answer's code.
        self.sent: list[tuple[float, Delivery, int | None]] = []
        self.slugs: list[str] = []
        self.lines: list[dict[str, Any]] = []
        self.most_at_once = 0
        self.outbox = SqliteOutbox(folder / "outbox.db")
        self.outbox.hold(START)
        count = self.events
        made = [
            envelope.make_event(
                envelope.derive_id("site", i), "user_updated", i, i % users, i, {"name": "Ada"}, OPTIONS
            )
            for i in range(1, count + 1)
        ]
        self.outbox.accept(Batch(events=made, after=Position(high=count)), START)
        self.outbox.set_state("circuit", stored, START)
        self.dispatch = Dispatch(
            outbox=self.outbox,
            post=self.post,
            settings=Settings(policy=POLICY, types=frozenset({"user_updated"}), concurrency=workers, attempt_s=30.0),
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            jitter=lambda: JITTER,
            make_pool=self.make_pool,
            log=self,
        )

    def make_pool(self, width: int, work: Callable[[UserQueue], None], _name: str) -> Stepped:
        self.pool = Stepped(self, width, work)
        return self.pool

    def post(self, delivery: Delivery, now: float) -> Outcome:
        assert now == self.now
        outcome = self._answer(delivery, now - START)
        self.sent.append((now - START, delivery, outcome.http_code))
        self.now += REQUEST_S
        return outcome

    def info(self, event: str, **fields: Any) -> None:
        self.slugs.append(event)
        self.lines.append(fields)

    warning = error = info

    def buffered(self) -> nullcontext[None]:
        return nullcontext()

    def run(self, seconds: float) -> None:
        """Do passes and let the workers work, until so much time has passed or nothing is left to do."""
        delay = 0.0
        while delay < math.inf and self.now < START + seconds:
            self.now += delay
            delay = self.dispatch.run_once(self.now)
            if self.pool.backlog():
                self.most_at_once = max(self.most_at_once, self.pool.step())
                delay = 0.0

    def attempts(self) -> dict[int, list[tuple[float, int | None]]]:
        """Return when each event was sent, and the answers, by the event's row."""
        found: defaultdict[int, list[tuple[float, int | None]]] = defaultdict(list)
        for at, delivery, code in self.sent:
            found[delivery.id].append((at, code))
        return found

    def check_all_are_delivered_in_order(self, *, but: int = 0) -> None:
        """Check what holds in every one of these histories, once the backend is well; `but` further events are kept."""
        assert self.outbox.count_undelivered() == but
        taken = [delivery for _, delivery, code in self.sent if code == 200]
        assert len(taken) == len({one.event_id for one in taken}) == self.events
        for user in range(self.users):
            times = [one.occurred_at for _, one, _ in self.sent if one.user_id == user]
            assert times == sorted(times)
        ((rows, numbers),) = self.outbox._rows("SELECT COUNT(*), SUM(attempt) FROM {p}mb_zoho_event_attempt")
        assert rows == len(self.sent)
        assert numbers == sum(delivery.attempt for _, delivery, _ in self.sent)
