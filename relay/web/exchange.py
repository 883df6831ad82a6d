"""A request, as it is read from WSGI, and the answer to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The longest body of a form, in bytes.
BODY_BYTES = 64 * 1024
#: How many fields a form, or the part of the address behind the question mark, may have.
FIELDS = 50


class Refused(Exception):
    """What is asked for is not done: the code of the answer, and a sentence for who asked, with what to do.

    `condition`: the name of the condition that it comes of, where that is one of those that need a person.
    """

    def __init__(self, code: int, sentence: str, hint: str = "", *, condition: str = "") -> None:
        super().__init__(sentence)
        self.condition = condition
        self.code = code
        self.sentence = sentence
        self.hint = hint


#: The same for all who may not, whatever they asked for: it says of nothing whether it is there.
FORBIDDEN = Refused(403, "You may not see or do this", "ask those who run relay to let you in: `relay web login`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request."""

    method: str
    #: Without `.json` at its end, which `is_json` tells of.
    path: str
    is_json: bool
    #: What stands behind the question mark, and the fields of a form: the last one of each name.
    query: Mapping[str, str]
    form: Mapping[str, str]
    cookies: Mapping[str, str]
    #: Headers by WSGI's names of them, without HTTP_.
    headers: Mapping[str, str]
    #: The account of this machine that is at the other end of the socket; None on a port.
    uid: int | None
    gid: int | None

    def text(self, name: str) -> str:
        """Return a field of the form, or else of the address, without blanks around it; '' where it has none."""
        return self.form.get(name, self.query.get(name, "")).strip()

    def number(self, name: str) -> int | None:
        """Return a field that is a number; None where it is empty. Raises Refused."""
        text = self.text(name)
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise Refused(400, f"{name} is to be a number", "such as 42")
        return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer."""

    body: bytes
    code: int = 200
    kind: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def read(environ: Mapping[str, Any]) -> Request:
    """Return the request. Raises Refused where it is none that can be read."""
    path = _utf8(environ.get("PATH_INFO", "/"))
    is_json = path.endswith(".json")
    headers = {name[5:]: str(value) for name, value in environ.items() if name.startswith("HTTP_")}
    uid, gid = environ.get("X_REMOTE_UID"), environ.get("X_REMOTE_GID")
    return Request(
        method=environ["REQUEST_METHOD"],
        path=path.removesuffix(".json"),
        is_json=is_json,
        query=_fields(environ.get("QUERY_STRING", "")),
        form=_fields(_body(environ)) if environ["REQUEST_METHOD"] == "POST" else {},
        cookies=_cookies(headers.get("COOKIE", "")),
        headers=headers,
        uid=None if uid is None else int(uid),
        gid=None if gid is None else int(gid),
    )


def _utf8(text: str) -> str:
    """Return what WSGI gives as Latin-1 as what it is."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        raise Refused(400, "The address is no text in UTF-8") from None


def _body(environ: Mapping[str, Any]) -> str:
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if kind not in ("", "application/x-www-form-urlencoded"):
        raise Refused(415, "A form is to come as application/x-www-form-urlencoded")
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or int(length) > BODY_BYTES:
        raise Refused(413, f"A form may have {BODY_BYTES} bytes at most")
    body: bytes = environ["wsgi.input"].read(int(length))
    return _utf8(body.decode("latin-1"))


def _fields(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS))
    except ValueError:
        raise Refused(400, "The fields of the form, or of the address, cannot be read") from None


def _cookies(text: str) -> dict[str, str]:
    try:
        return {name: one.value for name, one in SimpleCookie(text).items()}
    except CookieError:
        return {}
