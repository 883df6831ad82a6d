"""What `relay run` does once, and ends: `--once`, `--dry-run`, `--replay`. The daemon needs none of it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from relay import times
from relay.cli.command import Exit
from relay.cli.printing import print_envelope
from relay.errors import UsageError
from relay.model import Event, Hold
from relay.operations.selector import parse_selector
from relay.service import looking, once
from relay.service.daemon import Signals
from relay.service.lines import Lines

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from relay import config
    from relay.operations import replay

#: Why an event that is meant was not sent.
LEFT_OUT = (
    "they are under way in another process, or were when it was killed and are free again in some minutes; or this "
    "version of relay does not know their type. Try again later; a relay that runs sends what is due by itself."
)

NOTHING = "The selector means no recorded event: `relay events` shows what there is."


def handle(arguments: argparse.Namespace, load: Callable[[], config.Config]) -> int | None:
    """Do what the arguments of `relay run` ask for; return the exit code, None where the daemon is asked for."""
    if arguments.start_from is not None:
        _say_cursor(load(), arguments.start_from)
    if arguments.dry_run:
        return _dry_run(load()) if arguments.replay is None else _dry_replay(load(), arguments.replay)
    if arguments.replay is None and not arguments.once:
        return None
    signals = Signals()
    lines = Lines(sys.stdout, journal=os.environ.get("JOURNAL_STREAM"))
    with signals.installed():
        if arguments.replay is not None:
            return _replay(load(), arguments.replay, signals, lines)
        return _once(load(), arguments.timeout, signals, lines)


def _say_cursor(loaded: config.Config, start: str) -> None:
    """Say that --from changes nothing where the log has been read before, and what sends the past."""
    cursor = looking.cursor(loaded)
    if cursor is None:
        return
    print(
        f"relay: --from {start} changes nothing: the log has been read up to row {cursor}, and is read on from there.\n"
        "  `relay run --replay since=TIME` sends again what was recorded; `relay sync users` (or enrolments, grades)\n"
        "  sends what stands in Moodle now, also of what happened before relay began.",
        file=sys.stderr,
    )


def _once(loaded: config.Config, timeout: str, signals: Signals, lines: Lines) -> int:
    try:
        timeout_s = times.seconds(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout {timeout}: that {error}.", hint="Write 30s, 5m or 1h.") from None
    done = once.run_once(loaded, signals, timeout_s, stream=lines)
    if done.undelivered:
        print(f"relay: {done.undelivered} event{'s' * (done.undelivered != 1)} not delivered.", file=sys.stderr)
        hint = "`relay status` shows how many of each type; `relay run --replay failed` sends again what was given up."
        print(f"  {hint}", file=sys.stderr)
    if done.waiting:
        print(f"relay: {done.waiting} log row{'s' * (done.waiting != 1)} not recorded yet.", file=sys.stderr)
        print("  What they point to is not in Moodle's tables yet; the next run reads them again.", file=sys.stderr)
    if done.held:
        print(f"relay: {done.held} event{'s' * (done.held != 1)} held.", file=sys.stderr)
        print("  Moodle keeps these grades from their students; each is sent once Moodle shows it.", file=sys.stderr)
    return Exit.UNDELIVERED if done.undelivered or done.waiting else Exit.WELL


def _replay(loaded: config.Config, text: str, signals: Signals, lines: Lines) -> int:
    selector = parse_selector(text, loaded.events.kinds)
    done = once.replay(loaded, selector, signals, stream=lines)
    failed, left = done.sent - done.delivered, done.meant - done.held - done.sent
    print(
        f"relay: {done.sent} of {done.meant} recorded events sent again; {failed} not delivered.",
        file=sys.stderr,
    )
    _say_unsent(done)
    if failed:
        print("  The log lines above say why; what was delivered before stays so.", file=sys.stderr)
    if left and signals.stop.is_set():
        print(f"  A signal broke it off; {left} were not sent: give the same command again.", file=sys.stderr)
    elif done.under_way:
        print(f"  It was not sent: {done.under_way}", file=sys.stderr)
    elif left:
        print(f"  {left} were not sent: {LEFT_OUT}", file=sys.stderr)
    if not done.meant + done.forgotten:
        print(f"  {NOTHING}", file=sys.stderr)
    is_amiss = failed or left or done.held or done.forgotten or (selector.event_id and not done.meant)
    return Exit.UNDELIVERED if is_amiss else Exit.WELL


def _dry_run(loaded: config.Config) -> int:
    for made in once.preview(loaded):
        if isinstance(made, Event):
            print_envelope(made)
        else:
            what = "held" if isinstance(made, Hold) else "skipped"
            print(f"relay: log row {made.log_id} would be {what}: {made.reason}", file=sys.stderr)
    return Exit.WELL


def _dry_replay(loaded: config.Config, text: str) -> int:
    """Print what a replay would send: the skeleton of each event, nothing of its data."""
    selector = parse_selector(text, loaded.events.kinds)
    count = 0
    with once.previewed_replay(loaded, selector) as found:
        for one in found.events:
            count += 1
            whose = f"  user {one.user_id}" if one.user_id else ""
            print(f"{times.show(one.occurred_at)}  {one.event_type:<20}  {one.event_id}  {one.status}{whose}")
        print(f"relay: {count} recorded event{'s' * (count != 1)} would be sent again.", file=sys.stderr)
        _say_unsent(found)
        if not count + found.held + found.forgotten:
            print(f"  {NOTHING}", file=sys.stderr)
    return Exit.UNDELIVERED if selector.event_id and not count else Exit.WELL


def _say_unsent(done: replay.Replayed | replay.Preview) -> None:
    """Say what is not sent, and why."""
    if done.gone:
        print(f"  {done.gone} not sent: gone from Moodle, which may have hidden these grades before.", file=sys.stderr)
        print("  `unreleased: send`, for this one command, sends what is recorded of them.", file=sys.stderr)
    if done.held > done.gone:
        kept = done.held - done.gone
        print(f"  {kept} not sent: Moodle keeps these grades from their students.", file=sys.stderr)
        print("  What is held is sent once Moodle shows it: `relay explain ID` says why it is.", file=sys.stderr)
    if done.forgotten:
        print(f"  {done.forgotten} more were forgotten (relay forget): they cannot be sent again.", file=sys.stderr)
