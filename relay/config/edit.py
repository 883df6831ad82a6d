"""Changes keys in the text of a config, and leaves every other key and every comment as it is."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import yaml

from relay.config import document
from relay.config.keys import Group, Key
from relay.config.reader import Mistakes, Section, compose
from relay.config.schema import CONFIG
from relay.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: What needs no quotes, in flow mappings either.
PLAIN = re.compile(r"[A-Za-z/]([A-Za-z0-9/._~:@+=-]*[A-Za-z0-9/._~=-])?", re.ASCII)


def quoted(text: str) -> str:
    """Return a text as a YAML scalar that means that text, also within a flow mapping."""
    is_plain = PLAIN.fullmatch(text) and yaml.safe_load(text) == text
    return text if is_plain else "'" + text.replace("'", "''") + "'"


# One text is asked for each of its keys.
@functools.lru_cache(maxsize=4)
def values(text: str, source: Path) -> Mapping[str, Any]:
    """Return all that a config's text holds, as YAML's own types. Raises ConfigError."""
    return Section(compose(text, source), "", Mistakes(), source).plain()


def value_at(held: Mapping[str, Any], path: str) -> Any:
    """Return what such values hold at a path such as `backend.url`; None where there is nothing."""
    found: Any = held
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def problem(path: str, value: str, source: Path) -> str:
    """Return why a value, as YAML, cannot be that of a key: the end of a sentence, '' where it can. Raises KeyError."""
    *_, name = path.split(".")
    mistakes = Mistakes()
    declared(path).read(Section(compose(f"{name}: {value}", source), "", mistakes, source), name)
    return "; ".join(line.removeprefix(f"{name}: ").removesuffix(" (line 1)") for line in mistakes.lines())


def declared(path: str) -> Key:
    """Return what is declared for a key of the config. Raises KeyError."""
    *sections, name = path.split(".")
    keys = CONFIG.keys
    for section in sections:
        found = keys[section]
        keys = found.keys if isinstance(found, Group) else {}
    key = keys[name]
    if not isinstance(key, Key):
        raise KeyError(path)
    return key


def required() -> list[tuple[str, Key]]:
    """Return the keys that must be given, with their paths."""
    return [(path, key) for path, key in document.rows() if isinstance(key, Key) and key.is_required]


def change(text: str, changes: Mapping[str, str], source: Path) -> str:
    """Return a config's text with other values, given as YAML by the path of their key.

    Raises ConfigError where the text is written in a way in which that is not sure to change these keys alone.
    """
    wanted: object = values(text, source)
    new = text
    try:
        for path, value in changes.items():
            wanted = _with(wanted, path.split("."), yaml.safe_load(value))
            new = _change(new, path.split("."), value, source)
        is_right = values(new, source) == wanted
    except (ConfigError, ValueError):
        is_right = False
    if not is_right:
        raise ConfigError(
            f"The config {source} is written in a way that relay cannot change.",
            hint=f"Set {', '.join(changes)} there by hand.",
        )
    return new


def _with(held: object, names: Sequence[str], value: object) -> object:
    """Return values with another one at a path. Raises ValueError where a part of the path holds something else."""
    if not names:
        return value
    if held is not None and not isinstance(held, dict):
        raise ValueError
    name, *left = names
    held = held or {}
    return {**held, name: _with(held.get(name) if left else None, left, value)}


def _change(text: str, names: Sequence[str], value: str, source: Path) -> str:
    """Return the text with one value changed or added, as far as its form is known; `change` looks at what came out."""
    node = compose(text, source)
    if not isinstance(node, yaml.MappingNode):
        return text + ("" if not text or text.endswith("\n") else "\n") + _block(names, value, 0)
    for depth, name in enumerate(names):
        left = names[depth + 1 :]
        pair = next((pair for pair in node.value if pair[0].value == name), None)
        if pair is None:
            return _added(text, node, names[depth:], value)
        key, node = pair
        if not left or not isinstance(node, yaml.MappingNode) or not node.value:
            return _replaced(text, key, node, _flow(left, value) if left else value)
    return text


def _replaced(text: str, key: yaml.Node, node: yaml.Node, value: str) -> str:
    """Return the text with another value of a key."""
    start, end = node.start_mark.index, _end(text, node)
    is_block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    if is_block or start == end:
        start = text.index(":", key.end_mark.index) + 1
        value = f" {value}"
    return text[:start] + value + text[max(end, start) :]


def _added(text: str, section: yaml.MappingNode, names: Sequence[str], value: str) -> str:
    """Return the text with a key more in a section that has others."""
    if section.flow_style:
        at = section.start_mark.index + 1
        return text[:at] + _flow(names, value)[1:-1] + ", " + text[at:]
    indent = section.start_mark.column
    lines = text.splitlines(keepends=True)
    if len(names) == 1 and (line := _commented_out(lines, section.start_mark.line, indent, names[0])) is not None:
        lines[line] = _block(names, value, indent)
        return "".join(lines)
    at = text.find("\n", _end(text, section))
    before, after = (text + "\n", "") if at < 0 else (text[: at + 1], text[at + 1 :])
    return before + _block(names, value, indent) + after


def _commented_out(lines: Sequence[str], first: int, indent: int, name: str) -> int | None:
    """Return in which line of a section the example's own line for a key stands, commented out."""
    belonging = []
    for step in (-1, 1):
        at = first
        while 0 <= at < len(lines) and (not lines[at].strip() or lines[at].startswith(" " * indent)):
            belonging.append(at)
            at += step
    begin = f"{' ' * indent}# {name}: "
    return next((at for at in belonging if lines[at].startswith(begin) and lines[at].rstrip("\n") in _example()), None)


@functools.cache
def _example() -> frozenset[str]:
    return frozenset(document.example().splitlines())


def _end(text: str, node: yaml.Node) -> int:
    """Return where a value ends, without the comments behind it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return len(text[: node.end_mark.index].rstrip())
    return int(node.end_mark.index)


def _flow(names: Sequence[str], value: str) -> str:
    return "".join(f"{{{name}: " for name in names) + value + "}" * len(names)


def _block(names: Sequence[str], value: str, indent: int) -> str:
    *sections, name = names
    lines = [f"{' ' * (indent + 2 * depth)}{section}:\n" for depth, section in enumerate(sections)]
    return "".join([*lines, f"{' ' * (indent + 2 * len(sections))}{name}: {value}\n"])
