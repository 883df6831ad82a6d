"""The text of a feedback comment: what Moodle's format_text, with HTML Purifier, leaves of its HTML. Pure."""

from __future__ import annotations

import html
import re
from html.entities import html5, name2codepoint
from typing import TYPE_CHECKING

from relay.events.text.strip_tags import strip_tags
from relay.events.text.utf8 import fix_utf8

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMENT, _CDATA = "<!--", "<![CDATA["
_DECLARATION = re.compile(r"<![a-zA-Z]")
_TAG = re.compile(r"</?[a-zA-Z]")
#: The elements whose text is not shown.
_HIDDEN = re.compile(r"<(script|style)\b", re.IGNORECASE)
_HIDDEN_END = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in ("script", "style")}
_QUOTE_OR_END = re.compile("[>\"']")
# An entity as HTML Purifier's EntityParser takes it: the semicolon may be missing behind a number, and behind the
# names that HTML has always known without one.
_ENTITY = re.compile(
    r"&(?:#[xX](?P<hex>[0-9a-fA-F]+);?|#(?P<decimal>[0-9]+);?|(?P<name>[a-zA-Z][a-zA-Z0-9]*)(?P<end>;?))"
)
_NAMED = {**name2codepoint, "apos": 39}
_BARE = frozenset(name for name in html5 if not name.endswith(";"))
_BARE_LONGEST = max(map(len, _BARE))
# The characters that HTML Purifier takes out (Encoder::cleanUTF8): controls, and what XML does not know. Compiled when
# it is first used: of all patterns it takes by far the longest, and most commands read no text.
_CONTROLS = r"[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
# Text that is made of these alone is not given to HTML Purifier at all (Moodle's is_purify_html_necessary).
_PARAGRAPH = re.compile(r"<p>(.*?)</p>")
_PLAIN_MARKUP = re.compile(r"<em>([^<>]+?)</em>|<strong>([^<>]+?)</strong>|<br />")


def feedback(value: bytes | str | None, *, plain: bool = False) -> str:
    """Return a comment's text without its tags; `&`, `<` and `>` are escaped, or as they are if `plain`. Never raises.

    Follows Moodle's format_text (FORMAT_HTML, display filters off; purify_html), then strip_tags, then PARAM_TEXT.
    """
    text = fix_utf8(value)
    text = _escape(_purified(text)) if _needs_purifier(text) else strip_tags(text)
    return html.unescape(text) if plain else text


def _needs_purifier(text: str) -> bool:
    """Say whether Moodle gives the text to HTML Purifier (is_purify_html_necessary in lib/weblib.php)."""
    if "&" in text:
        return True
    if "<" not in text and ">" not in text:
        return False
    bare = "\n".join(map(_without_paragraphs, text.split("\n")))
    for _ in range(2):
        bare = _PLAIN_MARKUP.sub(lambda found: "".join(filter(None, found.groups())), bare)
    return "<" in bare or ">" in bare


def _without_paragraphs(line: str) -> str:
    # Behind the last </p> no <p> is closed: looking for its end at each would take the square of the line's length.
    end = line.rfind("</p>") + 1
    return _PARAGRAPH.sub(r"\1", line[: end + 3]) + line[end + 3 :] if end else line


def _purified(text: str) -> str:
    """Return the text that HTML Purifier leaves, its entities decoded."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(_CONTROLS, "", _ENTITY.sub(_decode_entity, "".join(_Markup(text).text_parts())))


class _Markup:
    """A comment's markup, as HTML Purifier reads it, in linear time.

    HTML comments, scripts and styles are dropped as a whole, and so is each tag; a `<` that begins none of these is
    text.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        #: Ends of markup that do not stand behind an earlier place, and so not behind a later one either.
        self._absent: set[str] = set()
        #: Where quotes open from which no end of a tag is found.
        self._unclosed: set[int] = set()

    def text_parts(self) -> Iterator[str]:
        """Yield the text between the markup."""
        position = 0
        while (start := self._text.find("<", position)) >= 0:
            yield self._text[position:start]
            end, shown = self._markup(start)
            yield shown
            position = end
        yield self._text[position:]

    def _markup(self, start: int) -> tuple[int, str]:
        """Return the end of what begins at a `<`, and what is shown of it."""
        text = self._text
        if text.startswith(_COMMENT, start):
            return self._end(start + len(_COMMENT), "-->"), ""
        if text[start : start + len(_CDATA)].upper() == _CDATA and self._has("]]>", start + len(_CDATA)):
            end = self._end(start + len(_CDATA), "]]>")
            return end, _escape(text[start + len(_CDATA) : end - 3])
        if _TAG.match(text, start):
            return self._element(start), ""
        if _DECLARATION.match(text, start) and self._has(">", start):
            return self._end(start, ">"), ""
        return start + 1, "<"

    def _element(self, start: int) -> int:
        """Return the end of the tag that begins here, or of the whole element where its text is not shown."""
        end = self._tag_end(start)
        hidden = _HIDDEN.match(self._text, start)
        if end is None:
            return self._end(start, ">")
        if not hidden or not self._text.endswith(">", start, end):
            return end
        close = _HIDDEN_END[hidden[1].lower()].search(self._text, end)
        return close.end() if close else len(self._text)

    def _tag_end(self, start: int) -> int | None:
        """Return the end of a tag whose quotes are all closed, or None."""
        opened = []
        position = start
        while (found := _QUOTE_OR_END.search(self._text, position)) is not None:
            quote = found.start()
            if found[0] == ">":
                return quote + 1
            opened.append(quote)
            close = -1 if quote in self._unclosed else self._text.find(found[0], quote + 1)
            if close < 0:
                self._unclosed.update(opened)
                return None
            position = close + 1
        return len(self._text)

    def _has(self, what: str, start: int) -> bool:
        if what not in self._absent and self._text.find(what, start) < 0:
            self._absent.add(what)
        return what not in self._absent

    def _end(self, start: int, what: str) -> int:
        """Return where `what` ends, or the end of the text where it does not stand there."""
        found = self._text.find(what, start)
        return len(self._text) if found < 0 else found + len(what)


def _decode_entity(found: re.Match[str]) -> str:
    """Return the character that an entity stands for; a number that stands for none is dropped, a name stays."""
    if found["name"]:
        name = found["name"]
        if found["end"] and name in _NAMED:
            return chr(_NAMED[name])
        known = (name[:length] for length in range(min(len(name), _BARE_LONGEST), 1, -1))
        bare = next((some for some in known if some in _BARE), None)
        if bare is None:
            return found[0]
        return html5[bare] + found[0][1 + len(bare) :].removeprefix(";" if bare == name else "")
    digits = (found["hex"] or found["decimal"]).lstrip("0")[:8] or "0"
    number = int(digits, 16 if found["hex"] else 10)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else ""


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
