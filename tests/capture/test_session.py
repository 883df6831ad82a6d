"""What every statement depends on is set in each session, whatever the server's defaults are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stepped import AT, Captured

from relay.errors import MoodleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Relay

    from relay.demo.mariadb import MariaDB
    from relay.demo.moodle import College


@pytest.fixture
def odd_server(mariadb: MariaDB) -> Iterator[None]:
    """A server whose defaults are not those that PyMySQL and Moodle expect."""
    odd = {
        "sql_mode": "'NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH'",
        "time_zone": "'-07:00'",
        "character_set_server": "'latin1'",
        "character_set_client": "'latin1'",
        "tx_isolation": "'READ-UNCOMMITTED'",
        # Cuts off what a SELECT without a limit gives.
        "sql_select_limit": "1",
    }
    with mariadb.connect() as connection, connection.cursor() as cursor:
        before = {}
        for name, value in odd.items():
            cursor.execute(f"SELECT @@GLOBAL.{name}")
            before[name] = cursor.fetchone()[0]
            cursor.execute(f"SET GLOBAL {name} = {value}")
        try:
            yield
        finally:
            for name, value in before.items():
                cursor.execute(f"SET GLOBAL {name} = %s", (value,))


@pytest.mark.usefixtures("odd_server")
def test_a_server_with_other_defaults_hides_nothing(relay: Relay, college: College) -> None:
    """With NO_BACKSLASH_ESCAPES an eventname was never found, and the log looked empty."""
    college.sign_up("Zo\u00eb \U0001f600", "O'Neill \\ Co", AT)
    college.sign_up("Grace", "Hopper", AT)
    relay.once()
    assert relay.statuses() == {"success": 2}
    ((data,),) = relay.rows("SELECT event_data FROM {log} LIMIT 1")
    assert "Zo\u00eb \U0001f600" in data
    assert "ok    database" in relay.run("check", expect=None).stdout


@pytest.mark.usefixtures("odd_server")
def test_each_session_is_as_it_has_to_be(captured: Captured) -> None:
    captured.read()
    (row,) = captured.moodle.select(
        "SELECT @@sql_mode AS mode, @@time_zone AS zone, @@tx_isolation AS level, @@tx_read_only AS is_read_only, "
        "@@character_set_client AS client, @@character_set_results AS results"
    )
    assert b"BACKSLASH" not in row["mode"]
    assert (row["zone"], row["level"], row["is_read_only"]) == (b"+00:00", b"REPEATABLE-READ", 1)
    assert (row["client"], row["results"]) == (b"utf8mb4", b"utf8mb4")


def test_text_that_arrives_otherwise_than_it_was_sent_is_an_error(
    captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would make each look come back empty is said, and nothing is taken for read."""
    monkeypatch.setattr("relay.moodle.database.SESSION", ("SET SESSION character_set_results = latin1",))
    with pytest.raises(MoodleError, match="another way than it is sent"):
        captured.read()
    assert captured.outbox.position() is None


def test_a_connection_that_was_closed_while_idle_is_no_outage(
    captured: Captured, college: College, mariadb: MariaDB
) -> None:
    """A server's wait_timeout, or a proxy's, below the interval between two looks: one look connects anew."""
    college.sign_up("Ada", "Lovelace", AT)
    assert captured.read() == 1
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = 'moodle' AND id <> CONNECTION_ID()")
        ((own,),) = college.rows("SELECT CONNECTION_ID()")
        for (number,) in cursor.fetchall():
            if number != own:
                cursor.execute(f"KILL {number}")
    college.sign_up("Grace", "Hopper", AT + 1)
    assert captured.read() == 1


def test_check_finds_a_row_that_is_there(relay: Relay, college: College) -> None:
    assert "ok    log: it is empty" in relay.run("check", expect=None).stdout
    college.sign_up("Ada", "Lovelace", AT)
    assert "ok    log: its newest row, 1, is found by its name" in relay.run("check", expect=None).stdout


def test_check_fails_where_a_row_that_is_there_is_not_found(
    captured: Captured, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    monkeypatch.setattr("relay.moodle.database.SESSION", ("SET SESSION collation_connection = utf8mb4_bin",))
    assert captured.moodle.find_known_row() == 1
    # As a proxy would that takes backslashes away.
    monkeypatch.setattr("relay.moodle.site.FOUND_BY_NAME", "SELECT 0 AS found FROM DUAL WHERE %s <> %s")
    with pytest.raises(MoodleError, match="is not found by its eventname"):
        captured.moodle.find_known_row()
