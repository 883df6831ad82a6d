"""Moodle's cleaning of text: clean_param's PARAM_TEXT and PARAM_EMAIL, and the text of a feedback comment. Pure.

Text comes as the database gave it: bytes that should be UTF-8, or text, or nothing.
"""

from __future__ import annotations

import codecs
import html
import re
from html.entities import html5, name2codepoint
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

#: C's isspace(), which PHP asks.
SPACE = " \t\n\v\f\r"

# PHP's FILTER_VALIDATE_EMAIL (ext/filter/logical_filters.c): at most 64 octets before the @ and labels of at most 63;
# dot-separated atoms or quoted strings; then a domain name of two labels or more, or an address in brackets.
_UNIT = r"(?>\"?\\[\x00-\x7e]\"?|\"?[^\\\"]\"?)"
_ATOM = r"[!#-'*+\-/-9=?^-~]+"
_QUOTED = r"\"(?:[\x01-\x08\x0b\x0c\x0e-\x1f!#-\[\]-\x7f]|\\[\x00-\x7f])*\""
_WORD = rf"(?:{_ATOM}|{_QUOTED})"
_DOMAIN = (
    r"(?!.*[^.]{64,})(?:[a-z0-9]+(?:-+[a-z0-9]+)*\.){1,126}"
    r"[a-z][a-z0-9]*(?:-+[a-z0-9]+)*"
)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_HEX = r"[a-f0-9]{1,4}"
_IPV6 = (
    rf"IPv6:(?:{_HEX}(?::{_HEX}){{7}}"
    rf"|(?!(?:.*[a-f0-9][:\]]){{7,}})(?:{_HEX}(?::{_HEX}){{0,5}})?::(?:{_HEX}(?::{_HEX}){{0,5}})?)"
)
_IPV6_V4 = (
    rf"(?:IPv6:(?:{_HEX}(?::{_HEX}){{5}}:"
    rf"|(?!(?:.*[a-f0-9]:){{5,}})(?:{_HEX}(?::{_HEX}){{0,3}})?::(?:{_HEX}(?::{_HEX}){{0,3}}:)?))?{_IPV4}"
)
_EMAIL = re.compile(
    rf"(?!{_UNIT}{{255,}}+)(?!{_UNIT}{{65,}}@)"
    rf"{_WORD}(?:\.{_WORD})*@(?:{_DOMAIN}|\[(?:{_IPV6}|{_IPV6_V4})\])\Z",
    re.IGNORECASE | re.ASCII,
)
#: PHP looks at no longer address, in octets.
EMAIL_MOST = 320

#: The tags of Moodle's two multilang notations: the element, and what its opening tag must look like.
_MULTILANG = (
    ("lang", re.compile(r'<lang lang="[a-zA-Z0-9_-]+"\s*>\Z')),
    ("span", re.compile(r'<span(?:\s+lang="[a-zA-Z0-9_-]+"|\s+class="multilang"){2}\s*>\Z')),
)

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
_DROPPED = dict.fromkeys((0, 0xFFFE, 0xFFFF))
# The characters that HTML Purifier takes out (Encoder::cleanUTF8): controls, and what XML does not know.
_CONTROLS = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Text that is made of these alone is not given to HTML Purifier at all (Moodle's is_purify_html_necessary).
_PARAGRAPH = re.compile(r"<p>(.*?)</p>")
_PLAIN_MARKUP = re.compile(r"<em>([^<>]+?)</em>|<strong>([^<>]+?)</strong>|<br />")


def fix_utf8(value: bytes | str | None) -> str:
    """Return the text without NUL, U+FFFE, U+FFFF and what is no UTF-8 (Moodle's fix_utf8, which asks iconv).

    Text that breaks off within a character is '', as it is there.
    """
    if value is None:
        return ""
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    if raw.isascii():
        return raw.decode("ascii").replace("\0", "")
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    text = decoder.decode(raw)
    return "" if decoder.getstate()[0] else text.translate(_DROPPED)


def username(value: bytes | str | None) -> str:
    """Return text as Moodle stores it, valid as UTF-8."""
    raw = (value or "").encode("utf-8", "replace") if not isinstance(value, bytes) else value
    return raw.decode("utf-8", "ignore")


def param_text(value: bytes | str | None) -> str:
    """Return the text without tags (Moodle's PARAM_TEXT); well-formed multilang tags stay."""
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


def param_email(value: bytes | str | None) -> str:
    """Return the address, or '' if it is none (Moodle's PARAM_EMAIL: PHP's FILTER_VALIDATE_EMAIL, without < and >)."""
    text = fix_utf8(value)
    if len(text) > EMAIL_MOST or not text.isascii() or "<" in text or ">" in text:
        return ""
    return text if _EMAIL.match(text) else ""


def feedback(value: bytes | str | None, *, plain: bool = False) -> str:
    """Return a comment's text without its tags; `&`, `<` and `>` escaped, or decoded where `plain` says so.

    What Moodle's format_text (as HTML, display filters off), strip_tags and PARAM_TEXT leave together.
    """
    text = fix_utf8(value)
    text = _escape(_purified(text)) if _needs_purifier(text) else strip_tags(text)
    return html.unescape(text) if plain else text


def _needs_purifier(text: str) -> bool:
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
    return _CONTROLS.sub("", _ENTITY.sub(_decode_entity, "".join(_Markup(text).text_parts())))


class _Markup:
    """What a comment is made of, as HTML Purifier reads it, in time that grows with its length and no faster.

    Comments and the elements whose text is not shown go as a whole, tags go, and a `<` that begins none of these is
    text.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        #: What has been looked for in vain from an earlier place.
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


State = Literal["text", "tag", "php", "declaration", "comment"]


def strip_tags(value: str, allowed: str | None = None) -> str:
    """Return the text without tags, as PHP 8's strip_tags; tags of the one `allowed` element stay."""
    if "<" not in value and ">" not in value:
        return value.replace("\0", "")
    return _Stripper(value, allowed).run()


class _Stripper:
    """PHP's php_strip_tags_ex (ext/standard/string.c) as the state machine that it is."""

    def __init__(self, text: str, allowed: str | None) -> None:
        self.text = text
        self.allowed = allowed
        self.state: State = "text"
        #: What stays, and the tag that is being read (only where an element is allowed).
        self.out: list[str] = []
        self.tag: list[str] = []
        #: Nested `<`, the quote that is open, open parentheses and the last delimiter within <? ?>.
        self.depth = 0
        self.quote = ""
        self.parentheses = 0
        self.last = ""
        self.is_xml = False

    def run(self) -> str:
        steps = {
            "text": self.in_text,
            "tag": self.in_tag,
            "php": self.in_php,
            "declaration": self.in_declaration,
            "comment": self.in_comment,
        }
        for index, character in enumerate(self.text):
            steps[self.state](index, character)
        return "".join(self.out)

    def before(self, index: int, count: int = 1) -> str:
        """Return the character so many places before."""
        return self.text[index - count] if index >= count else ""

    def is_space_next(self, index: int) -> bool:
        """Say whether a `<` here is text: white space follows."""
        following = self.text[index + 1 : index + 2]
        return bool(following) and following in SPACE

    def to_text(self) -> None:
        self.state, self.quote, self.is_xml = "text", "", False
        self.tag.clear()

    def closes(self) -> bool:
        """Say whether a `>` here is one that ends something."""
        if self.depth:
            self.depth -= 1
            return False
        return not self.quote

    def toggle(self, character: str) -> None:
        if not self.quote:
            self.quote = character
        elif self.quote == character:
            self.quote = ""

    def in_text(self, index: int, character: str) -> None:
        if character == "<":
            if self.quote:
                return
            if self.is_space_next(index):
                self.out.append(character)
                return
            self.last, self.state = "<", "tag"
            self.tag[:] = ["<"]
        elif character == ">":
            if self.closes():
                self.out.append(character)
        elif character != "\0":
            self.out.append(character)

    def in_tag(self, index: int, character: str) -> None:
        if character == "<" and not self.is_space_next(index):
            self.depth += not self.quote
        elif character == ">":
            if self.closes() and not (self.is_xml and self.before(index) == "-"):
                self.end_tag()
        elif character in "!?" and self.before(index) == "<":
            self.state = "declaration" if character == "!" else "php"
            self.last = character if character == "!" else self.last
            self.parentheses = 0
        elif character != "\0":
            if character in "\"'" and index:
                self.toggle(character)
            self.tag.append(character)

    def end_tag(self) -> None:
        self.last = ">"
        if self.allowed is not None:
            self.tag.append(">")
            if _element(self.tag) in f"<{self.allowed}>":
                self.out.extend(self.tag)
        self.to_text()

    def in_php(self, index: int, character: str) -> None:
        if character in "()":
            if self.last not in ('"', "'"):
                self.last = character
                self.parentheses += 1 if character == "(" else -1
        elif character == ">":
            if self.closes() and not self.parentheses and self.last != '"' and self.before(index) == "?":
                self.to_text()
        elif character in "\"'":
            if self.before(index) != "\\":
                if self.last == character:
                    self.last = ""
                elif self.last != "\\":
                    self.last = character
                self.toggle(character)
        elif character in "lL" and self.text[max(0, index - 4) : index].lower() == "<?xm":
            self.state, self.is_xml = "tag", True

    def in_declaration(self, index: int, character: str) -> None:
        if character == ">":
            if self.closes():
                self.to_text()
        elif character in "\"'":
            if self.before(index) != "\\":
                self.toggle(character)
        elif character == "-" and self.before(index) == "-" and self.before(index, 2) == "!":
            self.state = "comment"
        elif character in "eE" and self.text[max(0, index - 6) : index].lower() == "doctyp":
            self.state = "tag"

    def in_comment(self, index: int, character: str) -> None:
        if character == ">" and not self.quote and self.text[max(0, index - 2) : index] == "--":
            self.to_text()


def _element(tag: list[str]) -> str:
    """Return `<name>` of an opening or closing tag, as PHP's php_tag_find does."""
    name: list[str] = []
    for index, character in enumerate(tag):
        if character == ">":
            break
        if character in SPACE:
            if len(name) > 1:
                break
        elif character == "/" and (tag[index - 1] == "<" or tag[index + 1 : index + 2] == [">"]):
            continue
        else:
            name.append(character.lower())
    return "".join(name) + ">"
