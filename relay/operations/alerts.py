"""Rules for Prometheus: one alert for each condition that needs a person, and two for a relay that says nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from relay.operations.conditions import CONDITIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How long a condition lasts before its alert fires: a restart or a short outage of the backend is over by then.
FOR = "2m"
#: How old the last pass may be, in seconds, by the figures of a relay that no longer writes them.
SILENT_S = 120


def rules() -> str:
    """Return a file of rules (YAML), as `rule_files` of Prometheus takes it."""
    return "\n".join(["groups:", "  - name: relay", "    rules:", *_rules()]) + "\n"


def _rules() -> Iterator[str]:
    for one in CONDITIONS:
        name = "Relay" + "".join(word.title() for word in one.name.split("_"))
        expression = f'relay_problem{{condition="{one.name}"}} == 1'
        summary = f"relay on {{{{ $labels.instance }}}}: {one.about}"
        yield from _rule(name, expression, FOR, one.level.name.lower(), summary, one.hint)
    hint = "systemctl status relay, and journalctl -u relay"
    silent = f"time() - relay_last_pass_timestamp_seconds > {SILENT_S}"
    summary = "relay on {{ $labels.instance }}: it has completed no pass for two minutes"
    yield from _rule("RelaySilent", silent, "1m", "critical", summary, hint)
    summary = "no relay tells its figures"
    yield from _rule("RelayAbsent", "absent(relay_build_info)", "10m", "critical", summary, hint)


def _rule(name: str, expression: str, lasts: str, severity: str, summary: str, hint: str) -> Iterator[str]:
    # A JSON string is one of YAML, too.
    yield f"      - alert: {name}"
    yield f"        expr: {json.dumps(expression)}"
    yield f"        for: {lasts}"
    yield f"        labels: {{severity: {severity}}}"
    yield "        annotations:"
    yield f"          summary: {json.dumps(summary)}"
    yield f"          description: {json.dumps(hint)}"
