"""The column `other` of a log row: JSON, or PHP's serialisation, read without making objects.

What Moodle's tool_log `logstore_standard_log` writes there: JSON since 3.4 ("jsonformat"), else `serialize()`. Values
are what somebody once typed, so sizes and depth are bounded, and numbers may come as text.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: More than this, in bytes, is not read: Moodle's own are a few hundred long.
MOST_BYTES = 64 * 1024
#: How deep arrays may be nested.
MOST_DEPTH = 16
#: Larger numbers are none that Moodle has.
LARGEST = 1e15
_WHOLE = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,19})?", re.ASCII)
_BOOLEANS = {"True": True, "1": True, "False": False, "0": False}
_SCALAR = re.compile(rb"(?:N|([bid]):([-+0-9.eE]{1,40}|INF|-INF|NAN));")
_TEXT = re.compile(rb's:(\d{1,6}):"')
_ARRAY = re.compile(rb"a:(\d{1,6}):\{")


def parse(raw: bytes | str | None) -> Mapping[str, Any]:
    """Return the facts in an `other` column by name; nothing where it holds none, or cannot be read."""
    value = (raw or "").encode("utf-8", "replace") if not isinstance(raw, bytes) else raw
    if len(value) > MOST_BYTES:
        return {}
    try:
        found = json.loads(value) if value[:1] in (b"{", b"[") else _Serialised(value).read()
    except (ValueError, RecursionError):
        return {}
    return {str(name): one for name, one in found.items()} if isinstance(found, dict) else {}


def within(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the facts within a fact; nothing where it holds none."""
    value = facts.get(name)
    return {str(key): one for key, one in value.items()} if isinstance(value, dict) else {}


def text(facts: Mapping[str, Any], name: str, clean: Callable[[str], str]) -> str | None:
    """Return a fact as cleaned text; None where it is not there, or is no text or number."""
    value = facts.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return clean(str(value))


def integer(facts: Mapping[str, Any], name: str) -> int | None:
    """Return a fact as a whole number of 64 bits; None where it is not there, or is none."""
    value = facts.get(name)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return value if is_whole else None


def number(facts: Mapping[str, Any], name: str) -> float | None:
    """Return a fact as a finite number; None where it is not there, or is none."""
    value = facts.get(name)
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST else None


def boolean(facts: Mapping[str, Any], name: str) -> bool | None:
    """Return a fact that PHP takes for true or false; None where it is not there, or is neither."""
    return _BOOLEANS.get(str(facts.get(name)))


class _Serialised:
    """A reader of PHP's serialize() format; objects, references and custom classes are refused by ValueError."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def read(self) -> Any:
        """Return the value; nothing may come behind it. Raises ValueError."""
        value = self._value(0)
        if self._at != len(self._raw):
            raise ValueError("something comes behind the value")
        return value

    def _value(self, depth: int) -> Any:
        if found := _SCALAR.match(self._raw, self._at):
            self._at = found.end()
            return _scalar(found[1], found[2])
        if found := _TEXT.match(self._raw, self._at):
            return self._text(found.end(), int(found[1]))
        if (found := _ARRAY.match(self._raw, self._at)) and depth < MOST_DEPTH:
            self._at = found.end()
            return self._array(int(found[1]), depth + 1)
        raise ValueError("no value, or one that is not read")

    def _text(self, start: int, length: int) -> str:
        end = start + length
        if self._raw[end : end + 2] != b'";':
            raise ValueError("a text of another length")
        self._at = end + 2
        return self._raw[start:end].decode("utf-8", "replace")

    def _array(self, count: int, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for _ in range(count):
            key = self._value(depth)
            if isinstance(key, bool) or not isinstance(key, int | str):
                raise ValueError("a key that is no number or text")  # noqa: TRY004 -- what is read is wrong, not a caller
            found[key] = self._value(depth)
        if self._raw[self._at : self._at + 1] != b"}":
            raise ValueError("an array of another length")
        self._at += 1
        return found


def _scalar(kind: bytes | None, value: bytes | None) -> Any:
    """Return null, a bool, a whole number or a decimal. Raises ValueError."""
    if kind is None or value is None:
        return None
    if kind == b"d":
        return float(value)
    return bool(int(value)) if kind == b"b" else int(value)
