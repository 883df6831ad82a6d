"""Connections to a shared outbox: what nobody needs is closed before the server does it, which it warns of."""

from __future__ import annotations

import contextlib
import time

import pymysql

from relay.outbox.mysql_database import IDLE_S, Database
from relay.rules.server import Address


def test_a_connection_that_nobody_needs_is_closed_before_the_server_ends_it(outbox_address: Address) -> None:
    now = 0.0
    database = Database(outbox_address, elapsed=lambda: now, sleep=time.sleep)

    def use_two() -> int:
        with database._connection(), database._connection():
            return connections()

    def connections() -> int:
        with pymysql.connect(**outbox_address.options()) as other, other.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE db = 'outbox'")
            ((count,),) = cursor.fetchall()
            return int(count) - 1

    def aborted() -> int:
        with pymysql.connect(**outbox_address.options()) as other, other.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")
            ((_, count),) = cursor.fetchall()
            return int(count)

    before = aborted()
    with contextlib.closing(database):
        assert use_two() == 2
        for _ in range(4):
            now += IDLE_S / 2
            database.rows("SELECT 1")
        ends_at = time.monotonic() + 30
        while connections() > 1:
            assert time.monotonic() < ends_at
        assert len(database._idle) == 1
    assert aborted() == before
