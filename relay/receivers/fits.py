"""Whether a JSON value fits one of our own schemas: the few words of JSON Schema that `schema` writes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay.receivers.schema import Schema

#: Python's types by JSON Schema's names; bool is no number there.
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def misfit(rule: Schema, value: Any, path: str = "") -> str:
    """Return the first thing that does not fit, as a sentence without the value; '' where all does."""
    name = path or "the body"
    if "const" in rule:
        return "" if value == rule["const"] and isinstance(value, str) else f"{name} must be {rule['const']}"
    if "type" not in rule:
        return ""
    types = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
    if not any(_is(value, one) for one in types):
        return f"{name} must be {' or '.join(types)}"
    if isinstance(value, str):
        short, long = rule.get("minLength", 0), rule.get("maxLength", len(value))
        fits = short <= len(value) <= long and re.search(rule.get("pattern", ""), value)
        return "" if fits else f"{name} is malformed"
    return _object(rule, value, path) if isinstance(value, dict) else ""


def _is(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _object(rule: Schema, value: dict[str, Any], path: str) -> str:
    where = f"{path}." if path else ""
    for name in rule["required"]:
        if name not in value:
            return f"{where}{name} is missing"
    for name, one in value.items():
        if name not in rule["properties"]:
            return f"{where}{name[:40]} is no field of it"
        if found := misfit(rule["properties"][name], one, f"{where}{name}"):
            return found
    return ""
