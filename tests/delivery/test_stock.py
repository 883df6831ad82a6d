"""What the benchmark lets wait in an outbox is what a relay of this version sends: else it would measure nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import stock

if TYPE_CHECKING:
    from harness import Relay
    from receiver import Receiver


def test_all_of_the_benchmark_s_stock_is_delivered(relay: Relay, backend: Receiver) -> None:
    stock.fill(relay.outbox, 20)
    # The benchmark has a database server, and no Moodle that could be asked whether a grade is shown.
    relay.set("moodle.database.name", "nowhere")
    with relay.start() as daemon:
        daemon.wait_for("delivery.succeeded", 20)
        assert daemon.stop() == 0
    assert {post.event_id for post in backend.posts} == {event.event_id for event in stock.events(20)}
