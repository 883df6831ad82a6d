"""Reconcile, stepped by hand on real databases: with a clock of its own, and an outbox of either kind."""

from __future__ import annotations

import contextlib
import json
import math
import time
from typing import TYPE_CHECKING, Any

from stepped import Captured

from relay.capture.reconcile import Reconciling, way_of
from relay.service import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import Relay

    from relay import config
    from relay.capture.current import Found
    from relay.capture.reconcile import Progress
    from relay.outbox.values import Accepted, Batch

Rows = list[tuple[int, str, str]]


class Reconciled(Captured):
    """A capture, and passes of reconcile beside it."""

    def __init__(self, relay: Relay, loaded: config.Config) -> None:
        self.relay = relay
        super().__init__(loaded)
        self.outbox.hold(self.now)
        self.tables = parts.make_moodle(loaded)

    def make(self, name: str, *, fix: bool = True, grace_s: float = 0.0, asked: bool = False) -> Reconciling:
        way = way_of(name, self.loaded.events.disabled, is_fixing=fix, grace_s=grace_s)
        assert way is not None
        return Reconciling(
            name,
            moodle=self.tables,
            outbox=self.outbox,
            way=way,
            options=parts.make_options(self.loaded)(self.tables.site().identifier),
            log=self.log,
            monotonic=time.monotonic,
            asked=asked,
        )

    def run(
        self,
        name: str,
        *,
        fix: bool = True,
        grace_s: float = 0.0,
        asked: bool = False,
        after_step: Callable[[Progress], None] = lambda _progress: None,
    ) -> Rows:
        """Take all steps of a pass, waiting as long as each says; return what was found."""
        reconciling = self.make(name, fix=fix, grace_s=grace_s, asked=asked)
        progress = reconciling.resumed() or reconciling.begin(self.now)
        found: list[Found] = []
        while not progress.is_done:
            if math.isinf(reconciling.ready_at(progress, self.now)):
                self.read(after_s=0.0)
            self.now = max(self.now, reconciling.ready_at(progress, self.now))
            progress, some = reconciling.step(progress, self.now)
            found += some
            after_step(progress)
        return sorted({(one.row_id, str(one.difference), one.event_type) for one in found})

    @contextlib.contextmanager
    def between_read_and_write(self, work: Callable[[], object]) -> Iterator[None]:
        """Let something happen, once, just before what was read from Moodle is recorded."""
        accept = self.outbox.accept
        left = [work]

        def later(batch: Batch, now: float) -> Accepted:
            if left:
                left.pop()()
            return accept(batch, now)

        self.outbox.accept = later  # type: ignore[method-assign]
        yield
        self.outbox.accept = accept  # type: ignore[method-assign]

    def set_clock(self, moment: int) -> None:
        """Set the clock of Moodle's database, for the passes, to a time in unix seconds."""
        self.tables.select(f"SET SESSION timestamp = {moment}")

    def learn(self) -> None:
        """Read the log, and learn all tables."""
        self.read()
        for name in ("users", "enrolments", "grades"):
            assert self.run(name) == []

    def sent(self, which: str = "log_id IS NULL") -> list[tuple[str, dict[str, Any]]]:
        """Return type and data of the events that no log row made, in the order in which they were recorded."""
        found = self.relay.rows(
            f"SELECT event_type, event_data FROM {{log}} WHERE {which} AND status <> 'skipped' ORDER BY id"
        )
        return [(event_type, json.loads(data)) for event_type, data in found]

    def close(self) -> None:
        self.tables.close()
        super().close()
