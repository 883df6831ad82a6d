"""`relay reconcile`: what differs between Moodle and what was sent, though the log never said so."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from relay import times
from relay.capture.reconcile import GRACE_S, TABLES
from relay.cli.command import Command, Exit
from relay.cli.configured import load_config, load_to_look
from relay.cli.progress import bar
from relay.errors import UsageError
from relay.service import comparing
from relay.service.daemon import Signals
from relay.service.reconciling import Asked

if TYPE_CHECKING:
    import argparse

    from relay.service.comparing import Compared, Reconciled

EXAMPLES = f"""examples:
  relay reconcile                      compare all tables, list what differs
  relay reconcile {TABLES[-1]} --fix         send what differs
  relay reconcile --grace 0s --json    at once, for a script; exit 1 where
                                       something differs

A row counts once it has differed for 15 minutes, as its log row may still
come. The first time, a table is only learned; with --fix, what was never
captured is sent then.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("table", nargs="?", default="all", choices=(*TABLES, "all"), help="which table (all of them)")
    parser.add_argument("--fix", action="store_true", help="send what differs")
    parser.add_argument(
        "--grace", default=f"{int(GRACE_S // 60)}m", metavar="TIME", help="how long a row must differ (15m)"
    )
    parser.add_argument(
        "--as", dest="triggered_by", type=int, metavar="ID", help="who asks: a Moodle user id, recorded"
    )
    parser.add_argument("--json", action="store_true", help="a list of what differs")


def handle(arguments: argparse.Namespace) -> int:
    """Compare the tables, print what differs, and deliver it where that is asked for and no daemon does."""
    loaded = load_config(arguments) if arguments.fix else load_to_look(arguments)
    tables = TABLES if arguments.table == "all" else (arguments.table,)
    asked = Asked(
        tables=tables, is_fixing=arguments.fix, grace_s=_grace(arguments.grace), triggered_by=arguments.triggered_by
    )
    signals = Signals()
    with signals.installed(), bar("reconcile") as tell:
        done = comparing.reconcile(loaded, asked, signals, comparing.Tell(rows=tell, waits=_waits))
    if arguments.json:
        print(json.dumps([_entry(compared, row_id) for compared in done.tables for row_id in compared.found]))
    else:
        for compared in done.tables:
            print("\n".join(_lines(compared, is_fixing=asked.is_fixing)))
    return _end(done, is_fixing=asked.is_fixing)


def _entry(compared: Compared, row_id: int) -> dict[str, object]:
    found = compared.found[row_id]
    event_type = found.event_type or None
    return {"table": compared.name, "id": row_id, "kind": str(found.difference), "event_type": event_type}


def _lines(compared: Compared, *, is_fixing: bool) -> list[str]:
    """Return what a person is told of a table."""
    if compared.is_off:
        return [f"{compared.name}: the config sends nothing of them, so they are not compared."]
    if compared.has_learned:
        return [
            f"{compared.name}: {compared.rows} rows learned. From now on, what changes without a log row is found.",
            f"  What was there before, and was never captured: relay sync {compared.name}",
        ]
    sent = f", {compared.sent} events recorded" if is_fixing else ""
    lines = [f"{compared.name}: {compared.rows} rows compared, {len(compared.found)} differ{sent}."]
    lines += [
        f"  {found.difference:<8} {row_id:>10}  {found.event_type or 'no event: the config sends none of that'}"
        for row_id, found in sorted(compared.found.items())
    ]
    return lines


def _end(done: Reconciled, *, is_fixing: bool) -> int:
    """Say what is left to be done; return the exit code."""
    unread = sum(one.unread for one in done.tables)
    if not done.has_ended:
        print("relay: it was broken off; the same command begins anew, and sends nothing twice.", file=sys.stderr)
    if unread:
        print(f"relay: {unread} rows differ, and the log has not been read so far that it could tell.", file=sys.stderr)
        print("  Start relay (relay run), or relay run --once; then try again.", file=sys.stderr)
    if done.undelivered:
        print(f"relay: {done.undelivered} events of the outbox are not delivered.", file=sys.stderr)
    differs = unread or not done.has_ended or (not is_fixing and any(one.found for one in done.tables))
    return Exit.UNDELIVERED if differs or done.undelivered else Exit.WELL


def _waits(until: float, rows: int) -> None:
    print(
        f"relay: {rows} rows differ; their log rows may still come, so they count if they do so at {times.show(until)} "
        "(--grace 0s: at once). Waiting.",
        file=sys.stderr,
    )


def _grace(text: str) -> float:
    try:
        return times.seconds(text)
    except ValueError as error:
        raise UsageError(f"--grace {text}: that {error}.", hint="See `relay reconcile --help`.") from None


COMMAND = Command(
    name="reconcile",
    summary="compare Moodle's tables with what was sent",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
