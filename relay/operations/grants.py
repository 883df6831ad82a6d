"""The SQL that makes the database users: of Moodle's, who may read what relay reads and nothing else. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: What the person who runs the statements is told.
NOTE = (
    "the SQL lets this account read config_plugins.value as a whole: who has its password can read the settings of "
    "every Moodle plugin, secrets among them. relay reads those of the log, import-plugin those of the old plugin."
)


def statements(
    columns: Mapping[str, Sequence[str]],
    newer: Mapping[str, Sequence[str]],
    *,
    schema: str,
    prefix: str,
    user: str,
    host: str,
    password: str,
) -> Iterator[str]:
    """Yield the statements, for MariaDB and MySQL alike.

    `columns` are those that every Moodle has, `newer` those that are granted where they are there, both by table.
    """
    account = f"{_text(user)}@{_text(host)}"
    yield _user(account, password)
    for table, names in columns.items():
        listed = ", ".join(_name(name) for name in names)
        yield f"GRANT SELECT ({listed}) ON {_name(schema)}.{_name(prefix + table)} TO {account};"
    for table, names in newer.items():
        for name in names:
            grant = f"GRANT SELECT ({_name(name)}) ON {_name(schema)}.{_name(prefix + table)} TO {account}"
            # A GRANT of a column that is not there fails as a whole.
            terms = {"table_schema": schema, "table_name": prefix + table, "column_name": name}
            where = " AND ".join(f"{column} = {_text(value)}" for column, value in terms.items())
            yield (
                f"SET @relay = (SELECT IF(COUNT(*) > 0, {_text(grant)}, 'DO 0') "
                f"FROM information_schema.columns WHERE {where});"
            )
            yield "PREPARE relay FROM @relay;"
            yield "EXECUTE relay;"
            yield "DEALLOCATE PREPARE relay;"


def outbox_statements(*, schema: str, user: str, host: str, password: str) -> Iterator[str]:
    """Yield the statements that make the schema of an outbox and its user, who makes the tables there."""
    account = f"{_text(user)}@{_text(host)}"
    yield f"CREATE DATABASE IF NOT EXISTS {_name(schema)};"
    yield _user(account, password)
    yield f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX ON {_name(schema)}.* TO {account};"


def _user(account: str, password: str) -> str:
    """Return what makes an account. MySQL keeps the password of this statement out of its logs."""
    return f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {_text(password)};"


def _name(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
