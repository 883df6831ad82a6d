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
        self._templates.filters |= {
            "when": times.show,
            "span": times.span,
            "utc": times.iso,
            "seconds": _seconds,
            "commands": _commands,
        }

    def page(self, template: str, language: str, values: Mapping[str, Any]) -> bytes:
        """Return a page in a language of LANGUAGES."""

        def say(sentence: str, **given: object) -> Markup:
            return translated(sentence, language, given)

        made = self._templates.get_template(f"{template}.html")
        direction = "rtl" if language == "ar" else "ltr"
        return made.render(t=say, language=language, direction=direction, **values).encode("utf-8", "replace")

    def style(self) -> bytes:
        """Return the style sheet."""
        source, _, _ = self._templates.loader.get_source(self._templates, "style.css")  # type: ignore[union-attr]
        return source.encode()


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


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 120 else times.span(value)


def _commands(sentence: str) -> Markup:
    """Return a sentence in which what stands between backquotes is a command, as the terminal's screens write it."""
    parts = sentence.split("`")
    made = [Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)]
    # One that is never closed is a backquote.
    return Markup("").join(made) if len(parts) % 2 else escape(sentence)
