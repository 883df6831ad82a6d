"""What every statement depends on is set in each session, whatever the server's defaults are."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from stepped import AT, Captured

from relay import config
from relay.errors import MoodleError
from relay.service import parts

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


@pytest.mark.parametrize("most", [65536, 1, 7, 80])
def test_the_end_of_the_log_is_seen_however_its_answer_arrives(
    most: int, relay: Relay, mariadb: MariaDB, college: College
) -> None:
    """An answer that is the one of before is not taken apart again; `most`: in pieces of how many bytes it arrives."""
    college.sign_up("Ada", "Lovelace", AT)
    ends = [1, 2, 2, 9, 10, 10, 99, 100, 101, 10**15, 10**15 + 1, 0, 0, 7]
    found = []
    with slicing(mariadb.port, most) as port:
        relay.set("moodle.database.port", port)
        moodle = parts.make_moodle(config.load(relay.write()))
        for end in ends:
            # An id of 0 would be given another number.
            college.run("UPDATE mdl_logstore_standard_log SET id = %s", end or 3)
            connection = contextlib.nullcontext() if end else emptied(college)
            with connection:
                found.append((moodle.max_id(), moodle.max_id(), moodle.min_id()))
        moodle.close()
    assert found == [(end, end, end) for end in ends]


@contextlib.contextmanager
def emptied(college: College) -> Iterator[None]:
    """A log without a row, within."""
    college.run("RENAME TABLE mdl_logstore_standard_log TO kept")
    college.run("CREATE TABLE mdl_logstore_standard_log LIKE kept")
    yield
    college.run("DROP TABLE mdl_logstore_standard_log")
    college.run("RENAME TABLE kept TO mdl_logstore_standard_log")


@contextlib.contextmanager
def slicing(target: int, most: int) -> Iterator[int]:
    """Pass one connection on to a port, its answers in pieces of so many bytes; give the port that does so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pump(source: socket.socket, sink: socket.socket, most: int) -> None:
            while data := source.recv(65536):
                for start in range(0, len(data), most):
                    sink.sendall(data[start : start + most])
            sink.shutdown(socket.SHUT_WR)

        def serve() -> None:
            with listener.accept()[0] as near, socket.create_connection(("127.0.0.1", target)) as far:
                near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                asking = threading.Thread(target=pump, args=(near, far, 65536))
                asking.start()
                pump(far, near, most)
                asking.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join()


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
