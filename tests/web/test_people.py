"""Who may see and do what: four capabilities, and all that anybody can be, over pages, JSON and forms."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import with_password
from visitor import ORIGIN, Visitor, Web, World, world

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from relay.demo.mariadb import MariaDB

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="who is not root cannot be another account")

AT = 1_769_956_200
PEOPLE = ("nobody", "suspended", "student", "teacher", "other_teacher", "former_teacher", "manager", "admin", "root")
#: Who may do all.
ALL = {"manager", "admin", "root"}
#: What is asked for, by method and path; {student} is the id of a student, {event} an event of theirs.
#: `own`: everybody who is somebody, of themselves. `others`: who may see the student. `all`: who may see all.
LOOKS = {
    "/": "own",
    "/events": "own",
    "/events.json": "own",
    "/events?q=user%3D{student}": "others",
    "/events.json?q=user%3D{student}": "others",
    "/events.json?q=user%3D{student},status%3Dsuccess": "others",
    "/events.json?q={event}": "others",
    "/story?what={event}": "others",
    "/story.json?what={event}": "others",
    "/story.json?what=user:{student}": "others",
    "/profile?user={student}": "others",
    "/profile.json?user={student}": "others",
    "/status.json": "all",
    "/story": "all",
    "/story.json?what=user:student%40college.example": "all",
    "/story.json?what=grade:{student}%40C1": "all",
    "/story.json?what=log:1": "all",
    "/events.json?text=college": "all",
    "/sync": "all",
    "/sync.json": "all",
    "/manage": "all",
    "/manage.json": "all",
}
#: Forms that say nothing of use: 400 for who may send them, who are told what is missing.
FORMS = ("/sync", "/reconcile", "/replay", "/pause", "/forget")


@pytest.fixture(scope="module")
def made(mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[str, int], str]]:
    """A college with somebody of every kind, and the id of an event of the student."""
    with world(mariadb, tmp_path_factory.mktemp("people")) as one:
        college = one.college
        for role, archetype in ((1, "manager"), (3, "editingteacher"), (4, "teacher"), (5, "student")):
            college.insert("role", id=role, shortname=archetype, archetype=archetype)
        users = {name: college.sign_up(name, "x", AT, username=name) for name in PEOPLE[1:-1]}
        users["classmate"] = college.sign_up("classmate", "x", AT, username="classmate")
        course, another = college.course("Computing", "C1"), college.course("Art", "A1")
        college.enrol(users["student"], course, AT)
        college.enrol(users["classmate"], course, AT)
        college.enrol(users["teacher"], course, AT, role=3)
        college.enrol(users["suspended"], course, AT, role=3)
        college.enrol(users["former_teacher"], course, AT, role=3)
        college.enrol(users["other_teacher"], another, AT, role=4)
        # Their roles stay, as Moodle leaves them.
        college.run("UPDATE {p}user_enrolments SET timeend = 1 WHERE userid = %s", users["former_teacher"])
        college.run("UPDATE {p}user SET suspended = 1 WHERE id = %s", users["suspended"])
        system = college.insert("context", contextlevel=10, instanceid=0)
        college.insert("role_assignments", roleid=1, contextid=system, userid=users["manager"])
        college.insert("config", name="siteadmins", value=f"2000,{users['admin']}")
        one.relay.once()
        ((event,),) = one.relay.rows(
            "SELECT event_id FROM {log} WHERE event_type = 'enrollment_created' AND user_id = ?", users["student"]
        )
        yield one, users, event


@pytest.fixture(scope="module")
def web(made: tuple[World, dict[str, int], str]) -> Iterator[Web]:
    """The page on a socket, behind a proxy that runs as www-data."""
    made[0].relay.set("web.proxy", {"header": "X-Remote-User", "user": "www-data"})
    # pytest's own folders are closed to other accounts.
    with tempfile.TemporaryDirectory(prefix="relay-web") as folder:
        Path(folder).chmod(0o755)
        with Web(made[0].relay, f"{folder}/web.sock") as one:
            yield one


@pytest.fixture(scope="module")
def visitors(web: Web) -> Mapping[str, Visitor]:
    """Everybody: over the proxy, save for root."""
    proxy = pwd.getpwnam("www-data").pw_uid
    found = {name: web.account(proxy, X_Remote_User=name) for name in PEOPLE[1:-1]}
    return {**found, "nobody": web.account(proxy), "root": web.account()}


def expected(person: str, rule: str) -> int:
    may = {
        "own": set(PEOPLE) - {"nobody", "suspended"},
        "others": {"student", "teacher"} | ALL,
        "all": ALL,
    }[rule]
    return 200 if person in may else 403


@pytest.mark.parametrize("person", PEOPLE)
def test_who_sees_what(made: tuple[World, dict[str, int], str], visitors: Mapping[str, Visitor], person: str) -> None:
    _, users, event = made
    paths = {path.format(student=users["student"], event=event): rule for path, rule in LOOKS.items()}
    found = {path: visitors[person].get(path) for path in paths}
    assert {path: got.code for path, got in found.items()} == {path: expected(person, paths[path]) for path in paths}
    assert not [path for path, got in found.items() if got.code == 403 and "college" in got.text]


@pytest.mark.parametrize("person", PEOPLE)
def test_who_does_what(visitors: Mapping[str, Visitor], web: Web, person: str) -> None:
    visitor = visitors[person]
    token = visitor.token()
    found = {path: visitor.ask("POST", path, {"token": token}, **ORIGIN).code for path in FORMS}
    assert found == dict.fromkeys(FORMS, 400 if person in ALL else 403)
    assert web.count("web.asked") == 0


@pytest.mark.parametrize("person", PEOPLE)
def test_nothing_is_offered_that_is_refused(visitors: Mapping[str, Visitor], person: str) -> None:
    text = visitors[person].get("/").text
    for path in ("/sync", "/manage", "/story"):
        assert (f'href="{path}"' in text) == (person in ALL)
    assert '<form method="post"' not in text


def test_the_refusal_is_the_same_for_all_and_for_all_that_is_asked_for(
    made: tuple[World, dict[str, int], str], visitors: Mapping[str, Visitor]
) -> None:
    """It does not say whether there is such an event, or user."""
    _, users, event = made
    unknown = "0" * 8 + "-0000-4000-8000-" + "0" * 12
    paths = [f"/story?what={event}", f"/story?what={unknown}", "/story?what=user:999999", "/sync", "/manage"]
    paths += [f"/events?q=user%3D{users['classmate']}", "/events?q=user%3D999999", f"/events?q={unknown}"]
    texts = {visitors[person].get(path).text for person in ("nobody", "other_teacher") for path in paths}
    assert len(texts) == 1


def test_a_student_sees_their_own_and_nobody_elses(
    made: tuple[World, dict[str, int], str], visitors: Mapping[str, Visitor]
) -> None:
    _, users, _ = made
    found = visitors["student"].get("/events.json").json["events"]
    assert {one["user_id"] for one in found} == {users["student"]}
    assert visitors["student"].get(f"/events?q=user%3D{users['classmate']}").code == 403
    assert visitors["student"].get("/events.json?q=type%3Duser_created").json["events"]


def test_a_name_that_a_database_takes_for_another_is_nobodys(web: Web) -> None:
    """Databases compare without accents and blanks at the end: ádmin is not admin."""
    proxy = pwd.getpwnam("www-data").pw_uid
    for name in ("ádmin".encode().decode("latin-1"), "admin, student", "guest", "%", "admin\t\tx"):
        assert web.account(proxy, X_Remote_User=name).get("/sync").code == 403, name
    assert web.account(proxy, X_Remote_User="ADMIN").get("/sync").code == 200


def test_a_header_from_anybody_but_the_proxy_lets_nobody_in(web: Web) -> None:
    assert web.account(65534, X_Remote_User="admin").get("/").code == 403
    assert web.account(65534).get("/").code == 403
    assert web.account(0, X_Remote_User="admin").get("/").code == 403, "not even from root"


def test_a_header_with_underscores_is_not_the_proxys(web: Web) -> None:
    proxy = pwd.getpwnam("www-data").pw_uid
    forged = Visitor(web.where, uid=proxy, headers={"X_Remote_User": "admin"})
    assert forged.get("/").code == 403
    both = Visitor(web.where, uid=proxy, headers={"X_Remote_User": "admin", "X-Remote-User": "student"})
    assert both.get("/sync").code == 403


def test_members_of_relays_group_may_do_all(made: tuple[World, dict[str, int], str], web: Web) -> None:
    assert made
    # No account of the tests is in the group `relay`: by its name a group of an account that is there will do.
    web.relay.set("web.group", "nogroup")
    with Web(web.relay, f"{web.where}.other") as other:
        assert other.account(65534).get("/sync").code == 200
        assert other.account(pwd.getpwnam("daemon").pw_uid).get("/sync").code == 403


@pytest.mark.parametrize(
    ("role", "user", "sees_student", "syncs"),
    [
        (None, None, True, True),
        ("manager", "student", True, True),
        ("teacher", "teacher", True, False),
        ("teacher", "other_teacher", False, False),
        ("student", "classmate", False, False),
        (None, "admin", True, True),
        (None, "teacher", True, False),
        (None, "classmate", False, False),
    ],
)
def test_a_link_lets_in_as_what_it_says(
    made: tuple[World, dict[str, int], str],
    port: Web,
    role: str | None,
    user: str | None,
    *,
    sees_student: bool,
    syncs: bool,
) -> None:
    _, users, _ = made
    visitor = port.visitor(role, None if user is None else users[user])
    assert visitor.get("/").code == 200
    assert visitor.get(f"/events?q=user%3D{users['student']}").code == (200 if sees_student else 403)
    assert visitor.get("/sync").code == (200 if syncs else 403)


@pytest.fixture(scope="module")
def port(made: tuple[World, dict[str, int], str], web: Web) -> Iterator[Web]:
    """The page on a port."""
    assert web
    made[0].relay.set("web", {})
    with Web(made[0].relay) as one:
        yield one


def test_relay_grants_prints_what_the_page_reads_where_a_proxy_is_configured(
    made: tuple[World, dict[str, int], str],
) -> None:
    relay = made[0].relay
    relay.set("web", {})
    assert "archetype" not in relay.run("grants").stdout
    relay.set("web", {"proxy": {}})
    assert "archetype" in relay.run("grants").stdout


def test_a_database_user_that_may_not_read_who_is_who_is_said_with_what_to_do(
    made: tuple[World, dict[str, int], str],
) -> None:
    one, users, _ = made
    one.relay.set("web", {})
    for line in one.relay.run("grants", "--user", "few", "--host", "%").stdout.splitlines():
        one.college.run(with_password(line).removesuffix(";"))
    before = dict(one.relay.config["moodle"]["database"])
    one.relay.set("moodle.database", {**before, "user": "few", "password": "made-up"})
    with Web(one.relay) as web:
        got = web.nobody().ask("GET", web.link(None, users["student"]))
        cookie = got.headers["Set-Cookie"].partition(";")[0]
        refused = Visitor(web.where, cookie=cookie).get("/")
        assert web.visitor().get("/events").code == 200, "who is not looked up there is let in all the same"
    one.relay.set("moodle.database", before)
    one.college.run("DROP USER few")
    assert refused.code == 503
    assert "relay grants" in refused.text
    assert web.count("web.failed") == 0
