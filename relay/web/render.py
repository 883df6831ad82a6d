"""Pages made of templates: what comes from outside is escaped, and its direction changes nothing around it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup, escape

from relay import times
from relay.web import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.operations.health import Problem

LANGUAGES = ("en", "ar")


class Pages:
    """Makes pages."""

    def __init__(self) -> None:
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"when": times.show, "utc": times.iso}
        # The first visitor of each would wait for it to be compiled: that takes longer than all else of a page.
        for name in self._templates.list_templates(extensions=["html"]):
            self._templates.get_template(name)

    def page(self, template: str, language: str, values: Mapping[str, Any]) -> bytes:
        """Return a page in a language of LANGUAGES."""
        made = self._templates.get_template(f"{template}.html")
        direction = "rtl" if language == "ar" else "ltr"
        return made.render(t=Speech(language), language=language, direction=direction, **values).encode(
            "utf-8", "replace"
        )

    def style(self) -> bytes:
        """Return the style sheet."""
        source, _, _ = self._templates.loader.get_source(self._templates, "style.css")  # type: ignore[union-attr]
        return source.encode()


class Speech:
    """Says things in a language of LANGUAGES; what is there in English alone is marked as such."""

    def __init__(self, language: str) -> None:
        self._language = language

    def __call__(self, sentence: str, **values: object) -> Markup:
        """Return a sentence of the page."""
        return translated(sentence, self._language, values)

    def problem(self, one: Problem) -> Markup:
        """Return what is wrong, as a sentence."""
        found = one.found
        if self._language == "en":
            return escape(f"{found.says[:1].upper()}{found.says[1:]}.")
        values = {name: self._value(name, value) for name, value in found.values.items()}
        if found.sentence == "{error}":
            return Markup("{}: {}").format(self(f"about {one.name}"), values["error"])
        return Markup("{}.").format(self(found.sentence, **values))

    def _value(self, name: str, value: float | str) -> object:
        if isinstance(value, str):
            return self.english(value)
        return {"at": times.show, "span": self.span}.get(name, int)(value)

    def hint(self, sentence: str) -> Markup:
        """Return what to do, in which what stands between backquotes is a command."""
        end = "" if sentence.endswith((".", "?")) else "."
        if self._language == "en" or sentence not in words.ARABIC:
            return self.english(_commands(f"{sentence[:1].upper()}{sentence[1:]}{end}"))
        return _commands(f"{words.ARABIC[sentence]}{end}")

    def english(self, sentence: str) -> Markup:
        """Return what a command says, as it says it; nothing of nothing."""
        return Markup('<bdi lang="en" dir="ltr">{}</bdi>').format(sentence) if sentence else Markup()

    def refusal(self, sentence: str) -> Markup:
        """Return why something is not done: in English where the reason comes from below the page."""
        return self(sentence) if sentence in words.ARABIC else self.english(sentence)

    def span(self, seconds: float) -> str:
        """Return how long something lasts."""
        number, _, unit = times.span(seconds).partition(" ")
        return words.lasting(int(number), unit) if self._language == "ar" else f"{number} {unit}"

    def seconds(self, value: float) -> str:
        """Return how long something took, in seconds where that is not long."""
        if value >= 120:
            return self.span(value)
        return words.lasting(round(value), "s") if self._language == "ar" else f"{value:.0f} s"


def translated(sentence: str, language: str, values: Mapping[str, object]) -> Markup:
    """Return a sentence in a language, with its {values}; one that is not translated stays as it is."""
    text = _escaped(sentence, language)
    if not values:
        return text
    kept = {name: Markup("<bdi>{}</bdi>").format(value) for name, value in values.items()}
    return text.format(**kept)


@functools.lru_cache(maxsize=500)
def _escaped(sentence: str, language: str) -> Markup:
    """Return a sentence in a language, to be shown as it is: a table asks for the same few in each of its rows."""
    return escape(words.ARABIC.get(sentence, sentence) if language == "ar" else sentence)


def language_of(header: str) -> str:
    """Return which of LANGUAGES is wanted most, by Accept-Language (RFC 9110, section 12.5.4)."""
    wanted: list[tuple[float, int, str]] = []
    for place, one in enumerate(header.split(",")[:20]):
        name, _, rest = one.strip().partition(";")
        quality = rest.strip().removeprefix("q=") or "1"
        try:
            weight = float(quality)
        except ValueError:
            weight = 0.0
        language = name.partition("-")[0].lower()
        if language in LANGUAGES and weight > 0:
            wanted.append((-weight, place, language))
    return min(wanted)[2] if wanted else LANGUAGES[0]


def _commands(sentence: str) -> Markup:
    """Return a sentence in which what stands between backquotes is a command, as the terminal's screens write it."""
    parts = sentence.split("`")
    made = [
        Markup('<code dir="ltr">{}</code>').format(part) if index % 2 else escape(part)
        for index, part in enumerate(parts)
    ]
    # One that is never closed is a backquote.
    return Markup("").join(made) if len(parts) % 2 else escape(sentence)
