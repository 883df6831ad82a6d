"""A YAML file as sections that are asked for their keys, and that note every mistake with its path and line."""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import yaml

from relay.config import credentials
from relay.errors import ConfigError, CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from relay.config.credentials import Secret

Value = TypeVar("Value")

TAG = "tag:yaml.org,2002:"
BYTE_ORDER_MARK = "\ufeff"
#: The longest config that is read, in characters.
LONGEST = 1_000_000
#: Why a file is no YAML, by what the parser's words hold; these words themselves quote what stands there.
PROBLEMS = {
    "undefined alias": "undefined alias: a value that begins with * must stand in single quotes",
    "duplicate anchor": "duplicate anchor: a value that begins with & must stand in single quotes",
    "tag": "undefined tag: a value that begins with ! must stand in single quotes",
    "cannot start any token": "a value that begins with @, ` or %, or a tab before it, must stand in single quotes",
    "mapping values": "mapping values are not allowed here: a value that holds a colon must stand in single quotes",
    "escape": "unknown escape: a value that holds a backslash must stand in single quotes",
    "another document": "it was to end, but found another document",
    "end of stream": "a quote or a bracket is not closed",
    "expected": "a bracket, a comma, a colon or a quote was expected",
}
NO_YAML = "Look at the indentation, the colons and the quotes there and in the line before."
#: What is true and what is false, in YAML's words.
BOOLEANS: Mapping[str, bool] = yaml.SafeLoader.bool_values
#: What the name of a key looks like. What does not may be a value, even a secret, that lacks the blank behind a colon.
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}", re.ASCII)


@dataclass(slots=True)
class Mistakes:
    """What is wrong with a file: a line each."""

    #: A secret that cannot be read here is none of them: it is noted in the secret itself.
    is_lenient: bool = False
    found: list[tuple[int, str]] = field(default_factory=list)
    #: What to do about secrets that cannot be read, each once.
    hints: dict[str, None] = field(default_factory=dict)

    def add(self, path: str, what: str, node: yaml.Node | None) -> None:
        """Note a mistake at a node; None where there is none."""
        line = node.start_mark.line + 1 if node is not None else 0
        self.found.append((line, f"{path}: {what}" + (f" (line {line})" if line else "")))

    def lines(self) -> tuple[str, ...]:
        """Return them in the order of the file."""
        return tuple(text for _, text in sorted(self.found))

    def hint(self) -> str:
        """Return what to do about them."""
        return next(filter(None, self.hints), "config.example.yaml shows every key.")


def compose(text: str, source: Path) -> yaml.Node | None:
    """Return the tree of a YAML text; None where it is empty. Raises ConfigError."""
    try:
        if len(text) > LONGEST:
            raise ConfigError(f"The config {source} is longer than any config.", hint="Is it another file?")
        return _tree(text)
    except (yaml.YAMLError, RecursionError) as error:
        # Never the parser's own words: they quote what stands there, and that may be a secret.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        said = getattr(error, "problem", None) or ""
        reason = next((f": {ours}" for theirs, ours in PROBLEMS.items() if theirs in said), "")
        raise ConfigError(f"The config {source} is no YAML{reason}{where}.", hint=NO_YAML) from None


def _tree(text: str) -> yaml.Node | None:
    """Return the tree of a text: by libyaml, a thirtieth of the time, where PyYAML has it and it takes the text.

    It counts places from behind a byte order mark, and what it refuses is judged by the other parser, in its words.
    """
    if hasattr(yaml, "CSafeLoader") and BYTE_ORDER_MARK not in text:
        with contextlib.suppress(yaml.YAMLError):
            return yaml.compose(text, Loader=yaml.CSafeLoader)
    return yaml.compose(text, Loader=yaml.SafeLoader)


@functools.cache
def _written(text: str) -> yaml.Node | None:
    """Return the tree of a default, as it would be written; None for ''."""
    return _tree(text)


class Section:
    """A mapping of the config. Keys that were asked for are known; `close` makes a mistake of every other one.

    Whoever asks for a key may give its default, as it would be written; it is read where the file has no value.
    """

    def __init__(self, node: yaml.Node | None, path: str, mistakes: Mistakes, source: Path) -> None:
        self.node = node
        self.path = path
        #: The file.
        self.source = source
        self._mistakes = mistakes
        self._known: list[str] = []
        self._values: dict[str, yaml.Node] = {}
        self._sections: list[Section] = []
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._take(key, value)
        elif node is not None and not _is_null(node):
            mistakes.add(path or "the config", "must be a mapping of keys to values", node)

    @property
    def base(self) -> Path:
        """The folder of the file: relative paths begin there."""
        return self.source.absolute().parent

    def _take(self, key: yaml.Node, value: yaml.Node) -> None:
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        if name in self._values:
            shown = self._at(name) if KEY.fullmatch(name) else self.path or "the config"
            self._mistakes.add(shown, "is given twice", key)
        self._values[name] = value

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def __contains__(self, name: str) -> bool:
        return name in self._values and not _is_null(self._values[name])

    def wrong(self, name: str, what: str) -> None:
        """Note a mistake at a key of this section."""
        self._mistakes.add(self._at(name), what, self._values.get(name, self.node))

    def close(self) -> None:
        """Note the keys that nobody has asked for, here and in the sections within, each with the nearest known one."""
        for section in self._sections:
            section.close()
        for name, value in self._values.items():
            if name in self._known:
                continue
            if not KEY.fullmatch(name):
                self._mistakes.add(self.path or "the config", "holds what is no key: keys are `name: value`", value)
                continue
            import difflib  # noqa: PLC0415 -- for a mistake

            near = difflib.get_close_matches(name, self._known, n=1, cutoff=0.5)
            if near:
                what = f"is no known key; did you mean {near[0]}?"
            else:
                what = f"is no known key; known here: {', '.join(self._known)}"
            self._mistakes.add(self._at(name), what, value)

    def section(self, name: str, default: str = "") -> Section:
        """Return a section within this one; the default, if there is one, where it is not there or empty."""
        self._known.append(name)
        node = self._values.get(name)
        is_empty = node is None or _is_null(node) or (isinstance(node, yaml.MappingNode) and not node.value)
        section = Section(
            _written(default) if default and is_empty else node, self._at(name), self._mistakes, self.source
        )
        self._sections.append(section)
        return section

    def sections(self, name: str) -> tuple[Section, ...]:
        """Return the sections in a list within this one."""
        found = [
            Section(node, f"{self._at(name)}[{index}]", self._mistakes, self.source)
            for index, node in enumerate(self._list(name))
        ]
        self._sections += found
        return tuple(found)

    def plain(self) -> dict[str, object]:
        """Return the whole section as it is written, as YAML's own types. Raises ConfigError."""
        loader = yaml.SafeLoader("")
        try:
            found = loader.construct_document(self.node) if isinstance(self.node, yaml.MappingNode) else {}
        except (yaml.YAMLError, ValueError, KeyError, RecursionError):
            raise ConfigError(f"{self.path} in the config {self.source} is no plain YAML.", hint=NO_YAML) from None
        return dict(found)

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield all keys with their scalar values, whatever they are called."""
        for name, node in self._values.items():
            self._known.append(name)
            if isinstance(node, yaml.ScalarNode):
                yield name, node.value
            else:
                self.wrong(name, "must be a single value")

    def scalar(self, name: str, check: Callable[[str], Value], default: str = "") -> Value | None:
        """Return what `check` makes of a value's text, or None without one; a ValueError of `check` is a mistake."""
        node = self._node(name, default)
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode):
            self.wrong(name, "must be a single value")
            return None
        try:
            return check(node.value)
        except ValueError as error:
            self.wrong(name, str(error))
            return None

    def boolean(self, name: str, default: str) -> bool | None:
        """Return true or false; None where it is neither, which is a mistake."""
        node = self._node(name, default)
        value = None if node is None or node.tag != f"{TAG}bool" else BOOLEANS.get(str(node.value).lower())
        if value is None:
            self.wrong(name, "must be true or false")
        return value

    def secret(self, name: str, check: Callable[[str], object]) -> Secret | None:
        """Return a secret that `check` has nothing against; its ValueError must not hold the secret."""
        node = self._node(name)
        return None if node is None else self._secret(self._at(name), node, check)

    def secrets(self, name: str, check: Callable[[str], object]) -> tuple[Secret, ...]:
        """Return a list of secrets."""
        found = [self._secret(f"{self._at(name)}[{i}]", node, check) for i, node in enumerate(self._list(name))]
        return tuple(secret for secret in found if secret is not None)

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a list of positive whole numbers."""
        found = []
        for index, node in enumerate(self._list(name)):
            value = node.value if isinstance(node, yaml.ScalarNode) else ""
            if value.isascii() and value.isdigit() and 0 < len(value) < 19:
                found.append(int(value))
            else:
                self._mistakes.add(f"{self._at(name)}[{index}]", "must be a whole number", node)
        return tuple(found)

    def texts(self, name: str, check: Callable[[str], object]) -> tuple[str, ...]:
        """Return a list of texts that `check` has nothing against; its ValueError is a mistake, and so is a repeat."""
        found: list[str] = []
        for index, node in enumerate(self._list(name)):
            value = node.value if isinstance(node, yaml.ScalarNode) else ""
            try:
                check(value)
            except ValueError as error:
                self._mistakes.add(f"{self._at(name)}[{index}]", str(error), node)
            if value in found:
                self._mistakes.add(f"{self._at(name)}[{index}]", "is given twice", node)
            found.append(value)
        return tuple(found)

    def words(self, name: str, known: Sequence[str]) -> tuple[str, ...]:
        """Return a list of words that are known, each once and in the order in which they are known."""
        found = set()
        for index, node in enumerate(self._list(name)):
            value = node.value if isinstance(node, yaml.ScalarNode) else ""
            if value in known:
                found.add(value)
            else:
                self._mistakes.add(f"{self._at(name)}[{index}]", f"must be one of {', '.join(known)}", node)
        return tuple(word for word in known if word in found)

    def _list(self, name: str) -> Sequence[yaml.Node]:
        node = self._node(name)
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.wrong(name, "must be a list")
            return ()
        nodes: list[yaml.Node] = node.value
        return nodes

    def _secret(self, path: str, node: yaml.Node, check: Callable[[str], object]) -> Secret | None:
        given: str | dict[str, object] | None = None
        if node.tag.startswith("!"):
            # YAML has taken a part of it for a tag: what is left is not what was meant.
            self._mistakes.add(path, "begins with !, and must stand in single quotes", node)
            return None
        if isinstance(node, yaml.ScalarNode):
            given = node.value
        elif isinstance(node, yaml.MappingNode):
            given = {str(key.value): value.value for key, value in node.value}
        if given is None:
            self._mistakes.add(path, "must be a secret: {file: …}, {env: …} or {credential: …}", node)
            return None
        try:
            secret = credentials.resolve(given, self.base)
            check(secret.reveal())
        except CredentialError as error:
            if self._mistakes.is_lenient:
                return credentials.missing(error)
            self._mistakes.add(path, str(error), node)
            self._mistakes.hints[error.hint] = None
            return None
        except ValueError as error:
            self._mistakes.add(path, str(error), node)
            return None
        return secret

    def _node(self, name: str, default: str = "") -> yaml.Node | None:
        """Return the value of a key, else the default; the key is known from now on."""
        self._known.append(name)
        return self._values[name] if name in self else _written(default)


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == f"{TAG}null")
