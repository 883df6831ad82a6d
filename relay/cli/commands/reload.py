"""`relay reload`: lets a running relay read its config again, and says whether it has taken it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from relay.cli.command import Command, Exit
from relay.cli.configured import config_path
from relay.config.credentials import service_of
from relay.errors import RelayError
from relay.service import asking, parts

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  relay reload          the service; exit 1 where it keeps the old config
  relay --config /etc/relay/amman/config.yaml reload
                        relay@amman.service
  relay reload 4711     the relay that is process 4711
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("pid", nargs="?", type=int, metavar="PID", help="the process (default: that of the service)")


def handle(arguments: argparse.Namespace) -> int:
    """Ask, and show the answer."""
    pid = arguments.pid
    if pid is None:
        pid = asking.main_pid(service_of(config_path(arguments).absolute().parent))
    elif pid <= 1:
        raise RelayError(f"Process {pid} is no relay.", hint="See `relay reload --help`.")
    answer = asking.ask(pid, parts.REAL.monotonic)
    if answer.is_accepted:
        print("relay: the new config is in force.")
        return Exit.WELL
    reasons = answer.lines or ("its log says why: config.rejected.",)
    print(f"relay: refused; the old config goes on. {reasons[0]}", *reasons[1:], sep="\n  ", file=sys.stderr)
    return Exit.UNDELIVERED


COMMAND = Command(
    name="reload",
    summary="let a running relay read its config again",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
