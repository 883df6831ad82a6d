"""`relay schema`: what the events look like, for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from relay.cli import receiving
from relay.cli.command import Command, Exit
from relay.errors import UsageError
from relay.events.catalogue import KINDS
from relay.receivers import openapi, schema

if TYPE_CHECKING:
    import argparse

#: A type, for the examples.
FIRST = next(iter(KINDS))
EXAMPLES = f"""examples:
  relay schema                          all types, as one document
  relay schema {FIRST}             one type (JSON Schema 2020-12)
  relay schema --openapi > relay.json   the whole backend, with what each
                                        answer means (OpenAPI 3.1)

Where there is a config, its events.custom are among the types.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("type", nargs="?", metavar="TYPE", help=f"one of {', '.join(KINDS)}")
    parser.add_argument("--openapi", action="store_true", help="the OpenAPI document of what a backend offers")


def handle(arguments: argparse.Namespace) -> int:
    """Print a schema or the document."""
    if arguments.openapi and arguments.type:
        raise UsageError("--openapi is of all types.", hint="Leave out the type, or --openapi.")
    if arguments.openapi:
        found = openapi.document(receiving.kinds(arguments))
    elif arguments.type:
        found = schema.envelope(receiving.kind_of(arguments))
    else:
        found = schema.any_envelope(receiving.kinds(arguments).values())
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return Exit.WELL


COMMAND = Command(
    name="schema",
    summary="print what the events look like (JSON Schema, OpenAPI)",
    examples=EXAMPLES,
    add_arguments=add_arguments,
    handle=handle,
)
