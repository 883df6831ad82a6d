"""The way of every event of a real Moodle: what arrives is what its own code makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import SYMMETRIC_KEY, TOKEN, Relay, load_dump
from standardwebhooks import Webhook

if TYPE_CHECKING:
    from receiver import Receiver

    from relay.demo.mariadb import MariaDB

REAL = Path(__file__).parents[3] / "shared" / "moodle"
DUMP, GOLDEN = REAL / "moodle-4.4.sql.gz", REAL / "golden-4.4.jsonl"


@pytest.fixture(scope="module")
def golden() -> list[dict[str, Any]]:
    if not GOLDEN.exists():
        pytest.skip(f"the database of a real Moodle is not here: {DUMP.name}")
    return [json.loads(line) for line in GOLDEN.read_bytes().splitlines()]


@pytest.fixture
def real(tmp_path: Path, mariadb: MariaDB, golden: list[dict[str, Any]], backend: Receiver) -> Relay:
    """A relay between a real Moodle and the backend."""
    assert golden
    load_dump(mariadb, DUMP)
    made = Relay(tmp_path, mariadb, backend.url)
    made.set("events.grade_updated.unreleased", "send")
    return made


def test_every_event_arrives_once_as_moodle_makes_it_and_is_signed(
    real: Relay, backend: Receiver, golden: list[dict[str, Any]]
) -> None:
    real.once()
    webhook = Webhook(SYMMETRIC_KEY)
    for post in backend.posts:
        webhook.verify(post.body, dict(post.headers))
        assert post.headers["x-moodle-token"] == TOKEN
        assert post.headers["x-event-id"] == post.headers["webhook-id"] == post.envelope["event_id"]
        assert post.path == f"/v1/events/moodle/{post.envelope['event_type']}"
    log_ids = dict(real.rows("SELECT event_id, log_id FROM {log}"))
    arrived = {log_ids[post.event_id]: (post.envelope["event_type"], post.envelope["data"]) for post in backend.posts}
    expected = {line["log_id"]: (line["event_type"], line["data"]) for line in golden if line["outcome"] == "event"}
    assert len(backend.posts) == len(expected) == len(arrived)
    for log_id, (event_type, data) in expected.items():
        assert arrived[log_id] == (event_type, data), log_id
        assert list(arrived[log_id][1]) == list(data), "the keys come in another order"
    skipped = {row[0] for row in real.rows("SELECT log_id FROM {log} WHERE status = 'skipped'")}
    assert skipped == {line["log_id"] for line in golden if line["outcome"] == "skipped"}
    sums = real.status()["conservation"]
    assert sums["holds"]
    assert sums["ignored_by_reason"] == {"restored": sum(line["outcome"] == "ignored" for line in golden)}
    assert sums["seen"] == len(golden)


def test_a_second_run_sends_nothing_and_a_new_outbox_the_same_ids(real: Relay, backend: Receiver) -> None:
    real.once()
    first = {post.event_id: post.body for post in backend.posts}
    backend.forget()
    real.once()
    assert backend.posts == []
    for path in real.folder.glob("outbox.db*"):
        path.unlink()
    real.once()
    assert {post.event_id: post.body for post in backend.posts} == first


def test_events_of_one_user_arrive_in_the_order_they_happened(real: Relay, backend: Receiver) -> None:
    real.once()
    last: dict[int, str] = {}
    for post in backend.posts:
        user = post.envelope["data"]["userid"]
        assert last.get(user, "") <= post.envelope["timestamp"]
        last[user] = post.envelope["timestamp"]
