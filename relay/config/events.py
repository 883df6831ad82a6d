"""Which events are sent, and how: the section `events`, with a key for each kind that the catalogue has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from relay.config.custom import CUSTOM
from relay.config.keys import Group, Key, defaulted, keys_of
from relay.config.values import boolean, choice, ids
from relay.events.catalogue import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.config.reader import Section
    from relay.config.values import ValueType
    from relay.events.kind import EventKind, Option


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsConfig:
    """Which events are sent, and how."""

    #: All kinds by name: those of the catalogue, and the config's own.
    kinds: Mapping[str, EventKind]
    #: Every kind that is not sent, by name.
    disabled: frozenset[str]
    #: What is chosen of the kinds' options, by kind and option: of each option, its default where nothing is written.
    chosen: Mapping[tuple[str, str], str]
    ignore_actors: tuple[int, ...] = field(
        metadata=defaulted(
            ids(),
            "[]",
            "ids of Moodle users whose own doings are not sent: name the account that the backend writes back with",
        )
    )


def _chosen(value: object) -> str:
    """Return a value as the kind's option has it among its choices."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def kind_group(kind: EventKind) -> Group[dict[str, Any]]:
    """Return the section of one kind of event: whether it is sent, and its options."""
    switch = Key(value=boolean(), default="true" if kind.is_default else "false", meaning=f"sent when {kind.meaning}")
    options = {
        option.name: Key(value=_value(option), default=option.choices[0], meaning=option.meaning)
        for option in kind.options
    }
    return Group(keys={"enabled": switch, **options}, make=lambda _section, values: values, is_inline=True)


def _value(option: Option) -> ValueType:
    return boolean() if option.is_switch else choice(*option.choices)


def _make(_section: Section, values: dict[str, Any]) -> EventsConfig:
    return EventsConfig(
        kinds={**KINDS, **{kind.name: kind for kind in values["custom"]}},
        disabled=frozenset(name for name in KINDS if not values[name]["enabled"]),
        chosen={
            (kind.name, option.name): _chosen(values[kind.name][option.name])
            for kind in KINDS.values()
            for option in kind.options
        },
        ignore_actors=values["ignore_actors"],
    )


EVENTS = Group(
    keys={**{kind.name: kind_group(kind) for kind in KINDS.values()}, "custom": CUSTOM, **keys_of(EventsConfig)},
    make=_make,
)
