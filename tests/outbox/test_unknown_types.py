"""Events of a type that this relay does not know, made by another version of it: kept, shown, not sent, in no way."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness import Relay
    from receiver import Receiver

    from relay.demo.moodle import College

AT = 1_770_000_000


@pytest.fixture
def strange(relay: Relay, college: College) -> str:
    """Two events of one user wait, and the first one is of an unknown type; return its id."""
    ada = college.sign_up("Ada", "Lovelace", AT)
    college.update(ada, AT + 1, city="London")
    relay.set("enabled", value=False)
    relay.once(expect=1)
    relay.set("enabled", value=True)
    with contextlib.closing(sqlite3.connect(relay.outbox)) as connection, connection:
        connection.execute("UPDATE mdl_mb_zoho_event_log SET event_type = 'comet_seen' WHERE id = 1")
    return str(relay.rows("SELECT event_id FROM {log} WHERE id = 1")[0][0])


def test_the_daemon_lives_and_sends_the_others(strange: str, relay: Relay, college: College, backend: Receiver) -> None:
    with relay.start() as daemon:
        daemon.wait_for("delivery.succeeded")
        college.sign_up("Grace", "Hopper", AT + 9)
        daemon.wait_for("delivery.succeeded", 2)
        assert daemon.stop() == 0
    assert [post.envelope["event_type"] for post in backend.posts] == ["user_updated", "user_created"]
    assert relay.status()["by_type"]["comet_seen"] == {"pending": 1}
    assert relay.status()["conservation"]["holds"]
    story = relay.run("explain", strange, expect=None).stdout
    assert "(comet_seen of user" in story
    assert "this version of relay does not know the type comet_seen" in story


def test_once_does_not_wait_for_it_and_counts_it_as_undelivered(strange: str, relay: Relay, backend: Receiver) -> None:
    relay.once("--timeout", "10m", expect=1)
    assert len(backend.posts) == 1
    relay.run("run", "--replay", strange, expect=1)
    assert len(backend.posts) == 1
