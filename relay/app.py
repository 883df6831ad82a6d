"""The only place that constructs: parts from the config, logging, the real clock and random numbers."""

from __future__ import annotations

import random
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from relay import __version__, payload, repair, retry
from relay.capture import Capture, Rules
from relay.daemon import Loop, Watch, supervise
from relay.dispatch import Dispatch
from relay.errors import ConfigError, MoodleError, OutboxUnavailable, RelayError, UsageError
from relay.model import Delivery, EventType, Outcome
from relay.moodle import Address, Moodle
from relay.outbox.sqlite import SqliteOutbox
from relay.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

    from relay.config import Config, DatabaseConfig
    from relay.daemon import Signals, Systemd
    from relay.model import Event, Log, Skip
    from relay.outbox.base import Outbox, Selector

#: Beyond the backend's timeout, how long a stop waits for what is under way, in seconds.
STOP_GRACE_S = 2.0

clock = time.time


def make_log(config: Config, stream: TextIO) -> Log:
    """Return the logger: one JSON object a line, or the console form on a terminal (contract, section 7)."""
    as_json = config.log.format == "json" or (config.log.format == "auto" and not stream.isatty())
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _what_matters_first,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(config.log.level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    log: Log = structlog.get_logger()
    return log


def _what_matters_first(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: fields[name] for name in ("timestamp", "level", "event")} | dict(fields)


def make_outbox(config: Config, *, create: bool) -> Outbox:
    """Open the outbox that the config names. Raises OutboxError, and UsageError for a kind that does not exist yet."""
    path = config.outbox.sqlite_path
    if path is None:
        raise UsageError(
            "outbox.url: this version of relay keeps its outbox in SQLite only.",
            hint="Write sqlite:////path/outbox.db.",
        )
    return SqliteOutbox(path, prefix=config.outbox.prefix, create=create)


def make_moodle(config: Config) -> Moodle:
    """Return the reader of Moodle's database; it connects when it is first asked."""
    database = config.moodle.database
    return Moodle(
        Address(
            host=database.host,
            port=database.port,
            unix_socket=None if database.unix_socket is None else str(database.unix_socket),
            name=database.name,
            user=database.user,
            password="" if database.password is None else database.password.reveal(),
            prefix=database.prefix,
            tls=_tls(database),
        )
    )


def _tls(database: DatabaseConfig) -> ssl.SSLContext | None:
    if database.tls is None:
        return None
    context = ssl.create_default_context(cafile=None if database.tls.ca is None else str(database.tls.ca))
    if not database.tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if database.tls.cert is not None:
        context.load_cert_chain(database.tls.cert, database.tls.key)
    return context


def make_sender(config: Config) -> Sender:
    """Return what posts to the backend."""
    backend = config.backend
    return Sender(
        url=backend.url,
        token=backend.token.reveal(),
        tenant_id=backend.tenant_id,
        timeout_s=backend.timeout,
        concurrency=backend.concurrency,
        ca_bundle=backend.ca_bundle,
        proxy=None if backend.proxy is None else backend.proxy.reveal(),
        signing_keys=[key.reveal() for key in backend.signing_keys],
        version=__version__,
    )


def make_capture(config: Config, moodle: Moodle, outbox: Outbox, log: Log) -> Capture:
    """Return what reads the log into the outbox."""

    def options(site: str) -> payload.Options:
        return payload.Options(
            site=site,
            moodle_url=config.moodle.url,
            tenant_id=config.backend.tenant_id,
            btec=config.btec.bands,
            actual_role=config.events.enrollment_created.role == "actual",
            plain_feedback=config.events.grade_updated.feedback == "plain",
        )

    rules = Rules(
        start_from=config.moodle.start_from,
        disabled=frozenset(event_type for event_type in EventType if not config.events.enabled(event_type)),
        ignore_actors=frozenset(config.events.ignore_actors),
        actual_role=config.events.enrollment_created.role == "actual",
        options=options,
    )
    return Capture(moodle=moodle, outbox=outbox, rules=rules, log=log)


def make_dispatch(config: Config, outbox: Outbox, sender: Sender, log: Log) -> Dispatch:
    """Return what delivers from the outbox."""

    def post(delivery: Delivery, now: float) -> Outcome:
        return sender.post(delivery.event_type, delivery.event_id, delivery.body, now)

    return Dispatch(
        outbox=outbox,
        post=post,
        policy=retry.Policy(
            enabled=config.retry.enabled,
            max_attempts=config.retry.max_attempts,
            first_delay_s=config.retry.first_delay,
            multiplier=config.retry.multiplier,
            max_delay_s=config.retry.max_delay,
        ),
        concurrency=config.backend.concurrency,
        attempt_s=config.backend.timeout,
        clock=clock,
        jitter=random.SystemRandom().random,
        log=log,
        is_paused=not config.enabled,
    )


class Relay:
    """A relay made of its parts, for one config."""

    def __init__(self, config: Config, outbox: Outbox, log: Log) -> None:
        self.config = config
        self.outbox = outbox
        self.log = log
        self.sender = make_sender(config)
        self.dispatch = make_dispatch(config, outbox, self.sender, log)
        self.capture = make_capture(config, make_moodle(config), outbox, log)
        #: Which database each loop waits for, where it does.
        self._away: dict[str, str] = {}
        self._lock = threading.Lock()
        self._capturing = Loop("capture", self._capture_pass, self._watch("capture"))
        self._dispatching = Loop("dispatch", lambda: self.dispatch.run_once(clock()), self._watch("dispatch"))
        self.dispatch.wake = self._dispatching.wake
        self.loops = [self._capturing, self._dispatching]

    def start(self) -> None:
        """Start reading and delivering."""
        for loop in self.loops:
            loop.start()

    def stop(self) -> None:
        """Stop reading, let what is under way come back and be recorded, and stop delivering."""
        self._capturing.stop()
        self.dispatch.stop()
        self._dispatching.wake()
        ends_at = time.monotonic() + self.config.backend.timeout + STOP_GRACE_S
        while self.dispatch.under_way and time.monotonic() < ends_at and self._dispatching.error is None:
            time.sleep(0.01)
        self._dispatching.stop()
        self.sender.abort()
        for loop in self.loops:
            loop.join(STOP_GRACE_S)
        self.dispatch.close()
        self.sender.close()

    def _capture_pass(self) -> float:
        try:
            progress = self.capture.run_once(clock())
        except MoodleError:
            self.capture.forget()
            raise
        if progress.accepted:
            self._dispatching.wake()
        return 0.0 if progress.is_more else self.config.moodle.poll_interval

    def _watch(self, loop: str) -> Watch:
        """Say once that a database is away, whichever loop finds it, and once that it is back for all of them."""

        def down(error: BaseException) -> None:
            subject = "moodle" if isinstance(error, MoodleError) else "outbox"
            with self._lock:
                is_first = subject not in self._away.values()
                self._away[loop] = subject
            if is_first:
                slug = "moodle.unreachable" if subject == "moodle" else "outbox.unavailable"
                self.log.error(slug, error=str(error), hint=getattr(error, "hint", ""))

        def up() -> None:
            with self._lock:
                subject = self._away.pop(loop)
                is_last = subject not in self._away.values()
            if is_last:
                self.log.warning("moodle.recovered" if subject == "moodle" else "outbox.recovered")

        return Watch(heals=(MoodleError, OutboxUnavailable), down=down, up=up)


def run(load: Callable[[], Config], signals: Signals, systemd: Systemd, *, stream: TextIO = sys.stdout) -> int:
    """Run the daemon until a signal ends it; `load` reads the config, again at each SIGHUP. Returns the exit code."""
    config = load()
    log = make_log(config, stream)
    outbox = make_outbox(config, create=True)
    try:
        outbox.hold()
        relay = Relay(config, outbox, log)
        relay.start()
        _say_started(relay, systemd)
        while (error := supervise(relay.loops, signals, systemd)) is None and not signals.stop.is_set():
            signals.reload.clear()
            relay = _reload(load, relay, systemd)
        systemd.notify("STOPPING=1")
        relay.stop()
        if error is not None:
            return _say_died(log, error)
        log.info("relay.stopped", signal=signals.number)
        return 0
    finally:
        outbox.close()


def _say_started(relay: Relay, systemd: Systemd) -> None:
    config = relay.config
    if getattr(relay.outbox, "created", False):
        relay.log.info("outbox.created", url=config.outbox.url)
    relay.log.info(
        "relay.started",
        version=__version__,
        config=str(config.source),
        backend=config.backend.url,
        moodle=config.moodle.url,
        sending=config.enabled,
    )
    systemd.notify("READY=1", f"STATUS=Delivering to {config.backend.url}")


def _say_died(log: Log, error: BaseException) -> int:
    if isinstance(error, RelayError):
        log.error("relay.failed", error=str(error), hint=error.hint)
        return error.exit_code
    # Only the error's kind: its text could hold what stands in a row.
    log.error("relay.failed", error=type(error).__name__, hint="This is a fault in relay: please report it.")
    raise error


def _reload(load: Callable[[], Config], relay: Relay, systemd: Systemd) -> Relay:
    """Put a relay with the new config in the place of the old one, or keep that and say why."""
    systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        config = load()
        if config.outbox != relay.config.outbox:
            raise ConfigError(
                "outbox: another outbox needs a restart.", hint="systemctl restart relay, when it suits you."
            )
        # A mistake that only shows when the parts are made leaves the old ones running.
        fresh = Relay(config, relay.outbox, make_log(config, sys.stdout))
    except RelayError as error:
        fields = {"mistakes": list(error.mistakes)} if isinstance(error, ConfigError) else {}
        hint = error.hint or "Relay goes on with the old one."
        relay.log.error("config.rejected", error=str(error), hint=hint, **fields)  # noqa: TRY400 -- no traceback
    else:
        relay.stop()
        relay = fresh
        relay.start()
        relay.log.info("config.reloaded", config=str(config.source))
    systemd.notify("READY=1", f"STATUS=Delivering to {relay.config.backend.url}")
    return relay


def run_once(config: Config, signals: Signals, timeout_s: float, *, stream: TextIO = sys.stdout) -> int:
    """Capture what is there, deliver what is due, wait for retries up to `timeout_s`.

    Returns how many events are undelivered then. Raises RelayError.
    """
    log = make_log(config, stream)
    outbox = make_outbox(config, create=True)
    try:
        outbox.hold()
        relay = Relay(config, outbox, log)
        while not signals.stop.is_set() and relay.capture.run_once(clock()).is_more:
            pass
        if config.enabled:
            _drain(relay, signals, clock() + timeout_s)
        return outbox.count_undelivered()
    finally:
        outbox.close()


def _drain(relay: Relay, signals: Signals, ends_at: float) -> None:
    """Deliver until nothing is left, nothing more can be due in time, or a signal asks for the end."""
    woken = threading.Event()
    dispatch = relay.dispatch
    dispatch.wake = woken.set
    while True:
        woken.clear()
        delay = dispatch.run_once(clock())
        if not dispatch.under_way:
            if signals.stop.is_set() or _next_try(relay) > ends_at:
                break
        elif signals.stop.is_set() or clock() > ends_at:
            dispatch.stop()
        woken.wait(delay)
    dispatch.close()
    relay.sender.close()


def _next_try(relay: Relay) -> float:
    """Return when something can be sent next, in unix seconds; infinity where nothing waits."""
    breaker = relay.dispatch.breaker
    due_at = relay.outbox.next_due(frozenset())
    if due_at is None:
        return float("inf")
    if breaker.whole is not None:
        return breaker.whole.probe_at
    return min([due_at, *(path.probe_at for path in breaker.paths.values())])


def preview(config: Config) -> Iterator[Event | Skip]:
    """Yield what a run would record, and record nothing. Raises RelayError."""
    log = make_log(config, sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        path = config.outbox.sqlite_path
        # Where there is no outbox yet, an empty one stands for it, and goes again.
        is_new = path is not None and not path.exists()
        outbox = SqliteOutbox(Path(folder, "outbox.db")) if is_new else make_outbox(config, create=False)
        try:
            yield from make_capture(config, make_moodle(config), outbox, log).preview(clock())
        finally:
            outbox.close()


def replay(config: Config, selector: Selector, signals: Signals, *, stream: TextIO = sys.stdout) -> repair.Replayed:
    """Send again what the selector means, beside a running daemon or not. Raises RelayError."""
    log = make_log(config, stream)
    outbox = make_outbox(config, create=False)
    sender = make_sender(config)
    dispatch = make_dispatch(config, outbox, sender, log)
    woken = threading.Event()
    dispatch.wake = woken.set

    def wait(seconds: float) -> None:
        if signals.stop.is_set():
            dispatch.stop()
        woken.wait(seconds)
        woken.clear()

    try:
        return repair.replay(outbox, dispatch, selector, clock, wait)
    finally:
        dispatch.close()
        sender.close()
        outbox.close()
