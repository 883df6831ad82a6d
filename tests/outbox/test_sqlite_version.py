"""The oldest SQLite that an outbox in a file works with, and what is said of an older one."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from relay.errors import OutboxError
from relay.operations.check import outbox as outbox_checks
from relay.operations.check.result import Verdict
from relay.outbox import migrations, sqlite_database, sqlite_statements
from relay.outbox.sqlite import SqliteOutbox

#: What came after 3.34, as it would stand in a statement.
NEWER = re.compile(
    r"->|\b(MATERIALIZED|RETURNING|DROP COLUMN|STRICT|RIGHT JOIN|FULL JOIN)\b|\b(jsonb|unixepoch)", re.IGNORECASE
)


def test_an_older_sqlite_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 33, 9))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.33.9")
    with pytest.raises(OutboxError, match=r"SQLite 3\.33\.9 is too old: an outbox in a file needs 3\.34\.0") as caught:
        SqliteOutbox(tmp_path / "outbox.db")
    assert "outbox.url" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_no_statement_uses_what_the_oldest_sqlite_does_not_know() -> None:
    assert sqlite_database.OLDEST == (3, 34, 0)
    statements = [text for name, text in vars(sqlite_statements).items() if name.isupper() and isinstance(text, str)]
    statements += [statement for step in migrations.STEPS for statement in step.sqlite]
    assert len(statements) > 15
    assert [text for text in statements if NEWER.search(text)] == []


@pytest.mark.parametrize("is_there", [True, False])
def test_check_says_that_sqlite_is_too_old(is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outbox.db"
    if is_there:
        SqliteOutbox(path).close()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 26, 0))
    (found,) = outbox_checks.checks(path, lambda: SqliteOutbox(path, create=False), lambda: 0.0)
    assert found.verdict is Verdict.FAIL
    assert "needs 3.34.0 or later" in found.found
