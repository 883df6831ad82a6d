"""Where a first run begins: times and ids are not in the same order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from stepped import AT, Captured

from relay import config
from relay.events.catalogue import KINDS
from relay.times import iso

if TYPE_CHECKING:
    from harness import Relay

    from relay.demo.moodle import College

YEAR = 365 * 86400


@pytest.fixture
def odd(college: College) -> tuple[int, int]:
    """A row stamped in the future at id 1, three years of history behind it, and one row of now."""
    future = college.sign_up("Far", "Future", AT + 12 * YEAR)
    for i in range(9):
        college.sign_up("Long", f"Ago{i}", AT - 3 * YEAR + i)
    return future, college.sign_up("Ada", "Lovelace", AT + 50)


def users(captured: Captured) -> list[int]:
    return [
        json.loads(one.body)["data"]["userid"]
        for one in captured.outbox.claim(captured.now, 50, lease_s=60, types=frozenset(KINDS))
    ]


def test_a_time_sends_what_happened_since_and_no_history(relay: Relay, college: College, odd: tuple[int, int]) -> None:
    relay.set("moodle.start_from", iso(AT))
    captured = Captured(config.load(relay.write()))
    captured.read()
    assert sorted(users(captured)) == sorted(odd)
    assert dict(captured.outbox.counts().ignored) == {"earlier": 9}
    old = college.sign_up("Late", "Stamped", AT - YEAR)
    captured.restart()
    captured.read()
    assert users(captured) == [old], "what comes after the first start is sent, whatever its time"
    captured.close()


def test_a_dry_run_shows_the_same(relay: Relay, odd: tuple[int, int]) -> None:
    shown = relay.run("run", "--dry-run", "--from", iso(AT)).stdout
    assert sorted(json.loads(line)["data"]["userid"] for line in shown.splitlines()) == sorted(odd)


def test_a_rewound_log_sends_no_history_either(relay: Relay, college: College, odd: tuple[int, int]) -> None:
    """No place of the old log is left: it is read from the first row of the time at which relay began."""
    relay.set("moodle.start_from", "now")
    captured = Captured(config.load(relay.write()))
    captured.read()
    college.run("UPDATE {p}logstore_standard_log SET timecreated = timecreated + 1")
    college.run("DELETE FROM {p}logstore_standard_log WHERE id > 10")
    captured.read()
    captured.read(11)
    assert "log.rewound" in captured.log.slugs()
    captured.read()
    assert users(captured) == [odd[0]]
    captured.close()


def test_explain_says_that_a_row_is_older_than_what_was_to_be_sent(relay: Relay, odd: tuple[int, int]) -> None:
    relay.once("--from", iso(AT))
    assert "is older than what relay was to send" in relay.run("explain", "log:3").stdout
    assert odd[1] == 11
