"""The commands of those who run relay, which neither capture nor deliver: each opens what it needs, and closes it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from relay import __version__
from relay.errors import MoodleRefused, OutboxError, OutboxMissing
from relay.operations import acknowledge as acknowledging
from relay.operations import check as checking
from relay.operations import health, metrics, plugin, profile
from relay.operations import status as state
from relay.operations.check import backend as backend_checks
from relay.operations.check import moodle as moodle_checks
from relay.operations.check.result import guarded
from relay.operations.forget import forget as forget_user
from relay.operations.move import Move
from relay.operations.purge import purge as purge_before
from relay.outbox import pausing
from relay.rules.histogram import BEGINNING
from relay.service import lease, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from relay.config import Config, DatabaseConfig
    from relay.operations.acknowledge import Acknowledged
    from relay.operations.check.result import Check
    from relay.operations.profile import Profile
    from relay.operations.status import Report
    from relay.operations.story import Story
    from relay.outbox.contract import Outbox
    from relay.outbox.values import Forgotten, Listed, Selector


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
        backend=partial(parts.sending, _patient(config), machine),
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
        with parts.sending(_patient(config), parts.REAL) as sender:
            yield from backend_checks.checks(sender, parts.REAL.now)

    yield from guarded("backend", ask)


def _patient(config: Config) -> Config:
    """Return the config with a time for the backend's answer that somebody at a terminal waits for."""
    return replace(config, backend=replace(config.backend, timeout=min(config.backend.timeout, CHECK_MOST_S)))


def status(config: Config) -> Report:
    """Return the state of the relay. Raises OutboxError."""
    return _look(config)[0]


def figures(config: Config) -> tuple[str, OutboxError | None]:
    """Return the figures of the relay as Prometheus text, and why the outbox has given none, where that is away."""
    try:
        report, numbers = _look(config)
    except OutboxError as error:
        report = without_outbox(config, error)
        return metrics.text(report, health.judge(report), {}, __version__), error
    return metrics.text(report, health.judge(report), numbers, __version__), None


def without_outbox(config: Config, error: OutboxError) -> Report:
    """Return what is known of the relay where its outbox cannot be used."""
    free, settings = parts.disk_free(config), parts.make_settings(config)
    return state.without_outbox(str(error), settings, parts.REAL.now(), free)


def _look(config: Config) -> tuple[Report, Mapping[str, int]]:
    """Return the state of the relay, and the numbers that are kept. Raises OutboxError."""
    with parts.opened(config, parts.REAL) as opened, parts.reading(config) as moodle:
        _try_writing(config, opened.outbox)
        report = state.gather(
            opened.outbox,
            partial(state.ask, moodle),
            parts.make_settings(config),
            opened.now(),
            disk_free=parts.disk_free(config),
        )
        return report, opened.outbox.numbers(BEGINNING)


def _try_writing(config: Config, outbox: Outbox) -> None:
    """Raise OutboxError where the outbox can be read and not written: that holds up the relay that runs, too.

    A user whose file it is not, such as a monitor's, may well be one who is only to read it.
    """
    path = config.outbox.sqlite_path
    if path is None or os.geteuid() in (0, path.stat().st_uid):
        outbox.probe_write()


def cursor(config: Config) -> int | None:
    """Return up to which id the log is read; None where it has not been read yet. Raises OutboxError."""
    try:
        with parts.opened(config, parts.REAL) as opened:
            position = opened.outbox.position()
    except OutboxMissing:
        return None
    return None if position is None else position.high


def events(config: Config, selector: Selector, limit: int) -> Sequence[Listed]:
    """Return the recorded events that are meant, the last recorded first: so many at most. Raises OutboxError."""
    with parts.opened(config, parts.REAL) as opened:
        return opened.outbox.listed(selector, limit)


def again_and_again(seconds: float) -> Iterator[None]:
    """Yield at once, and again each time that so many seconds have passed."""
    while True:
        yield
        parts.REAL.sleep(seconds)


def explain(config: Config, what: str) -> Sequence[tuple[str, Story]]:
    """Tell the stories of what is named, as `operations.explain` knows it, each with its id. Raises RelayError."""
    with parts.opened(config, parts.REAL) as opened, parts.reading(config) as moodle:
        return parts.make_explainer(config, moodle, opened).explain_all(what)


def ask_profile(config: Config, user: int) -> Profile:
    """Return what the backend knows of a student, given Moodle's user id. Raises RelayError."""
    with parts.sending(config, parts.REAL) as sender:
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
