"""What each command does: arguments in, text and an exit code out."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from relay import config, times
from relay.capture import sync
from relay.cli import views
from relay.config import credentials
from relay.errors import ConfigError, CredentialError, UsageError
from relay.events import catalogue
from relay.model import Event
from relay.moodle.site import columns
from relay.operations import check, explain, grants, plugin, replay, status
from relay.service import app, parts
from relay.service.daemon import Signals, Systemd

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Exit(IntEnum):
    """The exit codes (contract, section 5)."""

    WELL = 0
    UNDELIVERED = 1
    USAGE = 2
    UNREACHABLE = 3


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
    done = app.replay(loaded, replay.parse_selector(selector), signals)
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
            _print_envelope(made)
        else:
            print(f"relay: log row {made.log_id} would be skipped: {made.reason}", file=sys.stderr)
    return Exit.WELL


def _print_envelope(event: Event) -> None:
    # Three characters end a line for some readers, and none in JSON.
    print(event.body.decode().translate({code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}))


def _check(arguments: argparse.Namespace) -> int:
    found = []
    try:
        loaded = config.load(_find(arguments))
        checks = _checks(loaded)
        code = Exit.WELL
    except ConfigError as error:
        checks, code = check.config_checks(error), Exit.USAGE
    for one in checks:
        found.append(one)
        if not arguments.json:
            print(f"{one.verdict:<5} {one.name}: {one.found}", flush=True)
            if one.hint:
                print(f"      -> {one.hint}", flush=True)
    if arguments.json:
        fields = ("name", "verdict", "found", "hint")
        print(json.dumps([{name: str(getattr(one, name)) for name in fields} for one in found], indent=2))
    failed = any(one.verdict is check.Verdict.FAIL for one in found)
    return code or (Exit.UNDELIVERED if failed else Exit.WELL)


def _checks(loaded: config.Config) -> Any:
    return check.examine(
        loaded,
        moodle=parts.make_moodle(loaded),
        open_outbox=lambda: parts.make_outbox(loaded, create=False),
        sender=parts.make_sender(loaded),
        clock=parts.clock,
    )


def _status(arguments: argparse.Namespace) -> int:
    loaded = config.load(_find(arguments))
    outbox = parts.make_outbox(loaded, create=False)
    try:
        found = status.gather(outbox, parts.make_moodle(loaded), outbox.time(parts.clock()))
    finally:
        outbox.close()
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(views.status_lines(found)))
    reasons = status.needs(found, loaded.status.max_age) if arguments.check else []
    for reason in reasons:
        print(f"relay: {reason}", file=sys.stderr)
    return Exit.UNDELIVERED if reasons else Exit.WELL


def _explain(arguments: argparse.Namespace) -> int:
    story = app.explain(config.load(_find(arguments)), arguments.what)
    print("\n".join(explain.show(story)))
    return Exit.UNDELIVERED if story.is_unknown else Exit.WELL


def _sync(arguments: argparse.Namespace) -> int:
    loaded = config.load(_find(arguments))
    wanted = sync.Wanted(
        kind=arguments.kind, user=arguments.user, course=arguments.course, since=_since(arguments.since)
    )
    if arguments.dry_run:
        for event in app.preview_sync(loaded, wanted):
            _print_envelope(event)
        return Exit.WELL
    signals = Signals()
    with signals.installed(), _bar("sync") as tell:
        done = app.sync(
            loaded, wanted, arguments.triggered_by, signals, lambda progress: tell(progress.processed + progress.failed)
        )
    counts = done.progress
    print(f"relay: {counts.processed} rows read, {counts.recorded} new events recorded, {counts.failed} rows skipped.")
    if not done.has_ended:
        print("relay: the sync was broken off; the same command goes on from there.", file=sys.stderr)
        return Exit.UNDELIVERED
    if done.undelivered is None:
        print("relay: the running relay delivers them.")
        return Exit.WELL
    print(f"relay: {done.undelivered} events of the outbox are not delivered.")
    return Exit.UNDELIVERED if done.undelivered else Exit.WELL


def _since(text: str | None) -> int | None:
    try:
        return None if text is None else int(times.moment(text))
    except ValueError as error:
        raise UsageError(f"--since {text}: that {error}.", hint="See `relay sync --help`.") from None


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Callable[[int], None]]:
    """Show how many rows are done, on a terminal, where tqdm is installed (the extra `progress`)."""
    if not sys.stderr.isatty() or importlib.util.find_spec("tqdm") is None:
        yield lambda _done: None
        return
    from tqdm import tqdm  # noqa: PLC0415 -- an extra

    with tqdm(unit=" rows", desc=title, file=sys.stderr) as bar:

        def tell(done: int) -> None:
            bar.update(done - bar.n)

        yield tell


def _profile(arguments: argparse.Namespace) -> int:
    sender = parts.make_sender(config.load(_find(arguments)))
    try:
        answer = sender.get("/v1/students/profile", {"moodle_user_id": str(arguments.user)})
    finally:
        sender.close()
    if answer.http_code != 200:  # the one code that comes with a profile
        said = answer.error or f"the backend answered {answer.http_code}"
        print(f"relay: there is no profile of user {arguments.user}: {said}.", file=sys.stderr)
        print("  `relay check` says more about the backend.", file=sys.stderr)
        return Exit.UNDELIVERED
    text = answer.body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        print("relay: the backend's answer is no JSON, or longer than 64 KiB.", file=sys.stderr)
        print("  Ask those who run the backend.", file=sys.stderr)
        return Exit.UNDELIVERED
    print(text if arguments.json else "\n".join(views.profile_lines(found)))
    return Exit.WELL


def _purge(arguments: argparse.Namespace) -> int:
    print(f"relay: {app.purge(config.load(_find(arguments)))} delivered events purged.")
    return Exit.WELL


def _move_outbox(arguments: argparse.Namespace) -> int:
    loaded, target = config.load(_find(arguments)), config.load(arguments.target)
    with _bar("move") as tell:
        total = app.move(loaded, target, tell)
    print(f"relay: {total} rows moved from {loaded.outbox.url} to {target.outbox.url}, and compared.")
    print(
        f"  Put {arguments.target} in the place of {loaded.source}, and start relay. The old outbox is kept as it was."
    )
    return Exit.WELL


def _grants(arguments: argparse.Namespace) -> int:
    if arguments.outbox:
        return _outbox_grants(arguments)
    path = _find(arguments)
    database = config.load_database(path)
    user = arguments.user or database.user
    read = columns(catalogue.watched(config.load_events(path).disabled))
    for line in grants.statements(read, schema=database.name, prefix=database.prefix, user=user, host=arguments.host):
        print(line)
    return Exit.WELL


def _outbox_grants(arguments: argparse.Namespace) -> int:
    outbox = config.load_outbox(_find(arguments))
    if outbox.sqlite_path is not None:
        raise UsageError(
            f"The outbox {outbox.url} is a file: it needs no database user.",
            hint="Name a mysql://user@host:port/schema in outbox.url.",
        )
    _, _, user, schema = config.outbox_server(outbox.url)
    for line in grants.outbox_statements(schema=schema, user=arguments.user or user, host=arguments.host):
        print(line)
    return Exit.WELL


def _seal(arguments: argparse.Namespace) -> int:
    secret = sys.stdin.read().strip("\r\n")
    if not secret or "\n" in secret:
        raise UsageError("A secret is one line, read from standard input.", hint="relay seal < FILE")
    folder = _find(arguments).absolute().parent
    try:
        print(f"{{sealed: {credentials.seal(secret, folder)}}}")
    except CredentialError as error:
        raise CredentialError(
            f"It cannot be sealed: {error}.", hint="Run it as the user that owns the folder."
        ) from None
    return Exit.WELL


def _import_plugin(arguments: argparse.Namespace) -> int:
    path = _find(arguments)
    database = config.load_database(path)
    moodle = parts.connect(database)
    try:
        settings = moodle.plugin_settings(plugin.NAME)
    finally:
        moodle.close()
    lines = plugin.config_lines(settings, config.written_database(path), database.prefix)
    print("\n".join(lines))
    return Exit.WELL


def _demo(arguments: argparse.Namespace) -> int:
    from relay import demo  # noqa: PLC0415 -- the daemon needs none of it

    return demo.run(stream=sys.stdout, seconds=arguments.seconds)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "check": _check,
    "status": _status,
    "explain": _explain,
    "sync": _sync,
    "profile": _profile,
    "purge": _purge,
    "move-outbox": _move_outbox,
    "grants": _grants,
    "seal": _seal,
    "import-plugin": _import_plugin,
    "demo": _demo,
}
