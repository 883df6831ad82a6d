"""`relay web`: the page for those who run relay, the links that let people in to it, and the pause that it knows."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING

from relay.cli.command import Command, Exit
from relay.cli.configured import load_to_look
from relay.errors import UsageError
from relay.service import admin
from relay.service.daemon import Signals
from relay.service.lines import Lines

if TYPE_CHECKING:
    import argparse

    from relay.config import Config

EXAMPLES = """examples:
  relay web                           the page, where `web.listen` says
  relay web login                     a link that works once, for 5 minutes
  relay web login --user 42           as Moodle's user 42, with the rights
                                      that Moodle's role tables give
  relay web login --as teacher --user 42
  relay web pause                     send nothing until `relay web resume`

On the unix socket, root and the members of the group relay need no link.
From your own machine: ssh -L 8090:/run/relay-web/web.sock HOST, and then
open http://localhost:8090/
"""
#: What --as takes.
ROLES = ("manager", "teacher", "student")
#: The first socket that systemd hands over (sd_listen_fds(3)).
FIRST_FD = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "what",
        nargs="?",
        choices=("login", "pause", "resume"),
        help="login: print a link that lets somebody in once; pause, resume: delivery",
    )
    parser.add_argument(
        "--as", dest="as_what", choices=ROLES, help="as what (default: manager; with --user as Moodle says)"
    )
    parser.add_argument("--user", type=int, metavar="ID", help="as whom: a Moodle user id")


def handle(arguments: argparse.Namespace) -> int:
    """Serve the page, print a link, or pause delivery."""
    if arguments.what in ("pause", "resume"):
        return _pause(load_to_look(arguments), is_pausing=arguments.what == "pause")
    missing = [name for name in ("jinja2", "cheroot") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"The page needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed.",
            hint="Install relay with its extra: /opt/relay/bin/pip install '.[web]'",
        )
    if arguments.what == "login":
        return _login(load_to_look(arguments), arguments.as_what, arguments.user)
    if arguments.as_what is not None or arguments.user is not None:
        raise UsageError("--as and --user are of `relay web login`.", hint="See `relay web --help`.")
    from relay.web import server  # noqa: PLC0415 -- an extra

    given = _given_socket()
    loaded = load_to_look(arguments)
    if given is None and sys.stderr.isatty():
        print(f"relay: the page is at {server.address(loaded.web.listen)} (Ctrl-C ends it).", file=sys.stderr)
        if not isinstance(loaded.web.listen, str):
            print("  In another terminal, `relay web login` prints a link that lets you in.", file=sys.stderr)
    signals = Signals()
    with signals.installed():
        server.serve(loaded, signals, Lines(sys.stdout, journal=os.environ.get("JOURNAL_STREAM")), given=given)
    return Exit.WELL


def _pause(loaded: Config, *, is_pausing: bool) -> int:
    if is_pausing:
        admin.pause(loaded, f"uid {os.getuid()}")
        print("relay: nothing is sent from now on; `relay web resume` ends that.")
    else:
        admin.resume(loaded)
        print("relay: what waits is sent, where a relay runs and the config does not pause it.")
    return Exit.WELL


def _given_socket() -> int | None:
    """Return the number of the socket that systemd has handed over; None where it has handed over none."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    if pid != str(os.getpid()) or count in ("", "0"):
        return None
    if count != "1":
        raise UsageError(f"systemd has handed over {count} sockets: the page takes one.", hint="See relay-web.socket.")
    return FIRST_FD


def _login(loaded: Config, role: str | None, user: int | None) -> int:
    from relay.web import login  # noqa: PLC0415 -- an extra

    if isinstance(loaded.web.listen, str):
        raise UsageError(
            "The page is on a unix socket, where the account that asks is known: nobody logs in.",
            hint="Set web.listen to an address of this machine, such as 127.0.0.1:8090, and start `relay web` again.",
        )
    if role in ("teacher", "student") and user is None:
        raise UsageError(f"--as {role}: it is not said as whom.", hint="Add --user ID, a Moodle user id.")
    if user is not None and user <= 0:
        raise UsageError(f"--user {user}: that is nobody's id.", hint="It takes Moodle's numeric user id, such as 42.")
    print(login.link(loaded, role, user))
    return Exit.WELL


COMMAND = Command(
    name="web",
    summary="a page for those who run relay (needs the extra `web`)",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
