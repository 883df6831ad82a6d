"""The figures: names and units as the field has them, few series, nothing of a person; rules that promtool takes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import promtool
import pytest

import relay
from relay.events.catalogue import KINDS
from relay.model import Status
from relay.operations import alerts, conditions, dashboard, health, metrics
from relay.operations.status import MoodleLog, Passes, Reading, Report
from relay.outbox.values import Counts, Member
from relay.rules.circuit import Breaker
from relay.rules.histogram import ATTEMPT, BEGINNING, DELIVERY

NOW = 1_770_000_000.0
STATES = {str(status): index + 1 for index, status in enumerate(Status)}
#: A type that this relay does not know: another version has recorded it.
UNKNOWN = "of_another_version"
FULL = Report(
    counts=Counts(
        seen=20,
        captured=12,
        ignored={"actor": 3, "restored": 1},
        synced=2,
        reconciled=0,
        purged=5,
        by_type=dict.fromkeys([*KINDS, UNKNOWN], STATES),
    ),
    undelivered=4,
    oldest_undelivered_age_s=60,
    oldest_due_at=NOW + 1.5,
    breaker=Breaker(),
    reading=Reading(cursor=10, open_gaps=1, open_gap_ids=3, log_end=12, lag=2),
    relays=[Member(name="moodle1 pid 7", leads=True, expires_at=NOW + 12)],
    at=NOW,
    log=MoodleLog(end=12, unread_since=int(NOW) - 5, is_on=True),
    passes=Passes(capture_at=NOW - 1, delivery_at=NOW - 2),
    last_delivery_at=NOW - 3,
    clock_skew_s=-1.0,
    disk_free=1_000_000_000,
)
SAMPLE = re.compile(r'^(relay_\w+)(?:\{((?:\w+="[^"]*",?)+)\})? (-?[0-9.]+)$')


def samples(text: str) -> dict[str, float]:
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def written(report: Report = FULL, figures: dict[str, int] | None = None) -> str:
    return metrics.text(report, health.judge(report), figures or {}, "1.2.3")


def test_all_of_it_are_a_hundred_series_at_the_most() -> None:
    found = samples(written())
    assert len(found) <= 100
    assert sum(value for name, value in found.items() if name.startswith("relay_events{")) == sum(
        sum(STATES.values()) for _ in FULL.counts.by_type
    )
    assert 'relay_events{type="other",status="success"}' in found


def test_with_few_types_each_has_its_name() -> None:
    few = replace(FULL, counts=FULL.counts._replace(by_type={name: {"success": 7} for name in KINDS}))
    found = samples(written(few))
    assert [found[f'relay_events{{type="{name}",status="success"}}'] for name in KINDS] == [7] * len(KINDS)


def test_the_readme_has_each_metric() -> None:
    readme = Path(relay.__file__).parent.parent.joinpath("README.md").read_text().split("## Figures for Prometheus")[1]
    table = readme.split("\n## ")[0]
    families = {line.split()[2] for line in written().splitlines() if line.startswith("# TYPE")}
    assert set(re.findall(r"`(relay_\w+)`", table)) == families


def test_the_readme_has_each_condition() -> None:
    readme = Path(relay.__file__).parent.parent.joinpath("README.md").read_text().split("## What needs a person")[1]
    listed = re.findall(r"^\| `(\w+)` \|.*\| (\w+) \|$", readme.split("\n## ")[0], re.MULTILINE)
    assert listed == [(one.name, one.level.name.lower()) for one in conditions.CONDITIONS]


def test_no_label_names_a_relay_or_an_unknown_type() -> None:
    assert "moodle1" not in written()
    assert UNKNOWN not in written()


def test_the_values_are_those_of_the_report() -> None:
    found = samples(written())
    assert {name: found[name] for name in found if "log_rows" in name} == {
        'relay_log_rows_total{result="captured"}': 12,
        'relay_log_rows_total{result="skipped"}': 4,
        'relay_log_rows_total{result="ignored"}': 4,
    }
    for name, value in {
        "relay_oldest_due_timestamp_seconds": NOW + 1.5,
        "relay_oldest_undelivered_timestamp_seconds": NOW - 60,
        "relay_oldest_unread_timestamp_seconds": NOW - 5,
        "relay_last_pass_timestamp_seconds": NOW - 2,
        "relay_last_capture_timestamp_seconds": NOW - 1,
        "relay_last_delivery_timestamp_seconds": NOW - 3,
        "relay_log_position": 10,
        "relay_log_end": 12,
        "relay_open_gaps": 1,
        "relay_lease_held": 1,
        "relay_clock_skew_seconds": -1,
        "relay_accounts_balanced": 0,
        'relay_build_info{version="1.2.3"}': 1,
        'relay_problem{condition="accounts",level="critical"}': 1,
        'relay_problem{condition="stopped",level="critical"}': 0,
    }.items():
        assert found[name] == value, name


def test_a_histogram_adds_up() -> None:
    counts: dict[str, int] = {}
    for milliseconds in (20, 25, 300, 31000):
        ATTEMPT.add(counts, milliseconds)
    found = samples(written(figures={key.removeprefix(f"{BEGINNING}."): count for key, count in counts.items()}))
    bucket = "relay_attempt_duration_seconds_bucket"
    assert [found[f'{bucket}{{le="{bound}"}}'] for bound in ("0.025", "0.25", "1", "30", "+Inf")] == [2, 2, 3, 3, 4]
    assert found["relay_attempt_duration_seconds_count"] == 4
    assert found["relay_attempt_duration_seconds_sum"] == pytest.approx(31.345)
    assert found["relay_delivery_latency_seconds_count"] == 0
    assert DELIVERY.bounds[0] == 1.0


def test_an_outbox_that_is_away_is_told_without_figures_that_are_none() -> None:
    found = samples(written(replace(FULL, outbox_error="it is locked")))
    assert found['relay_problem{condition="outbox",level="critical"}'] == 1
    assert not [name for name in found if not name.startswith(("relay_problem", "relay_build"))]


def test_each_line_is_a_comment_or_a_sample() -> None:
    for line in written().splitlines():
        assert line.startswith(("# HELP relay_", "# TYPE relay_")) or SAMPLE.match(line), line


def test_promtool_finds_nothing_in_the_figures() -> None:
    assert promtool.run("check", "metrics", given=written()) == ""


def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "relay.yml"
    path.write_text(alerts.rules())
    assert f"{len(conditions.CONDITIONS) + 2} rules found" in promtool.run("check", "rules", str(path))


def alert(name: str, says: str = "", hint: str = "", **labels: str) -> dict[str, Any]:
    """Return what promtool is to expect of an alert after an hour; without a sentence: it does not fire."""
    fires = {"exp_labels": labels, "exp_annotations": {"summary": says, "description": hint}}
    return {"eval_time": "60m", "alertname": name, "exp_alerts": [fires] if says else []}


def an_hour(bad: str) -> dict[str, Any]:
    """Return promtool's test of an hour in which one condition holds, or none."""
    series = [
        {"series": f'relay_problem{{condition="{one.name}"}}', "values": f"{int(one.name == bad)}x60"}
        for one in conditions.CONDITIONS
    ]
    alive = [
        {"series": "relay_last_pass_timestamp_seconds", "values": "0+60x60"},
        {"series": "relay_build_info", "values": "1x60"},
    ]
    expected = [alert("RelaySilent"), alert("RelayAbsent")]
    for one in conditions.CONDITIONS:
        name = "Relay" + one.name.title().replace("_", "")
        fires = alert(name, f"relay on : {one.about}", one.hint, condition=one.name, severity=one.level.name.lower())
        expected.append(fires if one.name == bad else alert(name))
    return {"interval": "1m", "input_series": [*series, *alive], "alert_rule_test": expected}


def test_each_alert_fires_on_its_fault_and_none_in_a_healthy_hour(tmp_path: Path) -> None:
    (tmp_path / "relay.yml").write_text(alerts.rules())
    hint = "systemctl status relay, and journalctl -u relay"
    silent = {
        "interval": "1m",
        "input_series": [{"series": "relay_last_pass_timestamp_seconds", "values": "0x60"}],
        "alert_rule_test": [
            alert("RelaySilent", "relay on : it has completed no pass for two minutes", hint, severity="critical"),
            alert("RelayAbsent", "no relay tells its figures", hint, severity="critical"),
        ],
    }
    hours = [an_hour(""), *(an_hour(one.name) for one in conditions.CONDITIONS)]
    (tmp_path / "test.yml").write_text(json.dumps({"rule_files": ["relay.yml"], "tests": [*hours, silent]}))
    promtool.run("test", "rules", str(tmp_path / "test.yml"))


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    found = {re.split(r"[{ ]", name)[0] for name in samples(written())}
    asked = set(re.findall(r"relay_\w+", json.dumps(json.loads(dashboard.dashboard())["panels"])))
    assert asked <= found
    positions = [panel["gridPos"] for panel in json.loads(dashboard.dashboard())["panels"]]
    assert all(one["x"] + one["w"] <= dashboard.WIDTH for one in positions)


def test_the_alerts_ask_for_metrics_that_there_are() -> None:
    found = {re.split(r"[{ ]", name)[0] for name in samples(written())}
    assert set(re.findall(r"relay_\w+", "".join(re.findall("expr: .*", alerts.rules())))) <= found
