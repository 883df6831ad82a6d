"""How a key of the config is declared: once, beside the dataclass field that holds its value.

What reads a config, the defaults, config.example.yaml and the README's list are all made from these declarations.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.config.reader import Section
    from relay.config.values import ValueType

Made = TypeVar("Made")
#: Where a dataclass field keeps its declaration: `field(metadata=...)`.
DECLARED = "declared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the config."""

    value: ValueType
    #: As it would be written in the file; '' where there is none.
    default: str = ""
    #: A part of a sentence, for the README and the example.
    meaning: str = ""
    #: What config.example.yaml shows where there is no default.
    example: str = ""
    is_required: bool = False
    #: Most configs need it: the example does not comment it out.
    is_advised: bool = False

    def read(self, section: Section, name: str) -> object:
        """Return the value that a section has for this key, or the default. Mistakes are noted in the section."""
        value = self.value.read(section, name, self.default)
        if self.is_required and name not in section:
            section.wrong(name, "is missing")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Generic[Made]):
    """A section of the config: what is declared for its keys, and what is made of their values."""

    keys: Mapping[str, Key | Group[Any]]
    #: Returns what the config holds for this section, given the section and the values by name; may note mistakes.
    make: Callable[[Section, dict[str, Any]], Made]
    #: A part of a sentence, for the README and the example.
    meaning: str = ""
    #: None is made of it where it is not given at all.
    is_optional: bool = False
    #: config.example.yaml shows it on one line.
    is_inline: bool = False

    def read(self, parent: Section, name: str) -> Made | None:
        """Return what is made of the section of this name. Mistakes are noted in it."""
        made = self.fill(parent.section(name))
        return None if self.is_optional and name not in parent else made

    def fill(self, section: Section) -> Made:
        """Return what is made of a section. Mistakes are noted in it; what is returned is of no use then."""
        return self.make(section, {name: one.read(section, name) for name, one in self.keys.items()})


def keys_of(kind: type[Any]) -> dict[str, Key | Group[Any]]:
    """Return what is declared for the fields of a dataclass, by name and in order."""
    return {one.name: one.metadata[DECLARED] for one in fields(kind) if DECLARED in one.metadata}


def group(kind: type[Made], make: Callable[[Section, dict[str, Any]], Made] | None = None) -> Group[Made]:
    """Return the section that fills a dataclass, by its own arguments or by `make`."""
    return Group(keys=keys_of(kind), make=make or (lambda _section, values: kind(**values)))


def part(declared: Group[Any]) -> Mapping[str, Group[Any]]:
    """Return the metadata of a field that holds a section."""
    return {DECLARED: declared}


def defaulted(value: ValueType, default: str, meaning: str) -> Mapping[str, Key]:
    """Return the metadata of a field whose key has a default."""
    return {DECLARED: Key(value=value, default=default, meaning=meaning)}


def required(value: ValueType, example: str, meaning: str) -> Mapping[str, Key]:
    """Return the metadata of a field whose key must be given."""
    return {DECLARED: Key(value=value, example=example, meaning=meaning, is_required=True)}


def optional(value: ValueType, example: str, meaning: str) -> Mapping[str, Key]:
    """Return the metadata of a field whose key may be left out; the field is None, or empty, then."""
    return {DECLARED: Key(value=value, example=example, meaning=meaning)}


def advised(value: ValueType, example: str, meaning: str) -> Mapping[str, Key]:
    """Return the metadata of a field whose key may be left out, and that most configs need."""
    return {DECLARED: Key(value=value, example=example, meaning=meaning, is_advised=True)}
