"""Sync sends what is there now, each change once, also where a row has changed back."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness import Relay
    from receiver import Receiver

    from relay.demo.moodle import College

AT = 1_770_000_000


def test_a_row_that_has_changed_back_is_sent_again(relay: Relay, college: College, backend: Receiver) -> None:
    """Status 0, 1, 0 gave the backend 0, 1."""
    college.enrol(college.sign_up("Ada", "Lovelace", AT), college.course("Computing", "C1"), AT)
    relay.once("--from", "now")
    for status in (0, 1, 0, 0, 1, 0):
        college.run("UPDATE {p}user_enrolments SET status = %s", status)
        relay.run("sync", "enrolments")
    assert [post.envelope["data"]["status"] for post in backend.posts] == [0, 1, 0, 1, 0]
    assert len({post.event_id for post in backend.posts}) == 5
    assert relay.status()["conservation"]["holds"]


def test_what_the_log_has_changed_meanwhile_counts_as_the_last_word(
    relay: Relay, college: College, backend: Receiver
) -> None:
    ada = college.sign_up("Ada", "Lovelace", AT, city="London")
    relay.once("--from", "now")
    relay.run("sync", "users")
    college.update(ada, AT + 1, city="Paris")
    relay.once()
    college.run("UPDATE {p}user SET city = 'London', timemodified = %s", AT)
    relay.run("sync", "users")
    relay.run("sync", "users")
    assert [post.envelope["data"]["city"] for post in backend.posts] == ["London", "Paris", "London"]


def test_a_new_outbox_makes_the_same_ids(relay: Relay, college: College, backend: Receiver) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once("--from", "now")
    relay.run("sync", "users")
    for path in relay.folder.glob("outbox.db*"):
        path.unlink()
    relay.once("--from", "now")
    relay.run("sync", "users")
    first, second = backend.posts
    assert first.body == second.body


def test_a_sync_that_was_killed_sees_what_has_changed_below(relay: Relay, college: College, backend: Receiver) -> None:
    """It was killed at 1,000 of 2,000, and a row that it had read changed meanwhile."""
    college.run(
        "INSERT INTO {p}user (username, firstname, timecreated, timemodified) "
        "SELECT CONCAT('u', seq), 'Ada', %s, %s FROM seq_1_to_2000",
        AT,
        AT,
    )
    relay.once("--from", "now")
    relay.set("enabled", False)
    process = subprocess.Popen(relay.command("sync", "users"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while relay.rows("SELECT COUNT(*) FROM {log}")[0][0] < 1000 and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    process.communicate()
    college.run("UPDATE {p}user SET city = 'Leeds' WHERE id = 7")
    relay.set("enabled", True)
    relay.run("sync", "users")
    last = {post.envelope["data"]["userid"]: post.envelope["data"]["city"] for post in backend.posts}
    assert len(last) == 2000
    assert last[7] == "Leeds"
    assert len(backend.posts) == 2001


def test_a_killed_sync_of_other_rows_is_said_to_be_aborted(relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once("--from", "now")
    relay.run("sync", "users", "--user", "1")
    killed = {"history": 1, "action": "user=1", "after": 1, "processed": 1, "failed": 0}
    relay.write_state("sync.users", json.dumps(killed))
    relay.run("sync", "users")
    history = relay.rows("SELECT sync_action, status FROM mdl_mb_zoho_sync_history ORDER BY id")
    assert history == [("user=1", "aborted"), ("all", "completed")]
