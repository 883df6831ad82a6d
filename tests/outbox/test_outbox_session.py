"""Whatever the defaults of a shared outbox's server are, its init_connect and its log's format: all works the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
from harness import empty_outbox
from test_outbox import NOW, Place, accept, claim, event, purge, settle
from test_unfit import outcome_of

from relay.demo.mariadb import throwaway
from relay.errors import OutboxCorrupt, OutboxError, OutboxUnavailable
from relay.model import Outcome, Position, Status
from relay.outbox import mysql_database
from relay.outbox.contract import LEASE_S, Outbox
from relay.outbox.mysql import MysqlOutbox
from relay.outbox.values import Batch, Selector
from relay.rules.server import Address

ARABIC = "\N{ARABIC LETTER MEEM}\N{ARABIC LETTER REH} \\ 'it' \"is\" %s \N{SNOWMAN}\N{GRINNING FACE}"
Ask = Callable[[str], list[Any]]


@pytest.fixture
def ask(outbox_address: Address) -> Iterator[Ask]:
    with pymysql.connect(**outbox_address.options(), autocommit=True) as connection, connection.cursor() as cursor:

        def run(statement: str) -> list[Any]:
            cursor.execute(statement)
            return list(cursor.fetchall())

        yield run


@contextlib.contextmanager
def globally(ask: Ask, **settings: str) -> Iterator[None]:
    """Let new connections have these settings."""
    before = {name: ask(f"SELECT @@GLOBAL.{name}")[0][0] for name in settings}
    try:
        for name, value in settings.items():
            ask(f'SET GLOBAL {name} = "{value}"' if name == "init_connect" else f"SET GLOBAL {name} = {value}")
        yield
    finally:
        for name, value in before.items():
            ask(f"SET GLOBAL {name} = {value!r}")


@pytest.fixture
def small_user(ask: Ask, outbox_address: Address) -> Iterator[Address]:
    """A user without privileges of its own: for it the server runs its init_connect."""
    ask("CREATE OR REPLACE USER small IDENTIFIED BY 'made-up'")
    ask("GRANT ALL ON outbox.* TO small")
    yield replace(outbox_address, user="small", password="made-up")
    ask("DROP USER small")


def lives(outbox: Outbox) -> None:
    """Let events go all ways through an outbox, with text that is hard to keep."""
    outbox.hold(NOW)
    accept(outbox, *(event(number, user=number) for number in range(1, 9)))
    claimed = claim(outbox)
    assert [one.body for one in claimed] == [event(number).body for number in range(1, 9)]
    outbox.settle(outcome_of(claimed[:2], Outcome(http_code=500, answer=ARABIC)), NOW)
    outbox.settle(outcome_of(claimed[2:3], Outcome(error=ARABIC, error_kind="tls")), NOW)
    outbox.release(claimed[3:4])
    for one in claimed[4:]:
        settle(outbox, one, 200)
    (found,) = outbox.recorded(NOW, log_id=1)
    assert found.last_error["answer"] == ARABIC
    (failed,) = outbox.recorded(NOW, log_id=3)
    assert failed.attempts[0].error == ARABIC
    assert len(outbox.select(Selector(status=Status.SUCCESS))) == 4
    outbox.set_state("key", ARABIC, NOW)
    assert outbox.state("key") == ARABIC
    assert outbox.swap_state("key", ARABIC, "other", NOW)
    assert outbox.counts().by_type == {"grade_updated": {"success": 4, "failed": 3, "pending": 1}}
    assert purge(outbox, NOW + 1) == 4
    assert outbox.counts().captured_holds
    assert [one.log_id for one in claim(outbox, NOW + 60)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "settings",
    [
        {"sql_mode": "'NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT,ORACLE'"},
        {"time_zone": "'+05:30'", "sql_mode": "''"},
        {"init_connect": "SET NAMES latin1, SESSION sql_mode = 'NO_BACKSLASH_ESCAPES', SESSION autocommit = 0"},
        {"init_connect": "SET sql_safe_updates = 1, sql_select_limit = 2, completion_type = 1, sql_auto_is_null = 1"},
        {"init_connect": "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"},
        {"init_connect": "START TRANSACTION"},
    ],
)
def test_the_servers_settings_do_not_matter(
    settings: dict[str, str], ask: Ask, small_user: Address, tmp_path: Path
) -> None:
    place = Place(tmp_path, small_user)
    with globally(ask, **settings):
        outbox = place.open()
        lives(outbox)
        assert isinstance(outbox, MysqlOutbox)
        ((apart,),) = ask("SELECT UNIX_TIMESTAMP(NOW(6)) + 0")
        assert abs(outbox.time(0.0) - float(apart)) < 60
        place.close()


def test_a_session_has_what_the_statements_depend_on(small_user: Address, tmp_path: Path) -> None:
    place = Place(tmp_path, small_user)
    outbox = place.open()
    assert isinstance(outbox, MysqlOutbox)
    names = ["sql_mode", "time_zone", "character_set_client", "character_set_results", "tx_isolation", "autocommit"]
    found = outbox._rows(f"SELECT {', '.join(f'@@SESSION.{name}' for name in names)}")
    assert found == [("STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION", "+00:00", "utf8mb4", "utf8mb4", "READ-COMMITTED", 1)]
    place.close()


def test_a_connection_on_which_text_is_changed_is_refused(
    small_user: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by something between that sets the character set anew."""
    monkeypatch.setattr(mysql_database, "SESSION", (*mysql_database.SESSION, "SET NAMES latin1"))
    with pytest.raises(OutboxError, match="reads text otherwise than it was sent") as caught:
        Place(tmp_path, small_user).open()
    assert not isinstance(caught.value, OutboxUnavailable)


def test_a_schema_in_latin1_keeps_every_text(ask: Ask, outbox_address: Address, tmp_path: Path) -> None:
    ask("ALTER DATABASE outbox CHARACTER SET latin1 COLLATE latin1_general_ci")
    place = Place(tmp_path, outbox_address)
    lives(place.open())
    charsets = ask(
        "SELECT DISTINCT character_set_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = 'outbox' AND character_set_name IS NOT NULL"
    )
    assert charsets == [("utf8mb4", "utf8mb4_bin")]
    place.close()


def test_a_table_that_somebody_has_put_into_another_character_set_is_refused_with_the_remedy(
    ask: Ask, outbox_address: Address, tmp_path: Path
) -> None:
    place = Place(tmp_path, outbox_address)
    place.open()
    ask("ALTER TABLE mdl_mb_zoho_event_attempt CONVERT TO CHARACTER SET latin1")
    with pytest.raises(OutboxCorrupt, match="of mdl_mb_zoho_event_attempt is in latin1") as caught:
        place.open()
    ask(caught.value.hint)
    lives(place.open())
    place.close()


# -- a server that writes the statements themselves into its log


@pytest.fixture(scope="module")
def statements() -> Iterator[Address]:
    options = ["--log-bin=bin", "--server-id=1", "--binlog-format=STATEMENT", "--innodb-flush-log-at-trx-commit=2"]
    with throwaway(options) as server:
        yield empty_outbox(server.port)


def test_an_outbox_lives_on_a_server_with_binlog_format_statement(statements: Address, tmp_path: Path) -> None:
    place = Place(tmp_path, statements)
    first, second = place.open(), place.open()
    lives(first)
    second.hold(NOW)
    assert (first.leads(), second.leads()) == (True, False)
    accept(first, *(event(number, user=20 + number % 9) for number in range(20, 40)))
    mine, others = claim(first, NOW + 60, limit=2), claim(second, NOW + 60)
    assert mine
    assert others
    assert not {one.user_id for one in mine} & {one.user_id for one in others}
    place.kill(first)
    late = NOW + 60 + 3 * LEASE_S
    second.renew(late)
    assert second.leads()
    before = second.position()
    second.accept(Batch(events=[event(50, user=50)], before=before, after=Position(high=101)), late)
    assert {one.log_id for one in claim(second, late)} >= {one.log_id for one in mine}
    place.close()
