"""`relay check`: each fault is staged with real parts, and named with a remedy; a remedy that is a command is run."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pymysql
import pytest
from certificates import Certificates
from cryptography import x509
from harness import Relay, with_password
from receiver import Receiver, Reply, receiver

from relay import config
from relay.config import credentials
from relay.demo.mariadb import MariaDB, throwaway
from relay.demo.moodle import College
from relay.errors import OutboxUnavailable
from relay.operations.check import files, settings
from relay.operations.check.outbox import check_files
from relay.operations.check.outbox import checks as outbox_checks
from relay.operations.check.result import Check
from relay.outbox.sqlite import SqliteOutbox
from relay.rules.server import Address
from relay.service import admin

AT = 1_770_000_000
HERE = x509.IPAddress(IPv4Address("127.0.0.1"))
USER = "'least'@'127.0.0.1'"


def look(relay: Relay) -> list[Check]:
    """Return what `relay check` finds."""
    return list(admin.check(config.load_to_look(relay.write())))


def bad(relay: Relay, name: str) -> Check:
    """Return the first line of a name that is not well."""
    found = look(relay)
    return next(one for one in found if one.name == name and one.verdict != "ok")


def grant(relay: Relay, college: College, password: str = "made-up") -> None:
    """Give relay the user that `relay grants` prints."""
    college.run(f"DROP USER IF EXISTS {USER}")
    printed = relay.run("grants", "--user", "least", "--host", "127.0.0.1").stdout
    for line in with_password(printed, password).splitlines():
        college.run(line)
    relay.set("moodle.database.user", "least")
    relay.set("moodle.database.password", password)


@pytest.fixture
def least(relay: Relay, college: College) -> Relay:
    """A relay with the user that `relay grants` prints."""
    grant(relay, college)
    return relay


def test_all_is_well_where_it_is(least: Relay) -> None:
    least.set("moodle.url", "https://moodle.college.ac")
    least.write().chmod(0o600)
    assert {(one.name, str(one.verdict)) for one in look(least)} == {
        *((name, "ok") for name in ("config", "signing", "database", "moodle version", "grants", "log", "log store")),
        *((name, "ok") for name in ("log retention", "outbox", "backend", "clock")),
        # The test's secrets are written in the open, and its backend's health check takes any token.
        *((name, "warn") for name in ("secrets", "token")),
    }


# -- rights


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["GRANT DELETE ON moodle.* TO {user}"], "more than read on moodle.*: DELETE"),
        (["GRANT UPDATE ON moodle.mdl_user TO {user}"], "more than read on moodle.mdl_user: UPDATE"),
        (["GRANT UPDATE (city) ON moodle.mdl_user TO {user}"], "more than read on moodle.mdl_user: UPDATE"),
        (["GRANT SELECT (password) ON moodle.mdl_user TO {user}"], "it may read password of moodle.mdl_user"),
        (["GRANT SELECT ON moodle.mdl_user TO {user}"], "it may read all of moodle.mdl_user"),
        (["GRANT SELECT ON moodle.* TO {user}"], "it may read all of moodle.*"),
        (["GRANT SELECT ON *.* TO {user}"], "it may read all of *.*"),
        (["GRANT SELECT (id) ON moodle.mdl_user TO {user} WITH GRANT OPTION"], "may give its rights on moodle"),
        (["CREATE ROLE writer", "GRANT DELETE ON moodle.* TO writer", "GRANT writer TO {user}",
          "SET DEFAULT ROLE writer {to} {user}"], "more than read on moodle.*: DELETE, by the role writer"),
        (["CREATE ROLE writer", "GRANT INSERT ON moodle.* TO writer", "GRANT writer TO {user}"],
         "more than read on moodle.*: INSERT, by the role writer"),
        (["CREATE ROLE inner1", "GRANT UPDATE ON moodle.* TO inner1", "CREATE ROLE writer",
          "GRANT inner1 TO writer", "GRANT writer TO {user}", "SET DEFAULT ROLE writer {to} {user}"],
         "more than read on moodle.*: UPDATE, by the role writer"),
        # What only one of the servers knows.
        (["GRANT DELETE ON moodle.* TO PUBLIC"], "more than read on moodle.*: DELETE, as every user may"),
        (["CREATE ROLE writer", "GRANT DELETE ON moodle.* TO writer",
          "SET PERSIST mandatory_roles = 'writer,`other`@`%%`'"],
         "more than read on moodle.*: DELETE, by the role writer@%, which every user has"),
    ],
)  # fmt: skip
def test_rights_beyond_what_relay_needs_are_named_and_the_statement_takes_them_away(
    statements: list[str], said: str, least: Relay, college: College
) -> None:
    is_mysql = "MariaDB" not in college.rows("SELECT VERSION()")[0][0]
    if statements[-1].startswith("SET PERSIST") != is_mysql and re.search("PERSIST|PUBLIC", statements[-1]):
        pytest.skip("the server does not know this")
    try:
        for statement in statements:
            college.run(statement.format(user=USER, to="TO" if is_mysql else "FOR"))
        found = bad(least, "grants")
        assert said in found.found
        while True:
            hints = [one.hint for one in look(least) if one.name == "grants"]
            remedies = [re.search(r"(REVOKE|SET PERSIST) .*?;", hint) for hint in hints]
            todo = [remedy[0] for remedy in remedies if remedy is not None]
            if not todo:
                break
            for statement in todo:
                college.run(statement)
        grant(least, college)
        assert [str(one.verdict) for one in look(least) if one.name == "grants"] == ["ok"]
    finally:
        for statement in ("SET PERSIST mandatory_roles = ''", "REVOKE ALL PRIVILEGES, GRANT OPTION FROM PUBLIC"):
            with contextlib.suppress(pymysql.Error):
                college.run(statement)
        college.run("DROP ROLE IF EXISTS writer")
        college.run("DROP ROLE IF EXISTS inner1")


@pytest.mark.parametrize(
    "granted",
    ["ALL PRIVILEGES ON *.*", "ALL PRIVILEGES ON moodle.*", "SELECT, INSERT, UPDATE, DELETE, CREATE ON moodle.*"],
)
def test_nothing_is_to_be_taken_from_an_administrator_or_from_moodle_itself(
    granted: str, least: Relay, college: College
) -> None:
    college.run(f"GRANT {granted} TO {USER}")
    found = [one for one in look(least) if one.name == "grants"]
    assert found
    assert not any("REVOKE" in one.hint for one in found)
    assert "an account for relay alone" in found[0].hint


def test_the_server_is_asked_what_may_be_written(
    least: Relay, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its grants look like."""
    college.run(f"GRANT DELETE ON moodle.mdl_user TO {USER}")
    monkeypatch.setattr("relay.moodle.rights.parse", lambda *_: None)
    college.sign_up("Ada", "Lovelace", AT)
    assert "it may do more than read on mdl_user: DELETE" in bad(least, "grants").found
    assert college.rows("SELECT COUNT(*) FROM {p}user") == ((1,),)


def test_each_column_that_cannot_be_read_is_named(least: Relay, college: College) -> None:
    for table, column in (("user", "city"), ("user", "email"), ("user_enrolments", "timemodified"), ("scale", "scale")):
        college.run(f"REVOKE SELECT ({column}) ON moodle.mdl_{table} FROM {USER}")
    found = " ".join(one.found for one in look(least) if one.name == "grants" and one.verdict == "fail")
    for column in ("city", "email", "timemodified", "scale"):
        assert f"the column {column}" in found
    grant(least, college)
    assert [str(one.verdict) for one in look(least) if one.name == "grants"] == ["ok"]


def test_what_the_page_reads_of_moodle_behind_a_proxy_is_tried(relay: Relay, college: College) -> None:
    grant(relay, college)
    assert [one for one in look(relay) if one.name == "page"] == []
    relay.set("web", {"proxy": {"header": "X-Remote-User"}})
    found = bad(relay, "page")
    assert found.verdict == "fail"
    assert "not let in to the page: " in found.found
    assert "relay grants" in found.hint
    assert [str(one.verdict) for one in look(relay) if one.name == "grants"] == ["ok"]
    grant(relay, college)
    assert [str(one.verdict) for one in look(relay) if one.name == "page"] == ["ok"]
    college.run(f"REVOKE SELECT (archetype) ON moodle.mdl_role FROM {USER}")
    assert "the column archetype" in bad(relay, "page").found


def test_a_wrong_prefix_is_told_from_a_missing_right(least: Relay) -> None:
    least.set("moodle.database.prefix", "m_")
    found = bad(least, "database")
    assert found.found.endswith("There are tables that begin with 'mdl_'.")
    assert found.hint == "Mend moodle.database.prefix."


@pytest.mark.parametrize("held", [None, "", "CHOOSE-A-PASSWORD\n", "its own password\n"])
def test_the_statements_of_grants_as_printed_make_an_account_that_nobody_can_guess(
    relay: Relay, college: College, held: str | None
) -> None:
    """With the password of the file, or else with a new one that goes into it: nothing has to be edited."""
    college.run(f"DROP USER IF EXISTS {USER}")
    relay.set(
        "moodle.database", {**relay.config["moodle"]["database"], "user": "least", "password": {"file": "secret"}}
    )
    file = relay.folder / "secret"
    if held is not None:
        file.write_text(held)
    done = relay.run("grants", "--host", "127.0.0.1")
    assert "config_plugins.value" in done.stderr
    for line in done.stdout.splitlines():
        college.run(line)
    found = re.search(r"IDENTIFIED BY '(.*)';", done.stdout.splitlines()[0])
    assert found is not None
    assert found[1] not in done.stderr
    if held != "its own password\n":
        assert len(found[1]) > 30
        assert found[1] not in relay.run("grants").stdout, "a new one each time"
        assert f"put it into the file {file}" in done.stderr
        file.write_text(found[1])
    assert [one.verdict for one in look(relay) if one.name == "grants"] == ["ok"]


def test_the_account_of_somebody_else_does_not_get_the_password_of_the_config(relay: Relay) -> None:
    relay.set("moodle.database.password", "that-of-root")
    assert "that-of-root" not in relay.run("grants", "--user", "least").stdout
    assert "IDENTIFIED BY 'that-of-root'" in relay.run("grants").stdout


# -- the database


@pytest.mark.parametrize("password", ["ü", "€uro", "كلمة السر", "pa'ss\\word"])
def test_a_password_of_any_letters_is_sent(password: str, relay: Relay, college: College) -> None:
    college.run(f"DROP USER IF EXISTS {USER}")
    college.run(f"CREATE USER {USER} IDENTIFIED BY %s", password)
    college.run(f"GRANT SELECT ON moodle.* TO {USER}")
    relay.set("moodle.database.user", "least")
    relay.set("moodle.database.password", password)
    assert next(one for one in look(relay) if one.name == "database").verdict == "ok"


def test_an_account_is_locked(least: Relay, college: College) -> None:
    college.run(f"ALTER USER {USER} ACCOUNT LOCK")
    found = bad(least, "database")
    assert "the account 'least' is locked" in found.found
    assert "ACCOUNT UNLOCK" in found.hint
    assert "backend" in {one.name for one in look(least)}


def test_a_password_has_expired(least: Relay, college: College) -> None:
    college.run(f"ALTER USER {USER} PASSWORD EXPIRE")
    assert "has expired" in bad(least, "database").found


def test_connections_are_used_up(least: Relay, college: College, mariadb: MariaDB) -> None:
    college.run(f"ALTER USER {USER} WITH MAX_USER_CONNECTIONS 1")
    with pymysql.connect(host="127.0.0.1", port=mariadb.port, user="least", password="made-up"):
        found = bad(least, "database")
    assert "connections" in found.found
    assert "cannot be reached" not in found.found


def test_an_account_of_another_machine_is_no_outage(relay: Relay, college: College) -> None:
    for name in ("least", ""):
        college.run(f"DROP USER IF EXISTS '{name}'@'127.0.0.1'")
    relay.set("moodle.database.user", "nobody")
    found = bad(relay, "database")
    assert "refuses" in found.found
    assert "cannot be reached" not in found.found


def test_whatever_the_driver_raises_is_a_sentence(
    relay: Relay, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a RuntimeError where an authentication plugin needs a package that is not installed."""
    assert college.connection.open

    def connect(**_: object) -> None:
        raise RuntimeError("'pynacl' package is required for canary7")

    monkeypatch.setattr(pymysql, "connect", connect)
    checks = look(relay)
    found = next(one for one in checks if one.name == "database")
    assert "the driver cannot log in to it (RuntimeError)" in found.found
    assert "canary7" not in str(checks)
    assert checks[-1].name == "clock"


def test_a_server_without_tls_is_not_spoken_to(relay: Relay, college: College) -> None:
    if college.rows("SHOW STATUS LIKE 'Ssl_server_not_after'")[0][1]:
        pytest.skip("the server of the tests has TLS")
    relay.set("moodle.database.tls", {"verify": False})
    found = bad(relay, "database")
    assert "no secure connection" in found.found
    assert "moodle.database.tls" in found.hint


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[MariaDB, Certificates]]:
    """A database server that speaks TLS, with a certificate for 127.0.0.1 of a CA that does not say what it is for."""
    made = Certificates(tmp_path, says_usage=False)
    made.context(HERE)
    with throwaway([f"--ssl-cert={made.pair}", f"--ssl-key={made.pair}"]) as server, server.connect() as connection:
        with connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE moodle")
        with server.connect("moodle") as inside:
            College(inside).build()
        yield server, made


def test_the_tls_of_the_database(secured: tuple[MariaDB, Certificates], relay: Relay, strict: None) -> None:
    server, made = secured
    relay.set("moodle.database.port", server.port)
    relay.set("moodle.database.tls", {})
    found = bad(relay, "database")
    assert "no secure connection could be made: unable to get local issuer certificate" in found.found
    assert "moodle.database.tls.ca" in found.hint
    relay.set("moodle.database.tls", {"ca": str(made.ca)})
    assert [one.verdict for one in look(relay) if one.name == "database"] == ["ok"]
    relay.set("moodle.database.host", "localhost")
    assert "hostname mismatch" in bad(relay, "database").found.lower()
    assert "moodle.database.host" in bad(relay, "database").hint
    assert strict is None


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify as Python 3.13 does by itself."""
    create = ssl.create_default_context

    def create_strict(*args: str, **options: str) -> ssl.SSLContext:
        made = create(*args, **options)  # type: ignore[arg-type] # handed through
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        return made

    monkeypatch.setattr(ssl, "create_default_context", create_strict)


def test_a_private_ca_of_the_usual_kind_is_taken(relay: Relay, college: College, tmp_path: Path, strict: None) -> None:
    assert college.connection.open
    assert strict is None
    made = Certificates(tmp_path, says_usage=False)
    with receiver(tls=made.context(HERE)) as backend:
        relay.set("backend.url", backend.url)
        relay.set("backend.ca_bundle", str(made.ca))
        assert [one.verdict for one in look(relay) if one.name == "backend"] == ["ok"]


# -- the log


@pytest.mark.parametrize("value", ["0", ""])
def test_self_registrations_that_are_not_logged_are_said(value: str, relay: Relay, college: College) -> None:
    college.insert("config_plugins", plugin="logstore_standard", name="logguests", value=value)
    found = bad(relay, "log store")
    assert "who signs up by themselves is never sent" in found.found
    assert "Log guest access" in found.hint
    college.run("UPDATE {p}config_plugins SET value = '1' WHERE name = 'logguests'")
    assert "log store" not in {one.name for one in look(relay) if one.verdict != "ok"}


# -- the config, its secrets and its files


def test_a_missing_secret_silences_no_other_check(relay: Relay, college: College) -> None:
    assert college.connection.open
    relay.set("backend.token", {"credential": "backend-token"})
    relay.set("backend.signing_keys", [{"file": "no-such-key"}])
    shown = relay.run("check", expect=2).stdout
    assert "backend.token: systemd gave no credentials" in shown
    assert "no-such-key cannot be read" in shown
    assert "ok    database" in shown
    assert "ok    outbox" in shown
    relay.once(expect=2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read what relay cannot")
def test_a_file_that_the_service_cannot_read_is_said_to_root(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "CONFIGS", tmp_path)
    monkeypatch.setattr(credentials, "GROUP", "nobody")
    relay.set("backend.token", {"file": "token"})
    (tmp_path / "token").write_text("made-up\n")
    (tmp_path / "token").chmod(0o600)
    relay.write().chmod(0o640)

    def unreadable() -> list[str]:
        found = [one.hint for one in files.checks(config.load(tmp_path / "config.yaml")) if "account" in one.found]
        return [hint.split("&& chmod 640 ")[1] for hint in found]

    assert unreadable() == [f"{tmp_path}/config.yaml", f"{tmp_path}/token"]
    group = pwd.getpwnam("nobody").pw_gid
    for name in ("config.yaml", "token"):
        os.chown(tmp_path / name, 0, group)
    (tmp_path / "token").chmod(0o640)
    assert unreadable() == []


def test_the_config_alone_can_be_checked(relay: Relay) -> None:
    """As a reload of the service does."""
    assert "is well-formed" in relay.run("check", "--config-only").stdout
    relay.set("backend.token", {"file": "no-such-file"})
    assert "no-such-file" in relay.run("check", "--config-only", expect=2).stderr


def test_status_needs_no_secret_that_only_systemd_has(relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    for path in ("backend.token", "moodle.database.password"):
        relay.set(path, {"credential": "only-systemd-has-it"})
    shown = relay.run("status")
    assert "undelivered  0" in shown.stdout
    assert "was not asked" in relay.run("status", "--check", expect=1).stderr
    said = json.loads(relay.run("status", "--json").stdout)
    assert "moodle" not in {one["name"] for one in said["problems"]}, "it is no fault of the relay that runs"
    assert "was not asked" in said["moodle_not_asked"]


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"file": "empty"}, "relay init"),
        ({"file": "not-there"}, "relay keygen > FILE"),
        ({"credential": "only-systemd-has-it"}, "relay-service COMMAND"),
        ({"env": "RELAY_NOBODY_SETS"}, "relay-service COMMAND"),
    ],
)
def test_where_a_secret_is_missing_it_is_said_how_to_give_it_or_how_to_ask(
    relay: Relay, college: College, given: dict[str, str], hint: str
) -> None:
    assert college.connection.open
    (relay.folder / "empty").touch()
    relay.set("backend.token", given)
    assert hint in next(one.hint for one in look(relay) if one.name == "secrets" and one.verdict == "fail")
    assert hint in relay.run("run", "--once", expect=2).stderr
    assert hint in relay.run("profile", "1", expect=2).stderr
    assert hint in relay.run("send-test", expect=2).stderr


@pytest.mark.parametrize(
    "command",
    ["events", "metrics", "purge", "forget 1", "acknowledge failed", "sync users --dry-run", "reconcile users"],
)
def test_a_command_needs_no_secret_that_it_has_no_use_for(command: str, relay: Relay, college: College) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    relay.set("backend.token", {"credential": "only-systemd-has-it"})
    if "users" not in command:
        relay.set("moodle.database.password", {"credential": "only-systemd-has-it"})
    relay.run(*command.split())


def test_what_systemd_gave_to_the_running_service_is_found(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in ("relay.service", "relay@amman.service"):
        (tmp_path / service).mkdir()
        (tmp_path / service / "backend-token").write_text(f"made-up-{service}")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(credentials, "OF_SERVICES", tmp_path)
    relay.set("backend.token", {"credential": "backend-token"})
    assert config.load(relay.write()).backend.token.reveal() == "made-up-relay.service"
    monkeypatch.setattr(credentials, "CONFIGS", tmp_path)
    (tmp_path / "amman").mkdir()
    of_site = shutil.copy(relay.write(), tmp_path / "amman")
    # One Moodle site's token is never sent to the backend of another one.
    assert config.load(Path(of_site)).backend.token.reveal() == "made-up-relay@amman.service"


@pytest.mark.parametrize(
    ("key", "value", "is_said"),
    [
        ("moodle.url", "https://moodle.example.edu", True),
        ("moodle.url", "https://moodle.college.example", True),
        ("moodle.url", "https://example.com/moodle", True),
        ("moodle.url", "https://moodle.notexample.com", False),
        ("backend.url", "https://backend.example.org", True),
        ("backend.token", "CHANGE-ME", True),
        ("backend.token", "<your token>", True),
        ("backend.tenant_id", "your-tenant", True),
        ("moodle.database.password", "CHOOSE-A-PASSWORD", True),
        ("backend.token", "Xchange-9f3b0a", False),
        ("backend.tenant_id", "changes", False),
    ],
)
def test_what_an_example_holds_is_a_warning_that_shows_no_value(
    relay: Relay, key: str, value: str, is_said: bool
) -> None:
    relay.set("moodle.url", "https://moodle.college.ac")
    relay.set("backend.url", "https://backend.college.ac")
    relay.set(key, value)
    checks = settings.checks(config.load(relay.write()))
    found = [one.found for one in checks if one.verdict == "warn" and one.name == "config"]
    assert [one.startswith(key) for one in found] == [True] * is_said
    assert value not in str(found) or key.endswith("url") or value == "CHANGE-ME"


@pytest.mark.parametrize(
    ("identifier", "mail", "url", "is_said"),
    [
        ("k" * 32 + "lms.college.ac", "", "https://moodle.college.ac", True),
        ("k" * 32 + "lms.college.ac:8080", "", "https://lms.college.ac/moodle", False),
        ("k" * 32 + "old.college.ac", "noreply@college.ac", "https://moodle.college.ac", False),
        ("k" * 32 + "localhost", "", "https://moodle.college.ac", False),
        ("k" * 32 + "10.0.0.5", "", "https://moodle.college.ac", False),
        ("made-up", "noreply@other.ac", "https://moodle.college.ac", True),
    ],
)
def test_an_address_that_moodles_own_settings_do_not_know_is_warned_of(
    relay: Relay, college: College, identifier: str, mail: str, url: str, is_said: bool
) -> None:
    college.run("UPDATE mdl_config SET value = %s WHERE name = 'siteidentifier'", identifier)
    college.run("INSERT INTO mdl_config (name, value) VALUES ('noreplyaddress', %s)", mail)
    relay.set("moodle.url", url)
    assert [one.verdict for one in look(relay) if one.name == "address"] == ["warn"] * is_said


@pytest.mark.parametrize(("host", "said"), [("db.college.invalid", True), ("127.0.0.1", False)])
def test_a_database_elsewhere_without_tls_is_warned_of(host: str, said: bool, relay: Relay, college: College) -> None:
    assert college.connection.open
    relay.set("moodle.database.host", host)
    relay.set("outbox.url", f"mysql://relay@{host}/relay")
    found = [one for one in look(relay) if one.name == "encryption"]
    assert [re.findall(r"\S+\.tls", one.found) for one in found] == (
        [["moodle.database.tls"], ["outbox.tls"]] if said else []
    )
    assert all(one.verdict == "warn" for one in found)


@pytest.mark.parametrize(
    ("name", "mode"),
    [("config.yaml", 0o644), ("seal.key", 0o640 | 0o004), ("outbox.db", 0o666), ("token", 0o660), ("", 0o777)],
)
def test_files_that_are_open_to_others_are_named_and_the_remedy_closes_them_for_others_alone(
    name: str, mode: int, relay: Relay, college: College, tmp_path: Path
) -> None:
    assert college.connection.open
    (tmp_path / "token").write_text("made-up")
    (tmp_path / "seal.key").write_text("A" * 43 + "=")
    for one in ("token", "seal.key"):
        (tmp_path / one).chmod(0o640)
    relay.set("backend.token", {"file": "token"})
    relay.set("backend.signing_keys", [])
    relay.once()
    relay.write().chmod(0o640)
    path = tmp_path / name
    path.chmod(mode)
    (found,) = [one for one in look(relay) if one.name == "secrets" and one.verdict == "warn"]
    assert f"{path} can be" in found.found
    subprocess.run(found.hint.split(), check=True)
    assert path.stat().st_mode & 0o740 == mode & 0o740
    assert [str(one.verdict) for one in look(relay) if one.name == "secrets"] == ["ok"]


# -- the outbox


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_lock_file_of_another_user_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, lock = Path(name), Path(name, "outbox.db.lock")
        for path in (folder / "outbox.db", lock):
            path.write_text("")
            path.chmod(0o600)
        for path in (folder, folder / "outbox.db"):
            os.chown(path, 65534, 65534)
        (found,) = as_nobody(lambda: [f"{one.found} -> {one.hint}" for one in check_files(folder / "outbox.db")])
        said, remedy = found.split(" -> ")
        assert said == f"{lock} cannot be read and written by this user"
        subprocess.run(remedy.removeprefix("As root: ").split(), check=True)
        assert as_nobody(lambda: [one.found for one in check_files(folder / "outbox.db")]) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for another user")
def test_what_root_makes_of_an_outbox_is_given_to_the_owner_of_its_folder() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, 65534, 65534)
        path = Path(name, "outbox.db")
        with contextlib.closing(SqliteOutbox(path)) as outbox:
            outbox.hold(0.0)
            outbox.set_state("x", "y", 0.0)
            assert {one.stat().st_uid for one in Path(name).iterdir()} == {65534}


def test_a_lock_file_that_cannot_be_opened_is_what_is_named() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "outbox.db")
        os.chown(name, 65534, 65534)
        SqliteOutbox(path).close()
        Path(f"{path}.lock").touch(0o600)

        def hold() -> list[str]:
            with contextlib.closing(SqliteOutbox(path)) as outbox, pytest.raises(OutboxUnavailable) as caught:
                outbox.hold(0.0)
            return [f"{caught.value} {caught.value.hint}"]

        (said,) = as_nobody(hold)
        assert said.startswith(f"The lock file {path}.lock of the outbox belongs to another user.")
        assert said.endswith(f"As root: chown --reference={path} {path}.lock")


def as_nobody(say: Callable[[], list[str]]) -> list[str]:
    """Return what a function says as a user who owns nothing."""
    # In this process: one that is forked beside threads may wait for a lock for good.
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(65534, 65534, 0)
    os.setresuid(65534, 65534, 0)
    try:
        return say()
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


def test_a_schema_where_no_table_may_be_made_is_no_outbox(
    relay: Relay, college: College, outbox_address: Address
) -> None:
    college.run("DROP USER IF EXISTS 'keeper'@'127.0.0.1'")
    relay.share(outbox_address)
    relay.set("outbox.url", f"mysql://keeper@127.0.0.1:{outbox_address.port}/outbox")
    relay.set("outbox.password", "made-up")
    printed = relay.run("grants", "--outbox", "--host", "127.0.0.1").stdout
    for line in printed.splitlines():
        college.run(line)
    assert next(one for one in look(relay) if one.name == "outbox").verdict == "ok"
    for privilege in ("CREATE", "ALTER", "INDEX", "DELETE"):
        college.run(f"REVOKE {privilege} ON outbox.* FROM 'keeper'@'127.0.0.1'")
        found = bad(relay, "outbox")
        assert f"may not {privilege.lower()}" in found.found
        college.run(f"GRANT {privilege} ON outbox.* TO 'keeper'@'127.0.0.1'")
    assert college.rows("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'outbox'") == ((0,),)


def test_an_outbox_server_that_is_read_only_is_named(relay: Relay, college: College, outbox_address: Address) -> None:
    college.run("DROP USER IF EXISTS 'keeper'@'127.0.0.1'")
    college.run("CREATE USER 'keeper'@'127.0.0.1'")
    college.run("GRANT ALL ON outbox.* TO 'keeper'@'127.0.0.1'")
    relay.share(outbox_address)
    relay.set("outbox.url", f"mysql://keeper@127.0.0.1:{outbox_address.port}/outbox")
    relay.once()
    college.run("SET GLOBAL read_only = 1")
    try:
        found = bad(relay, "outbox")
    finally:
        college.run("SET GLOBAL read_only = 0")
    assert "it is read-only" in found.found
    assert "outbox.url" in found.hint


# -- the backend


@contextlib.contextmanager
def answering(raw: bytes) -> Iterator[int]:
    """Answer the first request of each connection with these bytes; yield the port."""
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(5)
                    connection.recv(65536)
                    connection.sendall(raw)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("answer", "said", "hint"),
    [
        (b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", "answered 407", "a user and a password"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "answered 403", "does not allow"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "answered 502", "cannot reach the backend"),
        (b"SSH-2.0-OpenSSH\r\n", "what came back is no HTTP", "backend.proxy"),
        (b"", "the connection was closed", "backend.proxy"),
    ],
)  # fmt: skip
def test_what_a_proxy_says_is_named(answer: bytes, said: str, hint: str, relay: Relay, college: College) -> None:
    assert college.connection.open
    relay.set("backend.url", "https://backend.college.example")
    with answering(answer) as port:
        relay.set("backend.proxy", f"http://user:canary7@127.0.0.1:{port}")
        found = bad(relay, "backend")
    assert said in found.found
    assert hint in found.hint
    assert "canary7" not in str(found)


@pytest.mark.parametrize(
    ("proxy", "said", "hint"),
    [
        ("http://127.0.0.1:1", "nobody listens there", "Start the proxy"),
        ("http://no-such-proxy.invalid:3128", "its name cannot be resolved", "the host in backend.proxy"),
    ],
)
def test_a_proxy_that_is_not_there_is_named(proxy: str, said: str, hint: str, relay: Relay, college: College) -> None:
    assert college.connection.open
    relay.set("backend.url", "https://backend.college.example")
    relay.set("backend.proxy", proxy)
    found = bad(relay, "backend")
    assert said in found.found
    assert hint in found.hint


def test_https_at_a_port_of_http_is_no_certificate_to_renew(relay: Relay, college: College, backend: Receiver) -> None:
    assert college.connection.open
    relay.set("backend.url", backend.url.replace("http:", "https:"))
    found = bad(relay, "backend")
    assert "No TLS is spoken at that port" in found.hint, found


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda made: made.context(HERE, days=0), "must be renewed"),
        (lambda made: made.context(x509.DNSName("elsewhere.example")), "for another name"),
        (lambda made: made.context(HERE, is_self_signed=True), "backend.ca_bundle"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_named(
    make: Callable[[Certificates], ssl.SSLContext], hint: str, relay: Relay, college: College, tmp_path: Path
) -> None:
    assert college.connection.open
    made = Certificates(tmp_path)
    with receiver(tls=make(made)) as backend:
        relay.set("backend.url", backend.url)
        relay.set("backend.ca_bundle", str(made.ca))
        assert hint in bad(relay, "backend").hint
        relay.config["backend"].pop("ca_bundle")


@pytest.mark.parametrize(("date", "said"), [("", "no Date header"), ("gestern", "no date")])
def test_a_backend_that_tells_no_time_is_said(date: str, said: str, relay: Relay, college: College) -> None:
    assert college.connection.open
    header = f"Date: {date}\r\n".encode() if date else b""
    with answering(b"HTTP/1.1 200 OK\r\n" + header + b"Content-Length: 0\r\n\r\n") as port:
        relay.set("backend.url", f"http://127.0.0.1:{port}")
        found = bad(relay, "clock")
    assert said in found.found
    assert found.verdict == "warn"


def test_a_backend_that_hangs_is_not_waited_for_as_an_event_would(
    relay: Relay, college: College, backend: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert college.connection.open
    monkeypatch.setattr(admin, "CHECK_MOST_S", 0.2)
    relay.set("backend.timeout", "10m")
    backend.answer = lambda _: Reply(stalls_s=30)
    assert "no answer in time" in bad(relay, "backend").found


def test_a_check_that_fails_itself_ends_no_other(
    relay: Relay, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert college.connection.open

    def fault(*_: object) -> None:
        raise LookupError("canary7")

    monkeypatch.setattr("relay.operations.check.moodle.check_version", fault)
    found = look(relay)
    assert "canary7" not in str(found)
    assert next(one for one in found if one.verdict == "fail").found == "this could not be looked at: LookupError"
    assert found[-1].name == "clock"


def test_a_disk_without_space_is_named_before_the_outbox_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.operations.check.outbox.NO_SPACE", 2**62)
    (found,) = outbox_checks(tmp_path / "outbox.db", lambda: pytest.fail("it was opened"), lambda: 0.0)
    assert (str(found.verdict), found.found) == ("fail", f"the disk that holds {tmp_path} is full")
