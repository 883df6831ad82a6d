"""`relay check`: whether everything is there that relay needs, and what is to be mended.

A module for each thing that is looked at, with a function `check_…` for each check. To add one, write such a function
there, and yield what it returns in the `checks` of its module; tests/operations/test_check.py stages a fault for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.operations.check import backend as backend_checks
from relay.operations.check import files, settings
from relay.operations.check import moodle as moodle_checks
from relay.operations.check import outbox as outbox_checks
from relay.operations.check.result import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from relay.config import Config
    from relay.moodle.contract import Moodle
    from relay.operations.backend import Backend
    from relay.operations.check.result import Check
    from relay.outbox.contract import Outbox


def examine(
    config: Config,
    *,
    moodle: Callable[[], AbstractContextManager[Moodle]],
    open_outbox: Callable[[], Outbox],
    try_schema: Callable[[], None],
    backend: Callable[[], AbstractContextManager[Backend]],
    now: Callable[[], float],
) -> Iterator[Check]:
    """Yield the checks one after the other, as each is done, whatever one of them raises.

    `moodle` and `backend` open what is asked, and may raise RelayError; `try_schema` raises OutboxError where no outbox
    could be made in the schema of its server. `now` tells this machine's unix seconds.
    """

    def ask_moodle() -> Iterator[Check]:
        with moodle() as opened:
            yield from moodle_checks.checks(opened, config)

    def ask_backend() -> Iterator[Check]:
        with backend() as opened:
            yield from backend_checks.checks(opened, now)

    yield from guarded("config", lambda: settings.checks(config))
    yield from guarded("files", lambda: files.checks(config))
    yield from guarded("database", ask_moodle)
    yield from guarded("outbox", lambda: outbox_checks.checks(config.outbox.sqlite_path, open_outbox, now, try_schema))
    yield from guarded("backend", ask_backend)
