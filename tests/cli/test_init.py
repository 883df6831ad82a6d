"""`relay init`: from nothing to a config that works, from a script and at a terminal; then a change of that config."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pymysql
import pytest
from certificates import Certificates
from harness import TOKEN, Relay, within
from receiver import Receiver, Reply, Request
from terminal import STATEMENT, Terminal

from relay import config
from relay.cli.commands.init import QUESTIONS
from relay.config.schema import TlsConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.demo.mariadb import MariaDB
    from relay.demo.moodle import College

AT = 1_770_000_000
SITE = "https://moodle.college.example"


@pytest.fixture
def place(tmp_path: Path, college: College, backend: Receiver) -> Iterator[Path]:
    """Where the config is to be; the database has no user for relay, and the backend knows one token."""
    drop = "DROP USER IF EXISTS 'relay'@'localhost'"
    college.run(drop)

    def answer(request: Request) -> Reply:
        return Reply(code=200 if request.headers.get("x-moodle-token") == TOKEN else 401)

    backend.answer = answer
    (tmp_path / "given").write_text(f"{TOKEN}\n")
    yield tmp_path / "etc" / "config.yaml"
    college.run(drop)


def options(place: Path, mariadb: MariaDB, backend: Receiver) -> list[str]:
    """Return what a script gives."""
    given = {"moodle-url": SITE, "database-host": "127.0.0.1", "database-port": str(mariadb.port),
             "database-name": "moodle", "backend-url": backend.url,
             "backend-token-file": str(place.parent.parent / "given"), "outbox": "sqlite:///outbox.db"}  # fmt: skip
    return [word for name, value in given.items() for word in (f"--{name}", value)]


def init(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return within(["--config", str(place), "init", *arguments])


def run_sql(college: College, printed: str) -> None:
    for line in printed.splitlines():
        college.run(line.replace("%", "%%"))


def files(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file()}


# -- from a script


def test_a_script_gets_the_sql_first_and_then_a_relay_that_delivers(
    place: Path, mariadb: MariaDB, college: College, backend: Receiver
) -> None:
    done = init(place, *options(place, mariadb, backend))
    assert done.returncode == 1, done.stderr
    assert "`relay init` again" in done.stderr
    assert "its account is not in the database yet" in done.stderr
    assert "is wrong" not in done.stderr
    password = (place.parent / "database-password").read_text().strip()
    assert password not in done.stderr
    assert f"'{password}'" in done.stdout.splitlines()[0]
    run_sql(college, done.stdout)

    done = init(place)
    assert "ok    grants: what relay reads can be read, and nothing can be written" in done.stderr, done.stderr
    assert "ok    token: the backend knows it" in done.stderr
    assert "fail" not in done.stderr
    assert not done.stdout
    assert "run --dry-run --from beginning" in done.stderr
    assert done.returncode == 0
    assert (place.parent / "database-password").read_text().strip() == password
    college.sign_up("Ada", "Lovelace", AT)
    once = within(["--config", str(place), "run", "--once", "--from", "beginning"])
    assert once.returncode == 0, once.stderr
    assert "webhook-signature" in backend.posts[0].headers


def test_the_sql_is_printed_for_an_account_that_is_not_there_whatever_its_name(
    place: Path, mariadb: MariaDB, college: College, backend: Receiver
) -> None:
    """MariaDB, where an account such as root's takes no password, says so of some names that no account has, too."""
    if "MariaDB" not in str(college.rows("SELECT VERSION()")):
        pytest.skip("MySQL makes no such difference")
    college.run("CREATE USER IF NOT EXISTS 'by-socket'@'localhost' IDENTIFIED VIA unix_socket")
    names = (f"nobody-{number}" for number in range(200))
    user = next(name for name in names if refusal(mariadb, name) == 1698)
    first = init(place, *options(place, mariadb, backend), "--database-user", user)
    assert first.returncode == 1
    assert f"CREATE USER IF NOT EXISTS '{user}'@" in first.stdout
    college.run("DROP USER 'by-socket'@'localhost'")


def refusal(mariadb: MariaDB, user: str) -> int:
    """Return the number with which the server refuses a user."""
    with pytest.raises(pymysql.OperationalError) as refused:
        pymysql.connect(host="127.0.0.1", port=mariadb.port, user=user, password="made-up")
    return int(refused.value.args[0])


def test_the_files_are_for_relay_alone(place: Path, mariadb: MariaDB, backend: Receiver) -> None:
    init(place, *options(place, mariadb, backend))
    made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.parent.iterdir()}
    assert made.keys() == {"config.yaml", "backend-token", "database-password", "signing-key"}
    assert set(made.values()) <= {0o600, 0o640}
    found = config.load(place)
    assert found.moodle.database.prefix == "mdl_"
    assert found.backend.token.reveal() == TOKEN
    assert [one.origin for _, one in found.secrets()] == [
        f"file {place.parent / name}" for name in ("database-password", "backend-token", "signing-key")
    ]


def test_without_a_terminal_it_never_waits_and_names_what_is_missing(place: Path) -> None:
    done = init(place, "--moodle-url", SITE)
    assert done.returncode == 2
    assert "--database-name, --backend-url, --backend-token-file" in done.stderr
    assert not place.parent.exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--moodle-url", "moodle", "must be a URL"),
        ("--database-port", "0", "must be a whole number"),
        ("--database-tls", "/nowhere.pem", "there is no file /nowhere.pem"),
        ("--database-tls", __file__, "holds no certificate"),
        ("--database-prefix", "m;", "letters, digits and _"),
        ("--backend-url", "http://backend.example.edu", "must be https"),
        ("--backend-ca", "/nowhere.pem", "there is no file /nowhere.pem"),
        ("--backend-ca", "nowhere.pem", f"there is no file {Path.cwd()}/nowhere.pem"),
        ("--backend-token-file", "/nowhere", "the file /nowhere cannot be read"),
    ],
)
def test_an_option_that_is_wrong_is_a_sentence_and_nothing_is_written(
    place: Path, mariadb: MariaDB, backend: Receiver, option: str, value: str, said: str
) -> None:
    done = init(place, *options(place, mariadb, backend), option, value)
    assert done.returncode == 2
    assert option in done.stderr
    assert said in done.stderr
    assert not place.parent.exists()


def test_a_backend_that_does_not_know_the_token_is_said(
    place: Path, mariadb: MariaDB, college: College, backend: Receiver
) -> None:
    run_sql(college, init(place, *options(place, mariadb, backend)).stdout)
    (place.parent.parent / "wrong").write_text("wrong\n")
    done = init(place, "--backend-token-file", str(place.parent.parent / "wrong"))
    assert done.returncode == 1
    assert "GET /v1/health answered 401: it does not know us" in done.stderr
    assert "Mend what has failed" in done.stderr


# -- again


def test_again_it_changes_what_is_asked_and_nothing_else(place: Path, mariadb: MariaDB, backend: Receiver) -> None:
    init(place, *options(place, mariadb, backend))
    place.write_text(f"# ours\n{place.read_text()}\n# the end\n")
    place.chmod(0o644)
    before = files(place.parent)
    done = init(place)
    assert done.returncode == 1
    assert "or needs moodle.database.tls" in done.stderr, "the SQL alone may not be what is missing"
    assert files(place.parent) == before
    init(place, "--tenant", "north")
    after = files(place.parent)
    assert after.pop(str(place)) == before.pop(str(place)).replace("# tenant_id: default", "tenant_id: north")
    assert after == before
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
    assert config.load(place).backend.tenant_id == "north"


def test_the_tls_of_the_database_is_that_of_the_answers(place: Path, mariadb: MariaDB, backend: Receiver) -> None:
    """What goes to another machine is protected unless somebody says no; all else in the file stays."""
    ca = Certificates(place.parent.parent).ca
    init(place, *options(place, mariadb, backend), "--database-host", "db.college.invalid")
    first = place.read_text()
    assert config.load(place).moodle.database.tls == TlsConfig(ca=None, cert=None, key=None, verify=True)
    init(place, "--database-tls", str(ca))
    assert place.read_text() == first.replace("    tls: {}", f"    tls: {{ca: {ca}}}")
    init(place, "--database-tls", "no")
    assert config.load(place).moodle.database.tls is None
    assert place.read_text() == first.replace("    tls: {}", "    tls: null")
    place.unlink()
    init(place, *options(place, mariadb, backend))
    assert config.load(place).moodle.database.tls is None


def test_a_server_that_does_not_speak_tls_is_a_sentence_and_no_reason_for_another_account(
    place: Path, mariadb: MariaDB, college: College, backend: Receiver
) -> None:
    if college.rows("SHOW STATUS LIKE 'Ssl_server_not_after'")[0][1]:
        pytest.skip("the server of the tests has TLS")
    done = init(place, *options(place, mariadb, backend), "--database-tls", "system")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no secure connection could be made: the server offers none" in done.stderr


def test_a_schema_for_the_outbox_gets_a_password(place: Path, mariadb: MariaDB, backend: Receiver) -> None:
    done = init(place, *options(place, mariadb, backend), "--outbox", f"mysql://box@127.0.0.1:{mariadb.port}/box")
    assert done.returncode == 1
    password = config.load(place).outbox.password
    assert password is not None
    assert len(password.reveal()) > 30
    assert password.reveal() not in done.stdout + done.stderr


def test_a_config_that_is_the_example_is_filled_in_and_empty_secret_files_too(
    place: Path, mariadb: MariaDB, backend: Receiver
) -> None:
    place.parent.mkdir()
    place.write_text((Path(__file__).parents[2] / "config.example.yaml").read_text())
    (place.parent / "database-password").touch()
    (place.parent / "signing-key").write_text("whsec_bWFkZSB1cCBmb3IgdGVzdHMgb25seSwgMzIgYnl0ZXM=\n")
    init(place, *options(place, mariadb, backend))
    found = config.load(place)
    assert found.moodle.url == SITE
    assert [one.reveal() for one in found.backend.signing_keys] == [
        "whsec_bWFkZSB1cCBmb3IgdGVzdHMgb25seSwgMzIgYnl0ZXM="
    ]


def test_secrets_that_come_from_elsewhere_stay_there(relay: Relay) -> None:
    relay.set("backend.token", {"env": "RELAY_TEST_TOKEN"})
    relay.set("moodle.database.password", {"credential": "database-password"})
    before = relay.write().read_text()
    done = subprocess.run(relay.command("init"), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert "backend.token: the environment variable RELAY_TEST_TOKEN is not set" in done.stderr
    assert (relay.folder / "config.yaml").read_text() == before
    assert "CREATE USER" not in done.stdout
    assert [path.name for path in relay.folder.iterdir()] == ["config.yaml"]


def test_what_cannot_be_written_leaves_all_as_it_was(place: Path, mariadb: MariaDB, backend: Receiver) -> None:
    place.parent.mkdir()
    (place.parent / "signing-key").mkdir()
    (place.parent.parent / "key").write_text("whsec_bWFkZSB1cCBmb3IgdGVzdHMgb25seSwgMzIgYnl0ZXM=\n")
    done = init(place, *options(place, mariadb, backend), "--signing-key-file", str(place.parent.parent / "key"))
    assert done.returncode == 2
    assert "signing-key cannot be written: something that is no file is there" in done.stderr
    assert files(place.parent) == {}


# -- at a terminal


def person_before(place: Path, *arguments: str) -> Terminal:
    """Return a person before `relay init`."""
    try:
        return Terminal([sys.executable, "-m", "relay", "--config", str(place), "init", *arguments])
    except OSError as error:
        pytest.skip(f"this machine has no terminals to give: {error}")


def test_a_person_is_asked_and_each_answer_is_tried(
    place: Path, mariadb: MariaDB, college: College, backend: Receiver
) -> None:
    with person_before(place) as person:
        person.answer("Moodle site's own address", "moodle")
        person.until("That will not do: must be a URL")
        person.answer("Moodle site's own address", SITE)
        person.answer("database server", "127.0.0.1")
        person.answer("port [3306]", "1")
        person.answer("database's name", "moodle")
        person.answer("[mdl_]")
        person.answer("[relay]")
        person.answer("user's password (Enter: a new one)")
        person.until("fail  database: ")
        person.answer("Change the answers")
        person.answer("database server")
        person.answer("port [1]", str(mariadb.port))
        for question in ("TLS to the server", "[", "[", "[", "password"):
            person.answer(question)
        sql = person.until("then press Enter: ")
        assert "This SQL makes it" in sql
        assert "fail" not in sql, "a first run has done nothing wrong"
        run_sql(college, "\n".join(STATEMENT.findall(sql)))
        assert not place.parent.exists()
        person.enter()
        person.until("ok    database: ")
        person.answer("backend's address", backend.url)
        person.answer("the CA")
        person.answer("[default]", "north")
        person.answer("token", "wrong")
        person.answer("signing key")
        person.until("it does not know us")
        person.answer("Change the answers")
        for _ in range(3):
            person.answer("")
        person.answer("token", TOKEN)
        person.answer("Where events are kept", "sqlite:///outbox.db")
        assert person.end() == 0, person.shown
    assert "All is well." in person.shown
    assert TOKEN not in person.shown
    assert config.load(place).backend.tenant_id == "north"


def test_ctrl_c_at_any_question_leaves_nothing(place: Path, mariadb: MariaDB, backend: Receiver) -> None:
    for question in ("own address", "database's name", "user's password", "press Enter"):
        with person_before(
            place, *(options(place, mariadb, backend)[2:] if question == "own address" else ())
        ) as person:
            if question != "own address":
                person.answer("own address", SITE)
                person.answer("database server", "127.0.0.1")
                person.answer("port", str(mariadb.port))
            if question in ("user's password", "press Enter"):
                person.answer("database's name", "moodle")
                person.answer("[mdl_]")
                person.answer("[relay]")
            if question == "press Enter":
                person.answer("user's password")
            person.until(question)
            person.interrupt()
            assert person.end() == 130
            assert "broken off; nothing was written" in person.shown
        assert not place.parent.exists()


def test_every_question_has_an_option_and_no_secret_is_an_argument() -> None:
    secret = {"moodle.database.password", "backend.token", "backend.signing_keys", "outbox.password"}
    assert {one.path for one in QUESTIONS if one.option.endswith("-file")} == secret
