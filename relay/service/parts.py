"""The factory: makes the parts of a relay from its config, and the real machine. Nothing else constructs them."""

from __future__ import annotations

import contextlib
import random
import secrets
import shutil
import socket
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from relay import __version__
from relay.capture.held import hold_all_hidden, hold_recorded
from relay.capture.log import Capture
from relay.capture.reconcile import STATEMENT_S
from relay.capture.rules import Rules
from relay.delivery.dispatch import Dispatch, Settings
from relay.delivery.sender import Sender
from relay.errors import OutboxMissing
from relay.events import catalogue
from relay.events.kind import Options
from relay.moodle.reader import MoodleReader
from relay.outbox.pausing import paused_by
from relay.outbox.sqlite import SqliteOutbox
from relay.rules import circuit, retry
from relay.service import addresses, reconciling
from relay.service.late import LateTransport
from relay.service.lease import Opened
from relay.service.logs import say_migrated
from relay.service.machine import Machine
from relay.service.relay import Relay
from relay.service.threads import Pool, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from relay.capture.sync import Syncing, Wanted
    from relay.config import BackendConfig, Config, DatabaseConfig
    from relay.delivery.transport import Transport
    from relay.events.kind import EventKind
    from relay.model import Delivery, Log, Outcome
    from relay.moodle.contract import Moodle
    from relay.operations import status
    from relay.operations.explain import Explainer
    from relay.operations.kept import Kept
    from relay.outbox.contract import Outbox
    from relay.service.reconciling import Asked, Start

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
    return MoodleReader(addresses.of_moodle(database), kinds, triggered, limit_s=limit_s)


def make_transport(url: str, backend: BackendConfig, machine: Machine) -> Transport:
    """Return the connections to a URL, made as the config's backend is reached."""
    from relay.delivery.transport import Transport  # noqa: PLC0415 -- a fifth of a start: see LateTransport

    return Transport(
        url=url,
        timeout_s=backend.timeout,
        connections=backend.concurrency,
        monotonic=machine.monotonic,
        ca_bundle=backend.ca_bundle,
        proxy=None if backend.proxy is None else backend.proxy.reveal(),
        # The system's resolver has its own times, which may be far longer.
        resolve=within(backend.timeout, socket.getaddrinfo),
    )


def make_sender(config: Config, machine: Machine, late: LateTransport | None = None) -> Sender:
    """Return what sends requests to the backend, over `late` where it is given. Raises ConfigError."""
    backend = config.backend
    with addresses.made_of("backend"):
        return Sender(
            # It has what a sender asks of its transport.
            transport=cast("Transport", late) if late else make_transport(backend.url, backend, machine),
            token=backend.token.reveal(),
            tenant_id=backend.tenant_id,
            signing_keys=[key.reveal() for key in backend.signing_keys],
            version=__version__,
        )


@contextlib.contextmanager
def sending(config: Config, machine: Machine) -> Iterator[Sender]:
    """Let the backend be asked within."""
    with contextlib.closing(make_sender(config, machine)) as sender:
        yield sender


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


def make_capture(config: Config, moodle: Moodle, outbox: Outbox, log: Log) -> Capture:
    """Return what reads the log into the outbox."""
    rules = Rules(
        start_from=config.moodle.start_from,
        kinds=config.events.kinds,
        disabled=config.events.disabled,
        ignore_actors=frozenset(config.events.ignore_actors),
        options=make_options(config),
    )
    return Capture(moodle=moodle, outbox=outbox, rules=rules, log=log)


def make_sync(config: Config, moodle: Moodle, outbox: Outbox, wanted: Wanted, log: Log) -> Syncing:
    """Return what records current rows of Moodle as events. Raises MoodleError."""
    from relay.capture.sync import Syncing  # noqa: PLC0415 -- for a command

    return Syncing(moodle=moodle, outbox=outbox, wanted=wanted, options=make_options(config), log=log)


def make_reconciling(config: Config, moodle: Moodle, opened: Opened, log: Log, asked: Asked | None = None) -> Start:
    """Return what makes the passes over a table: the daemon's own, or those that a person asks for."""
    return reconciling.starting(config, moodle, opened, log, make_options(config), asked)


def make_dispatch(config: Config, opened: Opened, sender: Sender, log: Log) -> Dispatch:
    """Return what delivers from the outbox."""
    machine = opened.machine

    def post(delivery: Delivery, _now: float) -> Outcome:
        # This machine's own time is what is signed; when things are due goes by the clock that relays share.
        return sender.post(delivery.event_type, delivery.event_id, delivery.body, machine.now())

    return Dispatch(
        outbox=opened.outbox,
        post=post,
        settings=Settings(
            policy=retry.Policy(
                enabled=config.retry.enabled,
                max_attempts=config.retry.max_attempts,
                first_delay_s=config.retry.first_delay,
                multiplier=config.retry.multiplier,
                max_delay_s=config.retry.max_delay,
            ),
            types=frozenset(config.events.kinds),
            concurrency=config.backend.concurrency,
            attempt_s=config.backend.timeout,
            is_paused=not config.enabled,
        ),
        clock=opened.now,
        monotonic=machine.monotonic,
        jitter=machine.random,
        make_pool=machine.make_pool,
        log=log,
    )


def make_relay(config: Config, opened: Opened, log: Log, *, late: bool = False) -> Relay:
    """Return a relay; nothing of it runs yet. Raises RelayError where the config turns out to be of no use.

    `late`: what needs long to load is made by `Relay.prepare`, which then has to be called before the first delivery.
    """

    def make() -> Transport:
        with addresses.made_of("backend"):
            return make_transport(config.backend.url, config.backend, opened.machine)

    later = LateTransport(make) if late else None
    sender = make_sender(config, opened.machine, later)
    tables = make_moodle(config, limit_s=STATEMENT_S)
    options = make_options(config)("")

    def hold_hidden(now: float) -> None:
        # The passes of capture use the relay's own connection meanwhile.
        with reading(config) as moodle:
            hold_all_hidden(opened.outbox, moodle, moodle.kinds, now, options, log)

    return Relay(
        config=config,
        outbox=opened.outbox,
        capture=make_capture(config, make_moodle(config), opened.outbox, log),
        tables=tables,
        daily=reconciling.daily(config, opened, make_reconciling(config, tables, opened, log)),
        sender=sender,
        prepare=None if later is None else later.prepare,
        dispatch=make_dispatch(config, opened, sender, log),
        log=log,
        monotonic=opened.machine.monotonic,
        hold_recorded=partial(hold_recorded, opened.outbox, options),
        hold_hidden=hold_hidden,
    )


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
    path = config.outbox.sqlite_path
    try:
        return None if path is None else shutil.disk_usage(path.parent).free
    except OSError:
        return None


def make_kept(config: Config, moodle: Moodle, opened: Opened) -> Kept:
    """Return what asks Moodle whether it keeps from the student what an event says."""
    from relay.operations.kept import Kept  # noqa: PLC0415 -- for commands

    return Kept(outbox=opened.outbox, moodle=moodle, options=make_options(config)(""))


def make_explainer(config: Config, moodle: Moodle, opened: Opened) -> Explainer:
    """Return what tells the story of an event. Raises OutboxError."""
    from relay.operations.explain import Explainer  # noqa: PLC0415 -- for a command
    from relay.operations.unrecorded import Rules as ExplainRules  # noqa: PLC0415 -- as above

    return Explainer(
        outbox=opened.outbox,
        moodle=moodle,
        kept=make_kept(config, moodle, opened),
        breaker=circuit.load(opened.outbox.state(circuit.STATE)),
        rules=ExplainRules(
            is_paused=not config.enabled,
            is_told_to_pause=bool(paused_by(opened.outbox)),
            kinds=config.events.kinds,
            disabled=config.events.disabled,
            ignore_actors=frozenset(config.events.ignore_actors),
        ),
        now=opened.now(),
    )
