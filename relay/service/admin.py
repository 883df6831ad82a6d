"""The commands of those who run relay, which neither capture nor deliver: each opens what it needs, and closes it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from relay.errors import MoodleRefused
from relay.operations import acknowledge as acknowledging
from relay.operations import check as checking
from relay.operations import plugin, profile
from relay.operations.check import backend as backend_checks
from relay.operations.check import moodle as moodle_checks
from relay.operations.check.result import guarded
from relay.operations.forget import forget as forget_user
from relay.operations.move import Move
from relay.operations.purge import purge as purge_before
from relay.outbox import pausing
from relay.service import lease, parts, wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from relay.config import Config, DatabaseConfig
    from relay.operations.acknowledge import Acknowledged
    from relay.operations.check.result import Check
    from relay.operations.profile import Profile
    from relay.outbox.values import Forgotten, Selector


#: How long `relay check` waits for the backend at the most, in seconds.
CHECK_MOST_S = 10.0


def check(config: Config) -> Iterator[Check]:
    """Yield what is found of all that relay needs, one after the other, as each is looked at."""
    machine = parts.REAL
    yield from checking.examine(
        config,
        moodle=partial(parts.reading, config),
        open_outbox=lambda: parts.make_outbox(config, create=False),
        try_schema=partial(parts.try_schema, config),
        backend=partial(wiring.sending, _patient(config), machine),
        now=machine.now,
    )


def try_database(config: Config) -> list[Check]:
    """Read Moodle's database as relay reads it; return what is odd about the site's address. Raises RelayError."""
    with parts.reading(config) as moodle:
        try:
            site = moodle.site()
        except MoodleRefused as error:
            found = moodle_checks.refused(error, moodle, config.moodle.database.prefix)
            is_about_account = error.is_about_account and found.found == str(error)
            raise MoodleRefused(found.found, hint=found.hint, is_about_account=is_about_account) from None
        for missing in moodle.missing():
            raise missing
        return list(moodle_checks.check_address(site, config.moodle.url))


def try_backend(config: Config) -> Iterator[Check]:
    """Yield what the backend says to our token, as `check` does."""

    def ask() -> Iterator[Check]:
        with wiring.sending(_patient(config), parts.REAL) as sender:
            yield from backend_checks.checks(sender, parts.REAL.now)

    yield from guarded("backend", ask)


def _patient(config: Config) -> Config:
    """Return the config with a time for the backend's answer that somebody at a terminal waits for."""
    return replace(config, backend=replace(config.backend, timeout=min(config.backend.timeout, CHECK_MOST_S)))


def ask_profile(config: Config, user: int) -> Profile:
    """Return what the backend knows of a student, given Moodle's user id. Raises RelayError."""
    with wiring.sending(config, parts.REAL) as sender:
        return profile.ask(sender, user)


def plugin_settings(database: DatabaseConfig) -> Mapping[str, str]:
    """Return the settings of the PHP plugin that relay replaces. Raises MoodleError."""
    with contextlib.closing(parts.connect(database)) as moodle:
        return moodle.plugin_settings(plugin.NAME)


def move(config: Config, target: Config, tell: Callable[[int], None]) -> int:
    """Move the outbox of one config into that of the other; return how many rows there are. Raises RelayError.

    `tell` is told from time to time how many rows are done.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(parts.opened(config, parts.REAL, for_move=True))
        lease.hold_alone(source, exclusive=True)
        other = stack.enter_context(parts.opened(target, parts.REAL, create=True, for_move=True))
        moving = Move(
            source=source.outbox, source_url=config.outbox.url, target=other.outbox, target_url=target.outbox.url
        )
        moving.check()
        lease.hold_alone(other, exclusive=True)
        for opened in (source, other):
            stack.enter_context(lease.kept(opened))
        return moving.run(source.now(), tell)


def acknowledge(config: Config, selector: Selector, reason: str) -> Acknowledged:
    """Mark what the selector means, and was given up, as dealt with. Raises OutboxError."""
    with parts.opened(config, parts.REAL) as opened:
        return acknowledging.acknowledge(opened.outbox, selector, reason, opened.now())


def purge(config: Config) -> int:
    """Delete delivered events that are older than the retention; return how many. Raises RelayError."""
    with parts.opened(config, parts.REAL) as opened:
        opened.outbox.join(opened.now())
        return purge_before(opened.outbox, opened.now() - config.outbox.retention, opened.machine.sleep)


def pause(config: Config, who: str) -> None:
    """Let no relay on the outbox send anything from now on; `who` asked for it. Raises OutboxError."""
    with parts.opened(config, parts.REAL) as opened:
        pausing.pause(opened.outbox, who, opened.now())


def resume(config: Config) -> None:
    """End a pause that somebody has asked for. Raises OutboxError."""
    with parts.opened(config, parts.REAL) as opened:
        pausing.resume(opened.outbox, opened.now())


def forget(config: Config, user: int, *, undelivered: bool) -> Forgotten:
    """Take the personal data of a user out of the outbox; return what was done, and left. Raises RelayError."""
    with parts.opened(config, parts.REAL) as opened:
        opened.outbox.join(opened.now())
        return forget_user(opened.outbox, user, opened.now, opened.machine.sleep, undelivered=undelivered)
