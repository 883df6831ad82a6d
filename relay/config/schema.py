"""A config, read: frozen, with every default filled in (contract, section 6)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING

from relay.config.credentials import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """How the connection to a database is encrypted."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """Where Moodle's database is."""

    host: str
    port: int
    unix_socket: str | None
    name: str
    user: str
    password: Secret | None
    prefix: str
    tls: TlsConfig | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoodleConfig:
    """The site whose events are delivered."""

    url: str
    database: DatabaseConfig
    #: Seconds between two looks at the log.
    poll_interval: float
    #: now, beginning, a time (float, unix seconds) or a log id (int).
    start_from: str | float | int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """Who receives the events."""

    url: str
    token: Secret
    tenant_id: str
    #: Seconds that one attempt may take as a whole.
    timeout: float
    concurrency: int
    ca_bundle: Path | None
    proxy: Secret | None
    signing_keys: tuple[Secret, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """The schedule of retries; delays in seconds."""

    enabled: bool
    max_attempts: int
    first_delay: float
    multiplier: float
    max_delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentConfig:
    """Options of enrollment_created."""

    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeConfig:
    """Options of grade_updated."""

    feedback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsConfig:
    """Which events are sent, and how."""

    disabled: frozenset[str]
    enrollment_created: EnrollmentConfig
    grade_updated: GradeConfig
    ignore_actors: tuple[int, ...]

    def enabled(self, event_type: str) -> bool:
        """Say whether events of this type are sent."""
        return event_type not in self.disabled


@dataclass(frozen=True, slots=True, kw_only=True)
class BtecConfig:
    """The BTEC grades: the least score (percent) of each, from the highest to the lowest."""

    bands: tuple[tuple[Decimal, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxConfig:
    """Where events wait and attempts are recorded."""

    url: str
    #: The file, where the URL names one.
    sqlite_path: Path | None
    password: Secret | None
    tls: TlsConfig | None
    prefix: str
    #: Seconds that a delivered event is kept.
    retention: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged, and how."""

    level: str
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusConfig:
    """When `relay status --check` says that a person is needed."""

    #: An undelivered event older than this, in seconds, needs one.
    max_age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole config."""

    #: The file it was read from.
    source: Path = field(compare=False)
    enabled: bool
    moodle: MoodleConfig
    backend: BackendConfig
    retry: RetryConfig
    events: EventsConfig
    btec: BtecConfig
    outbox: OutboxConfig
    log: LogConfig
    status: StatusConfig

    def secrets(self) -> Iterator[tuple[str, Secret]]:
        """Yield every secret with its path in the file."""
        yield from _secrets(self, "")


def _secrets(value: object, path: str) -> Iterator[tuple[str, Secret]]:
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, tuple):
        for index, one in enumerate(value):
            yield from _secrets(one, f"{path}[{index}]")
    elif is_dataclass(value):
        for one in fields(value):
            yield from _secrets(getattr(value, one.name), f"{path}.{one.name}".lstrip("."))
