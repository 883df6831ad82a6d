"""`relay run`: the daemon; once; a dry run; a replay."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from relay import config
from relay.cli.command import Command
from relay.cli.configured import config_path
from relay.errors import UsageError
from relay.operations.selector import FORMS
from relay.service import run
from relay.service.daemon import Signals, Systemd
from relay.service.lines import Lines

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay run                                    as the service does
  relay run --once --from beginning            the whole log, then exit
  relay run --once --timeout 5m                wait longer for retries
  relay run --dry-run --from beginning         show the events, send nothing
  relay run --replay failed                    send again what was given up
  relay run --replay failed --dry-run          list what that would send
  relay run --replay user=42,since=2026-02-01  send a user's events again
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--once", action="store_true", help="capture what is there, deliver what is due, and exit")
    parser.add_argument(
        "--timeout", metavar="DURATION", default="60s", help="with --once: how long to wait (default 60s)"
    )
    parser.add_argument("--replay", metavar="SELECTOR", help=f"send again, once, and exit: {FORMS}")
    start = "where to start where there is no cursor: now, beginning, a time, or a log id"
    parser.add_argument("--from", dest="start_from", metavar="WHERE", help=start)
    parser.add_argument("--dry-run", action="store_true", help="show what would be sent; send and record nothing")


def handle(arguments: argparse.Namespace) -> int:
    """Run in the mode that is asked for."""
    path = config_path(arguments)

    def load() -> config.Config:
        loaded = config.load_to_look(path) if arguments.dry_run else config.load(path)
        return loaded if arguments.start_from is None else config.with_start(loaded, arguments.start_from)

    _refuse_contradictions(arguments)
    if arguments.once or arguments.dry_run or arguments.replay is not None or arguments.start_from is not None:
        from relay.cli import running  # noqa: PLC0415 -- the daemon needs none of it, and does not wait for it

        code = running.handle(arguments, load)
        if code is not None:
            return code
    signals = Signals()
    lines = Lines(sys.stdout, journal=os.environ.get("JOURNAL_STREAM"))
    with signals.installed():
        return run.run(load, signals, Systemd(os.environ.get("NOTIFY_SOCKET")), lines)


def _refuse_contradictions(arguments: argparse.Namespace) -> None:
    if arguments.replay is None:
        return
    if arguments.once:
        raise UsageError("--once and --replay cannot go together.", hint="Give one of them.")
    if arguments.start_from is not None:
        hint = "A term of the selector says from when on: --replay since=TIME."
        raise UsageError("--replay and --from cannot go together.", hint=hint)


COMMAND = Command(
    name="run",
    summary="capture and deliver until stopped (the default command)",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
