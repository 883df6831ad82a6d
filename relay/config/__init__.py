"""The config: YAML to frozen dataclasses, all mistakes at once, each with its path and line (contract, section 6)."""

from relay.config.events import EventsConfig
from relay.config.files import (
    find,
    load,
    load_backend,
    load_database,
    load_events,
    load_outbox,
    load_to_look,
    load_web,
    parse,
    with_start,
    written_database,
)
from relay.config.outbox_url import outbox_server
from relay.config.schema import BackendConfig, Config, DatabaseConfig, OutboxConfig
from relay.config.web import WebConfig

__all__ = [
    "BackendConfig",
    "Config",
    "DatabaseConfig",
    "EventsConfig",
    "OutboxConfig",
    "WebConfig",
    "find",
    "load",
    "load_backend",
    "load_database",
    "load_events",
    "load_outbox",
    "load_to_look",
    "load_web",
    "outbox_server",
    "parse",
    "with_start",
    "written_database",
]
