"""Random histories of commits, crashes and answers against the promises: a stateful test of capture and dispatch.

The log is a list in memory that reads as Moodle's does, so that thousands of histories take seconds; the outbox is a
real one. The real database has its turn in the chaos.
"""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay.capture import log as capture
from relay.capture.rules import Rules
from relay.delivery.dispatch import Dispatch, Settings
from relay.events.catalogue import KINDS
from relay.events.kind import Facts, Options
from relay.model import Delivery, LogRow, Outcome, Status
from relay.moodle.contract import LogStore, Page, Site
from relay.outbox.sqlite import SqliteOutbox
from relay.rules import retry
from relay.service.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.events.kind import EventKind
    from relay.model import Gap

MAX_ATTEMPTS = 4
TYPES = frozenset({"user_updated"})


class Log:
    """A log that gives out ids when a row is written, and shows the row when it is committed."""

    #: None of its kinds may be held.
    kinds: tuple[EventKind, ...] = ()

    def __init__(self) -> None:
        self.last_id = 0
        self.shown: dict[int, LogRow] = {}

    def write(self, user: int, at: int, origin: str | None) -> LogRow:
        self.last_id += 1
        return LogRow(
            id=self.last_id,
            event_type="user_updated",
            object_id=user,
            actor_id=2,
            related_user_id=user,
            course_id=0,
            created_at=at,
            origin=origin,
        )

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        yield

    def close(self) -> None: ...

    def site(self) -> Site:
        return Site(identifier="a site", version=2024042200, release="4.4")

    def log_store(self) -> LogStore:
        return LogStore(is_enabled=True, lifetime_days=0)

    def max_id(self) -> int:
        return max(self.shown, default=0)

    def min_id(self) -> int:
        return min(self.shown, default=0)

    def first_since(self, seconds: int) -> int | None:
        return min((i for i, row in self.shown.items() if row.created_at >= seconds), default=None)

    def row_time(self, log_id: int) -> int | None:
        row = self.shown.get(log_id)
        return None if row is None else row.created_at

    def ids(self, low: int, high: int, limit: int) -> tuple[int, ...]:
        return tuple(sorted(i for i in self.shown if low <= i <= high)[:limit])

    def fingerprints(self, gaps: Sequence[Gap]) -> list[tuple[int, int]]:
        found = [self.ids(gap.low, gap.high, 10**9) for gap in gaps]
        return [(len(ids), sum(zlib.crc32(str(one).encode()) for one in ids)) for ids in found]

    def rows(self, ids: Sequence[int]) -> tuple[LogRow, ...]:
        return tuple(self.shown[i] for i in ids if i in self.shown)

    def page(self, after: int, top: int) -> Page | None:
        # Three ids a page, so that most histories have several.
        there = self.ids(after + 1, top, 3)
        if not there:
            return None
        return Page(first=there[0], last=there[-1], rows=self.rows(there), ids=there, is_more=there[-1] < top)

    def facts(self, rows: Sequence[LogRow], _options: Options) -> Facts:
        names = ("username", "firstname", "lastname", "email", "idnumber", "phone1", "city", "country")
        numbers = ("suspended", "deleted", "timecreated", "timemodified")
        users = {
            row.object_id: {"id": row.object_id, **dict.fromkeys(names, b"x"), **dict.fromkeys(numbers, 0)}
            for row in rows
            if row.object_id
        }
        users.pop(13, None)  # the one who is gone
        return Facts(rows={"user": users})


class Silent:
    """A log that nobody reads."""

    def info(self, event: str, **fields: Any) -> None: ...

    warning = error = info

    @contextmanager
    def buffered(self) -> Iterator[None]:
        yield


class Histories(RuleBasedStateMachine):
    """What may happen, in any order."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="relay-model-")
        self.path = Path(self.folder, "outbox.db")
        self.now = 1_770_000_000.0
        self.log = Log()
        self.open: list[LogRow] = []
        self.answers: list[int | None] = []
        self.sent: list[tuple[Delivery, int | None]] = []
        self.finished: Counter[str] = Counter()
        self.start()

    def start(self) -> None:
        self.outbox = SqliteOutbox(self.path)
        self.outbox.hold(self.now)
        rules = Rules(
            start_from="beginning",
            kinds=KINDS,
            options=lambda site: Options(site=site, moodle_url="https://m.example", tenant_id="t"),
        )
        self.capture = capture.Capture(
            moodle=self.log,  # type: ignore[arg-type] # it reads as Moodle does
            outbox=self.outbox,
            rules=rules,
            log=Silent(),
        )
        self.dispatch = Dispatch(
            outbox=self.outbox,
            post=self.post,
            settings=Settings(
                policy=retry.Policy(max_attempts=MAX_ATTEMPTS),
                types=TYPES,
                concurrency=1,
                attempt_s=30.0,
            ),
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            jitter=lambda: 0.5,
            make_pool=Pool,
            log=Silent(),
        )

    def post(self, delivery: Delivery, _now: float) -> Outcome:
        code = self.answers.pop(0) if self.answers else 200
        self.sent.append((delivery, code))
        return Outcome(http_code=code, error="" if code else "no answer", error_kind="" if code else "timeout")

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        # In the end everything commits, the backend is well, and time passes.
        for row in self.open:
            self.log.shown[row.id] = row
        for _ in range(60):
            self.now += 60
            self.read()
            self.deliver(codes=[])
        assert self.outbox.count_undelivered() == self.counts(Status.GAVE_UP)
        position = self.outbox.position()
        assert position is not None
        assert position.high == self.log.max_id()
        assert self.outbox.counts().seen == len(self.log.shown)
        self.everything_that_is_shown_is_accounted_for_once()
        self.dispatch.close()
        self.outbox.close()
        shutil.rmtree(self.folder)

    def counts(self, status: Status) -> int:
        return self.outbox.counts().of(status)

    @rule(user=st.sampled_from([1, 2, 3, 13]), is_restored=st.booleans(), shown=st.booleans())
    def write_a_row(self, user: int, *, is_restored: bool, shown: bool) -> None:
        row = self.log.write(user, int(self.now), None if is_restored else "web")
        if shown:
            self.log.shown[row.id] = row
        else:
            self.open.append(row)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def commit_a_late_one(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(self.open))
        self.open.remove(row)
        self.log.shown[row.id] = row

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def roll_one_back(self, data: st.DataObject) -> None:
        self.open.remove(data.draw(st.sampled_from(self.open)))

    @rule(seconds=st.sampled_from([0.5, 5, 60, 1000]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def read(self) -> None:
        while self.capture.run_once(self.now).is_more:
            pass

    @rule(codes=st.lists(st.sampled_from([200, 200, 503, None, 429, 422, 404, 401]), max_size=6))
    def deliver(self, codes: list[int | None]) -> None:
        self.answers = list(codes)
        for _ in range(3):
            self.dispatch.run_once(self.now)
            while self.dispatch.under_way:
                self.dispatch.settle(self.now)
        self.answers = []

    @rule()
    def crash_and_start_again(self) -> None:
        self.dispatch.close()
        self.outbox.close()
        self.start()

    @rule()
    def crash_with_a_request_under_way(self) -> None:
        """Claim, send, and die before anything is recorded."""
        self.dispatch.close()
        for delivery in self.outbox.claim(self.now, 1, lease_s=100, types=TYPES):
            self.sent.append((delivery, 200))
        self.outbox.close()
        self.start()

    @invariant()
    def the_accounts_hold(self) -> None:
        if hasattr(self, "outbox"):
            counts = self.outbox.counts()
            assert counts.seen_holds
            assert counts.captured_holds

    @invariant()
    def everything_that_is_shown_is_accounted_for_once(self) -> None:
        if not hasattr(self, "outbox"):
            return
        counts = self.outbox.counts()
        position = self.outbox.position()
        high = 0 if position is None else position.high
        # What was shown late may wait for the next pass: no row counts twice, and none that is not there counts.
        assert counts.seen <= len([i for i in self.log.shown if i <= high])
        recorded = self.outbox._rows("SELECT log_id, COUNT(*) FROM {p}mb_zoho_event_log GROUP BY log_id")
        assert all(number == 1 and log_id in self.log.shown for log_id, number in recorded)

    @invariant()
    def no_attempt_is_beyond_the_limit_and_each_has_its_row(self) -> None:
        if not hasattr(self, "outbox"):
            return
        ((most,),) = self.outbox._rows("SELECT COALESCE(MAX(retry_count), 0) FROM {p}mb_zoho_event_log")
        assert most <= MAX_ATTEMPTS
        rows = dict(self.outbox._rows("SELECT event_id, COUNT(*) FROM {p}mb_zoho_event_attempt GROUP BY event_id"))
        assert rows == Counter(delivery.event_id for delivery, _ in self.sent)

    @invariant()
    def a_user_s_events_arrive_in_order(self) -> None:
        """A later one is sent only when every earlier one that was there has ended, or its path is not there."""
        if not hasattr(self, "sent"):
            return
        ended: set[str] = set()
        newest: dict[int, int] = {}
        for delivery, code in self.sent:
            assert delivery.log_id is not None
            if delivery.event_id in ended:
                continue
            if code in (200, 422):
                ended.add(delivery.event_id)
                time = self.log.shown[delivery.log_id].created_at
                if delivery.log_id not in self.late():
                    assert newest.get(delivery.user_id, 0) <= time
                newest[delivery.user_id] = max(newest.get(delivery.user_id, 0), time)

    def late(self) -> set[int]:
        """Return the ids of rows that may have appeared after a later one of their user."""
        seen: set[int] = set()
        highest = 0
        for log_id in self.log.shown:  # in the order in which they were shown
            if log_id < highest:
                seen.add(log_id)
            highest = max(highest, log_id)
        return seen


Histories.TestCase.settings = settings(max_examples=settings().max_examples // 4, stateful_step_count=40, deadline=None)
TestHistories = Histories.TestCase
