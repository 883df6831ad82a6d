"""What needs a person: one table of conditions, for the status, monitors, systemd's STATUS= and the metrics alike."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from relay import times
from relay.model import Status
from relay.operations.check.outbox import LITTLE_SPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.operations.status import Report

#: A relay that has completed no pass for so long, in seconds, does not run, or hangs.
SILENT_S = 30.0
#: Beyond that and two poll intervals, how long a pass over the log may take, in seconds.
READING_S = 60.0


class Level(IntEnum):
    """How bad it is; the numbers are the exit codes of a monitor's plugin."""

    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that needs a person."""

    #: The name of its condition, which the metrics' label has too.
    name: str
    level: Level
    #: A sentence without its full stop: what is wrong.
    says: str
    #: What to do about it.
    hint: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A row of the table: its name, how bad it is, what to do, and what finds out."""

    name: str
    level: Level
    #: What it is about, for rules that are made before it holds.
    about: str
    hint: str
    #: Returns what is wrong, as a sentence without its full stop; '' where nothing is.
    finds: Callable[[Report], str]


def judge(report: Report) -> Sequence[Problem]:
    """Return what needs a person, the worst first, in the order of the table; nothing where all is well."""
    found = [
        Problem(name=one.name, level=one.level, says=says.removesuffix("."), hint=one.hint)
        for one in CONDITIONS
        if (says := one.finds(report))
    ]
    return sorted(found, key=lambda problem: -problem.level)


# -- what finds out


def _stopped(report: Report) -> str:
    if report.outbox_error:
        return ""
    passes = report.passes
    if passes.delivery_at is None:
        return "no relay has run on this outbox yet"
    since = times.show(passes.delivery_at)
    if passes.has_ended:
        return f"no relay runs: the last one ended at {since}"
    if report.at - passes.delivery_at > SILENT_S:
        return f"no relay runs: none has completed a pass since {since}"
    return ""


def _not_read(report: Report) -> str:
    read_at = report.passes.capture_at
    if (
        _stopped(report)
        or report.outbox_error
        or report.log.error
        or report.at - report.passes.delivering_since < READING_S
    ):
        return ""
    if read_at is None:
        return "the relay that runs has not read Moodle's log yet"
    if report.at - read_at <= READING_S + 2 * report.settings.poll_interval_s:
        return ""
    return f"the relay that runs has not read Moodle's log since {times.show(read_at)}"


def _unread(report: Report) -> str:
    age = report.oldest_unread_age_s
    if age is None or age <= report.settings.max_age_s:
        return ""
    return f"a log row of Moodle has been unread for {times.span(age)}"


def _circuit(report: Report) -> str:
    circuit = report.breaker.backend
    return f"nothing is delivered: {circuit.reason}" if circuit else ""


def _path(report: Report) -> str:
    return "; ".join(f"no {name} is delivered: {path.reason}" for name, path in report.breaker.paths.items())


def _undelivered(report: Report) -> str:
    age = report.oldest_undelivered_age_s
    if age is None or age <= report.settings.max_age_s:
        return ""
    return f"an event has been waiting for {times.span(age)}"


def _given_up(report: Report) -> str:
    count = report.given_up
    return f"{count} event{'s were' if count != 1 else ' was'} given up" if count else ""


def _paused(report: Report) -> str:
    if not report.settings.is_paused:
        return ""
    waiting = f"; {report.undelivered} wait" if report.undelivered else ""
    return f"delivery is paused: events are captured and kept, and nothing is sent{waiting}"


def _log_store(report: Report) -> str:
    return (
        "Moodle's standard log is switched off: nothing that happens is recorded" if report.log.is_on is False else ""
    )


def _disk(report: Report) -> str:
    free = report.disk_free
    if free is None or free >= LITTLE_SPACE:
        return ""
    return f"the disk that holds the outbox is nearly full: {free // 1024 // 1024} MiB are left"


def _unsigned(report: Report) -> str:
    return "" if report.settings.signs else "no signing key is configured: the backend cannot verify what it gets"


def _accounts(report: Report) -> str:
    return "" if report.outbox_error or report.holds else "the accounts do not hold"


def _reconcile(report: Report) -> str:
    return f"no reconcile was completed since {times.show(since)}" if (since := report.reconcile_overdue_since) else ""


#: The names are the labels of `relay_problem`, and those of the alerts: they stay as they are.
CONDITIONS = (
    Condition(
        "outbox",
        Level.CRITICAL,
        "the outbox cannot be read or written",
        "`relay check` says what is wrong with it",
        lambda report: report.outbox_error,
    ),
    Condition(
        "stopped",
        Level.CRITICAL,
        "no relay runs",
        "`systemctl start relay`; `journalctl -u relay` says why it ended",
        _stopped,
    ),
    Condition(
        "moodle",
        Level.CRITICAL,
        "Moodle's database cannot be read",
        "`relay check` says what is wrong with it",
        lambda report: report.log.error,
    ),
    Condition(
        "circuit",
        Level.CRITICAL,
        "nothing is delivered: the backend is away, or does not know us",
        "mend the backend, or what leads to it: `relay check`",
        _circuit,
    ),
    Condition(
        "log_store",
        Level.CRITICAL,
        "Moodle's standard log is switched off",
        "switch it on: Site administration > Plugins > Logging > Manage log stores; then `relay sync`",
        _log_store,
    ),
    Condition(
        "reading",
        Level.CRITICAL,
        "a relay runs, and does not read the log",
        "`relay check` and `journalctl -u relay` say why",
        _not_read,
    ),
    Condition(
        "unread",
        Level.CRITICAL,
        "a log row has been unread for longer than status.max_age",
        "`journalctl -u relay` says what holds it up",
        _unread,
    ),
    Condition(
        "undelivered",
        Level.CRITICAL,
        "an event has been waiting for longer than status.max_age",
        "`relay events` and `relay explain` say why",
        _undelivered,
    ),
    Condition(
        "accounts",
        Level.CRITICAL,
        "the sums of relay status do not hold",
        "this is a fault in relay: please report it",
        _accounts,
    ),
    Condition("disk", Level.CRITICAL, "the disk of the outbox is nearly full", "make room on it", _disk),
    Condition(
        "path",
        Level.WARNING,
        "a path of the backend is closed",
        "offer the path in the backend, or switch the type off in the config",
        _path,
    ),
    Condition(
        "given_up",
        Level.WARNING,
        "events were given up or refused",
        "`relay run --replay failed` sends them again; `relay acknowledge failed` says that they are dealt with",
        _given_up,
    ),
    Condition(
        "paused",
        Level.WARNING,
        "delivery is paused",
        "where the config pauses it, set `enabled: true` and `systemctl reload relay`; where a person did, `relay web "
        "resume`",
        _paused,
    ),
    Condition("unsigned", Level.WARNING, "no signing key is configured", "name one in backend.signing_keys", _unsigned),
    # Whoever compares the tables says since when that is overdue (Report.reconcile_overdue_since).
    Condition("reconcile", Level.WARNING, "no reconcile was completed in time", "`relay reconcile`", _reconcile),
)


def sentence(report: Report, problems: Sequence[Problem], backend: str) -> str:
    """Return one line that says how it is: what is worst, or what the relay does."""
    if problems:
        first, *others = problems
        more = f" ({len(others)} more: relay status)" if others else ""
        return f"{first.says[:1].upper()}{first.says[1:]}. {first.hint[:1].upper()}{first.hint[1:]}.{more}"
    waiting = f"; {report.undelivered} waiting" if report.undelivered else ""
    return f"Delivering to {backend}{waiting}"


def as_json(problems: Sequence[Problem]) -> list[dict[str, str]]:
    """Return problems as JSON types."""
    return [{"name": one.name, "level": one.level.name.lower(), "says": one.says, "hint": one.hint} for one in problems]


def nagios(report: Report, problems: Sequence[Problem]) -> str:
    """Return the line of a monitor's plugin: how it is, and figures behind a bar (monitoring-plugins.org)."""
    state = problems[0].level.name if problems else "OK"
    says = "; ".join(one.says for one in problems) or f"a relay runs; {report.undelivered} events wait"
    most = int(report.settings.max_age_s)
    counts = {
        "undelivered": f"{report.undelivered};;;0",
        "oldest_undelivered": f"{report.oldest_undelivered_age_s or 0}s;;{most};0",
        "oldest_unread": f"{report.oldest_unread_age_s or 0}s;;{most};0",
        "given_up": f"{report.given_up};0;;0",
        "success": f"{report.counts.of(Status.SUCCESS)}c;;;0",
        "lag": f"{report.reading.lag or 0};;;0",
        "since_last_pass": f"{report.passes.age_s(report.at)}s;;{int(SILENT_S)};0",
    }
    # A bar would begin the figures.
    return f"RELAY {state} - {says.replace('|', '/')} | {' '.join(f'{name}={value}' for name, value in counts.items())}"
