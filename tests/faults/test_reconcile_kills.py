"""Reconcile is killed again and again: in the end each difference has been sent once."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import forked
import pytest
from harness import SHORT_LEASES, Relay

if TYPE_CHECKING:
    from relay.demo.moodle import College

AT = 1_770_000_000
#: How many rows there are, and how many kills: in the short version, and with --full.
SHORT, FULL = (3_000, 2), (12_000, 20)


@pytest.mark.by_turns("which")
@pytest.mark.parametrize("which", ["relay", "other"])
def test_a_reconcile_that_is_killed_sends_each_difference_once(
    request: pytest.FixtureRequest, college: College, which: str
) -> None:
    """The ones that differ by a method that is switched off have data that says nothing new: an id tells them apart."""
    relay: Relay = request.getfixturevalue(which)
    relay.constants = SHORT_LEASES
    rows, kills = FULL if request.config.getoption("--full") else SHORT
    college.course("Computing", "C1")
    college.course("Ceramics", "C2")
    college.run(
        "INSERT INTO {p}user_enrolments (userid, enrolid, timecreated, timemodified) "
        f"SELECT seq, 1 + seq MOD 2, %s, %s FROM seq_1_to_{rows}",
        AT,
        AT,
    )
    relay.set("enabled", False)
    relay.once("--from", "now", expect=None)
    relay.run("reconcile", "enrolments")
    college.run("UPDATE {p}enrol SET status = 1 WHERE id = 2")
    college.run("UPDATE {p}user_enrolments SET timeend = 9 WHERE id MOD 3 = 0 AND enrolid = 1")
    chance = random.Random(which)
    killed = 0
    while killed < kills:
        arguments = relay.arguments("reconcile", "enrolments", "--fix", "--grace", "0s")
        process = forked.Started(arguments, constants=relay.constants)
        count = relay.rows("SELECT COUNT(*) FROM {log}")[0][0]
        target = count + chance.randrange(0, rows // 8)
        while process.poll() is None and relay.rows("SELECT COUNT(*) FROM {log}")[0][0] <= target:
            time.sleep(0.002)
        if process.poll() is not None:
            break
        process.close()
        killed += 1
    assert killed > 0
    relay.run("reconcile", "enrolments", "--fix", "--grace", "0s", expect=None)
    sent = Counter(json.loads(data)["enrollmentid"] for (data,) in relay.rows("SELECT event_data FROM {log}"))
    expected = {row for row in range(1, rows + 1) if row % 2 == 1 or row % 3 == 0}
    assert sent.keys() == expected
    assert set(sent.values()) == {1}
    assert json.loads(relay.run("reconcile", "enrolments", "--grace", "0s", "--json").stdout) == []
    assert relay.status()["conservation"]["holds"]
