"""The frame of the page: names that it is asked by, forms from elsewhere, links, headers, and what goes wrong."""

from __future__ import annotations

import contextlib
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from visitor import ORIGIN, Visitor, Web, World, world

from relay.outbox.sqlite import SqliteOutbox
from relay.service.daemon import Signals
from relay.web import keys, server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from relay.demo.mariadb import MariaDB


@pytest.fixture(scope="module")
def made(mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A relay that has delivered something."""
    with world(mariadb, tmp_path_factory.mktemp("frame")) as one:
        one.college.sign_up("Ada", "Ali", at=1_769_956_200)
        one.relay.once()
        yield one


@pytest.fixture(scope="module")
def web(made: World) -> Iterator[Web]:
    """The page of that, on a port."""
    with Web(made.relay) as one:
        yield one


def test_a_link_lets_in_once_and_for_good(web: Web) -> None:
    link = web.link()
    head = web.nobody().ask("HEAD", link)
    assert head.code == 405, "who only looks at the link does not use it"
    first, second = web.nobody().ask("GET", link), web.nobody().ask("GET", link)
    assert (first.code, second.code) == (200, 403)
    assert "works" not in first.text
    cookie = first.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Max-Age=28800" in cookie
    visitor = Visitor(web.where, cookie=cookie.partition(";")[0])
    assert "How it is" in visitor.get("/").text
    assert "Set-Cookie" not in second.headers
    assert "used, or is older than 5 minutes" in second.text


def test_links_and_sessions_end(web: Web) -> None:
    visitor, link = web.visitor(), web.link()
    assert visitor.get("/").code == 200
    web.relay.write_state("page.keys", "{}")  # as if they had ended
    assert visitor.get("/").code == 403
    assert visitor.ask("GET", link).code == 403


def test_a_link_lasts_for_five_minutes_and_a_session_for_eight_hours(tmp_path: Path) -> None:
    with contextlib.closing(SqliteOutbox(tmp_path / "outbox.db")) as outbox:
        assert keys.use_link(outbox, keys.make_link(outbox, "manager", None, 1000.0), 1000.0 + 5 * 60) is None
        link = keys.make_link(outbox, "manager", None, 1000.0)
        session = keys.use_link(outbox, link, 1000.0 + 5 * 60 - 1) or ""
        began = 1000.0 + 5 * 60 - 1
        assert keys.session(outbox, session, began + 8 * 3600 - 1)
        assert keys.session(outbox, session, began + 8 * 3600) is None
        assert session not in str(outbox.state(keys.STATE)), "a digest is kept, and no secret"


def test_a_link_is_no_session(tmp_path: Path) -> None:
    with contextlib.closing(SqliteOutbox(tmp_path / "outbox.db")) as outbox:
        assert keys.session(outbox, keys.make_link(outbox, "manager", None, 1000.0), 1000.0) is None


def test_who_logs_out_is_nobody(web: Web) -> None:
    visitor = web.visitor()
    assert visitor.post("/logout").code == 200
    assert visitor.get("/").code == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80"])
def test_another_name_is_refused(web: Web, host: str) -> None:
    visitor = web.visitor()
    visitor.host = host
    got = visitor.ask("GET", "/")
    assert got.code in (400, 421)
    assert "ada" not in got.text.lower()


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:80", "LOCALHOST"])
def test_this_machine_is_asked_for_by_any_of_its_own_names(web: Web, host: str) -> None:
    visitor = web.visitor()
    visitor.host = host
    assert visitor.get("/").code == 200


def test_what_every_answer_says_to_the_browser(web: Web) -> None:
    visitor = web.visitor()
    answers = [visitor.get(path) for path in ("/", "/events.json", "/nowhere", "/style.css")]
    for got in [*answers, web.nobody().get("/")]:
        policy = got.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "script" not in policy
        assert "unsafe" not in policy
        assert got.headers["Cache-Control"] == "no-store"
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert "heroot" not in str(got.headers)
    assert "<script" not in answers[0].text
    assert " style=" not in answers[0].text


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://localhost"}, 400),
        (ORIGIN, 400),
    ],
)
def test_a_form_is_to_come_from_the_page_itself(web: Web, headers: dict[str, str], code: int) -> None:
    visitor = web.visitor()
    form = {"token": visitor.token(), "kind": "nothing that can be sent: it is looked at last"}
    assert visitor.ask("POST", "/sync", form, **headers).code == code


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_a_form_without_its_token_does_nothing(web: Web, token: str) -> None:
    got = web.visitor().ask("POST", "/sync", {"token": token, "kind": "users"}, **ORIGIN)
    assert got.code == 403
    assert web.count("web.asked") == 0


def test_a_token_of_somebody_else_is_none(web: Web) -> None:
    other = web.visitor().token()
    assert web.visitor().ask("POST", "/sync", {"token": other, "kind": "users"}, **ORIGIN).code == 403


@pytest.mark.parametrize(
    ("method", "path", "form", "code"),
    [
        ("GET", "/nowhere", None, 404),
        ("GET", "/../etc/passwd", None, 404),
        ("POST", "/events", {}, 405),
        ("PUT", "/sync", {}, 405),
        ("GET", "/events?q=status%3Dnone", None, 400),
        ("GET", "/events?before=x", None, 400),
        ("GET", "/events?q=" + "9" * 300, None, 400),
        ("GET", "/events?text=%ff", None, 400),
        ("GET", "/%ff", None, 400),
        ("GET", "/story?what=nothing:1", None, 400),
        ("GET", "/profile?user=-1", None, 400),
        ("POST", "/sync", {"kind": "everything"}, 400),
        ("POST", "/sync", {"kind": "users", "since": "soon"}, 400),
        ("POST", "/reconcile", {"table": "mdl_user"}, 400),
        ("POST", "/reconcile", {"table": "all", "grace": "soon"}, 400),
        ("POST", "/replay", {"q": "all"}, 400),
        ("POST", "/forget", {"user": "42"}, 400),
        ("POST", "/sync", {"kind": "x" * 100_000}, 413),
        ("POST", "/sync", {str(number): "" for number in range(200)}, 400),
    ],
)
def test_what_makes_no_sense_gets_a_sentence(
    web: Web, method: str, path: str, form: dict[str, str] | None, code: int
) -> None:
    visitor = web.visitor()
    given = None if form is None else {"token": visitor.token(), **form}
    for one in (path, path.replace("?", ".json?", 1)) if "?" in path else (path,):
        got = visitor.ask(method, one, given, **ORIGIN)
        assert got.code == code
        assert "Traceback" not in got.text
    assert web.count("web.failed") == 0


def test_an_outbox_that_is_away_is_said_with_what_to_do(web: Web) -> None:
    visitor, outbox = web.visitor(), web.relay.outbox
    away = outbox.rename(outbox.with_suffix(".away"))
    got = visitor.ask("GET", "/")
    away.rename(outbox)
    assert got.code == 503
    assert "There is no outbox" in got.text
    assert "What to do" in got.text


def test_half_a_request_keeps_nobody_from_asking(web: Web) -> None:
    visitor = web.visitor()
    with socket.create_connection(("127.0.0.1", int(web.where))) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        assert visitor.get("/").code == 200


def test_the_socket_lets_everybody_knock_and_is_gone_at_the_end(made: World, web: Web, tmp_path: Path) -> None:
    assert web.nobody().get("/").code == 403
    path = tmp_path / "web.sock"
    with Web(made.relay, str(path)) as other:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        assert other.account().get("/").code == 200
        assert other.account().get("/login?key=x").code == 404, "nobody logs in to a socket"
        assert "unix socket" in made.relay.run("web", "login", expect=2).stderr
        assert other.stop() == 0
    assert not path.exists()


def test_systemd_hands_over_a_socket(made: World, tmp_path: Path) -> None:
    """As it does: the third handle of the process listens already."""
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        starts = (
            f"import os, sys; os.dup2({listening.fileno()}, 3); os.set_inheritable(3, True); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); os.execv(sys.argv[1], sys.argv[1:])"
        )
        command = [sys.executable, "-c", starts, *made.relay.command("web")]
        with subprocess.Popen(command, pass_fds=[listening.fileno()], stdout=subprocess.DEVNULL) as process:
            got = Visitor(str(path)).get("/")
            process.terminate()
            assert process.wait(60) == 0
    assert got.code == 200
    assert path.exists(), "it is systemd's"


def test_a_port_that_is_taken_is_said(made: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        made.relay.set("web.listen", f"127.0.0.1:{taken.getsockname()[1]}")
        said = made.relay.run("web", expect=1).stderr
    assert "cannot be used for the page" in said
    assert "web.listen" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["login", "--as", "teacher"], "as whom"),
        (["login", "--user", "-1"], "nobody's id"),
        (["--user", "42"], "relay web login"),
    ],
)
def test_a_login_that_makes_no_sense(made: World, arguments: list[str], says: str) -> None:
    made.relay.set("web.listen", "127.0.0.1:8090")
    assert says in made.relay.run("web", *arguments, expect=2).stderr


def test_what_relay_web_login_prints_is_a_link(made: World) -> None:
    made.relay.set("web.listen", "127.0.0.1:8090")
    assert made.relay.run("web", "login", "--as", "student", "--user", "42").stdout.startswith(
        "http://127.0.0.1:8090/login?key="
    )


def test_a_folder_that_is_not_there_is_said(made: World, tmp_path: Path) -> None:
    made.relay.set("web.listen", f"unix:{tmp_path}/none/web.sock")
    said = made.relay.run("web", expect=1).stderr
    assert "relay-web.socket" in said


def test_a_database_of_moodle_that_is_away_is_said_on_the_first_screen(made: World) -> None:
    port = made.relay.config["moodle"]["database"]["port"]
    made.relay.set("moodle.database.port", 1)
    with Web(made.relay) as other:
        visitor = other.visitor()
        made.relay.set("moodle.database.port", port)
        problems = {one["name"] for one in visitor.get("/status.json").json["problems"]}
        assert "moodle" in problems
        assert "Moodle" in visitor.get("/").text.split("<h2>What needs a person</h2>")[1]
        assert visitor.get("/events").code == 200


def test_without_the_extra_it_is_said_what_is_missing(made: World) -> None:
    without = "import sys; sys.modules['jinja2'] = None; from relay.__main__ import entry; sys.exit(entry())"
    command = [sys.executable, "-c", without, "--config", str(made.relay.write()), "web"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "jinja2" in done.stderr
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr


class Unasked:
    """A page that nobody asks for anything: a signal comes when it was looked at a hundred times."""

    is_busy = False

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._looked = 0

    @property
    def requests(self) -> int:
        self._looked += 1
        if self._looked > 100:
            self._signals.stop.set()
        return 0


@pytest.mark.parametrize("is_lasting", [True, False])
def test_what_systemd_has_started_ends_when_nobody_asks(monkeypatch: pytest.MonkeyPatch, *, is_lasting: bool) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.0)
    monkeypatch.setattr(server, "LOOK_S", 0.0001)
    signals = Signals()
    page = Unasked(signals)
    server._wait(signals, page, page, is_lasting=is_lasting)  # type: ignore[arg-type] # all that it looks at
    assert signals.stop.is_set() is is_lasting


def test_a_proxys_header_is_for_a_socket_alone(made: World) -> None:
    made.relay.set("web", {"listen": "127.0.0.1:8090", "proxy": {}})
    said = made.relay.run("web", expect=2).stderr
    made.relay.set("web", {})
    assert "web.proxy" in said
    assert "unix socket" in said
