"""The config: YAML -> frozen dataclasses; all mistakes at once, each with its path and line (contract, section 6)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from relay import times
from relay.config.credentials import Secret
from relay.config.reader import Mistakes, Section, compose
from relay.config.schema import (
    BackendConfig,
    BtecConfig,
    Config,
    DatabaseConfig,
    EnrollmentConfig,
    EventsConfig,
    GradeConfig,
    LogConfig,
    MoodleConfig,
    OutboxConfig,
    RetryConfig,
    StatusConfig,
    TlsConfig,
)
from relay.errors import ConfigError, UsageError
from relay.events import marks
from relay.events.catalogue import KINDS
from relay.rules import signing

__all__ = [
    "Config",
    "DatabaseConfig",
    "find",
    "load",
    "load_database",
    "load_events",
    "load_outbox",
    "outbox_server",
    "parse",
    "with_start",
    "written_database",
]

#: Where a config is looked for when none is named (contract, section 5).
PLACES = (Path("config.yaml"), Path("/etc/relay/config.yaml"))
DEFAULT_OUTBOX = "sqlite:///var/lib/relay/outbox.db"
#: What a table prefix may be made of: it is put into SQL as it is.
_PREFIX = re.compile(r"[A-Za-z0-9_]{0,32}", re.ASCII)


def find(explicit: Path | None, environment: str | None) -> Path:
    """Return which config is meant (contract, section 5). Raises UsageError where there is none."""
    named = explicit or (Path(environment) if environment else None)
    if named is not None:
        return named
    found = next((place for place in PLACES if place.exists()), None)
    if found is None:
        raise UsageError(
            f"There is no config: neither {PLACES[0]} in this folder nor {PLACES[1]}.",
            hint="Name one with --config FILE, or copy config.example.yaml and fill it in.",
        )
    return found


def load(path: Path) -> Config:
    """Return the config of a file. Raises ConfigError with all its mistakes."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"The config {path} cannot be read: {error.strerror}.", hint="Name one with --config FILE."
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"The config {path} is no UTF-8 text.", hint="Save it as UTF-8.") from None
    return parse(text, path=path)


def parse(text: str, *, path: Path) -> Config:
    """Return the config of a text; `path` is where it stands. Raises ConfigError with all its mistakes."""
    mistakes = Mistakes()
    root = Section(compose(text, path), "", mistakes, path.absolute().parent)
    config = _config(root, path)
    root.close()
    found = mistakes.lines()
    if found:
        count = "a mistake" if len(found) == 1 else f"{len(found)} mistakes"
        raise ConfigError(
            f"The config {path} has {count}:", mistakes=found, hint="config.example.yaml shows every key."
        )
    return config


def load_database(path: Path) -> DatabaseConfig:
    """Return how Moodle's database is reached, whatever else the file holds. Raises ConfigError."""
    mistakes = Mistakes()
    database = _database(_database_section(path, mistakes))
    _refuse(path, "moodle.database", mistakes)
    return database


def load_events(path: Path) -> EventsConfig:
    """Return which events are sent, whatever else the file holds. Raises ConfigError."""
    mistakes = Mistakes()
    events = _events(_root(path, mistakes).section("events"))
    _refuse(path, "events", mistakes)
    return events


def load_outbox(path: Path) -> OutboxConfig:
    """Return where the outbox is, whatever else the file holds. Raises ConfigError."""
    mistakes = Mistakes()
    outbox = _outbox(_root(path, mistakes).section("outbox"), path.absolute().parent)
    _refuse(path, "outbox", mistakes)
    return outbox


def _refuse(path: Path, part: str, mistakes: Mistakes) -> None:
    if mistakes.lines():
        raise ConfigError(
            f"{part} in the config {path} is wrong:",
            mistakes=mistakes.lines(),
            hint="config.example.yaml shows every key.",
        )


def written_database(path: Path) -> dict[str, object]:
    """Return moodle.database as the file has it: secrets by reference. Raises ConfigError."""
    return _database_section(path, Mistakes()).plain()


def _database_section(path: Path, mistakes: Mistakes) -> Section:
    return _root(path, mistakes).section("moodle").section("database")


def _root(path: Path, mistakes: Mistakes) -> Section:
    text = path.read_text("utf-8-sig") if path.exists() else ""
    return Section(compose(text, path), "", mistakes, path.absolute().parent)


def with_start(config: Config, text: str) -> Config:
    """Return the config with another `moodle.start_from`. Raises UsageError."""
    try:
        start = _start(text)
    except ValueError as error:
        raise UsageError(f"--from {text}: {error}.", hint="See `relay run --help`.") from None
    return replace(config, moodle=replace(config.moodle, start_from=start))


def _config(root: Section, path: Path) -> Config:
    return Config(
        source=path,
        enabled=root.boolean("enabled", default=True),
        moodle=_moodle(root.section("moodle")),
        backend=_backend(root.section("backend")),
        retry=_retry(root.section("retry")),
        events=_events(root.section("events")),
        btec=_btec(root.section("btec")),
        outbox=_outbox(root.section("outbox"), path.absolute().parent),
        log=_log(root.section("log")),
        status=StatusConfig(max_age=root.section("status").duration("max_age", "1h", "1s", "365d")),
    )


def _moodle(section: Section) -> MoodleConfig:
    return MoodleConfig(
        url=section.text("url", "", _site_url, is_required=True),
        database=_database(section.section("database")),
        poll_interval=section.duration("poll_interval", "500ms", "10ms", "1h"),
        start_from=section.text("start_from", "now", _start),
    )


def _database(section: Section) -> DatabaseConfig:
    return DatabaseConfig(
        host=section.text("host", "localhost", _word),
        port=section.integer("port", 3306, 1, 65535),
        unix_socket=section.text("unix_socket", None),
        name=section.text("name", "", is_required=True),
        user=section.text("user", "", is_required=True),
        password=section.secret("password", str),
        prefix=section.text("prefix", "mdl_", _prefix),
        tls=_tls(section.section("tls"), is_given="tls" in section),
    )


def _tls(tls: Section, *, is_given: bool) -> TlsConfig | None:
    found = TlsConfig(
        ca=tls.path_to("ca"),
        cert=tls.path_to("cert"),
        key=tls.path_to("key"),
        verify=tls.boolean("verify", default=True),
    )
    if found.key is not None and found.cert is None:
        tls.wrong("key", "is of no use without cert")
    return found if is_given else None


def _backend(section: Section) -> BackendConfig:
    return BackendConfig(
        url=section.text("url", "", _backend_url, is_required=True),
        token=section.secret("token", _header, is_required=True) or Secret(""),
        tenant_id=section.text("tenant_id", "default", _header),
        timeout=section.duration("timeout", "30s", "10ms", "10m"),
        concurrency=section.integer("concurrency", 8, 1, 256),
        ca_bundle=section.path_to("ca_bundle"),
        proxy=section.secret("proxy", _proxy_url),
        signing_keys=section.secrets("signing_keys", signing.parse_key),
    )


def _retry(section: Section) -> RetryConfig:
    return RetryConfig(
        enabled=section.boolean("enabled", default=True),
        max_attempts=section.integer("max_attempts", 24, 1, 1_000_000),
        first_delay=section.duration("first_delay", "5s", "1ms", "30d"),
        multiplier=section.number("multiplier", 2.0, 1.0, 100.0),
        max_delay=section.duration("max_delay", "6h", "1ms", "30d"),
    )


def _events(section: Section) -> EventsConfig:
    types = {event_type: section.section(event_type) for event_type in KINDS}
    return EventsConfig(
        disabled=frozenset(
            name for name, one in types.items() if not one.boolean("enabled", default=KINDS[name].is_default)
        ),
        enrollment_created=EnrollmentConfig(role=types["enrollment_created"].choice("role", ("student", "actual"))),
        grade_updated=GradeConfig(feedback=types["grade_updated"].choice("feedback", ("escaped", "plain"))),
        ignore_actors=section.integers("ignore_actors"),
    )


def _btec(section: Section) -> BtecConfig:
    """Return the bands: a name and the least score of each, one of them 0."""
    bands = []
    for name, value in section.items():
        try:
            least = Decimal(value)
        except ArithmeticError:
            least = Decimal(-1)
        if least.is_finite() and 0 <= least <= 100:
            bands.append((least, name))
        else:
            section.wrong(name, "must be a score from 0 to 100 (percent): the least that gives this grade")
    if not bands:
        return BtecConfig(bands=marks.BTEC)
    bands.sort(reverse=True)
    if bands[-1][0] != 0:
        section.wrong(bands[-1][1], "must be 0: the lowest grade is what every lower score gives")
    if len({least for least, _ in bands}) < len(bands):
        section.wrong(bands[-1][1], "two grades have the same least score")
    return BtecConfig(bands=tuple(bands))


def _outbox(section: Section, base: Path) -> OutboxConfig:
    def check(value: str) -> tuple[str, Path | None]:
        return value, outbox_path(value, base)

    found = section.text("url", (DEFAULT_OUTBOX, outbox_path(DEFAULT_OUTBOX, base)), check)
    url, path = found if isinstance(found, tuple) else (found, None)
    return OutboxConfig(
        url=url,
        sqlite_path=path,
        password=section.secret("password", str),
        tls=_tls(section.section("tls"), is_given="tls" in section),
        prefix=section.text("prefix", "mdl_", _prefix),
        retention=section.duration("retention", "90d", "1h", "3650d"),
    )


def outbox_path(url: str, base: Path) -> Path | None:
    """Return the file of an `sqlite:///path` URL, None for a database; a bare file name lies in the folder `base`.

    Raises ValueError with a sentence's end.
    """
    parts = _split(url)
    if parts.scheme == "mysql":
        if parts.password:
            raise ValueError("must not hold a password: give it as outbox.password")
        if not parts.hostname or not parts.username or not parts.path.strip("/") or parts.path.count("/") > 1:
            raise ValueError("must be mysql://user@host:port/schema")
        return None
    name = url.removeprefix("sqlite://").lstrip("/")
    if not url.startswith("sqlite:///") or not name or name.endswith("/"):
        raise ValueError("must be sqlite:///path/outbox.db or mysql://user@host:port/schema")
    return Path("/", name) if "/" in name or url.startswith("sqlite:////") else base / name


def outbox_server(url: str) -> tuple[str, int, str, str]:
    """Return host, port, user and schema of a `mysql://user@host:port/schema` URL."""
    parts = _split(url)
    return parts.hostname or "", parts.port or 3306, unquote(parts.username or ""), unquote(parts.path.strip("/"))


def _log(section: Section) -> LogConfig:
    levels = ("info", "debug", "warning", "error")
    return LogConfig(
        level=section.choice("level", levels), format=section.choice("format", ("auto", "json", "console"))
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("is no URL") from None
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("must not hold white space")
    return parts


def _web_url(url: str) -> SplitResult:
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL such as https://host.example.edu")
    return parts


def _site_url(url: str) -> str:
    parts = _web_url(url)
    if parts.username or parts.password:
        raise ValueError("must not hold a user or a password")
    return url.rstrip("/")


def _backend_url(url: str) -> str:
    parts = _web_url(url)
    if parts.username or parts.password:
        raise ValueError("must not hold a user or a password: backend.token tells the backend who we are")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("must not have a query or a fragment: the event's path comes behind it")
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("must be https: plain http is for loopback only (localhost, 127.0.0.0/8, ::1)")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine: `localhost`, 127.0.0.0/8 or ::1 (contract, section 3)."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (
        address in ipaddress.ip_network("127.0.0.0/8") if address.version == 4 else address == ipaddress.IPv6Address(1)
    )


def _proxy_url(url: str) -> None:
    parts = _split(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("must be http://host:port: what goes to the backend is encrypted within it")


def _header(value: str) -> str:
    """Check what is sent as a header's value (RFC 9110, section 5.5)."""
    if not value or value != value.strip() or not value.isprintable():
        raise ValueError("must be a text without control characters, and without blanks around it")
    return value


def _word(value: str) -> str:
    if not value or any(character.isspace() for character in value):
        raise ValueError("must not be empty or hold white space")
    return value


def _prefix(value: str) -> str:
    if not _PREFIX.fullmatch(value):
        raise ValueError("must be made of letters, digits and _, 32 at most")
    return value


def _start(text: str) -> str | float | int:
    """Return where to start: now, beginning, a time (float, unix seconds) or a log id (int)."""
    if text in ("now", "beginning"):
        return text
    if text.isascii() and text.isdigit() and 0 < len(text) < 19:
        return int(text)
    try:
        return times.moment(text)
    except ValueError:
        raise ValueError("must be now, beginning, a time such as 2026-02-01T14:30:00Z, or a log id") from None
