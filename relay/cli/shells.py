"""Completion for bash, zsh and fish, and the man page: made of the command line's parsers."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relay import __version__
from relay.cli.commands import GROUPS, NAMES, load
from relay.cli.parser import FILE, parsers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """An option, or another argument, of a parser."""

    #: Its forms, such as -h and --help; () where it is no option.
    forms: Sequence[str]
    #: What stands for its value; '' where it takes none.
    value: str
    #: The values that there are, where only some are.
    choices: Sequence[str]
    is_file: bool
    help: str


def arguments(parser: argparse.ArgumentParser) -> list[Argument]:
    """Return the arguments of a parser that its help shows."""
    found = []
    for action in parser._actions:  # noqa: SLF001 -- argparse tells of them nowhere else
        if argparse.SUPPRESS in (action.help, action.metavar):
            continue
        choices = [] if action.choices is None else [str(one) for one in action.choices]
        name = action.metavar if isinstance(action.metavar, str) else "|".join(choices) or action.dest.upper()
        found.append(
            Argument(
                forms=tuple(action.option_strings),
                value="" if action.nargs == 0 else name,
                choices=choices,
                is_file=action.type is Path or name == "FILE",
                help=(action.help or "").replace("%%", "%"),
            )
        )
    return found


def _known() -> tuple[list[Argument], dict[str, list[Argument]]]:
    """Return the arguments of `relay` itself, and those of each command."""
    top, commands = parsers(NAMES)
    return arguments(top), {name: arguments(commands[name]) for name in NAMES}


def _forms(found: Sequence[Argument]) -> list[str]:
    return [form for one in found for form in one.forms]


# -- bash

BASH = """\
# Completion of relay for bash, made by `relay completion bash`.
_relay() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command= words= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --config) ((i++)) ;;
            -*) ;;
            *) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    COMPREPLY=()
    case $command,$before in
%(values)s
    esac
    case $command in
%(words)s
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _relay relay
"""
BASH_FILES = 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current"); return'
BASH_WORDS = """mapfile -t COMPREPLY < <(compgen -W '%s' -- "$current"); return"""


def bash() -> str:
    """Return the completion for bash."""
    top, commands = _known()
    # Without a command, relay runs: its options are taken.
    known = {"": [*top, *commands["run"]], **commands}
    values: dict[str, dict[str, None]] = {}
    for name, found in known.items():
        for one in found:
            if one.forms and one.value:
                words = BASH_WORDS % " ".join(one.choices) if one.choices else "return"
                patterns = values.setdefault(BASH_FILES if one.is_file else words, {})
                patterns.update(dict.fromkeys(f"{name},{form}" for form in one.forms))
    return BASH % {
        "values": "\n".join(f"        {'|'.join(patterns)}) {action} ;;" for action, patterns in values.items()),
        "words": "\n".join(
            f"        {name or _quoted('')}) {_bash_words(name, found)} ;;" for name, found in known.items()
        ),
    }


def _bash_words(name: str, found: Sequence[Argument]) -> str:
    """Return what gives the words that may come behind a command."""
    given = [*(() if name else NAMES), *_forms(found), *_choices(found)]
    words = f"words='{' '.join(dict.fromkeys(given))}'"
    takes_file = any(one.is_file and not one.forms for one in found)
    return f"if [[ $current == -* ]]; then {words}; else {BASH_FILES}; fi" if takes_file else words


def _choices(found: Sequence[Argument]) -> list[str]:
    """Return the words that an argument which is no option can be."""
    return [choice for one in found if not one.forms for choice in one.choices]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# -- zsh

ZSH = """\
#compdef relay
# Completion of relay for zsh, made by `relay completion zsh`: a file _relay in a folder of $fpath.
_relay() {
    local -a commands
    local state line curcontext=$curcontext
    commands=(
%(commands)s
    )
    _arguments -C \\
%(top)s
        '1: :->command' '*:: :->arguments'
    case $state in
        command) _describe command commands ;;
        arguments)
            case $words[1] in
%(cases)s
            esac ;;
    esac
}
if [[ $funcstack[1] == _relay ]]; then _relay "$@"; else compdef _relay relay; fi
"""


def zsh() -> str:
    """Return the completion for zsh."""
    top, commands = _known()
    cases = []
    for name, found in commands.items():
        specs = " \\\n".join(f"                    {spec}" for one in found for spec in _zsh(one))
        cases.append(f"                {name}) _arguments \\\n{specs} ;;")
    return ZSH % {
        "commands": "\n".join(
            f"        {_quoted(f'{name}:' + load(name).summary.replace(':', chr(92) + ':'))}" for name in NAMES
        ),
        "top": "\n".join(f"        {spec} \\" for one in top for spec in _zsh(one)),
        "cases": "\n".join(cases),
    }


def _zsh(one: Argument) -> Iterator[str]:
    """Yield what `_arguments` takes for an argument: a word for each of its forms."""
    meaning = re.sub(r"([\\\[\]:])", r"\\\1", one.help)
    name = re.sub(r"([\\\[\]:])", r"\\\1", one.value)
    action = "_files" if one.is_file else f"({' '.join(one.choices)})" if one.choices else " "
    for form in one.forms:
        yield _quoted(f"{form}[{meaning}]" + (f":{name}:{action}" if one.value else ""))
    if not one.forms:
        yield _quoted(f"*:{name}:{action}")


# -- fish


def fish() -> str:
    """Return the completion for fish."""
    top, commands = _known()
    lines = ["# Completion of relay for fish, made by `relay completion fish`.", "complete -c relay -f"]
    lines += [
        f"complete -c relay -n __fish_use_subcommand -a {name} -d {_fish_quoted(load(name).summary)}" for name in NAMES
    ]
    lines += [f"complete -c relay -n __fish_use_subcommand {words}" for one in top for words in _fish(one)]
    for name, found in commands.items():
        condition = f"complete -c relay -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{condition} {words}" for one in found for words in _fish(one)]
    return "\n".join(lines) + "\n"


def _fish(one: Argument) -> Iterator[str]:
    """Yield what `complete` takes for an argument."""
    forms = [f"-l {form[2:]}" if form.startswith("--") else f"-s {form[1:]}" for form in one.forms]
    values = "-F" if one.is_file else f"-a {_fish_quoted(' '.join(one.choices))}" if one.choices else ""
    # -x: a value is wanted, and no file's name is offered.
    value = ("-r" if one.is_file else "-x") if one.forms and one.value else ""
    if forms or values:
        yield " ".join(filter(None, [*forms, value, values, f"-d {_fish_quoted(one.help)}"]))


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# -- man


def man() -> str:
    """Return the man page, for groff and mandoc."""
    top, commands = _known()
    lines = [
        f'.TH RELAY 1 "" "moodle-relay {__version__}" "relay"',
        ".SH NAME",
        r"relay \- delivers what happens in a Moodle site to a backend",
        ".SH SYNOPSIS",
        r".B relay",
        r"[\-\-config",
        r".IR FILE ]",
        r"[\fICOMMAND\fR] [\fIARGUMENTS\fR]",
        ".SH DESCRIPTION",
        "relay reads the log and the tables of a Moodle site, and delivers each relevant event to one HTTP backend as",
        "a signed JSON document, at least once. Without a command it runs.",
        ".SH OPTIONS",
        *_described(top),
    ]
    for title, names in GROUPS.items():
        lines.append(f".SH COMMANDS: {_roff(title).upper()}")
        for name in names:
            lines += [
                f'.SS "relay {_roff(name)}"',
                f"{_roff(_sentence(load(name).summary))}",
                *_described(commands[name]),
            ]
            lines += [".PP", ".nf", *(_roff(line) for line in load(name).examples.rstrip("\n").split("\n")), ".fi"]
    lines += [
        *(".SH FILES", _roff(FILE)),
        ".SH EXIT STATUS",
        "0: well. 1: something was not delivered, or a check failed. 2: wrong usage or config. 3: the database or the",
        "outbox could not be reached.",
    ]
    return "\n".join(lines) + "\n"


def _described(found: Sequence[Argument]) -> Iterator[str]:
    for one in found:
        forms = ", ".join(f"\\fB{_roff(form)}\\fR" for form in one.forms)
        value = f"\\fI{_roff(one.value)}\\fR" if one.value else ""
        yield from (".TP", f"{forms} {value}".strip(), _roff(_sentence(one.help)))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _roff(text: str) -> str:
    """Return a text as roff that shows just that."""
    shown = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga").replace("~", "\\(ti")
    )
    return f"\\&{shown}" if shown.startswith(".") else shown
