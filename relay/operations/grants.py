"""The SQL that makes the database users: of Moodle's, who may read what relay reads and nothing else. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: What stands in the place of the password.
PLACEHOLDER = "CHOOSE-A-PASSWORD"
#: What the person who runs the statements is told.
NOTES = (
    f"Put a password of your own in the place of {PLACEHOLDER}: as they are, the statements stop there.",
    (
        "config_plugins.value is granted as a whole: who has this password can read the settings of every plugin, "
        "secrets among them. relay reads those of the log, and import-plugin those of the plugin that it replaces."
    ),
)


def statements(
    columns: Mapping[str, Sequence[str]],
    newer: Mapping[str, Sequence[str]],
    *,
    schema: str,
    prefix: str,
    user: str,
    host: str,
    password: str = PLACEHOLDER,
) -> Iterator[str]:
    """Yield the statements, for MariaDB and MySQL alike; without a password, it is to be filled in.

    `columns` are those that every Moodle has, `newer` those that are granted where they are there, both by table.
    """
    account = f"{_text(user)}@{_text(host)}"
    yield from _user(account, password)
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


def outbox_statements(*, schema: str, user: str, host: str) -> Iterator[str]:
    """Yield the statements that make the schema of an outbox and its user, who makes the tables there."""
    account = f"{_text(user)}@{_text(host)}"
    yield f"CREATE DATABASE IF NOT EXISTS {_name(schema)};"
    yield from _user(account)
    yield f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX ON {_name(schema)}.* TO {account};"


def _user(account: str, password: str = PLACEHOLDER) -> Iterator[str]:
    """Yield what makes an account, as soon as somebody has put a password of their own into the first statement.

    With the placeholder, the second one fails, and what runs the statements stops there: nobody gets an account whose
    password is known.
    """
    made = _text(f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY ")
    yield f"SET @relay_password = {_text(password)};"
    yield (
        "SET @relay = IF(@relay_password LIKE 'CHOOSE-A-%', 'first put a password of your own into the line above', "
        f"CONCAT({made}, QUOTE(@relay_password)));"
    )
    yield "PREPARE relay FROM @relay;"
    yield "EXECUTE relay;"
    yield "DEALLOCATE PREPARE relay;"


def _name(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
