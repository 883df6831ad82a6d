"""The command line's grammar: a parser made of the commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from relay import __version__
from relay.cli.commands import GROUPS, NAMES, load
from relay.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

FILE = """`relay COMMAND --help` has examples.
The config: --config FILE, else $RELAY_CONFIG, else config.yaml in this folder,
else /etc/relay/config.yaml."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError: it is shown as every other error is."""
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", hint=f"See `{self.prog} --help`.")


class Overview(Parser):
    """Shows all commands in its help; they are read only then."""

    def format_help(self) -> str:
        """Return the help, with the commands in their groups."""
        self.epilog = "\n".join([*_overview(), FILE])
        return super().format_help()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what a command line says; `command` is the name of a command. Raises UsageError."""
    given = list(arguments)
    at = _first_word(given)
    if at is None:
        is_run = not {"-h", "--help", "--version"} & set(given)
    else:
        # `relay --once --timeout 5s`: the word is an option's value, not a command.
        options = [word for word in given[:at] if word.startswith("-") and not word.startswith(("--config", "--debug"))]
        is_run = given[at] not in NAMES and bool(options)
    if is_run:
        given, at = ["run", *given], 0
    if at is not None and given[at] not in NAMES:
        import difflib  # noqa: PLC0415 -- for a mistake

        near = difflib.get_close_matches(given[at], NAMES, n=1, cutoff=0.5)
        meant = f" Did you mean `relay {near[0]}`?" if near else ""
        raise UsageError(f"There is no command {given[at]!r}.{meant}", hint="See `relay --help`.")
    return parsers({given[at]} if at is not None else ())[0].parse_args(given)


def _first_word(arguments: Sequence[str]) -> int | None:
    """Return where the first word stands that is neither an option nor the config's path."""
    paths = {index + 1 for index, word in enumerate(arguments) if word == "--config"}
    return next((i for i, word in enumerate(arguments) if not word.startswith("-") and i not in paths), None)


def parsers(known: Collection[str]) -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """Return the parser of the whole command line, and those of the commands in `known`, by their names."""
    common = Parser(add_help=False)
    common.add_argument("--config", metavar="FILE", type=Path, default=argparse.SUPPRESS, help="the config file")
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show a traceback with an error"
    )
    top = Overview(
        prog="relay",
        usage="relay [-h] [--version] [--config FILE] [--debug] [COMMAND] ...",
        description="Delivers what happens in a Moodle site to a college's backend.",
        parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"moodle-relay {__version__}")
    # The overview has them in groups, which argparse cannot make.
    made = top.add_subparsers(dest="command", parser_class=Parser, prog="relay", help=argparse.SUPPRESS)
    for name in known:
        command = load(name)
        command.add_arguments(
            made.add_parser(
                name,
                description=f"{command.summary[:1].upper()}{command.summary[1:]}.",
                epilog=command.examples,
                parents=[common],
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    return top, made.choices


def _overview() -> Iterator[str]:
    """Yield the commands in their groups, a line each."""
    width = max(len(name) for name in NAMES)
    for title, names in GROUPS.items():
        yield f"{title}:"
        yield from (f"  {name:<{width}}  {load(name).summary}" for name in names)
        yield ""
