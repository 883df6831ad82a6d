"""What is written from the table of keys: config.example.yaml, and the README's list of them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from relay.config.keys import Group, Key
from relay.config.schema import CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

HEADER = """\
# The config of relay: every key, with its default where it has one. Give those that are not commented out.
#
# Durations: 500ms, 5s, 10m, 1h, 30d.
# Secrets:   {file: /path} a file that holds one line      {env: NAME} a variable of the environment
#            {credential: NAME} what systemd's LoadCredential= gives      {sealed: TEXT} what `relay seal` prints
#            or the text itself, which `relay check` warns of.
"""
#: What stands around the list in the README.
BEGIN = "<!-- The list of keys is made by tests/write_docs.py. -->\n\n"
END = "\n<!-- End of the list of keys. -->"
WIDTH = 120

Declared = Key | Group[Any]


def example() -> str:
    """Return the text of config.example.yaml."""
    sections = ("\n".join(_lines({name: one}, "")) for name, one in CONFIG.keys.items())
    return "\n".join([HEADER, *(f"{section}\n" for section in sections)])


def _lines(keys: Mapping[str, Declared], indent: str) -> Iterator[str]:
    for name, one in keys.items():
        yield from _comments(one, indent)
        if isinstance(one, Key):
            mark = "" if one.is_required or one.is_advised else "# "
            yield f"{indent}{mark}{name}: {_shown(one)}"
        elif one.is_inline:
            yield f"{indent}# {name}: {_shown(one)}"
        else:
            yield f"{indent}{name}:"
            yield from _lines(one.keys, f"{indent}  ")


def _meanings(one: Declared) -> list[str]:
    """Return what is said above a key or a section; above a section on one line, what is said of its keys too."""
    if isinstance(one, Key):
        return [one.meaning]
    if not one.is_inline:
        return []
    if not one.meaning:
        return [key.meaning for key in one.keys.values() if isinstance(key, Key)]
    return ["; ".join([one.meaning, *(f"`{name}`: {' '.join(_meanings(key))}" for name, key in one.keys.items())])]


def _comments(one: Declared, indent: str) -> Iterator[str]:
    """Yield the comment above a key or a section."""
    bounds = f" ({one.value.bounds})" if isinstance(one, Key) and one.value.bounds else ""
    for meaning in _meanings(one):
        yield from textwrap.wrap(
            f"{meaning[:1].upper()}{meaning[1:]}{bounds}.",
            WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def _shown(one: Declared) -> str:
    """Return a value as the example has it: the default, or a made-up one."""
    if isinstance(one, Key):
        return one.default or one.example
    return "{" + ", ".join(f"{name}: {_shown(key)}" for name, key in one.keys.items()) + "}"


def rows(keys: Mapping[str, Declared] = CONFIG.keys, path: str = "") -> Iterator[tuple[str, Declared]]:
    """Yield what the README names, with its path: each key, and a section that may be left out as one."""
    for name, one in keys.items():
        if isinstance(one, Group) and not one.is_optional:
            yield from rows(one.keys, f"{path}{name}.")
        else:
            yield f"{path}{name}", one


def listed() -> str:
    """Return the README's list of keys with their defaults, in Markdown: an item for each section."""
    items = (" · ".join(_items([*rows({name: one})])) for name, one in CONFIG.keys.items())
    wrapped = (textwrap.fill(f"- {item}", WIDTH, subsequent_indent="  ", break_on_hyphens=False) for item in items)
    # A key and its default stay on one line.
    return "\n".join(wrapped).replace("\N{NO-BREAK SPACE}", " ") + "\n"


def _items(keys: Iterable[tuple[str, Declared]]) -> Iterator[str]:
    """Yield keys with their defaults; the switches of the kinds of event, whose names the README has, as one."""
    on = []
    for path, one in keys:
        if path.startswith("events.") and path.endswith(".enabled"):
            on += [f"`{path.split('.')[1]}`"] if isinstance(one, Key) and one.default == "true" else []
        elif isinstance(one, Key) and (one.default or one.is_required):
            yield f"`{path}`: {f'`{one.default}`' if one.default else 'required'}".replace(" ", "\N{NO-BREAK SPACE}")
        else:
            yield f"`{path}`"
    if on:
        yield f"`events.TYPE.enabled`: `true` for {', '.join(on)}, `false` for the other [types](#what-is-sent)"


def in_readme(text: str) -> str:
    """Return the text of the README with the list of keys as it should be. Raises ValueError where its marks lack."""
    before, marked, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not marked or not ended:
        raise ValueError("the README has lost the comments around the list of keys")
    return f"{before}{BEGIN}{listed()}{END}{after}"
