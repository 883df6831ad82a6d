"""Outboxes of an earlier version, of both kinds: opened, brought to this one's tables, and delivered, killed or not."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
import version1
from harness import Relay, shared_outbox

from relay.errors import OutboxError
from relay.outbox import migrations
from relay.outbox.contract import Outbox
from relay.outbox.sqlite import SqliteOutbox
from relay.outbox.tables import MOVED
from relay.outbox.values import Attempt, Migrated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from receiver import Receiver

    from relay.demo.moodle import College
    from relay.rules.server import Address


class InFile:
    """An outbox of version 1 in a file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "outbox.db"

    def make(self) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(version1.SQLITE)
            connection.commit()
            version1.fill(connection.execute, is_file=True)
            connection.commit()

    def open(self) -> Outbox:
        return SqliteOutbox(self.path)

    def run(self, statement: str, *values: Any) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def configure(self, relay: Relay) -> None:
        relay.outbox = self.path
        relay.set("outbox.url", f"sqlite:///{self.path}")

    def schema(self) -> dict[str, str]:
        found = self.run("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%'")
        return {name: re.sub(r"[\s;]+", "", text) for name, text in found}


class InSchema:
    """An outbox of version 1 in a schema."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def make(self) -> None:
        for statement in filter(str.strip, version1.MYSQL.split(";\n")):
            self.run(statement)
        version1.fill(lambda statement, values: self.run(statement, *values), is_file=False)

    def open(self) -> Outbox:
        return shared_outbox(self._address)

    def run(self, statement: str, *values: Any) -> list[Any]:
        connect = pymysql.connect(**self._address.options(), autocommit=True)
        with connect as connection, connection.cursor() as cursor:
            cursor.execute(statement.replace("?", "%s"), values or None)
            return list(cursor.fetchall())

    def configure(self, relay: Relay) -> None:
        relay.share(self._address)

    def schema(self) -> dict[str, str]:
        tables = [name for (name,) in self.run("SHOW TABLES")]
        found = {name: str(self.run(f"SHOW CREATE TABLE {name}")[0][1]) for name in tables}
        return {name: re.sub(r"AUTO_INCREMENT=\d+ ", "", text) for name, text in found.items()}


Place = InFile | InSchema


@pytest.fixture(params=["sqlite", "mysql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "mysql":
        return InSchema(request.getfixturevalue("outbox_address"))
    return InFile(tmp_path)


@pytest.fixture
def old(place: Place) -> Place:
    place.make()
    return place


@pytest.fixture
def in_file(tmp_path: Path) -> InFile:
    """An outbox of version 1 in a file."""
    made = InFile(tmp_path)
    made.make()
    return made


@contextlib.contextmanager
def opened(place: Place) -> Iterator[Outbox]:
    outbox = place.open()
    try:
        yield outbox
    finally:
        outbox.close()


def copies(place: InFile) -> list[Path]:
    return sorted(place.path.parent.glob("outbox.db.v1*"))


@pytest.fixture
def waiting(relay: Relay, college: College, old: Place) -> Relay:
    """A relay whose outbox is of version 1, and has read the log to its end."""
    for i in range(7):
        college.sign_up("Ada", f"Number{i}", version1.AT + i)
    old.configure(relay)
    return relay


def assert_delivered_once(relay: Relay, backend: Receiver) -> None:
    """Assert that what waited was sent, once and as it was recorded, and nothing else."""
    sent = [(post.event_id, post.body) for post in backend.posts]
    assert sorted(sent) == sorted(version1.SENT.items())
    order = [event_id for event_id, _ in sent]
    assert order.index(version1.event_id(3)) < order.index(version1.event_id(7))
    assert relay.statuses() == {"success": 5, "failed_all_retries": 1, "skipped": 1}
    assert relay.status()["conservation"]["holds"]


def test_what_waited_in_an_outbox_of_version_1_is_delivered_once_with_the_same_bytes(
    waiting: Relay, backend: Receiver
) -> None:
    said = waiting.once(expect=1)  # there is a dead letter
    assert f'"before": 1, "after": {migrations.NEWEST}' in said.stdout
    assert_delivered_once(waiting, backend)
    # What was under way has its attempt of unknown outcome, and one more.
    attempts = "SELECT attempt, outcome FROM {attempt} WHERE event_id = ? ORDER BY id"
    assert waiting.rows(attempts, version1.event_id(5)) == [(1, "unknown"), (2, "success")]
    assert waiting.rows(attempts, version1.event_id(1)) == [(1, "success")]
    assert "outbox.migrated" not in waiting.once(expect=1).stdout
    assert len(backend.posts) == len(version1.SENT)


def test_a_dead_letter_of_version_1_is_replayed_with_its_bytes(waiting: Relay, backend: Receiver) -> None:
    waiting.run("run", "--replay", version1.event_id(4))
    (post,) = backend.posts
    assert post.body == f"{version1.head(4)}{version1.data(4)}}}".encode()


LOOKING = [("status",), ("explain", "user:1"), ("purge",), ("check",), ("sync", "users"), ("run", "--dry-run")]


@pytest.mark.parametrize(
    ("place", "command"), [*(("sqlite", one) for one in LOOKING), ("mysql", LOOKING[0])], indirect=["place"]
)
def test_a_command_that_migrates_says_so_once_on_stderr(command: tuple[str, ...], waiting: Relay, old: Place) -> None:
    first, second = (waiting.run(*command, expect=None) for _ in range(2))
    copied = f"; the file as it was: {copies(old)[0]}" if isinstance(old, InFile) else ""
    sentence = f"relay: the outbox's tables were brought from version 1 to {migrations.NEWEST}{copied}."
    assert first.stderr.splitlines().count(sentence) == 1
    assert "brought from version" not in first.stdout + second.stdout + second.stderr


def test_a_new_outbox_and_a_migrated_one_have_the_same_tables(old: Place, tmp_path: Path) -> None:
    with opened(old) as outbox:
        assert not outbox.created
        assert outbox.migrated is not None
        assert (outbox.migrated.before, outbox.migrated.after) == (1, migrations.NEWEST)
        assert outbox.state("schema_version") == str(migrations.NEWEST)
    migrated = old.schema()
    if isinstance(old, InFile):
        fresh: Place = InFile(tmp_path / "fresh")
    else:
        for table in migrated:
            old.run(f"DROP TABLE {table}")
        fresh = old
    with opened(fresh) as outbox:
        assert (outbox.created, outbox.migrated) == (True, None)
    assert fresh.schema() == migrated


def test_a_relay_of_the_version_before_goes_on_writing_beside_a_migration(place: Place) -> None:
    """It was started before, and uses the tables as they were."""
    with opened(place) as outbox:
        place.run("DELETE FROM mdl_mb_zoho_config")
        version1.fill(lambda statement, values: place.run(statement, *values), is_file=isinstance(place, InFile))
        assert outbox.counts().captured == 6
        assert outbox.counts().captured_holds


def test_an_outbox_of_a_newer_relay_is_refused_and_left_as_it_is(old: Place) -> None:
    newer = str(migrations.NEWEST + 1)
    old.run("UPDATE mdl_mb_zoho_config SET config_value = ? WHERE config_key = 'schema_version'", newer)
    before = old.schema()
    sentence = rf"made by another version of relay \(tables {newer}, this relay {migrations.NEWEST}\)"
    with pytest.raises(OutboxError, match=sentence):
        old.open()
    assert old.schema() == before
    assert not isinstance(old, InFile) or copies(old) == []


def test_relays_that_open_an_old_outbox_at_once_migrate_it_once(old: Place) -> None:
    found: list[Migrated | None] = []
    begin = threading.Barrier(3)

    def work() -> None:
        begin.wait()
        with opened(old) as outbox:
            found.append(outbox.migrated)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    with opened(old) as outbox:
        assert outbox.migrated is None
        assert outbox.counts().captured_holds
    if isinstance(old, InFile):
        assert len(copies(old)) == 1
        assert [one for one in found if one] == [Migrated(before=1, after=migrations.NEWEST, copy=str(copies(old)[0]))]


ATTEMPT, COUNT = "mdl_mb_zoho_event_attempt", "mdl_mb_zoho_event_count"
#: What takes an outbox in a file back to version 7, and to version 6.
TO_7 = (
    f"DROP TRIGGER {ATTEMPT}_added",
    f"DROP INDEX {ATTEMPT}_row",
    f"ALTER TABLE {ATTEMPT} DROP COLUMN event_row",
    f"CREATE INDEX {ATTEMPT}_event ON {ATTEMPT} (event_id, attempt)",
    "UPDATE mdl_mb_zoho_config SET config_value = '7' WHERE config_key = 'schema_version'",
)
TO_6 = (
    *TO_7,
    *(f"DROP TRIGGER {COUNT}_{name}" for name in ("added", "deleted", "changed")),
    f"DROP TABLE {COUNT}",
    "DROP INDEX mdl_mb_zoho_event_log_occurred",
    "UPDATE mdl_mb_zoho_config SET config_value = '6' WHERE config_key = 'schema_version'",
)


def test_an_outbox_of_version_2_gets_the_tables_that_it_lacks(old: Place) -> None:
    with opened(old):
        pass
    lacking = ("purged", "held", "acknowledged", "chunk", "found")
    for table in (f"mdl_mb_zoho_{name}" for name in lacking):
        old.run(f"DROP TABLE {table}")
    for statement in TO_6 if isinstance(old, InFile) else ():
        old.run(statement)
    old.run("UPDATE mdl_mb_zoho_config SET config_value = '2' WHERE config_key = 'schema_version'")
    with opened(old) as outbox:
        assert outbox.migrated is not None
        assert (outbox.migrated.before, outbox.migrated.after) == (2, migrations.NEWEST)
        assert outbox.sizes()["mb_zoho_purged"] == outbox.sizes()["mb_zoho_held"] == 0


def test_the_attempts_of_an_outbox_of_version_7_are_those_of_their_events(in_file: InFile) -> None:
    def told(outbox: Outbox) -> list[Sequence[Attempt]]:
        return [
            one.attempts
            for number in range(1, len(version1.EVENTS) + 1)
            for one in outbox.recorded(version1.AT, event_id=version1.event_id(number))
        ]

    with opened(in_file) as outbox:
        before = told(outbox)
    assert sum(map(len, before)) == in_file.run(f"SELECT COUNT(*) FROM {ATTEMPT}")[0][0] > 0
    for statement in TO_7:
        in_file.run(statement)
    with opened(in_file) as outbox:
        assert outbox.migrated is not None
        assert told(outbox) == before
    in_file.run(f"INSERT INTO {ATTEMPT} (event_id, attempt, started_at) VALUES (?, 9, 1)", version1.event_id(1))
    with opened(in_file) as outbox:
        assert [one.number for one in told(outbox)[0]] == [1, 9]


STEPS: dict[type, list[tuple[str, int]]] = {
    InFile: [
        ("relay.outbox.sqlite_database:Database.copy:before", 1),
        ("outbox:SELECT STRFTIME", 1),
        ("relay.outbox.sqlite_database:_empty_beside:after", 1),
        ("relay.outbox.sqlite_database:Database.copy:after", 1),
        ("outbox:CREATE TABLE mdl_mb_zoho_row", 1),
        ("outbox:INSERT INTO mdl_mb_zoho_config", 1),
        ("outbox:COMMIT", 1),
        ("relay.outbox.sqlite:SqliteOutbox._migrate:after", 1),
    ],
    InSchema: [
        ("relay.outbox.mysql:MysqlOutbox._migrate:before", 1),
        ("relay.outbox.mysql:_set_version:before", 1),
        ("relay.outbox.mysql:_set_version:after", 1),
        ("relay.outbox.mysql:MysqlOutbox._migrate:after", 1),
    ],
}


@pytest.mark.parametrize(
    ("place", "step", "count"),
    [("sqlite" if kind is InFile else "mysql", *step) for kind, steps in STEPS.items() for step in steps],
    indirect=["place"],
)
def test_killed_in_the_midst_of_a_migration_the_next_start_completes_it(
    step: str, count: int, waiting: Relay, backend: Receiver, old: Place
) -> None:
    waiting.crash(step, count, "run", "--once")
    waiting.once(expect=1)
    assert_delivered_once(waiting, backend)
    if isinstance(old, InFile):
        # No half of a copy under a copy's name: each is a whole outbox of version 1.
        for copy in copies(old):
            assert_is_version_1(copy)
        assert all(re.fullmatch(r"outbox\.db\.v1-\d{8}T\d{6}Z", copy.name) for copy in copies(old))


def assert_is_version_1(copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        state = dict(connection.execute("SELECT config_key, config_value FROM mdl_mb_zoho_config"))
        assert state == version1.STATE
        assert connection.execute("SELECT COUNT(*) FROM mdl_mb_zoho_event_log").fetchone() == (len(version1.EVENTS),)
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert "mdl_mb_zoho_row" not in tables


def test_the_copy_of_the_file_has_what_was_in_its_write_ahead_log_and_is_for_its_owner(in_file: InFile) -> None:
    with contextlib.closing(sqlite3.connect(in_file.path)) as other:
        # As long as it is open, what it has written stays in the log.
        other.execute("UPDATE mdl_mb_zoho_config SET updated_at = 4711 WHERE config_key = 'cursor'")
        other.commit()
        assert in_file.path.with_name("outbox.db-wal").stat().st_size > 0
        with opened(in_file) as outbox:
            (copy,) = copies(in_file)
            assert outbox.migrated == Migrated(before=1, after=migrations.NEWEST, copy=str(copy))
    assert_is_version_1(copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        statement = "SELECT updated_at FROM mdl_mb_zoho_config WHERE config_key = 'cursor'"
        assert connection.execute(statement).fetchone() == (4711,)


def test_where_no_copy_can_be_made_nothing_is_changed(in_file: InFile, monkeypatch: pytest.MonkeyPatch) -> None:
    before = in_file.schema()

    def broken(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("relay.outbox.sqlite_database._empty_beside", broken)
    with pytest.raises(OutboxError, match="No space left"):
        in_file.open()
    assert in_file.schema() == before
    assert copies(in_file) == []


def test_an_outbox_that_was_moved_away_is_refused_before_it_is_migrated(old: Place) -> None:
    old.run("INSERT INTO mdl_mb_zoho_config (config_key, config_value, updated_at) VALUES ('moved_to', 'x', 0)")
    before = old.schema()
    with pytest.raises(OutboxError, match="was moved to x"):
        old.open()
    assert old.schema() == before


def test_a_move_takes_every_column_along(tmp_path: Path) -> None:
    """A column that a step adds and MOVED lacks would be left behind, and no sum would tell."""
    SqliteOutbox(tmp_path / "outbox.db").close()
    # How bytes are kept, what is under way, and how attempts are found, is a matter of each kind of outbox.
    own = {"envelope", "leased_by", "leased_until", "event_row"}
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox.db")) as file:
        for table, moved in MOVED.items():
            there = {row[1] for row in file.execute(f"PRAGMA table_info(mdl_{table})")}
            assert there - own == set(moved) - {"body"}, table
