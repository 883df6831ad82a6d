"""PHP's strip_tags, which Moodle calls for PARAM_TEXT and for feedback; broken HTML gives what it gives there. Pure."""

from __future__ import annotations

import re
from typing import Literal

#: C's isspace(), which PHP asks.
SPACE = " \t\n\v\f\r"
#: What means nothing outside of a tag.
_PLAIN = re.compile(r"[^<>\0]+")
State = Literal["text", "tag", "php", "declaration", "comment"]


def strip_tags(value: str, allowed: str | None = None) -> str:
    """Return the text without tags; those of the element named `allowed` stay. Never raises.

    Follows PHP 8's strip_tags.
    """
    if "<" not in value and ">" not in value:
        return value.replace("\0", "")
    return _Stripper(value, allowed).run()


class _Stripper:
    """The state machine of PHP's php_strip_tags_ex (ext/standard/string.c): a method for each of its states."""

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
        index = 0
        while index < len(self.text):
            if self.state == "text":
                # Most of a text is far from any tag, and stays as it is.
                plain = _PLAIN.match(self.text, index)
                if plain is not None:
                    self.out.append(plain[0])
                    index = plain.end()
                    continue
            steps[self.state](index, self.text[index])
            index += 1
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
