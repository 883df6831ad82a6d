"""Makes what captures, compares and delivers of the parts that it is built on, as the config says."""

from __future__ import annotations

import contextlib
import socket
from functools import partial
from typing import TYPE_CHECKING, cast

from relay import __version__
from relay.capture.held import hold_all_hidden, hold_recorded
from relay.capture.log import Capture
from relay.capture.reconcile import STATEMENT_S
from relay.capture.rules import Rules
from relay.delivery.dispatch import Dispatch, Settings
from relay.delivery.sender import Sender
from relay.rules import retry
from relay.service import addresses, reconciling
from relay.service.late import LateTransport
from relay.service.parts import make_moodle, make_options, reading
from relay.service.relay import Relay
from relay.service.threads import within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.capture.sync import Syncing, Wanted
    from relay.config import BackendConfig, Config
    from relay.delivery.transport import Transport
    from relay.model import Delivery, Log, Outcome
    from relay.moodle.contract import Moodle
    from relay.outbox.contract import Outbox
    from relay.service.lease import Opened
    from relay.service.machine import Machine
    from relay.service.reconciling import Asked, Start


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
