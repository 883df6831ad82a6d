"""Runs relay with an outbox whose commits are not synced one by one: `python unsynced.py the arguments of relay`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from relay import cli
from relay.outbox import sqlite_database

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


def main() -> None:
    connect = sqlite_database._connect

    def connected(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    sqlite_database._connect = connected
    sys.exit(cli.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
