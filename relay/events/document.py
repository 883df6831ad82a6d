"""What is written from the kinds of event: the README's tables of what each of them sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay.events.kind import EventKind, Field

#: What stands around the tables in the README.
BEGIN = "<!-- The tables of events are made by tests/write_docs.py. -->\n\n"
END = "\n<!-- End of the tables of events. -->"


def tables(kinds: Iterable[EventKind]) -> str:
    """Return a list of the kinds and a table of the fields of each, in Markdown; alike ones share a table."""
    alike: dict[tuple[Field, ...], list[EventKind]] = {}
    for kind in kinds:
        alike.setdefault(kind.fields, []).append(kind)
    return "\n".join(line for fields, some in alike.items() for line in _table(some, fields)).rstrip("\n") + "\n"


def _table(kinds: Iterable[EventKind], fields: Iterable[Field]) -> Iterator[str]:
    for kind in kinds:
        default = "" if kind.is_default else f"; only with `events.{kind.name}.enabled: true`"
        yield f"**`{kind.name}`**: {kind.meaning} (`{kind.moodle_event}`{default})."
        yield ""
    yield "| field | type | meaning |"
    yield "| --- | --- | --- |"
    for field in fields:
        option = f"; only with `{': '.join(field.only_with)}`" if field.only_with else ""
        yield f"| `{field.name}` | {field.type} | {field.meaning}{option} |"
    yield ""


def in_readme(text: str, kinds: Iterable[EventKind]) -> str:
    """Return the text of the README with the tables as they should be. Raises ValueError where their marks lack."""
    before, marked, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not marked or not ended:
        raise ValueError("the README has lost the comments around the tables of events")
    return f"{before}{BEGIN}{tables(kinds)}{END}{after}"
