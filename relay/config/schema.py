"""The keys of the config, each declared once: its type, default, bounds and meaning; and the frozen values of a config.

A new key is one field here (contract, section 6). config.example.yaml and the README's list are made from this file:
run `tests/write_docs.py` after a change.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from relay.config import btec, checks, tls
from relay.config.credentials import Secret
from relay.config.events import EVENTS
from relay.config.keys import advised, defaulted, group, optional, part, required
from relay.config.metrics import MetricsConfig
from relay.config.outbox_url import outbox_path, outbox_url
from relay.config.reconcile import ReconcileConfig
from relay.config.values import (
    boolean,
    choice,
    duration,
    file,
    number,
    secret,
    secrets,
    text,
    url_text,
    whole,
)
from relay.config.web import WEB
from relay.events.marks import BTEC
from relay.rules import signing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from relay.config.btec import BtecConfig
    from relay.config.events import EventsConfig
    from relay.config.reader import Section
    from relay.config.web import WebConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """How the connection to a database is encrypted."""

    ca: Path | None = field(
        metadata=optional(file(tls.authorities), "/etc/relay/ca.pem", "a PEM file of the CAs that alone are trusted")
    )
    cert: Path | None = field(
        metadata=optional(file(tls.authorities), "/etc/relay/client.pem", "the client's certificate")
    )
    key: Path | None = field(metadata=optional(file(), "/etc/relay/client.key", "the client's key"))
    verify: bool = field(metadata=defaulted(boolean(), "true", "`false` takes any certificate of the server"))


def _tls(section: Section, values: dict[str, Any]) -> TlsConfig:
    made = TlsConfig(**values)
    if made.key is not None and "cert" not in section:
        section.wrong("key", "is of no use without cert")
    if made.cert is not None and (made.key is not None or "key" not in section):
        try:
            tls.identify(tls.trusting(None), made.cert, made.key)
        except OSError:
            where = made.key or made.cert
            what = f"{where} holds no key (PEM, not encrypted) that belongs to the certificate"
            section.wrong("key" if made.key else "cert", what)
    return made


TLS = replace(
    group(TlsConfig, _tls),
    meaning="an encrypted connection; `tls: {}` verifies the server with the system's CAs",
    is_optional=True,
    is_inline=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """Where Moodle's database is."""

    host: str = field(metadata=defaulted(text(checks.host), "localhost", "the database server"))
    port: int = field(metadata=defaulted(whole(1, 65535), "3306", "the server's port"))
    unix_socket: str | None = field(
        metadata=optional(text(), "/run/mysqld/mysqld.sock", "the server's socket, instead of host and port")
    )
    name: str = field(metadata=required(text(), "moodle", "the name of Moodle's database"))
    user: str = field(
        metadata=required(
            text(),
            "relay",
            "a database user for relay alone, that may read and nothing else (`relay grants` prints its SQL)",
        )
    )
    password: Secret | None = field(
        metadata=advised(secret(), "{file: /etc/relay/database-password}", "the user's password")
    )
    prefix: str = field(
        metadata=defaulted(text(checks.prefix), "mdl_", "what the names of Moodle's tables begin with (`$CFG->prefix`)")
    )
    tls: TlsConfig | None = field(metadata=part(TLS))


DATABASE = group(DatabaseConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoodleConfig:
    """The site whose events are delivered."""

    url: str = field(
        metadata=required(
            url_text(checks.site_url),
            "https://moodle.example.edu",
            "the site's own address (`$CFG->wwwroot`); it stands in each event as `moodle_url`",
        )
    )
    database: DatabaseConfig = field(metadata=part(DATABASE))
    #: Seconds between two reads of the log.
    poll_interval: float = field(
        metadata=defaulted(
            duration("10ms", "1h"),
            "100ms",
            "the time between two reads of the log; half of it while events come, up to 200 ms where none came for "
            "10 s, and more where the server is slow",
        )
    )
    #: now, beginning, a time (float, unix seconds) or a log id (int).
    start_from: str | float | int = field(
        metadata=defaulted(
            text(checks.start),
            "now",
            "where to start as long as the outbox has no cursor: `now`, `beginning`, a time such as "
            "`2026-02-01T14:30:00Z`, or a log id",
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """Who receives the events."""

    url: str = field(
        metadata=required(
            url_text(checks.backend_url),
            "https://backend.example.edu",
            "must be https, save for loopback; events go to `<url>/v1/events/moodle/<event type>`",
        )
    )
    token: Secret = field(
        metadata=required(secret(checks.header), "{file: /etc/relay/backend-token}", "sent as `X-Moodle-Token`")
    )
    tenant_id: str = field(
        metadata=defaulted(text(checks.header), "default", "sent as `X-Tenant-ID`, and in each event")
    )
    #: Seconds that one attempt may take as a whole.
    timeout: float = field(
        metadata=defaulted(
            duration("10ms", "10m"),
            "30s",
            "the limit of an attempt as a whole, from the name's resolution to the end of the answer",
        )
    )
    concurrency: int = field(
        metadata=defaulted(
            whole(1, 256), "8", "requests at once, at most; a backend that answers without delay gets fewer"
        )
    )
    ca_bundle: Path | None = field(
        metadata=optional(
            file(tls.authorities),
            "/etc/relay/backend-ca.pem",
            "CA certificates (PEM) that alone are trusted, instead of the system's",
        )
    )
    proxy: Secret | None = field(
        metadata=optional(
            secret(checks.proxy_url),
            "{file: /etc/relay/proxy}",
            "a proxy, as `http://user:password@host:port`; proxy variables of the environment are ignored",
        )
    )
    signing_keys: tuple[Secret, ...] = field(
        metadata=advised(
            secrets(signing.parse_key),
            "[{file: /etc/relay/signing-key}]",
            "Standard Webhooks keys: `whsec_…` (HMAC-SHA256) and `whsk_…` (Ed25519); all of them sign, so that a key "
            "can be changed",
        )
    )


BACKEND = group(BackendConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """The schedule of retries; delays in seconds."""

    enabled: bool = field(metadata=defaulted(boolean(), "true", "`false` is one attempt an event"))
    max_attempts: int = field(
        metadata=defaulted(
            whole(1, 1_000_000),
            "24",
            "attempts before an event is given up; 24 take about three days at the default delays",
        )
    )
    first_delay: float = field(
        metadata=defaulted(
            duration("1ms", "30d"), "5s", "the delay before the second attempt; jitter adds up to a tenth to each delay"
        )
    )
    multiplier: float = field(metadata=defaulted(number(1, 100), "2", "the factor by which each delay grows"))
    max_delay: float = field(metadata=defaulted(duration("1ms", "30d"), "6h", "the longest delay"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxConfig:
    """Where events wait and attempts are recorded."""

    url: str = field(
        metadata=defaulted(
            url_text(outbox_url),
            "sqlite:///var/lib/relay/outbox.db",
            "a file (`sqlite:///outbox.db` lies beside the config), or `mysql://user@host:port/schema`, a schema of "
            "MariaDB or MySQL that several relays share (see `relay grants --outbox`; relay makes the tables)",
        )
    )
    #: The file, where the URL names one.
    sqlite_path: Path | None
    password: Secret | None = field(
        metadata=optional(secret(), "{file: /etc/relay/outbox-password}", "the password of a `mysql://` outbox")
    )
    tls: TlsConfig | None = field(metadata=part(replace(TLS, meaning="the encryption of a `mysql://` outbox")))
    prefix: str = field(
        metadata=defaulted(text(checks.prefix), "mdl_", "what the names of the outbox's tables begin with")
    )
    #: Seconds that a delivered event is kept.
    retention: float = field(metadata=defaulted(duration("1h", "3650d"), "90d", "how long delivered events are kept"))


def _outbox(section: Section, values: dict[str, Any]) -> OutboxConfig:
    # A wrong URL is noted already, and is None.
    path = outbox_path(values["url"], section.base) if values["url"] else None
    return OutboxConfig(sqlite_path=path, **values)


OUTBOX = group(OutboxConfig, _outbox)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged, and how."""

    #: The terminal is to have colours: neither NO_COLOR nor TERM=dumb says otherwise.
    is_coloured: bool = field(default=True, compare=False)

    level: str = field(
        metadata=defaulted(
            choice("info", "debug", "warning", "error"), "info", "lines of this level and above are written"
        )
    )
    format: str = field(
        metadata=defaulted(choice("auto", "json", "console"), "auto", "`auto` is `console` on a terminal, else `json`")
    )


def _log(_section: Section, values: dict[str, Any]) -> LogConfig:
    is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return LogConfig(is_coloured=not is_plain, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusConfig:
    """When `relay status --check` says that a person is needed."""

    #: An undelivered event older than this, in seconds, needs one.
    max_age: float = field(
        metadata=defaulted(
            duration("1s", "365d"),
            "1h",
            "an event that is undelivered for longer, or a log row that is unread, needs a person: `relay status "
            "--check` exits 1",
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole config."""

    #: The file it was read from.
    source: Path = field(compare=False)
    enabled: bool = field(
        metadata=defaulted(boolean(), "true", "`false` is a pause: events are captured and kept, nothing is sent")
    )
    moodle: MoodleConfig = field(metadata=part(group(MoodleConfig)))
    backend: BackendConfig = field(metadata=part(BACKEND))
    retry: RetryConfig = field(metadata=part(group(RetryConfig)))
    events: EventsConfig = field(metadata=part(EVENTS))
    btec: BtecConfig = field(
        metadata=defaulted(
            btec.bands(),
            btec.written(BTEC),
            "the least score (percent, before rounding) of each grade; the lowest must be 0",
        )
    )
    outbox: OutboxConfig = field(metadata=part(OUTBOX))
    reconcile: ReconcileConfig = field(metadata=part(group(ReconcileConfig)))
    log: LogConfig = field(metadata=part(group(LogConfig, _log)))
    status: StatusConfig = field(metadata=part(group(StatusConfig)))
    metrics: MetricsConfig = field(metadata=part(group(MetricsConfig)))
    web: WebConfig = field(metadata=part(WEB))

    def secrets(self) -> Iterator[tuple[str, Secret]]:
        """Yield every secret with its path in the file."""
        yield from _secrets(self, "")


def _config(section: Section, values: dict[str, Any]) -> Config:
    return Config(source=section.source, **values)


#: The whole file.
CONFIG = group(Config, _config)


def _secrets(value: object, path: str) -> Iterator[tuple[str, Secret]]:
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, tuple):
        for index, one in enumerate(value):
            yield from _secrets(one, f"{path}[{index}]")
    elif is_dataclass(value):
        for one in fields(value):
            yield from _secrets(getattr(value, one.name), f"{path}.{one.name}".lstrip("."))
