"""Who moves an outbox has it alone, from the first row to the last: nobody runs or writes beside it meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import shared_outbox
from test_outbox import NOW, Place, accept, claim, event

from relay.errors import OutboxError, OutboxInUse
from relay.operations.move import Move
from relay.outbox.contract import LEASE_S, Outbox
from relay.outbox.mysql import MysqlOutbox
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.tables import MOVED_TO

if TYPE_CHECKING:
    import harness

    from relay.demo.moodle import College
    from relay.rules.server import Address


@pytest.fixture(params=["sqlite", "mysql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, request.getfixturevalue("outbox_address") if request.param == "mysql" else None)
    yield made
    made.close()


JOINS: dict[str, Callable[[Outbox], None]] = {
    "a relay": lambda outbox: outbox.hold(NOW),
    "a replay": lambda outbox: outbox.join(NOW),
    "another move": lambda outbox: outbox.hold(NOW, exclusive=True),
}


@pytest.mark.parametrize("who", JOINS)
def test_nobody_begins_beside_one_that_is_exclusive(who: str, place: Place) -> None:
    mover, other = place.open(), place.open()
    mover.hold(NOW, exclusive=True)
    with pytest.raises(OutboxInUse):
        JOINS[who](other)
    mover.close()
    JOINS[who](place.open())


@pytest.mark.parametrize("who", ["a relay", "a replay"])
def test_nobody_is_exclusive_beside_one_that_has_begun(who: str, place: Place) -> None:
    other = place.open()
    JOINS[who](other)
    with pytest.raises(OutboxInUse):
        place.open().hold(NOW, exclusive=True)
    other.close()
    place.open().hold(NOW, exclusive=True)


def test_who_joins_and_then_holds_is_one_and_not_two(place: Place) -> None:
    """A sync delivers what it has recorded where no relay runs."""
    outbox = place.open()
    outbox.join(NOW)
    outbox.hold(NOW, alone=True)
    assert outbox.leads()
    assert [member.is_own for member in outbox.members()] == ([True] if outbox.is_shared else [])
    accept(outbox, event(1))
    assert len(claim(outbox)) == 1


def test_what_was_moved_since_it_was_opened_is_not_used(place: Place) -> None:
    late, later = place.open(), place.open()
    mover = place.open()
    mover.hold(NOW, exclusive=True)
    mover.set_state(MOVED_TO, "sqlite:///elsewhere", NOW)
    mover.close()
    for outbox, begin in ((late, "a relay"), (later, "a replay")):
        with pytest.raises(OutboxError, match="was moved to sqlite:///elsewhere"):
            JOINS[begin](outbox)


def test_a_move_of_a_killed_process_does_not_last(outbox_address: Address, tmp_path: Path) -> None:
    place = Place(tmp_path, outbox_address)
    mover, other = place.open(), place.open()
    mover.hold(NOW, exclusive=True)
    place.kill(mover)
    with pytest.raises(OutboxInUse, match="is being moved"):
        other.hold(NOW + LEASE_S - 1)
    other.hold(NOW + LEASE_S + 1)
    assert other.leads()
    place.close()


def test_a_move_stays_exclusive_as_long_as_it_renews_its_lease(outbox_address: Address, tmp_path: Path) -> None:
    place = Place(tmp_path, outbox_address)
    mover, other = place.open(), place.open()
    mover.hold(NOW, exclusive=True)
    for seconds in range(3, 60, 3):
        mover.renew(NOW + seconds)
        with pytest.raises(OutboxInUse):
            other.join(NOW + seconds + LEASE_S - 3)
    place.close()


def test_of_those_who_begin_at_once_one_is_exclusive_or_none(outbox_address: Address) -> None:
    for _ in range(5):
        outboxes = [shared_outbox(outbox_address) for _ in range(4)]
        begin = threading.Barrier(4)
        held: list[int] = []

        def work(index: int, outboxes: list[MysqlOutbox] = outboxes, held: list[int] = held) -> None:
            begin.wait()  # noqa: B023 -- of this round
            try:
                outboxes[index].hold(NOW, exclusive=index < 2)
            except OutboxInUse:
                return
            held.append(index)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert held
        assert held in ([0], [1]) or not {0, 1} & set(held)
        for outbox in outboxes:
            outbox.close()


def test_a_relay_that_starts_during_a_move_says_so_and_sends_nothing(
    relay: harness.Relay, other: harness.Relay, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    college.sign_up("Ada", "Lovelace", 1_770_000_000)
    assert other.shared_outbox is not None
    source, target = SqliteOutbox(relay.outbox), shared_outbox(other.shared_outbox)
    source.hold(NOW, exclusive=True)
    target.hold(target.time(NOW), exclusive=True)
    moving = Move(source=source, source_url="sqlite:///a", target=target, target_url="mysql://b")
    compare, said = moving._compare, []

    def meanwhile() -> None:
        said.extend([relay.once(expect=3).stderr, relay.run("sync", "users", expect=3).stderr])
        # Of one that was not opened for a move, half an outbox is refused before anything else.
        said.append(other.once(expect=3).stderr)
        compare()

    monkeypatch.setattr(moving, "_compare", meanwhile)
    moving.run(NOW, lambda _: None)
    source.close()
    target.close()
    assert ["Another relay runs" in said[0], "is being moved" in said[1], "half of an outbox" in said[2]] == [True] * 3
    assert "was moved to" in relay.once(expect=3).stderr
    assert other.once().slugs().count("event.captured") == 1
