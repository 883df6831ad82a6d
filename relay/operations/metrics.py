"""The figures of a relay as Prometheus text: at most 100 series, and no id, name or URL in a label."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from relay.events.catalogue import KINDS
from relay.model import Status
from relay.operations.conditions import CONDITIONS
from relay.rules.histogram import ATTEMPT, DELIVERY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from relay.operations.health import Problem
    from relay.operations.status import Report
    from relay.rules.histogram import Histogram

#: How many pairs of type and status are told apart; the events of further types count as those of `other`.
PAIRS = 30
OTHER = "other"
#: What comes of an attempt.
OUTCOMES = ("success", "duplicate", "refused", "failed")
#: The type of the text, for HTTP.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(report: Report, problems: Sequence[Problem], figures: Mapping[str, int], version: str) -> str:
    """Return the figures of a relay; `figures` are the numbers that were added up over all its runs."""
    lines: list[str] = []
    for family in (
        _problems(problems),
        *((_rows(report), _events(report), *_state(report)) if not report.outbox_error else ()),
        *((_attempts(figures), *_histograms(figures)) if not report.outbox_error else ()),
        _family("build_info", "gauge", "The version of relay.", {f'version="{version}"': 1}),
    ):
        lines += family
    return "\n".join(lines) + "\n"


def _family(name: str, kind: str, says: str, samples: Mapping[str, float | None]) -> list[str]:
    """Return a metric with its samples by their labels; one without a value is left out."""
    told = {labels: value for labels, value in samples.items() if value is not None}
    if not told:
        return []
    head = [f"# HELP relay_{name} {says}", f"# TYPE relay_{name} {kind}"]
    return head + [f"relay_{name}{f'{{{labels}}}' if labels else ''} {_number(told[labels])}" for labels in told]


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3f}"


def _problems(problems: Sequence[Problem]) -> list[str]:
    there = {problem.name for problem in problems}
    samples = {f'condition="{one.name}",level="{one.level.name.lower()}"': int(one.name in there) for one in CONDITIONS}
    return _family("problem", "gauge", "1 where something needs a person (relay status).", samples)


def _rows(report: Report) -> list[str]:
    counts = report.counts
    ignored = sum(counts.ignored.values())
    results = {"captured": counts.captured, "skipped": counts.seen - counts.captured - ignored, "ignored": ignored}
    samples = {f'result="{result}"': count for result, count in results.items()}
    return _family("log_rows_total", "counter", "Rows of Moodle's log that were seen, by what came of them.", samples)


def _events(report: Report) -> list[str]:
    order = {name: index for index, name in enumerate(KINDS)}
    by_type = sorted(report.counts.by_type.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))
    pairs: Counter[str] = Counter()
    kept = 0
    for name, states in by_type:
        there = {status: count for status, count in states.items() if count}
        kept += len(there)
        known = name if name in order and kept <= PAIRS - len(Status) else OTHER
        for status, count in there.items():
            pairs[f'type="{known}",status="{status}"'] += count
    return _family("events", "gauge", "Events in the outbox, by type and status.", pairs)


def _state(report: Report) -> Iterator[list[str]]:
    """Yield the metrics that have one sample each."""
    passes, reading, breaker = report.passes, report.reading, report.breaker
    oldest = report.oldest_undelivered_age_s
    is_led = any(one.leads for one in report.relays) if report.relays else passes.delivery_at is not None
    gauges: tuple[tuple[str, str, float | None], ...] = (
        ("oldest_due_timestamp_seconds", "When the event that is due first is due.", report.oldest_due_at),
        (
            "oldest_undelivered_timestamp_seconds",
            "When the oldest undelivered event was recorded.",
            None if oldest is None else int(report.at) - oldest,
        ),
        ("oldest_unread_timestamp_seconds", "When the oldest unread log row was made.", report.log.unread_since),
        ("last_capture_timestamp_seconds", "When Moodle's log was last looked at.", passes.capture_at),
        ("last_pass_timestamp_seconds", "When it was last looked for what is due.", passes.delivery_at),
        ("last_delivery_timestamp_seconds", "When the backend last took an event.", report.last_delivery_at),
        ("log_position", "The id up to which Moodle's log is read.", reading.cursor),
        ("log_end", "The newest id of Moodle's log.", reading.log_end),
        ("open_gaps", "Stretches of log ids of which some are missing.", reading.open_gaps),
        ("circuit_open", "1 where nothing is delivered.", int(breaker.backend is not None)),
        ("paths_closed", "How many paths of the backend are closed.", len(breaker.paths)),
        ("paused", "1 where delivery is paused.", int(report.settings.is_paused)),
        ("members", "Relays that take part in a shared outbox.", len(report.relays)),
        ("lease_held", "1 where a relay reads the log.", int(is_led)),
        ("clock_skew_seconds", "How far the backend's clock is ahead of relay's.", report.clock_skew_s),
        ("accounts_balanced", "1 where the sums of relay status hold.", int(report.holds)),
        ("disk_free_bytes", "Free space on the disk of the outbox.", report.disk_free),
        ("forgotten_events", "Events whose personal data was taken out.", report.forgotten),
        ("sync_events_total", "Events that relay sync made.", report.counts.synced),
        ("reconcile_events_total", "Events that reconcile made.", report.counts.reconciled),
        ("purged_events_total", "Events that were deleted after the retention.", report.counts.purged),
    )
    for name, says, value in gauges:
        yield _family(name, "counter" if name.endswith("_total") else "gauge", says, {"": value})


def _attempts(figures: Mapping[str, int]) -> list[str]:
    samples = {f'outcome="{outcome}"': figures.get(f"attempts.{outcome}", 0) for outcome in OUTCOMES}
    return _family("attempts_total", "counter", "Requests to the backend, by what came of them.", samples)


def _histograms(figures: Mapping[str, int]) -> Iterator[list[str]]:
    yield _histogram(ATTEMPT, "attempt_duration_seconds", "How long an attempt takes.", figures)
    says = "From the time of Moodle's log row until the backend has taken the event."
    yield _histogram(DELIVERY, "delivery_latency_seconds", says, figures)


def _histogram(histogram: Histogram, name: str, says: str, figures: Mapping[str, int]) -> list[str]:
    up_to, total = histogram.read(figures)
    bounds = [f"{bound:g}" for bound in histogram.bounds] + ["+Inf"]
    return [
        f"# HELP relay_{name} {says}",
        f"# TYPE relay_{name} histogram",
        *(f'relay_{name}_bucket{{le="{bound}"}} {count}' for bound, count in zip(bounds, up_to, strict=True)),
        f"relay_{name}_sum {_number(total)}",
        f"relay_{name}_count {up_to[-1]}",
    ]
