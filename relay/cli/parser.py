"""The command line's grammar, and the help with its examples."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from relay import __version__
from relay.errors import UsageError
from relay.operations import replay

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

RUN_EXAMPLES = """examples:
  relay run                                    the daemon, as systemd starts it
  relay run --once --from beginning            everything in the log, then exit
  relay run --once --timeout 5m                wait longer for retries
  relay run --dry-run --from beginning         look at the envelopes, send nothing
  relay run --replay failed                    send again what was given up
  relay run --replay type=grade_updated,since=2026-02-01
"""
CHECK_EXAMPLES = """examples:
  relay check
  relay check --json | jq '.[] | select(.verdict != "ok")'
"""
STATUS_EXAMPLES = """examples:
  relay status
  relay status --json | jq .conservation
  relay status --check                         for a monitor: exit 1 where something needs a person
"""
DEMO_EXAMPLES = """examples:
  relay demo
  relay demo --seconds 10
"""
EXPLAIN_EXAMPLES = """examples:
  relay explain grade:4711                     where is the grade with assign_grades.id 4711?
  relay explain user:42                        everything about a user
  relay explain log:1234567                    what became of a log row
  relay explain 6f1c0b52-5f0e-4b1e-9d53-0a2b3c4d5e6f
"""
SYNC_EXAMPLES = """examples:
  relay sync grades --since 2026-02-01         after the log store was off
  relay sync users --course 7                  everyone in a course
  relay sync enrolments --user 42 --dry-run    look at the envelopes, send nothing
A sync that was killed goes on where it was, when it is given again.
"""
PROFILE_EXAMPLES = """examples:
  relay profile 42
  relay profile 42 --json | jq .
"""
PURGE_EXAMPLES = """examples:
  relay purge                                  the daemon does the same once a day
"""
MOVE_EXAMPLES = """examples:
  systemctl stop relay
  relay --config /etc/relay/config.yaml move-outbox /etc/relay/new.yaml
  mv /etc/relay/new.yaml /etc/relay/config.yaml
  systemctl start relay
It works in both directions, between a file and a schema. The old outbox stays as it was, and no relay runs on it any
more; a move that was killed begins anew when it is given again.
"""
GRANTS_EXAMPLES = """examples:
  relay grants                                 look at it, choose a password, and give it to the server
  relay grants --host 10.0.0.5 | mariadb       relay runs on another machine
  relay grants --outbox --host '10.0.0.%'      of the schema in outbox.url, for the relays that share it
"""
SEAL_EXAMPLES = """examples:
  relay seal < token                           prints {sealed: ...}, for backend.token
  systemd-ask-password Token: | relay seal
The key is seal.key beside the config, or the systemd credential relay-seal-key; it is made on first use.
"""
IMPORT_EXAMPLES = """examples:
  umask 077; relay --config database.yaml import-plugin > config.yaml
Of the config given, only moodle.database needs to be there.
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError: it is shown as every other error is."""
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", hint=f"See `{self.prog} --help`.")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    common = Parser(add_help=False)
    common.add_argument("--config", metavar="FILE", type=Path, default=argparse.SUPPRESS, help="the config file")
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show a traceback with an error"
    )
    top = Parser(
        prog="relay",
        description="Delivers what happens in a Moodle site to a college's backend.",
        epilog="FILE: --config, else $RELAY_CONFIG, else config.yaml, else /etc/relay/config.yaml.",
        parents=[common],
    )
    top.add_argument("--version", action="version", version=f"moodle-relay {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name: str, summary: str, examples: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=f"{summary[:1].upper()}{summary[1:]}.",
            epilog=examples,
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    _add_run(command("run", "capture and deliver, until a signal ends it (the default command)", RUN_EXAMPLES))
    check = command("check", "check config, database, log store, outbox and backend", CHECK_EXAMPLES)
    check.add_argument("--json", action="store_true", help="a JSON list, one object a check")
    state = command("status", "counts, circuits, cursor and lag, and whether the sums hold", STATUS_EXAMPLES)
    state.add_argument("--json", action="store_true", help="one JSON object")
    state.add_argument("--check", action="store_true", help="exit 1 where something needs a person, and say what")
    explain = command("explain", "the whole story of an event, and what to do next", EXPLAIN_EXAMPLES)
    explain.add_argument("what", metavar="WHAT", help="an event id, log:ID, user:ID, grade:ID or enrolment:ID")
    _add_sync(command("sync", "send current rows as events", SYNC_EXAMPLES))
    profile = command("profile", "show what the backend knows of a student", PROFILE_EXAMPLES)
    profile.add_argument("user", metavar="USERID", type=int, help="Moodle's user id")
    profile.add_argument("--json", action="store_true", help="the answer as it came")
    command("purge", "delete delivered events that are older than outbox.retention", PURGE_EXAMPLES)
    move = command("move-outbox", "move the outbox, with all it holds, to where another config has it", MOVE_EXAMPLES)
    move.add_argument("target", metavar="NEW-CONFIG", type=Path, help="a copy of the config with the new outbox in it")
    _add_grants(command("grants", "print the SQL that makes the least-privilege database user", GRANTS_EXAMPLES))
    command("seal", "encrypt a secret, read from standard input, for the config", SEAL_EXAMPLES)
    command("import-plugin", "read the PHP plugin's settings, and print a config", IMPORT_EXAMPLES)
    demo = command("demo", "the whole thing on a throwaway Moodle database and a throwaway backend", DEMO_EXAMPLES)
    demo.add_argument(
        "--seconds", type=float, default=20.0, metavar="N", help="how long the college lives (default 20)"
    )
    return top


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("--once", action="store_true", help="capture what is there, deliver what is due, and exit")
    run.add_argument("--timeout", metavar="DURATION", default="60s", help="with --once: how long to wait (default 60s)")
    run.add_argument("--replay", metavar="SELECTOR", help=f"send again, once, and exit: {replay.FORMS}")
    start = "where to start where there is no cursor: now, beginning, a time, or a log id"
    run.add_argument("--from", dest="start_from", metavar="WHERE", help=start)
    run.add_argument("--dry-run", action="store_true", help="print the envelopes; send and record nothing")


def _add_sync(sync: argparse.ArgumentParser) -> None:
    sync.add_argument("kind", choices=["users", "enrolments", "grades"], help="which rows")
    sync.add_argument("--user", type=int, metavar="ID", help="of this Moodle user only")
    sync.add_argument("--course", type=int, metavar="ID", help="of this course only")
    sync.add_argument("--since", metavar="TIME", help="changed at or after this time only")
    sync.add_argument("--as", dest="triggered_by", type=int, metavar="ID", help="who asks: a Moodle user id, recorded")
    sync.add_argument("--dry-run", action="store_true", help="print the envelopes; send and record nothing")


def _add_grants(grants: argparse.ArgumentParser) -> None:
    grants.add_argument("--user", metavar="NAME", help="the new user (default: the config's)")
    grants.add_argument(
        "--outbox", action="store_true", help="of a shared outbox: its schema, and who makes the tables"
    )
    grants.add_argument("--host", default="localhost", metavar="HOST", help="where relay runs (default localhost)")


def with_default(arguments: Sequence[str], names: Collection[str]) -> list[str]:
    """Put `run` where no command is named."""
    found = list(arguments)
    values = {index + 1 for index, word in enumerate(found) if word == "--config"}
    first = next((i for i, word in enumerate(found) if not word.startswith("-") and i not in values), None)
    if first is None and not {"-h", "--help", "--version"} & set(found):
        return ["run", *found]
    if first is not None and found[first] not in names and any(word.startswith("-") for word in found[:first]):
        # `relay --once --timeout 5s`: the word is an option's value, not a command.
        return ["run", *found]
    return found
