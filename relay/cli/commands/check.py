"""`relay check`: whether everything is there that relay needs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from relay.cli.command import Command, Exit
from relay.cli.configured import load_config, load_to_look
from relay.cli.printing import fitted
from relay.errors import ConfigError
from relay.operations.check import settings
from relay.operations.check.result import Check, Verdict
from relay.service import admin

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

EXAMPLES = """examples:
  relay check
  relay-service check      as the service, with the secrets that it alone has
  relay check --json | jq '.[] | select(.verdict != "ok")'

A line for each check: ok; warn, where relay works and something should be
mended; fail, where it cannot work. Behind -> stands what to do.
Exit code 0: no failure; 1: a failure; 2: the config is wrong, or a secret
cannot be read.
"""
#: Below a verdict.
INDENT = " " * 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--json", action="store_true", help="a JSON list, one object a check")
    parser.add_argument("--config-only", action="store_true", help="the config and its secrets alone; exit 2 if wrong")


def handle(arguments: argparse.Namespace) -> int:
    """Print each check as it is done; a config that cannot be used ends it."""
    if arguments.config_only:
        print(f"relay: {load_config(arguments).source} is well-formed.")
        return Exit.WELL
    try:
        loaded = load_to_look(arguments)
        checks: Iterable[Check] = admin.check(loaded)
        code = Exit.USAGE if any(secret.problem for _, secret in loaded.secrets()) else Exit.WELL
    except ConfigError as error:
        checks, code = settings.mistakes(error), Exit.USAGE
    done = []
    for one in checks:
        done.append(one)
        if not arguments.json:
            show(one)
    if arguments.json:
        fields = ("name", "verdict", "found", "hint")
        print(json.dumps([{name: str(getattr(one, name)) for name in fields} for one in done], indent=2))
    has_failed = any(one.verdict is Verdict.FAIL for one in done)
    return code or (Exit.UNDELIVERED if has_failed else Exit.WELL)


def show(one: Check) -> None:
    """Print a check, and its remedy below it."""
    lines = [fitted(f"{one.verdict:<5} {one.name}: {one.found}", sys.stdout, INDENT)]
    if one.hint:
        lines.append(fitted(f"{INDENT}-> {one.hint}", sys.stdout, f"{INDENT}   "))
    print("\n".join(lines), flush=True)


COMMAND = Command(
    name="check",
    summary="check config, database, log store, outbox and backend",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
