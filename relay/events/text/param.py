"""Moodle's PARAM_TEXT: text without tags, except those that mark a language (multilang). Pure."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from relay.events.text.strip_tags import strip_tags
from relay.events.text.utf8 import fix_utf8

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The tags of Moodle's two multilang notations: the element, and what its opening tag must look like.
_MULTILANG = (
    ("lang", re.compile(r'<lang lang="[a-zA-Z0-9_-]+"\s*>\Z')),
    ("span", re.compile(r'<span(?:\s+lang="[a-zA-Z0-9_-]+"|\s+class="multilang"){2}\s*>\Z')),
)


def param_text(value: bytes | str | None) -> str:
    """Return the text without tags; well-formed multilang tags stay. Never raises.

    Follows Moodle's clean_param with PARAM_TEXT (lib/moodlelib.php).
    """
    text = fix_utf8(value)
    if "<" not in text and ">" not in text:
        return text
    for element, opening in _MULTILANG:
        if f"</{element}>" in text:
            text = strip_tags(text, allowed=element)
            if _is_multilang(text, element, opening):
                return text
            break
    return strip_tags(text)


@functools.lru_cache(maxsize=1024)
def shared_name(value: bytes | str | None) -> str:
    """Return the same for a name that many rows share, of a course or an assignment: it is cleaned once."""
    return param_text(value)


def _is_multilang(text: str, element: str, opening: re.Pattern[str]) -> bool:
    """Say whether the text's tags are multilang tags only, each closed."""
    is_open = False
    tags = list(_tags(text))
    for tag in tags:
        if tag == f"</{element}>":
            if not is_open:
                return False
            is_open = False
        elif opening.match(tag):
            is_open = True
        else:
            return False
    return bool(tags) and not is_open


def _tags(text: str) -> Iterator[str]:
    """Yield what stands between each `<` and the next `>`, both included."""
    end = 0
    while (start := text.find("<", end)) >= 0 and (close := text.find(">", start)) >= 0:
        end = close + 1
        yield text[start:end]
