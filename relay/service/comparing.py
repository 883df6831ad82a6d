"""`relay reconcile`: Moodle's tables compared once, beside a daemon or not, and what differs sent on request."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from relay.capture.reconcile import STATEMENT_S
from relay.errors import RelayError
from relay.service import lease, once, parts, wiring
from relay.service.logs import make_log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.capture.current import Found
    from relay.capture.reconcile import Progress, Reconciling
    from relay.config import Config
    from relay.moodle.contract import Moodle
    from relay.service.daemon import Signals
    from relay.service.lease import Opened
    from relay.service.reconciling import Asked

#: How often it is looked whether the log has been read, in seconds, and for how long at most it is waited for.
LOOK_S, READ_S = 0.25, 10.0


@dataclass(slots=True, kw_only=True)
class Compared:
    """What came of comparing one table."""

    name: str
    #: The rows that differ, by id.
    found: dict[int, Found] = field(default_factory=dict)
    rows: int = 0
    #: How many events were recorded.
    sent: int = 0
    #: It was the first pass, which learns.
    has_learned: bool = False
    #: How many rows differ of which the log may still tell: relay does not read it.
    unread: int = 0
    #: The config sends nothing of the table.
    is_off: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """What is told on the way: how many rows were compared, and for what is waited (seconds, and how many rows)."""

    rows: Callable[[int], None]
    waits: Callable[[float, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What came of it."""

    tables: Sequence[Compared]
    #: No signal broke it off.
    has_ended: bool
    #: How many events are undelivered; None where a daemon delivers them, or nothing was sent.
    undelivered: int | None = None


def reconcile(config: Config, asked: Asked, signals: Signals, tell: Tell) -> Reconciled:
    """Compare tables, and send what differs where that is asked for. Raises RelayError."""
    machine = parts.REAL
    log = make_log(replace(config.log, level="warning"), sys.stderr, machine.now)
    with parts.opened(config, machine, create=True) as opened:
        moodle = parts.make_moodle(config, limit_s=STATEMENT_S)
        opened.outbox.join(opened.now())
        try:
            with lease.kept(opened):
                comparing = _Comparing(config, moodle, opened, asked, signals, tell)
                tables = [comparing.compare(name) for name in asked.tables if not signals.stop.is_set()]
        finally:
            moodle.close()
        has_ended = not signals.stop.is_set()
        if not any(one.sent for one in tables):
            return Reconciled(tables=tables, has_ended=has_ended)
        undelivered = once.deliver(config, opened, log, signals)
        return Reconciled(tables=tables, has_ended=has_ended and not signals.stop.is_set(), undelivered=undelivered)


class _Comparing:
    """Compares tables, each from its first row to the end of the grace."""

    def __init__(
        self, config: Config, moodle: Moodle, opened: Opened, asked: Asked, signals: Signals, tell: Tell
    ) -> None:
        self._config = config
        self._moodle = moodle
        self._opened = opened
        self._asked = asked
        self._signals = signals
        self._tell = tell
        self._log = make_log(replace(config.log, level="warning"), sys.stderr, opened.machine.now)

    def compare(self, name: str) -> Compared:
        """Compare a table; a signal ends it early. Raises RelayError."""
        compared = Compared(name=name)
        start = wiring.make_reconciling(self._config, self._moodle, self._opened, self._log, self._asked)
        reconciling = start(name)
        if reconciling is None:
            compared.is_off = True
            return compared
        now = self._opened.now()
        progress = reconciling.begin_again(now, self._asked.triggered_by)
        compared.has_learned = progress.is_first and not self._asked.is_fixing
        try:
            self._walk(reconciling, progress, compared)
        except RelayError as error:
            reconciling.fail(progress, str(error), self._opened.now())
            raise
        return compared

    def _walk(self, reconciling: Reconciling, progress: Progress, compared: Compared) -> None:
        while not progress.is_done and not self._signals.stop.is_set():
            if not self._wait(reconciling, progress):
                compared.unread = progress.differing
                return
            progress, found = reconciling.step(progress, self._opened.now())
            compared.found |= {one.row_id: one for one in found}
            compared.rows, compared.sent = progress.rows, progress.sent
            self._tell.rows(progress.rows)

    def _wait(self, reconciling: Reconciling, progress: Progress) -> bool:
        """Wait until the next step can be taken, or a signal; say whether the log has been read so far."""
        machine = self._opened.machine
        gives_up_at, has_told = machine.monotonic() + READ_S, False
        while not self._signals.stop.is_set():
            now = self._opened.now()
            ready_at = reconciling.ready_at(progress, now)
            if ready_at <= now:
                return True
            if ready_at == float("inf"):
                if machine.monotonic() > gives_up_at:
                    return False
            elif not has_told:
                has_told = True
                self._tell.waits(ready_at, progress.differing)
            self._signals.stop.wait(LOOK_S)
        return True
