"""`relay sync`: the rows that Moodle has now, sent as events."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from relay import times
from relay.capture.sync import Wanted
from relay.cli.command import Command, Exit
from relay.cli.configured import load_config, load_to_look
from relay.cli.printing import print_envelope
from relay.cli.progress import bar
from relay.errors import UsageError
from relay.events.catalogue import SYNCED
from relay.model import Event
from relay.service import once
from relay.service.daemon import Signals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from relay.events.held import Held
    from relay.service.once import Synced

#: Which rows can be sent: the words for them.
CHOICES = tuple(SYNCED)
EXAMPLES = f"""examples:
{f"  relay sync {CHOICES[-1]} --since 2026-02-01":<42}after the log was off
{f"  relay sync {CHOICES[0]} --course 7":<42}those in a course
{f"  relay sync {CHOICES[-1]} --user 42 --dry-run":<42}show the events, send nothing

A sync that was killed starts again when you repeat the command, and sends no
row twice.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("kind", choices=CHOICES, help="which rows")
    parser.add_argument("--user", type=int, metavar="ID", help="of this Moodle user only")
    parser.add_argument("--course", type=int, metavar="ID", help="of this course only")
    parser.add_argument("--since", metavar="TIME", help="changed at or after this time only")
    parser.add_argument(
        "--as", dest="triggered_by", type=int, metavar="ID", help="who asks: a Moodle user id, recorded"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the envelopes; send and record nothing")


def handle(arguments: argparse.Namespace) -> int:
    """Record the rows as events, and deliver them where no daemon does."""
    loaded = load_to_look(arguments) if arguments.dry_run else load_config(arguments)
    wanted = Wanted(kind=arguments.kind, user=arguments.user, course=arguments.course, since=_since(arguments.since))
    if arguments.dry_run:
        return _dry_run(once.preview_sync(loaded, wanted))
    signals = Signals()
    with signals.installed(), bar("sync") as tell:
        done = once.sync(
            loaded, wanted, arguments.triggered_by, signals, lambda done: tell(done.processed + done.failed + done.held)
        )
    return _tell(done)


def _dry_run(rows: Iterable[Event | Held]) -> int:
    held = 0
    for row in rows:
        if isinstance(row, Event):
            print_envelope(row)
        else:
            held += 1
    _tell_held(held)
    return Exit.WELL


def _tell_held(count: int) -> None:
    if count:
        print(
            f"relay: {count} row{'s' * (count != 1)} not sent: Moodle keeps these grades from their students.",
            file=sys.stderr,
        )


def _tell(done: Synced) -> int:
    """Print what came of a sync; return the exit code."""
    counts = done.progress
    print(f"relay: {counts.processed} rows read, {counts.recorded} new events recorded, {counts.failed} rows skipped.")
    _tell_held(counts.held)
    if not done.has_ended:
        print("relay: the sync was broken off; the same command goes on from there.", file=sys.stderr)
        return Exit.UNDELIVERED
    if done.undelivered is None:
        print("relay: the running relay delivers them.")
        return Exit.WELL
    print(f"relay: {done.undelivered} events of the outbox are not delivered.")
    if done.undelivered:
        print("  All that was due has been tried; `relay run` goes on, and so does this command.", file=sys.stderr)
    return Exit.UNDELIVERED if done.undelivered else Exit.WELL


def _since(text: str | None) -> int | None:
    try:
        return None if text is None else int(times.moment(text))
    except ValueError as error:
        raise UsageError(f"--since {text}: that {error}.", hint="See `relay sync --help`.") from None


COMMAND = Command(
    name="sync",
    summary="send what stands in Moodle now, as events",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
