"""relay status: the JSON that monitors read keeps its keys and their order."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from harness import Relay
from receiver import Receiver, Reply

from relay.cli import views
from relay.demo.moodle import College
from relay.operations import status
from relay.operations.status import MoodleLog, Passes, Reading, Report
from relay.outbox.values import Counts, Member
from relay.rules.circuit import Breaker, Circuit

NOW = 1_770_000_000.0
AT = 1_770_000_000
OPEN = Circuit(opened_at=NOW, reason="the backend answered 404", probe_at=NOW + 15, probes=2)
COUNTS = Counts(
    seen=11,
    captured=8,
    ignored={"restored": 2},
    synced=0,
    reconciled=1,
    purged=2,
    by_type={"b": {"success": 3, "failed": 1, "held": 1}, "a": {"pending": 1, "skipped": 1, "failed_all_retries": 1}},
)
REPORT = Report(
    acknowledged=0,
    counts=COUNTS,
    undelivered=2,
    oldest_undelivered_age_s=7300,
    breaker=Breaker(paths={"b": OPEN}),
    reading=Reading(cursor=10, open_gaps=1, open_gap_ids=3, log_end=12, lag=2),
    relays=[Member(name="moodle1 pid 7", leads=True, expires_at=NOW + 12)],
    at=NOW,
    log=MoodleLog(end=12, unread_since=int(NOW) - 60, is_on=True),
    passes=Passes(capture_at=NOW - 1, delivery_at=NOW),
    disk_free=1_000_000_000,
)
JSON = """{
  "by_status": {
    "pending": 1,
    "success": 3,
    "failed": 1,
    "failed_all_retries": 1,
    "skipped": 1,
    "held": 1
  },
  "by_type": {
    "a": {
      "pending": 1,
      "skipped": 1,
      "failed_all_retries": 1
    },
    "b": {
      "success": 3,
      "failed": 1,
      "held": 1
    }
  },
  "undelivered": 2,
  "oldest_undelivered_age_s": 7300,
  "circuit": {
    "whole": null,
    "paths": {
      "b": {
        "opened_at": 1770000000.0,
        "reason": "the backend answered 404",
        "probe_at": 1770000015.0,
        "probes": 2
      }
    }
  },
  "cursor": 10,
  "open_gaps": 1,
  "open_gap_ids": 3,
  "log_end": 12,
  "lag": 2,
  "runs": true,
  "last_pass": {
    "capture": "2026-02-02T02:39:59Z",
    "delivery": "2026-02-02T02:40:00Z"
  },
  "paused": false,
  "log_store": true,
  "oldest_unread": "2026-02-02T02:39:00Z",
  "oldest_unread_age_s": 60,
  "disk_free_bytes": 1000000000,
  "forgotten": 0,
  "conservation": {
    "seen": 11,
    "captured": 8,
    "skipped": 1,
    "ignored": 2,
    "ignored_by_reason": {
      "restored": 2
    },
    "synced": 0,
    "reconciled": 1,
    "success": 3,
    "pending": 1,
    "failed": 1,
    "failed_all_retries": 1,
    "held": 1,
    "purged": 2,
    "seen_holds": true,
    "captured_holds": true,
    "holds": true
  },
  "relays": [
    {
      "name": "moodle1 pid 7",
      "leads": true
    }
  ],
  "acknowledged": 0,
  "compared": {}
}"""
TEXT = """\
event type pending success failed failed_all_retries skipped held
a                1       0      0                  1       1    0
b                0       3      1                  0       0    1
all              1       3      1                  1       1    1

runs         and last looked for what is due at 2026-02-02 05:40:00+03:00
log read     at 2026-02-02 05:39:59+03:00
undelivered  2, the oldest for 2 h
held         1, until Moodle shows the student what it keeps back now
circuit      open for b since 2026-02-02 05:40:00+03:00: the backend answered 404
cursor       10 (the log ends at 12; 3 lower ids may still turn up)
unread       the oldest log row to read is 60 s old
relay        moodle1 pid 7, reads the log
accounts     seen 11 = captured 8 + skipped 1 + ignored 2: holds
             captured 8 + synced 0 + reconciled 1 \
= success 3 + pending 1 + failed 1 + failed_all_retries 1 + held 1 + purged 2: holds"""


def test_the_json_is_the_same_to_the_byte() -> None:
    assert json.dumps(status.as_json(REPORT), indent=2) == JSON


def test_the_text_is_the_same_to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX-3")
    time.tzset()
    try:
        assert "\n".join(views.status_lines(REPORT, ())) == TEXT
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_moodle_that_cannot_be_asked_is_said_behind_the_lag() -> None:
    reading = replace(REPORT.reading, log_end=None, lag=None)
    made = status.as_json(replace(REPORT, reading=reading, log=MoodleLog(error="nobody listens there")))
    assert list(made) == [
        *("by_status", "by_type", "undelivered", "oldest_undelivered_age_s", "circuit", "cursor", "open_gaps"),
        *("open_gap_ids", "log_end", "lag", "moodle_error", "runs", "last_pass", "paused", "log_store"),
        *("oldest_unread", "oldest_unread_age_s", "disk_free_bytes", "forgotten", "conservation", "relays"),
        *("acknowledged", "compared"),
    ]
    assert (made["log_end"], made["lag"], made["moodle_error"]) == (None, None, "nobody listens there")


@pytest.mark.by_turns("kind")
@pytest.mark.parametrize("kind", ["relay", "other"])
def test_what_a_person_has_dealt_with_is_kept_and_no_longer_counted(
    kind: str, request: pytest.FixtureRequest, college: College, backend: Receiver
) -> None:
    relay: Relay = request.getfixturevalue(kind)
    for i in range(3):
        college.sign_up("Ada", f"Number{i}", AT + i)
    backend.answer = lambda one: Reply(code=200 if one.envelope["data"]["userid"] == 1 else 422)
    relay.once(expect=1)
    (first, second) = [row[0] for row in relay.rows("SELECT event_id FROM {log} WHERE status <> 'success' ORDER BY id")]
    assert "1 given-up event is acknowledged" in relay.run("acknowledge", first, "--reason", "sent by hand").stdout
    told = relay.run("explain", first).stdout
    assert f"relay acknowledge: {first} is dealt with (sent by hand)" in told
    assert "Somebody dealt with it at " in told
    assert "1 event was given up" in relay.run("status", "--check", expect=1).stderr
    relay.once(expect=1)
    done = relay.run("acknowledge", "type=user_created")
    assert "2 given-up events are acknowledged" in done.stdout
    assert "1 that the selector means were not given up" in done.stderr
    assert "given up" not in relay.run("status", "--check", expect=1).stderr, "but that no relay runs is"
    relay.once()
    assert relay.status()["acknowledged"] == 2
    assert relay.status()["conservation"]["holds"]
    rows = relay.rows("SELECT event_id, reason FROM mdl_mb_zoho_acknowledged ORDER BY id")
    assert [tuple(row) for row in rows] == [(first, "sent by hand"), (second, "")]
    assert relay.statuses() == {"success": 1, "failed_all_retries": 2}
    backend.answer = lambda _: Reply()
    relay.run("run", "--replay", "failed")
    assert relay.statuses() == {"success": 3}
    assert relay.status()["acknowledged"] == 0
    relay.run("acknowledge", first, expect=1)
    relay.run("acknowledge", "nonsense", expect=2)
    relay.run("acknowledge", "failed")
