"""The conditions that need a person: one table, for the status, monitors, systemd's STATUS=, metrics and page alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from relay import times

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.operations.status import Report

#: The clocks of relay and the backend may differ by this much, in seconds: signatures carry the time.
CLOCK_TOLERANCE_S = 60
#: Less free space than this for the outbox, in bytes, is a warning.
LITTLE_SPACE = 200 * 1024 * 1024
#: A relay that has completed no pass for so long, in seconds, does not run, or hangs.
SILENT_S = 30.0
#: Beyond that and two poll intervals, how long a pass over the log may take, in seconds.
READING_S = 60.0


class Level(IntEnum):
    """How bad it is; the numbers are the exit codes of a monitor's plugin."""

    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, slots=True)
class Found:
    """What is wrong, as a sentence without its full stop that has {places}, and the values for those."""

    sentence: str
    #: `at` is a moment in unix seconds, and `span` a time in seconds; the others are shown as they are.
    values: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def says(self) -> str:
        """The whole sentence."""
        return self.sentence.format(
            **{name: SHOWN[name](float(one)) if name in SHOWN else one for name, one in self.values.items()}
        )


#: How values are shown, by their names.
SHOWN: Mapping[str, Callable[[float], str]] = {"at": times.show, "span": times.span}


@dataclass(frozen=True, slots=True)
class Condition:
    """A row of the table: its name, how bad it is, what to do, and what finds out."""

    name: str
    level: Level
    #: What it is about, for rules that are made before it holds.
    about: str
    hint: str
    #: Returns what is wrong; None where nothing is.
    finds: Callable[[Report], Found | None]


# -- what finds out


def _error(sentence: str) -> Found | None:
    return Found("{error}", {"error": sentence.removesuffix(".")}) if sentence else None


def _stopped(report: Report) -> Found | None:
    if report.outbox_error:
        return None
    passes = report.passes
    if passes.delivery_at is None:
        return Found("no relay has run on this outbox yet")
    if passes.has_ended:
        return Found("no relay runs: the last one ended at {at}", {"at": passes.delivery_at})
    if report.at - passes.delivery_at > SILENT_S:
        return Found("no relay runs: none has completed a pass since {at}", {"at": passes.delivery_at})
    return None


def _not_read(report: Report) -> Found | None:
    read_at = report.passes.capture_at
    if (
        _stopped(report)
        or report.outbox_error
        or report.log.error
        or report.at - report.passes.delivering_since < READING_S
    ):
        return None
    if read_at is None:
        return Found("the relay that runs has not read Moodle's log yet")
    if report.at - read_at <= READING_S + 2 * report.settings.poll_interval_s:
        return None
    return Found("the relay that runs has not read Moodle's log since {at}", {"at": read_at})


def _unread(report: Report) -> Found | None:
    age = report.oldest_unread_age_s
    if age is None or age <= report.settings.max_age_s:
        return None
    return Found("a log row of Moodle has been unread for {span}", {"span": age})


def _circuit(report: Report) -> Found | None:
    circuit = report.breaker.backend
    return Found("nothing is delivered: {reason}", {"reason": circuit.reason}) if circuit else None


def _path(report: Report) -> Found | None:
    paths = [(name, path.reason) for name, path in report.breaker.paths.items()]
    if len(paths) > 1:
        closed = "; ".join(f"{name}: {reason}" for name, reason in paths)
        return Found("{count} types are not delivered: {reason}", {"count": len(paths), "reason": closed})
    return Found("no {type} is delivered: {reason}", {"type": paths[0][0], "reason": paths[0][1]}) if paths else None


def _undelivered(report: Report) -> Found | None:
    age = report.oldest_undelivered_age_s
    if age is None or age <= report.settings.max_age_s:
        return None
    if report.settings.is_paused:
        return Found("an event has been waiting for {span}: delivery is paused", {"span": age})
    if (closed := _path(report)) is not None:
        return Found("an event has been waiting for {span}: {error}", {"span": age, "error": closed.says})
    return Found("an event has been waiting for {span}", {"span": age})


def _given_up(report: Report) -> Found | None:
    count = report.given_up
    if count == 1:
        return Found("1 event was given up")
    return Found("{count} events were given up", {"count": count}) if count else None


def _paused(report: Report) -> Found | None:
    if not report.settings.is_paused:
        return None
    if not report.undelivered:
        return Found("delivery is paused: events are captured and kept, and nothing is sent")
    said = {"count": report.undelivered}
    return Found("delivery is paused: events are captured and kept, and nothing is sent; {count} wait", said)


def _log_store(report: Report) -> Found | None:
    if report.log.is_on is not False:
        return None
    return Found("Moodle's standard log is switched off: nothing that happens is recorded")


def _disk(report: Report) -> Found | None:
    free = report.disk_free
    if free is None or free >= LITTLE_SPACE:
        return None
    left = {"count": free // 1024 // 1024}
    return Found("the disk that holds the outbox is nearly full: {count} MiB are left", left)


def _unsigned(report: Report) -> Found | None:
    if report.settings.signs:
        return None
    return Found("no signing key is configured: the backend cannot verify what it gets")


def _accounts(report: Report) -> Found | None:
    return None if report.outbox_error or report.holds else Found("the accounts do not hold")


def _clock(report: Report) -> Found | None:
    ahead = report.clock_skew_s
    if ahead is None or abs(ahead) <= CLOCK_TOLERANCE_S:
        return None
    apart = {"span": abs(ahead)}
    if ahead > 0:
        return Found("the backend's clock was {span} ahead of this machine's at its last answer", apart)
    return Found("the backend's clock was {span} behind this machine's at its last answer", apart)


def _reconcile(report: Report) -> Found | None:
    since = report.reconcile_overdue_since
    return None if since is None else Found("no reconcile was completed since {at}", {"at": since})


#: The names are the labels of `relay_problem`, and those of the alerts: they stay as they are.
CONDITIONS = (
    # First, as an outbox that cannot be written may be what comes of it.
    Condition("disk", Level.CRITICAL, "the disk of the outbox is nearly full", "make room on it", _disk),
    Condition(
        "outbox",
        Level.CRITICAL,
        "the outbox cannot be read or written",
        "`relay check` says what is wrong with it",
        lambda report: _error(report.outbox_error),
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
        lambda report: _error(report.log.error),
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
    Condition(
        "clock",
        Level.WARNING,
        "the clocks of relay and of the backend are apart",
        "switch on time synchronisation (`timedatectl set-ntp true`) on both: a signature carries the time",
        _clock,
    ),
    # Whoever compares the tables says since when that is overdue (Report.reconcile_overdue_since).
    Condition("reconcile", Level.WARNING, "no reconcile was completed in time", "`relay reconcile`", _reconcile),
)
