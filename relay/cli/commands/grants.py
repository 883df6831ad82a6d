"""`relay grants`: the SQL that makes the database user that relay needs, and no more."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from relay import config
from relay.cli.command import Command, Exit
from relay.cli.configured import config_path
from relay.errors import UsageError
from relay.events import catalogue
from relay.events.people import with_people
from relay.moodle.rights import columns
from relay.operations import grants

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

EXAMPLES = """examples:
  relay grants > grants.sql                    put a password of your own into the first line, and give it to the
  mariadb < grants.sql                         server, as an administrator
  relay grants --host 10.0.0.5                 relay runs on another machine
  relay grants --outbox --host '10.0.0.%'      of the schema in outbox.url, for the relays that share it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--user", metavar="NAME", help="the new user (default: the config's)")
    parser.add_argument(
        "--outbox", action="store_true", help="of a shared outbox: its schema, and who makes the tables"
    )
    parser.add_argument("--host", default="localhost", metavar="HOST", help="where relay runs (default localhost)")


def handle(arguments: argparse.Namespace) -> int:
    """Print the statements."""
    if arguments.outbox:
        return _outbox_grants(arguments)
    path = config_path(arguments)
    database = config.load_database(path)
    user = arguments.user or database.user
    events, web = config.load_events(path), config.load_web(path)
    for line in statements(replace(database, user=user), events, web, arguments.host):
        print(line)
    _note(*grants.NOTES)
    return Exit.WELL


def statements(
    database: config.DatabaseConfig,
    events: config.EventsConfig,
    web: config.WebConfig,
    host: str,
    password: str = grants.PLACEHOLDER,
) -> Iterator[str]:
    """Yield the SQL of the database's user, who connects from `host`, for these events and the page."""
    kinds = catalogue.watched(events.kinds.values(), events.disabled)
    read = columns(kinds)
    yield from grants.statements(
        read if web.proxy is None else with_people(read),
        catalogue.newer_columns(kinds),
        schema=database.name,
        prefix=database.prefix,
        user=database.user,
        host=host,
        password=password,
    )


def _note(*notes: str) -> None:
    print("\n".join(f"relay: {note}" for note in notes), file=sys.stderr)


def _outbox_grants(arguments: argparse.Namespace) -> int:
    outbox = config.load_outbox(config_path(arguments))
    if outbox.sqlite_path is not None:
        raise UsageError(
            f"The outbox {outbox.url} is a file: it needs no database user.",
            hint="Name a mysql://user@host:port/schema in outbox.url.",
        )
    _, _, user, schema = config.outbox_server(outbox.url)
    for line in grants.outbox_statements(schema=schema, user=arguments.user or user, host=arguments.host):
        print(line)
    _note(grants.NOTES[0])
    return Exit.WELL


COMMAND = Command(
    name="grants",
    summary="print the SQL that makes the least-privilege database user",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
