"""`relay check`: whether everything is there that relay needs, and what is to be mended.

A module for each thing that is looked at, with a function `check_…` for each check. To add one, write such a function
there, and yield what it returns in the `checks` of its module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.operations.check import backend as backend_checks
from relay.operations.check import moodle as moodle_checks
from relay.operations.check import outbox as outbox_checks
from relay.operations.check import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.config import Config
    from relay.moodle.contract import Moodle
    from relay.operations.backend import Backend
    from relay.operations.check.result import Check
    from relay.outbox.contract import Outbox


def examine(
    config: Config,
    *,
    moodle: Moodle,
    open_outbox: Callable[[], Outbox],
    backend: Backend,
    now: Callable[[], float],
) -> Iterator[Check]:
    """Yield the checks one after the other, as each is done; `now` tells this machine's unix seconds."""
    yield from settings.checks(config)
    yield from moodle_checks.checks(moodle)
    yield from outbox_checks.checks(config.outbox.sqlite_path, open_outbox, now)
    yield from backend_checks.checks(backend, now)
