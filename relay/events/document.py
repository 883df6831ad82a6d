"""What is written from the kinds of event: what the README says each of them sends."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from relay.events.kind import EventKind, Field

#: What stands around the tables in the README.
BEGIN = "<!-- The tables of events are made by tests/write_docs.py. -->\n\n"
END = "\n<!-- End of the tables of events. -->"
#: What stands between the kinds that are sent by default and the others.
FURTHER = (
    "The types below are sent where the config switches them on (`events.TYPE.enabled: true`). `?` means *or null*;\n"
    "a field without a meaning has the one of the tables above."
)
#: What the README says once, above the tables: the unit of times, and what becomes of a field whose row is gone.
SAID_ONCE = re.compile(", in unix seconds|; null where the [a-z]+ is gone")
WIDTH = 128


def tables(kinds: Iterable[EventKind]) -> str:
    """Return what each kind sends, in Markdown: those of the default config as tables, the others as a list."""
    alike: dict[tuple[bool, tuple[Field, ...]], list[EventKind]] = {}
    for kind in kinds:
        alike.setdefault((kind.is_default, kind.fields), []).append(kind)
    said = {(one.name, _meaning(one)) for is_default, fields in alike if is_default for one in fields}
    first = "\n\n".join(_table(some, fields) for (is_default, fields), some in alike.items() if is_default)
    further = "\n".join(_item(some, fields, said) for (is_default, fields), some in alike.items() if not is_default)
    return f"{first}\n\n{FURTHER}\n\n{further}\n"


def _heads(kinds: Iterable[EventKind]) -> list[str]:
    return [f"**`{kind.name}`**: {kind.meaning} (`{kind.moodle_event}`)." for kind in kinds]


def _table(kinds: Iterable[EventKind], fields: Iterable[Field]) -> str:
    rows = (f"| `{field.name}` | {field.type} | {_meaning(field)} |" for field in fields)
    return "\n\n".join([*_heads(kinds), "\n".join(["| field | type | meaning |", "| --- | --- | --- |", *rows])])


def _item(kinds: Iterable[EventKind], fields: Iterable[Field], said: Container[tuple[str, str]]) -> str:
    """Return an item of a list: the kinds, their fields with the types, and the meaning where that is not said yet."""
    shown = []
    for field in fields:
        meaning = _meaning(field)
        words = "" if (field.name, meaning) in said else f": {meaning}"
        # A field and its type stay on one line.
        shown.append(f"`{field.name}`\N{NO-BREAK SPACE}{field.type.replace(' or null', '?')}{words}")
    text = f"- {' '.join(_heads(kinds))} Fields: {' · '.join(shown)}"
    lines = textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def _meaning(field: Field) -> str:
    """Return what a field means, without what the README says once of all fields."""
    option = f"; only with `{': '.join(field.only_with)}`" if field.only_with else ""
    return SAID_ONCE.sub("", field.meaning) + option


def in_readme(text: str, kinds: Iterable[EventKind]) -> str:
    """Return the text of the README with the tables as they should be. Raises ValueError where their marks lack."""
    before, marked, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not marked or not ended:
        raise ValueError("the README has lost the comments around the tables of events")
    return f"{before}{BEGIN}{tables(kinds)}{END}{after}"
