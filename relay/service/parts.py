"""Opens what a config names (outbox, Moodle), on the real machine; `wiring` makes the relay of these."""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from relay.errors import OutboxMissing
from relay.events import catalogue
from relay.events.kind import Options
from relay.outbox.sqlite import SqliteOutbox
from relay.service import addresses
from relay.service.lease import Opened
from relay.service.lines import say_migrated
from relay.service.machine import Machine
from relay.service.threads import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from relay.config import Config, DatabaseConfig
    from relay.events.kind import EventKind
    from relay.model import Log
    from relay.moodle.contract import Moodle
    from relay.moodle.reader import MoodleReader
    from relay.operations import status
    from relay.operations.kept import Kept
    from relay.outbox.contract import Outbox

#: The machine that this process runs on.
REAL = Machine(
    now=time.time,
    monotonic=time.monotonic,
    sleep=time.sleep,
    random=random.SystemRandom().random,
    make_pool=Pool,
)


def make_outbox(config: Config, *, create: bool, for_move: bool = False, log: Log | None = None) -> Outbox:
    """Open the outbox that the config names, and say in the log, or else on stderr, that this has changed its tables.

    `for_move` opens one that was moved, or half moved, too. Raises OutboxError.
    """
    outbox = _make_outbox(config, create=create, for_move=for_move)
    if outbox.migrated is not None:
        say_migrated(log, outbox.migrated)
    return outbox


def _make_outbox(config: Config, *, create: bool, for_move: bool) -> Outbox:
    outbox = config.outbox
    if outbox.sqlite_path is not None:
        return SqliteOutbox(outbox.sqlite_path, prefix=outbox.prefix, create=create, for_move=for_move)
    from relay.outbox.mysql import MysqlOutbox  # noqa: PLC0415 -- most outboxes are in a file

    # Leases go on while the machine sleeps, and so does this clock.
    elapsed = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    token = partial(secrets.token_hex, 16)
    address = addresses.of_outbox(outbox)
    return MysqlOutbox(address, elapsed=elapsed, sleep=time.sleep, token=token, create=create, for_move=for_move)


def try_schema(config: Config) -> None:
    """Ask the outbox's server whether an outbox could be made, and change nothing. Raises OutboxError where not."""
    from relay.outbox import mysql_database  # noqa: PLC0415 -- as above

    database = mysql_database.Database(addresses.of_outbox(config.outbox), elapsed=time.monotonic, sleep=time.sleep)
    with contextlib.closing(database):
        database.try_making()


@contextlib.contextmanager
def opened(
    config: Config, machine: Machine, *, create: bool = False, for_move: bool = False, log: Log | None = None
) -> Iterator[Opened]:
    """Open the outbox that the config names, as `make_outbox` does, within; `create` makes one where there is none."""
    with contextlib.closing(make_outbox(config, create=create, for_move=for_move, log=log)) as outbox:
        yield Opened(outbox=outbox, machine=machine)


@contextlib.contextmanager
def opened_to_look(config: Config, machine: Machine) -> Iterator[Opened]:
    """Open the outbox that the config names, within; where there is none, an empty one stands for it."""
    with contextlib.ExitStack() as stack:
        try:
            outbox = stack.enter_context(contextlib.closing(make_outbox(config, create=False)))
        except OutboxMissing:
            outbox = stack.enter_context(temporary_outbox())
        yield Opened(outbox=outbox, machine=machine)


@contextlib.contextmanager
def temporary_outbox() -> Iterator[Outbox]:
    """Make an empty outbox that is there within, and gone after it."""
    import tempfile  # noqa: PLC0415 -- for a command

    with tempfile.TemporaryDirectory() as folder, contextlib.closing(SqliteOutbox(Path(folder, "outbox.db"))) as made:
        yield made


def make_moodle(config: Config, *, limit_s: float | None = None) -> MoodleReader:
    """Return the reader of Moodle's database, which connects when asked; `limit_s`: of a statement, in seconds."""
    kinds = catalogue.watched(config.events.kinds.values(), config.events.disabled)
    on = [kind for kind in kinds if kind.name not in config.events.disabled]
    return connect(config.moodle.database, kinds, catalogue.triggered(on, make_options(config)("")), limit_s=limit_s)


@contextlib.contextmanager
def reading(config: Config) -> Iterator[MoodleReader]:
    """Let Moodle's database be read within."""
    with contextlib.closing(make_moodle(config)) as moodle:
        yield moodle


def connect(
    database: DatabaseConfig,
    kinds: Sequence[EventKind] = (),
    triggered: Sequence[EventKind] = (),
    *,
    limit_s: float | None = None,
) -> MoodleReader:
    """Return the reader of a database, for these kinds of event; it connects when it is first asked."""
    from relay.moodle.reader import MoodleReader  # noqa: PLC0415 -- for those who read Moodle

    return MoodleReader(addresses.of_moodle(database), kinds, triggered, limit_s=limit_s)


def make_options(config: Config) -> Callable[[str], Options]:
    """Return what makes the options of payloads, given Moodle's siteidentifier."""

    def options(site: str) -> Options:
        return Options(
            site=site,
            moodle_url=config.moodle.url,
            tenant_id=config.backend.tenant_id,
            btec=config.btec.bands,
            chosen=config.events.chosen,
        )

    return options


def make_settings(config: Config) -> status.Settings:
    """Return what the config says that decides whether all is well."""
    from relay.operations import status  # noqa: PLC0415 -- as MoodleLog in relay.py

    return status.Settings(
        max_age_s=config.status.max_age,
        poll_interval_s=config.moodle.poll_interval,
        is_paused=not config.enabled,
        signs=bool(config.backend.signing_keys),
        reconciled=config.reconcile.tables,
        reconcile_s=config.reconcile.interval,
    )


def disk_free(config: Config) -> int | None:
    """Return how many bytes are free on the disk of an outbox in a file; None where that is not known."""
    import shutil  # noqa: PLC0415 -- a start does not wait for what it brings

    path = config.outbox.sqlite_path
    try:
        return None if path is None else shutil.disk_usage(path.parent).free
    except OSError:
        return None


def make_kept(config: Config, moodle: Moodle, opened: Opened) -> Kept:
    """Return what asks Moodle whether it keeps from the student what an event says."""
    from relay.operations.kept import Kept  # noqa: PLC0415 -- for commands

    return Kept(outbox=opened.outbox, moodle=moodle, options=make_options(config)(""))
