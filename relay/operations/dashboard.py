"""A dashboard for Grafana, made of the metrics of `metrics`."""

from __future__ import annotations

import json
from typing import Any


def _quantiles(buckets: str) -> tuple[tuple[str, str], ...]:
    """Return the median and two high quantiles of a histogram as expressions with their legends."""
    rate = f"sum by (le) (rate({buckets}[$__rate_interval]))"
    return tuple((f"histogram_quantile({share}, {rate})", f"{share}") for share in (0.5, 0.95, 0.99))


#: The panels: title, kind, unit, and expressions with their legends.
PANELS: tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], ...] = (
    ("What needs a person", "stat", "none", (("relay_problem == 1", "{{condition}}"),)),
    ("Undelivered", "stat", "none", (('sum(relay_events{status=~"pending|failed"})', "events"),)),
    ("Oldest undelivered", "stat", "s", (("time() - relay_oldest_undelivered_timestamp_seconds", "age"),)),
    ("Last delivery", "stat", "s", (("time() - relay_last_delivery_timestamp_seconds", "ago"),)),
    (
        "Attempts per second",
        "timeseries",
        "reqps",
        (("sum by (outcome) (rate(relay_attempts_total[$__rate_interval]))", "{{outcome}}"),),
    ),
    (
        "Log rows per second",
        "timeseries",
        "ops",
        (("sum by (result) (rate(relay_log_rows_total[$__rate_interval]))", "{{result}}"),),
    ),
    (
        "From Moodle to the backend",
        "timeseries",
        "s",
        _quantiles("relay_delivery_latency_seconds_bucket"),
    ),
    (
        "Duration of an attempt",
        "timeseries",
        "s",
        _quantiles("relay_attempt_duration_seconds_bucket"),
    ),
    ("Events by status", "timeseries", "none", (("sum by (status) (relay_events)", "{{status}}"),)),
    ("Events by type", "timeseries", "none", (("sum by (type) (relay_events)", "{{type}}"),)),
    ("Unread log ids", "timeseries", "none", (("relay_log_end - relay_log_position", "ids"),)),
    (
        "Circuits, gaps, pause",
        "timeseries",
        "none",
        (
            ("relay_circuit_open", "circuit open"),
            ("relay_paths_closed", "paths closed"),
            ("relay_open_gaps", "gaps"),
            ("relay_paused", "paused"),
        ),
    ),
)
#: How wide the dashboard is, and how large its panels are, in Grafana's units.
WIDTH, STAT, CHART = 24, (6, 4), (12, 8)


def dashboard() -> str:
    """Return the dashboard as JSON, to be imported into Grafana."""
    document = {
        "title": "relay",
        "uid": "moodle-relay",
        "tags": ["relay", "moodle"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": _panels(),
    }
    return json.dumps(document, indent=2)


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    x = y = 0
    for number, (title, kind, unit, targets) in enumerate(PANELS, 1):
        width, height = STAT if kind == "stat" else CHART
        panels.append(
            {
                "id": number,
                "title": title,
                "type": kind,
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
                "gridPos": {"x": x, "y": y, "w": width, "h": height},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend}
                    for index, (expression, legend) in enumerate(targets)
                ],
            }
        )
        x += width
        if x >= WIDTH:
            x, y = 0, y + height
    return panels
