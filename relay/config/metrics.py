"""Where the figures for Prometheus go: the section `metrics`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.config import checks
from relay.config.keys import optional
from relay.config.values import file, text

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """Where the figures for Prometheus go."""

    textfile: Path | None = field(
        metadata=optional(
            file(lambda _path: None),
            "/var/lib/prometheus/node-exporter/relay.prom",
            "a file for node_exporter's textfile collector: written whole every 5 s, readable by everybody",
        )
    )
    #: The path of a socket, or a host and a port.
    listen: str | tuple[str, int] | None = field(
        metadata=optional(
            text(checks.listen),
            "127.0.0.1:9164",
            "where Prometheus finds `/metrics`: an address of this machine with its port, or `unix:/path/of/a/socket`",
        )
    )
