"""The command line: arguments in, text and exit codes out (contract, section 5)."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from relay import __version__, app, config, doctor, repair, status, times
from relay.daemon import Signals, Systemd
from relay.errors import RelayError, UsageError
from relay.model import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Exit(IntEnum):
    """The exit codes (contract, section 5)."""

    WELL = 0
    UNDELIVERED = 1
    USAGE = 2
    UNREACHABLE = 3


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
    demo = command("demo", "the whole thing on a throwaway Moodle database and a throwaway backend", DEMO_EXAMPLES)
    demo.add_argument(
        "--seconds", type=float, default=20.0, metavar="N", help="how long the college lives (default 20)"
    )
    return top


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("--once", action="store_true", help="capture what is there, deliver what is due, and exit")
    run.add_argument("--timeout", metavar="DURATION", default="60s", help="with --once: how long to wait (default 60s)")
    run.add_argument("--replay", metavar="SELECTOR", help=f"send again, once, and exit: {repair.FORMS}")
    start = "where to start where there is no cursor: now, beginning, a time, or a log id"
    run.add_argument("--from", dest="start_from", metavar="WHERE", help=start)
    run.add_argument("--dry-run", action="store_true", help="print the envelopes; send and record nothing")


def entry() -> NoReturn:
    """Run the command line of this process, and exit with its code."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run a command line; return the exit code. An error is one sentence on stderr, then the remedy."""
    is_debug = "--debug" in arguments
    try:
        return _command(parser().parse_args(_with_default(arguments)))
    except RelayError as error:
        if is_debug:
            traceback.print_exc()
        _print_error(error)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone; what is left of it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.UNDELIVERED
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if is_debug:
            raise
        # Only the error's kind: its text could hold what stands in a row.
        print(f"relay: an error that relay does not know: {type(error).__name__}.", file=sys.stderr)
        print("  Run it again with --debug and report what it shows.", file=sys.stderr)
        return Exit.UNDELIVERED


def _with_default(arguments: Sequence[str]) -> list[str]:
    """Put `run` where no command is named."""
    names = {"run", "check", "status", "demo"}
    found = list(arguments)
    values = {index + 1 for index, word in enumerate(found) if word == "--config"}
    first = next((i for i, word in enumerate(found) if not word.startswith("-") and i not in values), None)
    if first is None and not {"-h", "--help", "--version"} & set(found):
        return ["run", *found]
    if first is not None and found[first] not in names and any(word.startswith("-") for word in found[:first]):
        # `relay --once --timeout 5s`: the word is an option's value, not a command.
        return ["run", *found]
    return found


def _print_error(error: RelayError) -> None:
    print(f"relay: {error}", file=sys.stderr)
    for mistake in getattr(error, "mistakes", ()):
        print(f"  {mistake}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)


def _command(arguments: argparse.Namespace) -> int:
    handlers: dict[str, Callable[[argparse.Namespace], int]] = {
        "run": _run,
        "check": _check,
        "status": _status,
        "demo": _demo,
    }
    return handlers[arguments.command or "run"](arguments)


def _find(arguments: argparse.Namespace) -> Path:
    return config.find(getattr(arguments, "config", None), os.environ.get("RELAY_CONFIG"))


def _run(arguments: argparse.Namespace) -> int:
    path = _find(arguments)

    def load() -> config.Config:
        loaded = config.load(path)
        return loaded if arguments.start_from is None else config.with_start(loaded, arguments.start_from)

    modes = [name for name in ("once", "replay", "dry_run") if getattr(arguments, name)]
    if len(modes) > 1 and "replay" in modes:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in modes)
        raise UsageError(f"{names} cannot go together.", hint="Give one of them.")
    if arguments.dry_run:
        return _dry_run(load())
    signals = Signals()
    with signals.installed():
        if arguments.replay is not None:
            return _replay(load(), arguments.replay, signals)
        if arguments.once:
            return _once(load(), arguments.timeout, signals)
        return app.run(load, signals, Systemd(os.environ.get("NOTIFY_SOCKET")))


def _once(loaded: config.Config, timeout: str, signals: Signals) -> int:
    try:
        timeout_s = times.seconds(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout {timeout}: that {error}.", hint="Write 30s, 5m or 1h.") from None
    undelivered = app.run_once(loaded, signals, timeout_s)
    if undelivered:
        print(f"relay: {undelivered} event{'s' * (undelivered != 1)} not delivered.", file=sys.stderr)
        hint = "`relay status` shows which; `relay run --replay failed` sends again what was given up."
        print(f"  {hint}", file=sys.stderr)
    return Exit.UNDELIVERED if undelivered else Exit.WELL


def _replay(loaded: config.Config, selector: str, signals: Signals) -> int:
    done = app.replay(loaded, repair.parse_selector(selector), signals)
    print(
        f"relay: {done.sent} of {done.meant} recorded events sent again; {done.undelivered} not delivered.",
        file=sys.stderr,
    )
    if done.meant == 0:
        print("  The selector means no recorded event: `relay status` shows what there is.", file=sys.stderr)
    return Exit.UNDELIVERED if done.undelivered or done.sent < done.meant else Exit.WELL


def _dry_run(loaded: config.Config) -> int:
    for made in app.preview(loaded):
        if isinstance(made, Event):
            # Three characters end a line for some readers, and none in JSON.
            body = made.body.decode().translate({code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)})
            print(body)
        else:
            print(f"relay: log row {made.log_id} would be skipped: {made.reason}", file=sys.stderr)
    return Exit.WELL


def _check(arguments: argparse.Namespace) -> int:
    found = []
    for check in _checks(_find_quietly(arguments)):
        found.append(check)
        if not arguments.json:
            print(f"{check.verdict:<5} {check.name}: {check.found}", flush=True)
            if check.hint:
                print(f"      -> {check.hint}", flush=True)
    if arguments.json:
        fields = ("name", "verdict", "found", "hint")
        print(json.dumps([{name: str(getattr(check, name)) for name in fields} for check in found], indent=2))
    failed = any(check.verdict is doctor.Verdict.FAIL for check in found)
    return Exit.UNDELIVERED if failed else Exit.WELL


def _find_quietly(arguments: argparse.Namespace) -> config.Config:
    return config.load(_find(arguments))


def _checks(loaded: config.Config) -> Any:
    return doctor.examine(
        loaded,
        moodle=app.make_moodle(loaded),
        open_outbox=lambda: app.make_outbox(loaded, create=False),
        sender=app.make_sender(loaded),
        clock=app.clock,
    )


def _status(arguments: argparse.Namespace) -> int:
    loaded = config.load(_find(arguments))
    outbox = app.make_outbox(loaded, create=False)
    try:
        found = status.gather(outbox, app.make_moodle(loaded), app.clock())
    finally:
        outbox.close()
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(_status_lines(found)))
    reasons = status.needs(found, loaded.status.max_age) if arguments.check else []
    for reason in reasons:
        print(f"relay: {reason}", file=sys.stderr)
    return Exit.UNDELIVERED if reasons else Exit.WELL


def _status_lines(found: dict[str, Any]) -> list[str]:
    columns = list(found["by_status"])
    widths = [max(len(name), 8) for name in columns]
    lines = [
        "  ".join(["event type".ljust(20), *(name.rjust(width) for name, width in zip(columns, widths, strict=True))])
    ]
    for name, states in [*found["by_type"].items(), ("all", found["by_status"])]:
        numbers = [str(states.get(column, 0)).rjust(width) for column, width in zip(columns, widths, strict=True)]
        lines.append("  ".join([name.ljust(20), *numbers]))
    age = found["oldest_undelivered_age_s"]
    lines += ["", f"undelivered  {found['undelivered']}" + ("" if age is None else f", the oldest for {_age(age)}")]
    lines += _circuit_lines(found["circuit"])
    end = "Moodle's database cannot be asked" if found["lag"] is None else f"the log ends at {found['log_end']}"
    lines.append(f"cursor       {found['cursor']} ({end}; {found['open_gap_ids']} lower ids may still turn up)")
    sums = found["conservation"]
    lines.append(
        f"accounts     seen {sums['seen']} = captured {sums['captured']} + skipped {sums['skipped']} + ignored "
        f"{sums['ignored']}: {_holds(sums['seen_holds'])}"
    )
    lines.append(
        f"             captured {sums['captured']} + synced {sums['synced']} = success {sums['success']} + pending "
        f"{sums['pending']} + failed {sums['failed']} + failed_all_retries {sums['failed_all_retries']} + purged "
        f"{sums['purged']}: {_holds(sums['captured_holds'])}"
    )
    return lines


def _circuit_lines(circuit: dict[str, Any]) -> list[str]:
    lines = []
    for name, one in [("", circuit["whole"]), *circuit["paths"].items()]:
        if one is not None:
            since = datetime.fromtimestamp(one["opened_at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            lines.append(f"circuit      open{' for ' + name if name else ''} since {since}: {one['reason']}")
    return lines or ["circuit      closed"]


def _holds(value: bool) -> str:  # noqa: FBT001 -- a word for a truth
    return "holds" if value else "DOES NOT HOLD"


def _age(seconds: int) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _demo(arguments: argparse.Namespace) -> int:
    from relay import demo  # noqa: PLC0415 -- the daemon needs none of it

    return demo.run(stream=sys.stdout, seconds=arguments.seconds)
