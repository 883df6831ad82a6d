"""What needs a person: each row of the table finds its fault and no other one, and a relay that is well is silent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.operations import conditions, health, status
from relay.operations.conditions import LITTLE_SPACE
from relay.operations.status import MoodleLog, Passes, Reading, Report, Settings
from relay.outbox.values import Counts
from relay.rules.circuit import Breaker, Circuit

NOW = 1_770_000_000.0
OPEN = Circuit(opened_at=NOW, reason="the backend answered 503", probe_at=NOW + 15)
COUNTS = Counts(
    seen=3, captured=3, ignored={}, synced=0, reconciled=0, purged=0, by_type={"a": {"success": 2, "pending": 1}}
)
GIVEN_UP = COUNTS._replace(by_type={"a": {"success": 2, "failed_all_retries": 1}})
WELL = Report(
    counts=COUNTS,
    undelivered=1,
    oldest_undelivered_age_s=3599,
    breaker=Breaker(),
    reading=Reading(cursor=10, open_gaps=0, open_gap_ids=0, log_end=12, lag=2),
    relays=(),
    at=NOW,
    log=MoodleLog(end=12, unread_since=int(NOW) - 3600, is_on=True),
    passes=Passes(capture_at=NOW - 29, delivery_at=NOW - 29, delivering_since=NOW - 9000),
    disk_free=LITTLE_SPACE,
)


def passes(**changes: object) -> Report:
    return replace(WELL, passes=replace(WELL.passes, **changes))  # type: ignore[arg-type]


#: The fault, the condition that names it, and words of the sentence.
FAULTS = [
    (passes(delivery_at=None), "stopped", "no relay has run"),
    (passes(has_ended=True), "stopped", "no relay runs: the last one ended"),
    (passes(delivery_at=NOW - 31), "stopped", "none has completed a pass since"),
    (passes(capture_at=NOW - 62), "reading", "has not read Moodle's log since"),
    (passes(capture_at=None), "reading", "has not read Moodle's log yet"),
    (replace(WELL, log=replace(WELL.log, unread_since=int(NOW) - 7200)), "unread", "unread for 2 h"),
    (replace(WELL, log=replace(WELL.log, is_on=False)), "log_store", "log is switched off"),
    (replace(WELL, log=MoodleLog(error="nobody listens there")), "moodle", "nobody listens there"),
    (replace(WELL, breaker=Breaker(backend=OPEN)), "circuit", "nothing is delivered: the backend answered 503"),
    (replace(WELL, breaker=Breaker(paths={"b": OPEN})), "path", "no b is delivered: the backend answered 503"),
    (replace(WELL, oldest_undelivered_age_s=3601), "undelivered", "waiting for 60 min"),
    (replace(WELL, counts=GIVEN_UP), "given_up", "1 event was given up"),
    (replace(WELL, counts=COUNTS._replace(seen=4)), "accounts", "accounts do not hold"),
    (replace(WELL, disk_free=LITTLE_SPACE - 1), "disk", "nearly full: 199 MiB"),
    (replace(WELL, settings=Settings(is_paused=True)), "paused", "paused"),
    (replace(WELL, settings=Settings(signs=False)), "unsigned", "no signing key"),
    (replace(WELL, reconcile_overdue_since=NOW - 99), "reconcile", "no reconcile"),
    (status.without_outbox("it is locked.", Settings(), NOW), "outbox", "it is locked"),
    (replace(WELL, clock_skew_s=61.0), "clock", "clock was 61 s ahead of this machine's"),
    (replace(WELL, clock_skew_s=-600.0), "clock", "clock was 10 min behind this machine's"),
    (replace(WELL, breaker=Breaker(paths={"b": OPEN, "c": OPEN})), "path", "2 types are not delivered: b: the backend"),
]


def test_each_condition_has_a_fault() -> None:
    assert {name for _, name, _ in FAULTS} == {one.name for one in conditions.CONDITIONS}


@pytest.mark.parametrize(("report", "name", "words"), FAULTS, ids=[f"{name}: {words}" for _, name, words in FAULTS])
def test_a_fault_is_named_by_its_condition_alone(report: Report, name: str, words: str) -> None:
    (problem,) = health.judge(report)
    assert problem.name == name
    assert words in problem.says
    assert health.sentence(report, [problem], "https://b.example").lower().startswith(problem.says.lower())


def test_a_relay_that_is_well_is_silent() -> None:
    assert health.judge(WELL) == []
    assert health.sentence(WELL, (), "https://b.example") == "Delivering to https://b.example; 1 waiting"


def test_what_was_forgotten_before_it_was_delivered_needs_nobody() -> None:
    assert health.judge(replace(WELL, counts=GIVEN_UP, forgotten_undelivered=1)) == []


def test_the_worst_comes_first() -> None:
    report = replace(WELL, settings=Settings(is_paused=True, signs=False), breaker=Breaker(backend=OPEN))
    assert [one.name for one in health.judge(report)] == ["circuit", "paused", "unsigned"]


def test_what_holds_up_an_event_that_waits_for_long_is_named_with_it() -> None:
    late = replace(WELL, oldest_undelivered_age_s=7200)
    paused = health.judge(replace(late, settings=Settings(is_paused=True)))
    assert paused[0].says == "an event has been waiting for 2 h: delivery is paused"
    closed = health.judge(replace(late, breaker=Breaker(paths={"b": OPEN})))
    assert closed[0].says == "an event has been waiting for 2 h: no b is delivered: the backend answered 503"


def test_a_full_disk_is_named_before_the_outbox_that_cannot_be_written_for_it() -> None:
    report = status.without_outbox("database or disk is full", Settings(), NOW, 0)
    assert [one.name for one in health.judge(report)] == ["disk", "outbox"]


def test_a_slow_poll_is_no_fault() -> None:
    slow = replace(passes(capture_at=NOW - 3000), settings=Settings(poll_interval_s=1800.0))
    assert health.judge(slow) == []


def test_the_line_of_a_plugin() -> None:
    assert health.nagios(WELL, health.judge(WELL)) == (
        "RELAY OK - a relay runs; 1 events wait | undelivered=1;;;0 oldest_undelivered=3599s;;3600;0 "
        "oldest_unread=3600s;;3600;0 given_up=0;0;;0 success=2c;;;0 lag=2;;;0 since_last_pass=29s;;30;0"
    )
    bad = replace(WELL, breaker=Breaker(backend=OPEN._replace(reason="it said a|b")))
    line = health.nagios(bad, health.judge(bad))
    assert line.startswith("RELAY CRITICAL - nothing is delivered: it said a/b | ")
    assert line.count("|") == 1
