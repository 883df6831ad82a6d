"""`relay grants`: the SQL that makes the database user that relay needs, and no more."""

from __future__ import annotations

import secrets
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from relay import config
from relay.cli.command import Command, Exit
from relay.cli.configured import config_path
from relay.cli.printing import fitted
from relay.config.checks import is_placeholder
from relay.errors import CredentialError, UsageError
from relay.events import catalogue
from relay.events.people import with_people
from relay.moodle.rights import columns
from relay.operations import grants
from relay.service import addresses

if TYPE_CHECKING:
    import argparse

    from relay.config.credentials import Secret

EXAMPLES = """examples:
  relay grants > grants.sql       then, as the database's administrator:
  mariadb < grants.sql
  relay grants | mariadb          the same at once
  relay grants --host 10.0.0.5    relay runs on another machine
  relay grants --outbox --host '10.0.0.%'
                                  the schema and the user of a shared outbox

The password in the SQL is the one that the config names. Where none can be
read, a new one is made, and you are told where to put it.
The SQL holds the password: delete the file when it has been run.
"""
#: Whose password is in the SQL, where it is no new one.
OWN = "its password is the one that the config names."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--user", metavar="NAME", help="the new user (default: the config's)")
    parser.add_argument("--outbox", action="store_true", help="the SQL for a shared outbox: its schema and its user")
    parser.add_argument(
        "--host",
        metavar="HOST",
        help="from where the database's server sees relay come (default: localhost, or this machine's address)",
    )


def handle(arguments: argparse.Namespace) -> int:
    """Print the statements."""
    path = config_path(arguments)
    if arguments.outbox:
        return _outbox_grants(arguments, config.load_outbox(path))
    database = config.load_database(path)
    if arguments.user and arguments.user != database.user:
        # The password of another account is not this one's.
        database = replace(database, user=arguments.user, password=None)
    show(database, config.load_events(path), config.load_web(path), host=arguments.host)
    return Exit.WELL


def show(
    database: config.DatabaseConfig,
    events: config.EventsConfig,
    web: config.WebConfig,
    *,
    host: str | None,
    option: str = "--host",
    is_brief: bool = False,
) -> None:
    """Print the SQL of the database's user, for these events and the page, and say what is to be done with it.

    `host`: from where the user connects, None for where this machine is; `option`: what gives it. `is_brief`: say only
    what must be known now.
    """
    host = host or addresses.own_host(database)
    password, note = _password("moodle.database", database.password, database.user)
    kinds = catalogue.watched(events.kinds.values(), events.disabled)
    read = columns(kinds)
    lines = grants.statements(
        read if web.proxy is None else with_people(read),
        catalogue.newer_columns(kinds),
        schema=database.name,
        prefix=database.prefix,
        user=database.user,
        host=host,
        password=password,
    )
    print("\n".join(lines), flush=True)
    _say(database.user, host, option, *([note] if is_brief else [note or OWN, grants.NOTE]))


def make_password() -> str:
    """Return a new password that nobody can guess."""
    # The end is for servers that want a character of each kind.
    return secrets.token_urlsafe(24) + "-Aa1"


def _password(section: str, given: Secret | None, user: str) -> tuple[str, str]:
    """Return the password of an account: the config's, or else a new one, with where it is to be put."""
    key = f"{section}.password"
    try:
        if given is not None and not is_placeholder(given.reveal()):
            return given.reveal(), ""
    except CredentialError:
        pass
    place = f"a file that {key} in the config names" if given is None else f"where {key} in the config says"
    if given is not None and given.path is not None:
        place = f"the file {given.path}, on one line"
    return make_password(), f"its password is new: put it into {place}; {section}.user is {user}."


def _say(user: str, host: str, option: str, *notes: str) -> None:
    lines = (
        f"the SQL makes the account '{user}'@'{host}'; `{option} HOST` names another host that relay comes from.",
        *filter(None, notes),
        f"an account that is there keeps its password; another one: ALTER USER '{user}'@'{host}' IDENTIFIED BY '...';",
    )
    print("\n".join(fitted(f"relay: {line}", sys.stderr) for line in lines), file=sys.stderr)


def _outbox_grants(arguments: argparse.Namespace, outbox: config.OutboxConfig) -> int:
    if outbox.sqlite_path is not None:
        raise UsageError(
            f"The outbox {outbox.url} is a file: it needs no database user.",
            hint="Name a mysql://user@host:port/schema in outbox.url.",
        )
    server, port, own, schema = config.outbox_server(outbox.url)
    user = arguments.user or own
    host = arguments.host or addresses.seen_from(server, port)
    password, note = _password("outbox", outbox.password if user == own else None, user)
    print("\n".join(grants.outbox_statements(schema=schema, user=user, host=host, password=password)))
    _say(user, host, "--host", note or OWN)
    return Exit.WELL


COMMAND = Command(
    name="grants",
    summary="print the SQL that makes relay's account in the database",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
