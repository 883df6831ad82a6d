"""relay check of an outbox: that it can be written, and that the clocks of those who share it agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Relay, shared_outbox

from relay.demo.moodle import College
from relay.operations.check import outbox as outbox_checks
from relay.operations.check.result import Check, Verdict
from relay.outbox.contract import RENEW_S
from relay.outbox.mysql import MysqlOutbox
from relay.outbox.sqlite import SqliteOutbox
from relay.rules.server import Address


@pytest.fixture
def shared(outbox_address: Address) -> Iterator[MysqlOutbox]:
    opened = shared_outbox(outbox_address)
    yield opened
    opened.close()


def clocks(outbox: MysqlOutbox, now: float) -> Check:
    return outbox_checks.check_clocks(outbox, now)


def test_clocks_that_agree_are_well(shared: MysqlOutbox) -> None:
    now = shared.time(0.0)
    shared.hold(now)
    assert clocks(shared, now + 1.5).verdict is Verdict.OK
    shared.renew(now + RENEW_S)
    assert clocks(shared, now + RENEW_S).verdict is Verdict.OK


@pytest.mark.parametrize("apart", [-300.0, 5.0])
def test_a_machine_whose_clock_is_wrong_is_named(shared: MysqlOutbox, apart: float) -> None:
    found = clocks(shared, shared.time(0.0) + apart)
    assert found.verdict is Verdict.WARN
    assert f"the database's clock and this machine's are {abs(apart):.0f} s apart" in found.found
    assert "timedatectl" in found.hint


def test_a_node_whose_clock_is_ahead_is_seen_by_its_relays_lease(shared: MysqlOutbox, outbox_address: Address) -> None:
    """A relay that uses another node renews its lease by the clock of that one."""
    other = shared_outbox(outbox_address)
    now = shared.time(0.0)
    other.hold(now + 8)
    found = clocks(shared, now)
    assert found.verdict is Verdict.WARN
    assert "'s node are 8 s apart; at 12 s relays take each other for dead" in found.found
    other.close()


def test_check_says_it_of_a_shared_outbox_and_not_of_a_file(
    relay: Relay, other: Relay, college: College, tmp_path: Path
) -> None:
    assert college.connection.open
    other.once()
    assert "ok    outbox clock" in other.run("check", expect=None).stdout
    relay.once()
    assert "outbox clock" not in relay.run("check", expect=None).stdout
    assert [one.name for one in outbox_checks.checks(tmp_path / "a.db", lambda: SqliteOutbox(tmp_path / "a.db"), float)]
