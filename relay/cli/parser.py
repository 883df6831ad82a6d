"""The command line's grammar: a parser made of the commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from relay import __version__
from relay.cli.commands import COMMANDS, GROUPS
from relay.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

FILE = "`relay COMMAND --help` has examples. FILE: --config, else $RELAY_CONFIG, else config.yaml, else \
/etc/relay/config.yaml."


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError: it is shown as every other error is."""
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", hint=f"See `{self.prog} --help`.")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    common = Parser(add_help=False)
    common.add_argument("--config", metavar="FILE", type=Path, default=argparse.SUPPRESS, help="the config file")
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show a traceback with an error"
    )
    top = Parser(
        prog="relay",
        usage="relay [-h] [--version] [--config FILE] [--debug] [COMMAND] ...",
        description="Delivers what happens in a Moodle site to a college's backend.",
        epilog="\n".join([*_overview(), FILE]),
        parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"moodle-relay {__version__}")
    # The overview has them in groups, which argparse cannot make.
    made = top.add_subparsers(dest="command", parser_class=Parser, prog="relay", help=argparse.SUPPRESS)
    for command in COMMANDS:
        command.add_arguments(
            made.add_parser(
                command.name,
                description=f"{command.summary[:1].upper()}{command.summary[1:]}.",
                epilog=command.examples,
                parents=[common],
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    return top


def _overview() -> Iterator[str]:
    """Yield the commands in their groups, a line each."""
    width = max(len(command.name) for command in COMMANDS)
    for title, commands in GROUPS.items():
        yield f"{title}:"
        yield from (f"  {command.name:<{width}}  {command.summary}" for command in commands)
        yield ""


def with_default(arguments: Sequence[str], names: Collection[str]) -> list[str]:
    """Put `run` where no command is named."""
    given = list(arguments)
    values = {index + 1 for index, word in enumerate(given) if word == "--config"}
    first = next((i for i, word in enumerate(given) if not word.startswith("-") and i not in values), None)
    if first is None and not {"-h", "--help", "--version"} & set(given):
        return ["run", *given]
    if first is not None and given[first] not in names and any(word.startswith("-") for word in given[:first]):
        # `relay --once --timeout 5s`: the word is an option's value, not a command.
        return ["run", *given]
    return given
