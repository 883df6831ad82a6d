"""What needs a person: which conditions hold, as one line, as a plugin's line, as JSON types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.model import Status
from relay.operations.conditions import CONDITIONS, SILENT_S, Found, Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.operations.status import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that needs a person."""

    #: The name of its condition, which the metrics' label has too.
    name: str
    level: Level
    found: Found
    #: What to do about it.
    hint: str

    @property
    def says(self) -> str:
        """A sentence without its full stop: what is wrong."""
        return self.found.says


def judge(report: Report) -> Sequence[Problem]:
    """Return what needs a person, the worst first, in the order of the table; nothing where all is well."""
    problems = [
        Problem(name=one.name, level=one.level, found=found, hint=one.hint)
        for one in CONDITIONS
        if (found := one.finds(report)) is not None
    ]
    return sorted(problems, key=lambda problem: -problem.level)


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
