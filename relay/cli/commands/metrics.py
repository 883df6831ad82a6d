"""`relay metrics`: the figures for Prometheus, rules for its alerts, and a dashboard for Grafana."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.cli.command import Command, Exit
from relay.cli.configured import load_to_look
from relay.operations import alerts, dashboard
from relay.service import judging

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay metrics
  relay metrics --alerts > /etc/prometheus/rules/relay.yml
  relay metrics --dashboard > relay.json    import it into Grafana

While relay runs, `metrics.textfile` or `metrics.listen` in the config give
the figures to Prometheus.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--alerts", action="store_true", help="rules for Prometheus (YAML)")
    what.add_argument("--dashboard", action="store_true", help="a dashboard for Grafana (JSON)")


def handle(arguments: argparse.Namespace) -> int:
    """Print the figures, the rules or the dashboard."""
    if arguments.alerts:
        print(alerts.rules(), end="")
    elif arguments.dashboard:
        print(dashboard.dashboard())
    else:
        text, error = judging.figures(load_to_look(arguments))
        print(text, end="")
        if error is not None:
            raise error
    return Exit.WELL


COMMAND = Command(
    name="metrics",
    summary="figures for Prometheus, alert rules, a dashboard for Grafana",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
