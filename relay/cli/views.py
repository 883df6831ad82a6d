"""What commands print for people: values as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay import times
from relay.model import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.operations.health import Problem
    from relay.operations.status import Report
    from relay.rules.circuit import Breaker

#: The states of an event that has been captured, in the order of the sum.
KEPT = (Status.SUCCESS, Status.PENDING, Status.FAILED, Status.GAVE_UP, Status.HELD)


def status_lines(report: Report, problems: Sequence[Problem]) -> list[str]:
    """Return the state of a relay: what needs a person, a table, and lines below it."""
    age = report.oldest_undelivered_age_s
    return [
        *(f"{one.level.name.lower()}: {one.says}.\n  {one.hint[:1].upper()}{one.hint[1:]}." for one in problems),
        *([""] if problems else []),
        *_count_lines(report),
        "",
        *_relay_lines(report),
        f"undelivered  {report.undelivered}" + ("" if age is None else f", the oldest for {times.span(age)}"),
        *_held_lines(report.by_status[Status.HELD]),
        *([f"acknowledged {report.acknowledged} of those that were given up"] if report.acknowledged else []),
        *_circuit_lines(report.breaker),
        *_cursor_lines(report),
        *_compared_lines(report),
        *(f"relay        {one.name}{', reads the log' if one.leads else ''}" for one in report.relays),
        *_account_lines(report),
        *([f"forgotten    {report.forgotten} events have no personal data any more"] if report.forgotten else []),
    ]


def _relay_lines(report: Report) -> list[str]:
    passes = report.passes
    if passes.delivery_at is None:
        return ["runs         no relay has run yet"]
    at = times.show(passes.delivery_at)
    runs = f"ended        at {at}" if passes.has_ended else f"runs         and last looked for what is due at {at}"
    read = [f"log read     at {times.show(passes.capture_at)}"] if passes.capture_at else []
    return [f"{runs}{', paused' if report.settings.is_paused else ''}", *read]


def _count_lines(report: Report) -> list[str]:
    """Return a row for each event type, with a column for each state."""
    columns = list(report.by_status)
    counted: list[tuple[str, Mapping[str, int]]] = [*report.by_type.items(), ("all", report.by_status)]
    rows = [("event type", *columns), *((name, *(str(of.get(one, 0)) for one in columns)) for name, of in counted)]
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    # With one blank between, all types and states fit into 80 columns.
    return [
        " ".join([name.ljust(first), *(one.rjust(width) for one, width in zip(numbers, widths, strict=True))])
        for name, *numbers in rows
    ]


def _held_lines(count: int) -> list[str]:
    return [f"held         {count}, until Moodle shows the student what it keeps back now"] if count else []


def _cursor_lines(report: Report) -> list[str]:
    reading, age = report.reading, report.oldest_unread_age_s
    end = "Moodle's database cannot be asked" if reading.log_end is None else f"the log ends at {reading.log_end}"
    end = "Moodle's database was not asked: its password cannot be read here" if report.log.unasked else end
    unread = [] if age is None else [f"unread       the oldest log row to read is {times.span(age)} old"]
    return [f"cursor       {reading.cursor} ({end}; {reading.open_gap_ids} lower ids may still turn up)", *unread]


def _compared_lines(report: Report) -> list[str]:
    """Return a line for each table that was compared with what was sent of it."""
    return [
        f"compared     {name} at {times.show(one.at)}: {one.rows} rows, {one.differed} differed, {one.sent} events"
        for name, one in report.compared.items()
    ]


def _account_lines(report: Report) -> list[str]:
    """Return the sums of the contract's section 4."""
    counts, states = report.counts, report.by_status
    ends = f"captured {counts.captured} + skipped {states[Status.SKIPPED]} + ignored {report.ignored}"
    kept = " + ".join(f"{name} {states[name]}" for name in KEPT)
    return [
        f"accounts     seen {counts.seen} = {ends}: {_holds(counts.seen_holds)}",
        f"             captured {counts.captured} + synced {counts.synced} + reconciled {counts.reconciled} "
        f"= {kept} + purged {counts.purged}: " + _holds(counts.captured_holds),
    ]


def _circuit_lines(breaker: Breaker) -> list[str]:
    circuits = [("", breaker.backend), *((f" for {name}", path) for name, path in breaker.paths.items())]
    lines = [
        f"circuit      open{scope} since {times.show(circuit.opened_at)}: {circuit.reason}"
        for scope, circuit in circuits
        if circuit is not None
    ]
    return lines or ["circuit      closed"]


def _holds(value: bool) -> str:  # noqa: FBT001 -- a word for a truth
    return "holds" if value else "DOES NOT HOLD"


def profile_lines(document: Any) -> list[str]:
    """Return a JSON document, however deep it is, as an indented outline."""
    lines: list[str] = []
    # What is still to be shown, the next one last: a line, or else a value, and how far it is indented.
    waiting: list[tuple[int, str | None, Any]] = [(0, None, document)]
    while waiting:
        indent, line, value = waiting.pop()
        if line is None and isinstance(value, dict) and value:
            for name, one in reversed(value.items()):
                if isinstance(one, dict | list) and one:
                    waiting += [(indent + 1, None, one), (indent, f"{printable(name)}:", None)]
                else:
                    waiting.append((indent, f"{printable(name)}: {plain(one)}", None))
        elif line is None and isinstance(value, list) and value:
            for one in reversed(value):
                waiting += [(indent + 1, None, one), (indent, "-", None)]
        else:
            lines.append("  " * indent + (plain(value) if line is None else line))
    return lines


def plain(value: Any) -> str:
    """Return a value that holds no other one."""
    if isinstance(value, dict | list):
        return "none"
    # By identity: 1 equals True, and is a number.
    word = next((word for one, word in ((None, ""), (True, "yes"), (False, "no")) if value is one), None)
    return printable(str(value)) if word is None else word


def printable(text: str) -> str:
    """Return a text without what a terminal would act upon."""
    return "".join(character if character.isprintable() else "?" for character in text)
