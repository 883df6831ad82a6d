"""The parts of a relay, made from the config: nothing else constructs them."""

from __future__ import annotations

import contextlib
import json
import random
import ssl
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from relay import __version__
from relay.capture.build import Rules
from relay.capture.log import Capture
from relay.config import outbox_server
from relay.delivery.dispatch import Dispatch
from relay.delivery.sender import Sender
from relay.events import catalogue
from relay.events.kind import Options
from relay.moodle.reader import MoodleReader
from relay.outbox.mysql import MysqlOutbox
from relay.outbox.sqlite import SqliteOutbox
from relay.rules import retry
from relay.rules.server import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping, Sequence

    from relay.config import Config, DatabaseConfig
    from relay.config.schema import TlsConfig
    from relay.events.kind import EventKind
    from relay.model import Delivery, Log, Outcome
    from relay.outbox.contract import Outbox

#: The real clock, in unix seconds.
clock = time.time


class Lines:
    """Writes log lines to a stream, each at once and whole, whichever thread it comes from."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._kept = threading.local()

    def line(self, text: str) -> None:
        """Write a line, or keep it until the end of `together`."""
        kept: list[str] | None = getattr(self._kept, "lines", None)
        if kept is None:
            self._write(text)
        else:
            kept.append(text)

    debug = info = warning = error = critical = line

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write the lines of this thread within at its end: hundreds cost as much as one."""
        kept: list[str] = []
        self._kept.lines = kept
        try:
            yield
        finally:
            self._kept.lines = None
            if kept:
                self._write("\n".join(kept))

    def _write(self, text: str) -> None:
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()


def make_log(config: Config, stream: TextIO) -> Log:
    """Return the logger: one JSON object a line, or the console form on a terminal (contract, section 7)."""
    as_json = config.log.format == "json" or (config.log.format == "auto" and not stream.isatty())
    levels: Any = structlog.make_filtering_bound_logger(config.log.level)

    class Logger(levels):  # type: ignore[misc] # made anew for each level
        """structlog's, with one more method."""

        def together(self) -> contextlib.AbstractContextManager[None]:
            lines: Lines = self._logger
            return lines.together()

    processors: list[Any] = [_json_line] if as_json else [_stamped, structlog.dev.ConsoleRenderer()]
    log: Log = structlog.wrap_logger(Lines(stream), processors=processors, wrapper_class=Logger).bind()
    return log


def _stamped(_logger: Any, method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put what each line begins with before its fields."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"timestamp": now, "level": method, "event": fields.pop("event"), **fields}


#: What JSON does not know is shown as Python does.
_encode = json.JSONEncoder(default=repr).encode


def _json_line(logger: Any, method: str, fields: MutableMapping[str, Any]) -> str:
    return _encode(_stamped(logger, method, fields))


def make_outbox(config: Config, *, create: bool, for_move: bool = False) -> Outbox:
    """Open the outbox that the config names; `for_move` opens one that was moved, or half moved, too.

    Raises OutboxError.
    """
    outbox = config.outbox
    if outbox.sqlite_path is not None:
        return SqliteOutbox(outbox.sqlite_path, prefix=outbox.prefix, create=create, for_move=for_move)
    host, port, user, schema = outbox_server(outbox.url)
    keys = dict.fromkeys(("host", "user", "name", "unix_socket"), "outbox.url")
    address = Address(
        host=host,
        port=port,
        name=schema,
        user=user,
        password="" if outbox.password is None else outbox.password.reveal(),
        prefix=outbox.prefix,
        tls=_tls(outbox.tls),
        title="The outbox's database",
        keys={**keys, "password": "outbox.password", "prefix": "outbox.prefix"},
    )
    return MysqlOutbox(address, create=create, for_move=for_move)


def make_moodle(config: Config) -> MoodleReader:
    """Return the reader of Moodle's database; it connects when it is first asked."""
    return connect(config.moodle.database, catalogue.watched(config.events.disabled))


def connect(database: DatabaseConfig, kinds: Sequence[EventKind] = ()) -> MoodleReader:
    """Return the reader of a database, for these kinds of event; it connects when it is first asked."""
    return MoodleReader(
        Address(
            host=database.host,
            port=database.port,
            unix_socket=None if database.unix_socket is None else str(database.unix_socket),
            name=database.name,
            user=database.user,
            password="" if database.password is None else database.password.reveal(),
            prefix=database.prefix,
            tls=_tls(database.tls),
        ),
        kinds,
    )


def _tls(tls: TlsConfig | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.create_default_context(cafile=None if tls.ca is None else str(tls.ca))
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
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


def make_capture(config: Config, moodle: MoodleReader, outbox: Outbox, log: Log) -> Capture:
    """Return what reads the log into the outbox."""
    rules = Rules(
        start_from=config.moodle.start_from,
        disabled=config.events.disabled,
        ignore_actors=frozenset(config.events.ignore_actors),
        options=make_options(config),
    )
    return Capture(moodle=moodle, outbox=outbox, rules=rules, log=log)


def make_dispatch(config: Config, outbox: Outbox, sender: Sender, log: Log) -> Dispatch:
    """Return what delivers from the outbox."""

    def post(delivery: Delivery, _now: float) -> Outcome:
        # This machine's own time is what is signed; when things are due goes by the clock that relays share.
        return sender.post(delivery.event_type, delivery.event_id, delivery.body, clock())

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
        clock=lambda: outbox.time(clock()),
        jitter=random.SystemRandom().random,
        log=log,
        is_paused=not config.enabled,
    )
