"""What may be written as the value of a key: for each type how it is read, and the README's words for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from relay import times
from relay.config import tls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from relay.config.reader import Section


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueType:
    """A type of value."""

    #: What it is, in a word or two.
    name: str
    #: Which values are taken, in words; '' where the name says it all.
    bounds: str = ""
    #: Returns the value of a key, given the section it is in, its name, and the default as it would be written ('' for
    #: none). Notes a mistake in the section where the value is wrong, and returns None or nothing of use then.
    read: Callable[[Section, str, str], object]


def _scalar(name: str, check: Callable[[str], object], bounds: str = "") -> ValueType:
    return ValueType(name=name, bounds=bounds, read=lambda section, key, default: section.scalar(key, check, default))


def text(check: Callable[[str], object] = str) -> ValueType:
    """Return the type of a text, or of what `check` makes of it; its ValueError is a mistake."""
    return _scalar("text", check)


def url_text(check: Callable[[str], object]) -> ValueType:
    """Return the type of a URL that `check` takes."""
    return _scalar("URL", check)


def choice(*choices: str) -> ValueType:
    """Return the type of one of a few words."""

    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return _scalar("one of", check, ", ".join(choices))


def choices(*known: str) -> ValueType:
    """Return the type of a list of a few words, each once."""

    def read(section: Section, key: str, _default: str) -> tuple[str, ...]:
        if key not in section:
            return known
        return section.words(key, known)

    return ValueType(name="list of words", bounds=", ".join(known), read=read)


def duration_or_never(low: str, high: str) -> ValueType:
    """Return the type of a duration, in seconds, between two bounds, or `never`, which is infinity."""

    def check(value: str) -> float:
        return float("inf") if value == "never" else in_bounds(value, low, high)

    return _scalar("duration", check, f"{low} to {high}, or never")


def percent(low: int, high: int) -> ValueType:
    """Return the type of a part such as `5%`, from 0 to 1, between two bounds in percent."""

    def check(value: str) -> float:
        found = value.strip().removesuffix("%").strip()
        try:
            part = float(found) if value.strip().endswith("%") else float("nan")
        except ValueError:
            part = float("nan")
        if not low <= part <= high:
            raise ValueError(f"must be from {low}% to {high}%, such as 5%")
        return part / 100

    return _scalar("percent", check, f"{low}% to {high}%")


def boolean() -> ValueType:
    """Return the type of true or false."""
    return ValueType(name="true or false", read=lambda section, key, default: section.boolean(key, default))


def whole(low: int, high: int) -> ValueType:
    """Return the type of a whole number between two bounds, both included."""

    def check(value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 19 and low <= int(value) <= high):
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return _scalar("number", check, f"{low} to {high}")


def number(low: float, high: float) -> ValueType:
    """Return the type of a number between two bounds, both included."""

    def check(value: str) -> float:
        try:
            found = float(value)
        except ValueError:
            found = float("nan")
        if not low <= found <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return found

    return _scalar("number", check, f"{low:g} to {high:g}")


def duration(low: str, high: str) -> ValueType:
    """Return the type of a duration, in seconds, between two bounds such as `1s` and `30d`, both included."""
    return _scalar("duration", lambda value: in_bounds(value, low, high), f"{low} to {high}")


def in_bounds(value: str, low: str, high: str) -> float:
    """Return a duration in seconds. Raises ValueError where it is none, or not between two bounds such as `1s`."""
    found = times.seconds(value)
    if not times.seconds(low) <= found <= times.seconds(high):
        raise ValueError(f"must be from {low} to {high}")
    return found


def file(check: Callable[[Path], object] = tls.readable) -> ValueType:
    """Return the type of a file that `check` takes; a relative path begins beside the config."""

    def read(base: Path, value: str) -> Path:
        path = base / value
        check(path)
        return path

    return ValueType(
        name="file",
        read=lambda section, key, default: section.scalar(key, partial(read, section.base), default),
    )


def secret(check: Callable[[str], object] = str) -> ValueType:
    """Return the type of a secret that `check` has nothing against; its ValueError must not hold the secret."""
    return ValueType(name="secret", read=lambda section, key, _default: section.secret(key, check))


def secrets(check: Callable[[str], object]) -> ValueType:
    """Return the type of a list of secrets, each checked as `secret` does."""
    return ValueType(name="list of secrets", read=lambda section, key, _default: section.secrets(key, check))


def texts(check: Callable[[str], object]) -> ValueType:
    """Return the type of a list of texts that `check` takes, each once."""
    return ValueType(name="list of texts", read=lambda section, key, _default: section.texts(key, check))


def ids() -> ValueType:
    """Return the type of a list of whole numbers."""
    return ValueType(name="list of numbers", read=lambda section, key, _default: section.integers(key))
