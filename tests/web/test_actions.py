"""What is done from the page: by the code of the command line, with who asked on record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from receiver import Reply
from visitor import ORIGIN, Visitor, Web, World, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from receiver import Request

    from relay.demo.mariadb import MariaDB

AT = 1_769_956_200


@pytest.fixture(scope="module")
def made(mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A relay that has delivered two users, and holds a grade."""
    with world(mariadb, tmp_path_factory.mktemp("actions")) as one:
        college = one.college
        users = [college.sign_up(name, "Ali", AT) for name in ("Ada", "Bob")]
        course = college.course("Computing", "C1")
        college.enrol(users[0], course, AT)
        college.grade(users[0], college.assignment(course, "Essay"), 71, AT, "KEPT-BACK", is_released=False)
        one.relay.once()
        yield one


@pytest.fixture(scope="module")
def web(made: World) -> Iterator[Web]:
    """Its page."""
    with Web(made.relay) as one:
        yield one


@pytest.fixture(scope="module")
def manager(web: Web) -> Visitor:
    """A manager whom Moodle knows as 42."""
    return web.visitor("manager", 42)


def history(web: Web) -> list[Any]:
    return list(
        web.relay.rows(
            "SELECT sync_type, status, triggered_by, records_processed FROM mdl_mb_zoho_sync_history ORDER BY id DESC"
        )
    )


def test_a_sync_sends_rows_and_says_who_asked(made: World, web: Web, manager: Visitor) -> None:
    before = len(made.backend.posts)
    made.college.run("UPDATE {p}user SET firstname = 'Eve' WHERE id = 1")
    assert manager.post("/sync", kind="users", user="1").headers["Location"] == "/sync"
    job = manager.done("/sync")
    assert job["said"][0].startswith("1 rows read, 1 new events")
    assert len(made.backend.posts) == before + 1
    assert history(web)[0] == ("users", "completed", 42, 1)
    asked = web.wait_for("web.asked")
    assert (asked["action"], asked["who"]) == ("sync", "user 42, by a link of relay web login")
    assert web.wait_for("web.done")["done"] == 1
    assert "Eve" not in str(web.lines)


def test_a_reconcile_learns_and_then_finds(made: World, web: Web, manager: Visitor) -> None:
    manager.post("/reconcile", table="users", grace="0s")
    assert "learned" in manager.done("/sync")["said"][0]
    made.college.run("UPDATE {p}user SET firstname = 'Eva' WHERE id = 1")
    manager.post("/reconcile", table="users", grace="0s")
    assert manager.done("/sync")["said"][:2] == ["users: 2 rows compared, 1 differ.", "users 1: changed"]
    manager.post("/reconcile", table="users", grace="0s", fix="yes")
    assert "1 events recorded." in manager.done("/sync")["said"]
    assert history(web)[0][2] == 42


def test_a_replay_sends_the_same_again_and_nothing_that_is_held(made: World, web: Web, manager: Visitor) -> None:
    before = [one.body for one in made.backend.posts if one.envelope["event_type"] == "enrollment_created"]
    manager.post("/replay", q="user=1,type=enrollment_created")
    job = manager.done("/manage")
    assert job["said"] == ["1 of 1 recorded events sent again; 0 not delivered."]
    assert (job["done"], job["total"]) == (1, 1)
    assert [one.body for one in made.backend.posts][-1] == before[0]
    assert history(web)[0] == ("replay", "completed", 42, 1)
    manager.post("/replay", q="status=held")
    assert "1 not sent: Moodle keeps" in manager.done("/manage")["said"][1]
    assert b"KEPT-BACK" not in b"".join(one.body for one in made.backend.posts)


def test_no_page_shows_what_is_held(manager: Visitor) -> None:
    held = manager.get("/events.json?q=status%3Dheld").json["events"]
    assert len(held) == 1
    paths = ["/", "/events", f"/story?what={held[0]['event_id']}", "/story?what=user:1", "/story?what=grade:1"]
    paths += ["/events?text=KEPT-BACK", "/events?q=status%3Dheld&text=71"]
    for path in paths:
        text = manager.get(path).text
        assert "KEPT-BACK" not in text.replace('value="KEPT-BACK"', "").replace("text=KEPT-BACK", "")
        assert "71.0" not in text
    assert manager.get("/events.json?text=KEPT-BACK").json["events"] == []


def test_a_pause_holds_until_it_is_ended(made: World, web: Web, manager: Visitor) -> None:
    manager.post("/pause", do="pause")
    assert "has asked for that" in manager.get("/manage").text
    assert [one["name"] for one in json.loads(made.relay.run("status", "--json").stdout)["problems"]].count(
        "paused"
    ) == 1
    manager.post("/replay", q="user=1,type=user_created")
    assert "has paused delivery" in manager.done("/manage")["error"]
    manager.post("/pause", do="resume")
    assert history(web)[0][:3] == ("resume", "completed", 42)
    assert web.wait_for("web.asked")["who"]
    assert manager.post("/pause").code == 400


def test_who_is_forgotten_is_named_by_id_and_somebody_is_sure(made: World, web: Web, manager: Visitor) -> None:
    assert manager.get("/events.json?text=BOB").json["events"] != []
    assert manager.post("/forget", user="2").code == 400
    assert web.relay.rows("SELECT COUNT(*) FROM {log} WHERE user_id = 2 AND event_data IS NULL") == [(0,)]
    manager.post("/forget", user="2", sure="yes")
    assert "of user 2 have no personal data any more" in manager.done("/manage")["said"][0]
    assert web.relay.rows("SELECT COUNT(*) FROM {log} WHERE user_id = 2 AND event_data IS NOT NULL") == [(0,)]
    assert history(web)[0][:3] == ("forget", "completed", 42)
    assert manager.get("/events.json?text=BOB").json["events"] == [], "who was forgotten is not found"
    assert made.relay.run("status").stdout


def test_one_thing_is_done_at_a_time(made: World, manager: Visitor) -> None:
    """The backend takes its time; a second order is refused with a sentence."""
    manager.get("/")

    def slow(_request: Request) -> Reply:
        second.append(manager.ask("POST", "/replay", {"token": token, "q": "failed"}, **ORIGIN).code)
        return Reply()

    second: list[int] = []
    token = manager.token()
    made.backend.answer = slow
    manager.post("/replay", q="user=1,type=user_created")
    manager.done("/manage")
    made.backend.answer = lambda _request: Reply()
    assert set(second) == {409}


def test_what_fails_is_said_and_recorded(made: World, web: Web, manager: Visitor) -> None:
    made.college.run("RENAME TABLE {p}config TO {p}config_away")
    manager.post("/sync", kind="users")
    job = manager.done("/sync")
    made.college.run("RENAME TABLE {p}config_away TO {p}config")
    assert "config" in job["error"]
    assert web.wait_for("web.done")["action"]
    assert "Traceback" not in json.dumps(job)


def test_a_text_is_searched_for_within_bounds(manager: Visitor) -> None:
    found = manager.get("/events.json?text=aDA&q=type%3Duser_created").json["events"]
    assert {one["user_id"] for one in found} == {1}
    assert manager.get("/events.json?text=%25").json["events"] == [], "a sign of patterns is a text as others are"


def test_a_story_can_be_sent_again_by_a_button(manager: Visitor) -> None:
    (event, *_) = manager.get("/events.json?q=user%3D1,status%3Dsuccess").json["events"]
    text = manager.get(f"/story?what={event['event_id']}").text
    assert 'action="/replay"' in text
    assert manager.post("/replay", q=event["event_id"]).code == 303
    assert manager.done("/manage")["error"] is None
