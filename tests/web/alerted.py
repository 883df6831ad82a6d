"""Which alerts fire on figures that were scraped, as promtool judges it by the rules of `relay metrics --alerts`."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any

import promtool
import yaml

from relay.operations import alerts, conditions

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    #: When figures were scraped, in unix seconds, and their text.
    Scrape = tuple[float, str]

LEVELS = {one.name: one.level.name.lower() for one in conditions.CONDITIONS}


def named(text: str) -> set[str]:
    """Return the conditions that hold by the figures."""
    return {line.split('"')[1] for line in text.splitlines() if line.startswith("relay_problem") and line[-1] == "1"}


def check_lasting(text: str, at: float, fires: Collection[str], folder: Path, *, is_live: bool) -> None:
    """Let figures that were scraped at a time stay so for ten minutes: the alerts of these fire, and no others.

    `is_live`: a pass is completed all the time.
    """
    scrapes = [(at if is_live else at + 60 * minute, text) for minute in range(11)]
    _judge(scrapes, 60, [(10, fires)], folder, alerts.rules())


def check_silent(scrapes: Sequence[Scrape], folder: Path) -> None:
    """No alert fires at any of these scrapes, one a second, though none would have to last for its rule's time."""
    _judge(
        scrapes, 1, [(place, ()) for place in range(len(scrapes))], folder, re.sub("for: .*", "for: 0s", alerts.rules())
    )


def _judge(
    scrapes: Sequence[Scrape], each_s: int, fires: Sequence[tuple[int, Collection[str]]], folder: Path, rules: str
) -> None:
    """Let promtool judge which alerts fire at some of the scrapes, each given by its place, and no others."""
    if promtool.path() is None:
        return
    (folder / "relay.yml").write_text(rules)
    read = _read(rules)
    expected = [
        {"eval_time": f"{place * each_s}s", "alertname": one["alert"], "exp_alerts": _expected(one, names)}
        for place, names in fires
        for one in read
    ]
    tests = [{"interval": f"{each_s}s", "input_series": _series(scrapes, each_s), "alert_rule_test": expected}]
    (folder / "test.yml").write_text(json.dumps({"rule_files": ["relay.yml"], "tests": tests}))
    promtool.run("test", "rules", str(folder / "test.yml"))


@functools.cache
def _read(rules: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(rules)["groups"][0]["rules"]
    return found


def _expected(rule: dict[str, Any], names: Collection[str]) -> list[dict[str, Any]]:
    name = re.sub("([A-Z])", r"_\1", rule["alert"].removeprefix("Relay")).lower().strip("_")
    if name not in names:
        return []
    labels = {"severity": rule["labels"]["severity"]}
    if name in LEVELS:
        labels |= {"condition": name, "level": LEVELS[name]}
    says = {key: one.replace("{{ $labels.instance }}", "") for key, one in rule["annotations"].items()}
    return [{"exp_labels": labels, "exp_annotations": says}]


def _series(scrapes: Sequence[Scrape], each_s: int) -> list[dict[str, str]]:
    """Return the series as promtool takes them; its time begins at 0."""
    values: dict[str, list[str]] = {}
    for place, (at, text) in enumerate(scrapes):
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("#"):
                continue
            if name == "relay_last_pass_timestamp_seconds":
                value = str(int(place * each_s - (at - float(value))))
            values.setdefault(name, ["_"] * len(scrapes))[place] = value
    return [{"series": name, "values": " ".join(found)} for name, found in values.items()]
