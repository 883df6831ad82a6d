"""relay explain: how each story ends, and that the command as it is printed moves it on."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import signal
import sqlite3
import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pymysql
import pytest
from harness import Relay
from receiver import Receiver, Reply, Request

from relay import config
from relay.demo.moodle import College
from relay.outbox.values import Selector
from relay.service import looking, once
from relay.service.daemon import Signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.demo.mariadb import MariaDB

AT = 1_770_000_000
LOG = "{p}logstore_standard_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a story is staged with."""

    relay: Relay
    college: College
    backend: Receiver
    mariadb: MariaDB

    def answer(self, code: int, *later: int) -> None:
        """Let the backend give these answers, the last one for ever."""
        codes = [code, *later]
        self.backend.answer = lambda _: Reply(
            code=codes.pop(0) if len(codes) > 1 else codes[0], body=b"no such country"
        )

    def mark(self) -> None:
        """Mark the grade once more, later."""
        self.college.run("UPDATE {p}assign_grades SET grade = 80, timemodified = %s WHERE id = 1", AT + 9)
        self.college.log("grade_updated", 1, user=1, at=AT + 9, courseid=1)


@pytest.fixture
def world(relay: Relay, college: College, backend: Receiver, mariadb: MariaDB) -> World:
    course = college.course("Computing", "C1")
    user = college.sign_up("Ada", "Lovelace", AT)
    college.enrol(user, course, AT + 1)
    college.grade(user, college.assignment(course, "Engine"), 70, AT + 2)
    relay.set("retry", {"max_attempts": 3, "first_delay": "1h", "max_delay": "1h"})
    return World(relay=relay, college=college, backend=backend, mariadb=mariadb)


def story(relay: Relay, what: str, expect: int = 0) -> tuple[list[str], str, str]:
    """Return the lines of a story, the sentence that it ends with, and the command."""
    lines = relay.run("explain", what, expect=expect).stdout.strip().split("\n")
    command = lines.pop() if lines[-1].startswith("-> ") else ""
    return lines[:-2], lines[-1], command.removeprefix("-> ")


def obey(world: World, command: str) -> None:
    """Run a command as it is printed; a relay that runs once stands for the one that systemd starts."""
    if command.startswith("systemctl "):
        assert re.fullmatch("systemctl (start|reload) relay", command)
        world.relay.once("--timeout", "1s", expect=None)
        return
    program, *arguments = shlex.split(command)
    assert program == "relay"
    shown = world.relay.run(*arguments).stdout
    following = shown.strip().rpartition("\n-> ")[2]
    if arguments[0] == "explain" and following != shown.strip():
        obey(world, following)


# -- how each story begins


def not_run(world: World) -> None:
    """Events are sent by `relay sync`, and no relay has read the log."""
    world.relay.run("sync", "users", "--since", str(AT + 99))


def began_now(world: World) -> None:
    world.relay.once("--from", "now")


def newer(code: int) -> Callable[[World], None]:
    def stage(world: World) -> None:
        """The grade of before the start has been marked again, and that was answered so."""
        began_now(world)
        world.mark()
        world.answer(code)
        world.relay.once("--timeout", "1s", expect=None)

    return stage


def newer_given_up(world: World) -> None:
    world.relay.set("retry.max_attempts", 1)
    newer(500)(world)


def not_logged(world: World) -> None:
    world.college.run(f"DELETE FROM {LOG} WHERE id = 3")
    world.relay.once()


def not_seen(world: World) -> None:
    world.relay.once()
    world.mark()


def paused(world: World) -> None:
    world.relay.set("enabled", False)
    world.relay.once(expect=1)


def disabled(world: World) -> None:
    world.relay.set("events.grade_updated", {"enabled": False})
    world.relay.once()


def ignored_actor(world: World) -> None:
    world.relay.set("events.ignore_actors", [2])
    world.relay.once()


def answered(*codes: int) -> Callable[[World], None]:
    def stage(world: World) -> None:
        world.answer(*codes)
        world.relay.once("--timeout", "1s", expect=1)

    return stage


def killed(world: World) -> None:
    arrived = threading.Event()

    def answer(_: Request) -> Reply:
        arrived.set()
        return Reply(stalls_s=30)

    world.backend.answer = answer
    with world.relay.start() as daemon:
        assert arrived.wait(30)
        _, sentence, _ = story(world.relay, "log:1")
        assert "is under way: attempt 1 began at " in sentence
        daemon.stop(signal.SIGKILL)


def late(world: World) -> None:
    with world.mariadb.connect("moodle", autocommit=False) as slow:
        College(slow).sign_up("Late", "Comer", AT)
        world.college.sign_up("Grace", "Hopper", AT)
        world.relay.once("--from", "now")
        slow.commit()


def enabled(world: World) -> None:
    world.relay.set("enabled", True)
    world.relay.set("events.grade_updated", {"enabled": True})
    world.relay.set("retry", {"max_attempts": 3, "first_delay": "50ms", "max_delay": "50ms"})
    world.backend.answer = lambda _: Reply()


TOOK = "The backend took "
SYNC = "relay sync grades --user 1"
REPLAY = r"relay run --replay [0-9a-f-]{36}"
START = "systemctl start relay"
STORIES = [
    pytest.param(not_run, "log:3", "Relay has never run on this outbox", START, id="not run"),
    pytest.param(began_now, "grade:1", "there before relay's first start", SYNC, id="before the start"),
    pytest.param(began_now, "log:3", "there before relay's first start", SYNC, id="row before the start"),
    pytest.param(newer(422), "grade:1", r"refused grade_updated \S+ for good with 422: no such", REPLAY, id="refused"),
    pytest.param(
        newer_given_up,
        "grade:1",
        r"after 1 failed attempt; the last one: answer 500 .*, not taken\.",
        REPLAY,
        id="given up",
    ),
    pytest.param(not_logged, "grade:1", r"no log row about it in course 1\. Relay sends", SYNC, id="not logged"),
    pytest.param(not_seen, "grade:1", "Log row 4 has not been seen yet: relay has read up to 3", START, id="unread"),
    pytest.param(paused, "log:1", "is a pause. Set enabled: true", "systemctl reload relay", id="paused"),
    pytest.param(disabled, "grade:1", "events.grade_updated.enabled is false in the config. Once", SYNC, id="disabled"),
    pytest.param(ignored_actor, "grade:1", "one of events.ignore_actors", SYNC, id="ignored"),
    pytest.param(
        answered(422, 200), "log:1", r"with 422: no such country\. Once that is mended", REPLAY, id="refused first"
    ),
    pytest.param(
        answered(503), "log:1", "is retried after 1 failed attempt: the next one is due", REPLAY, id="retried"
    ),
    pytest.param(answered(503), "log:3", "waits behind an earlier event of its user", "relay explain .*", id="behind"),
    pytest.param(answered(503), "grade:1", "waits behind an earlier event", "relay explain .*", id="grade behind"),
    pytest.param(answered(401), "log:1", "the circuit to the backend has been open since", REPLAY, id="circuit"),
    pytest.param(answered(401), "log:3", "the circuit to the backend .* too", "relay explain .*", id="circuit, behind"),
    pytest.param(answered(404), "log:1", "the circuit for user_created has been open since", REPLAY, id="path"),
    pytest.param(killed, "log:1", "Nobody knows what came of attempt 1 of user_created", START, id="killed"),
    pytest.param(late, "log:4", "appeared late", START, id="late"),
]


@pytest.mark.parametrize(("stage", "what", "sentence", "command"), STORIES)
def test_a_story_ends_so_and_its_command_moves_it_on(
    stage: Callable[[World], None], what: str, sentence: str, command: str, world: World
) -> None:
    stage(world)
    _, ending, advice = story(world.relay, what)
    assert re.search(sentence, ending), ending
    assert re.fullmatch(command, advice), advice
    enabled(world)
    # Of those that wait in a line, each command lets one go.
    while not ending.startswith(TOOK):
        obey(world, advice)
        before = ending
        _, ending, advice = story(world.relay, what)
        assert ending != before


def test_a_newer_event_that_was_taken_decides_and_the_older_row_is_a_line(world: World) -> None:
    newer(200)(world)
    lines, ending, command = story(world.relay, "grade:1")
    assert ending.startswith(f"{TOOK}grade_updated ")
    assert command == ""
    assert any("relay: Log row 3 was there before relay's first start" in line for line in lines)


def test_a_row_that_waits_decides_before_one_that_was_taken(world: World) -> None:
    not_seen(world)
    lines, ending, _ = story(world.relay, "grade:1")
    assert "Log row 4 has not been seen yet" in ending
    assert any("attempt 1 of " in line and ", taken" in line for line in lines)


@pytest.mark.by_turns("kind")
@pytest.mark.parametrize("kind", ["relay", "other"])
@pytest.mark.parametrize("what", ["grade:77", "log:4"])
def test_what_was_skipped_is_found_and_nothing_is_advised_for_a_row_that_is_gone(
    what: str, kind: str, world: World, request: pytest.FixtureRequest
) -> None:
    world = replace(world, relay=request.getfixturevalue(kind))
    world.college.log("grade_updated", 77, user=1, at=AT + 3, courseid=1)
    world.relay.once()
    lines, ending, command = story(world.relay, what)
    assert re.fullmatch(r"No event was sent of grade_updated \S+: the row is gone: there is no .* 77\.", ending)
    assert command == ""
    assert any("skipped from log row 4" in line for line in lines)


@pytest.mark.by_turns("kind")
@pytest.mark.parametrize("kind", ["relay", "other"])
def test_the_story_of_a_skipped_event_by_its_id_goes_on_once_its_row_was_sent(
    kind: str, world: World, request: pytest.FixtureRequest
) -> None:
    relay: Relay = request.getfixturevalue(kind)
    world.college.log("grade_updated", 2, user=1, at=AT + 3, courseid=1)
    relay.once()
    ((event_id,),) = relay.rows("SELECT event_id FROM {log} WHERE status = 'skipped'")
    world.college.grade(1, world.college.assignment(1, "Late"), 50, AT + 3)
    _, ending, command = story(relay, event_id)
    assert ending.startswith("No event was sent of ")
    obey(replace(world, relay=relay), command)
    lines, ending, command = story(relay, event_id)
    assert ending.startswith(TOOK)
    assert (command, sum("attempt 1 of " in line for line in lines)) == ("", 1)


def test_what_was_purged_is_told_from_what_the_config_left_out(world: World) -> None:
    """An event that was delivered is not to be sent again; what the config of that time left out may be."""
    world.relay.set("events.grade_updated", {"enabled": False})
    world.relay.once()
    enabled(world)
    world.relay.set("outbox.retention", "1h")
    with contextlib.closing(sqlite3.connect(world.relay.outbox)) as outbox, outbox:
        outbox.execute("UPDATE mdl_mb_zoho_event_log SET processed_at = 1")
    world.relay.run("purge")
    _, ending, command = story(world.relay, "log:1")
    assert ending == "Log row 1 was read, and its event was delivered; it was purged since (outbox.retention)."
    assert command == ""
    _, ending, command = story(world.relay, "log:3")
    assert "none is among those that it remembers as delivered and purged" in ending
    assert "the config has left out 1 whose type was switched off" in ending
    assert command == SYNC


def set_lease(relay: Relay, until: str) -> None:
    """Let the leases of a shared outbox end at a time, given in SQL."""
    assert relay.shared_outbox is not None
    with pymysql.connect(**relay.shared_outbox.options(), autocommit=True) as outbox, outbox.cursor() as cursor:
        cursor.execute(f"UPDATE mdl_mb_zoho_lease SET expires_at = {until} WHERE name LIKE 'relay:%'")


def test_under_whose_lease_an_event_is_that_a_killed_relay_had_is_said(world: World, other: Relay) -> None:
    """Until the lease ends nobody knows whether that relay lives; then the event can be had, by a replay too."""
    arrived = threading.Event()

    def answer(_: Request) -> Reply:
        arrived.set()
        return Reply(stalls_s=30)

    world.backend.answer = answer
    with other.start() as daemon:
        assert arrived.wait(30)
        daemon.stop(signal.SIGKILL)
        pid = daemon.process.pid
    ((event_id,),) = other.rows("SELECT event_id FROM {log} WHERE log_id = 1")
    # In this process, and the lease anew: on a machine that is busy, it ends before a command has begun.
    loaded, holds = config.load(other.write()), partial(set_lease, other)
    holds("UNIX_TIMESTAMP() + 20")
    ((_, told),) = looking.explain(loaded, event_id)
    assert re.search(rf"and no answer is recorded\. \S+ pid {pid} has it under a lease until \d", told.conclusion)
    assert told.command == ""
    holds("UNIX_TIMESTAMP() + 20")
    replayed = once.replay(loaded, Selector(event_id=event_id), Signals(), stream=io.StringIO())
    assert (replayed.meant, replayed.sent) == (1, 0)
    assert f"pid {pid} has it under a lease until" in replayed.under_way
    holds("UNIX_TIMESTAMP() - 1")
    _, ending, command = story(other, event_id)
    assert re.search(rf"pid {pid} had it, whose lease ended at \d", ending)
    assert command == START
    world.backend.answer = lambda _: Reply()
    assert "1 of 1 recorded events sent again; 0 not" in other.run("run", "--replay", event_id).stderr


@pytest.mark.parametrize("what", ["event", "log:3", "grade:1", "user:1"])
def test_the_outbox_tells_what_it_has_where_a_secret_is_missing(what: str, world: World) -> None:
    world.relay.once()
    ((event_id,),) = world.relay.rows("SELECT event_id FROM {log} WHERE log_id = 3")
    for path in ("backend.token", "moodle.database.password"):
        world.relay.set(path, {"credential": "only-systemd-has-it"})
    lines, ending, _ = story(world.relay, event_id if what == "event" else what)
    assert ending == f"{TOOK}grade_updated {event_id}."
    assert what == "event" or any("was not asked: systemd gave no credentials" in line for line in lines)
    refused = world.relay.run("explain", "grade:99", expect=3)
    assert "only-systemd-has-it" not in refused.stdout
    assert "systemd gave no credentials" in refused.stderr


def test_no_sync_is_advised_for_a_row_that_is_gone(world: World) -> None:
    began_now(world)
    world.college.run("DELETE FROM {p}assign_grades WHERE id = 1")
    _, ending, command = story(world.relay, "log:3")
    assert ending.endswith("No sync can send it now: it finds no such row.")
    assert command == ""


def test_attempts_say_of_which_event(world: World) -> None:
    world.relay.once()
    lines, _, _ = story(world.relay, "user:1")
    for (event_id,) in world.relay.rows("SELECT event_id FROM {log}"):
        assert any(f"attempt 1 of {event_id}: answer 200" in line for line in lines)


@pytest.mark.parametrize("kind", ["event", "log:3", "grade:1", "user:1"])
def test_the_outbox_tells_what_it_has_where_moodle_is_away(kind: str, world: World) -> None:
    world.relay.once()
    ((event_id,),) = world.relay.rows("SELECT event_id FROM {log} WHERE log_id = 3")
    world.relay.set("moodle.database.port", 1)
    lines, ending, _ = story(world.relay, event_id if kind == "event" else kind)
    assert ending == f"{TOOK}grade_updated {event_id}."
    assert any("attempt 1 of " in line for line in lines)
    assert kind == "event" or any("Moodle was not asked, this is what the outbox has: " in line for line in lines)
    world.relay.run("explain", "log:99", expect=3)
    world.relay.run("explain", "grade:99", expect=3)


def test_json_is_the_story_in_the_order_of_time(world: World) -> None:
    answered(422, 200)(world)
    found = json.loads(world.relay.run("explain", "log:1", "--json").stdout)
    ((event_id,),) = world.relay.rows("SELECT event_id FROM {log} WHERE log_id = 1")
    assert list(found) == ["what", "story", "ending", "command", "is_known"]
    times = [line["at"] for line in found["story"]]
    assert times == sorted(times)
    assert found["story"][0]["at"] == "2026-02-02T02:40:00Z"
    assert found["command"] == f"relay run --replay {event_id}"
    assert found["is_known"]
    unknown = json.loads(world.relay.run("explain", "grade:99", "--json", expect=1).stdout)
    assert (unknown["story"][0]["at"], unknown["command"], unknown["is_known"]) == (None, None, False)
