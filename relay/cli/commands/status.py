"""`relay status`: how much has been sent, what waits, and whether something needs a person."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from relay.cli import views
from relay.cli.command import Command, Exit
from relay.cli.configured import load_to_look
from relay.cli.printing import fitted
from relay.cli.watching import repeated
from relay.errors import OutboxError, RelayError
from relay.operations import health, status
from relay.operations.conditions import Level
from relay.service import judging

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from relay.config import Config

EXAMPLES = """examples:
  relay status
  relay status --watch            again every 2 s
  relay status --json | jq .problems
  relay status --check            exit 1 where something needs a person
  relay status --nagios           for Nagios, Icinga, Naemon, Checkmk:
                                  exit 0, 1, 2 or 3
"""
#: The exit code of a plugin that cannot find out.
UNKNOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="one JSON object")
    how.add_argument("--nagios", action="store_true", help="one line with figures, and the exit code of a plugin")
    parser.add_argument("--check", action="store_true", help="exit 1 where something needs a person, and say what")
    parser.add_argument("--watch", action="store_true", help="show it again every 2 s")


def handle(arguments: argparse.Namespace) -> int:
    """Print the state of the relay, and why a person is needed."""
    if arguments.nagios:
        return _nagios(arguments)
    loaded = load_to_look(arguments)
    if arguments.watch:
        return repeated(lambda: _text(loaded, as_json=arguments.json))
    report = judging.status(loaded)
    problems = health.judge(report)
    print(_shown(report, problems, as_json=arguments.json))
    # Who reads both streams at a terminal has them before their eyes.
    is_read = not arguments.json and sys.stdout.isatty() and sys.stderr.isatty()
    for one in problems if arguments.check and not is_read else ():
        for line in (f"relay: {one.says}.", f"  {one.hint[:1].upper()}{one.hint[1:]}."):
            print(fitted(line, sys.stderr), file=sys.stderr)
    if arguments.check and report.log.unasked:
        # The relay that runs has the password: that this user has not is no fault of it.
        print(f"relay: {report.log.unasked}", file=sys.stderr)
    return Exit.UNDELIVERED if arguments.check and problems else Exit.WELL


def _text(loaded: Config, *, as_json: bool) -> str:
    report = judging.status(loaded)
    return _shown(report, health.judge(report), as_json=as_json)


def _shown(report: status.Report, problems: Sequence[health.Problem], *, as_json: bool) -> str:
    if as_json:
        return json.dumps({**status.as_json(report), "problems": health.as_json(problems)}, indent=2)
    # What is to be done stands below what is wrong, all else behind a word.
    return "\n".join(
        fitted(line, sys.stdout, "  " if line.startswith(("  `", "critical", "warning")) else " " * 13)
        for line in views.status_lines(report, problems)
    )


def _nagios(arguments: argparse.Namespace) -> int:
    """Print the line of a plugin; return its exit code. What cannot be found out is said on the line, too."""
    try:
        report = judging.status(load_to_look(arguments))
    except RelayError as error:
        is_down = isinstance(error, OutboxError)
        print(f"RELAY {'CRITICAL' if is_down else 'UNKNOWN'} - {str(error).replace('|', '/')}")
        return int(Level.CRITICAL) if is_down else UNKNOWN
    problems = health.judge(report)
    print(health.nagios(report, problems))
    return int(problems[0].level) if problems else Exit.WELL


COMMAND = Command(
    name="status",
    summary="is all well: what runs, what waits, do the sums hold",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
