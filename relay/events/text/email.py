"""Moodle's PARAM_EMAIL: an e-mail address, or nothing. Pure."""

from __future__ import annotations

import re

from relay.events.text.utf8 import fix_utf8

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
# Compiled by its first use (the `re` module keeps it): that takes as long as loading ten modules.
_EMAIL = (
    rf"(?!{_UNIT}{{255,}}+)(?!{_UNIT}{{65,}}@)"
    rf"{_WORD}(?:\.{_WORD})*@(?:{_DOMAIN}|\[(?:{_IPV6}|{_IPV6_V4})\])\Z"
)
#: The longest address that PHP accepts, in octets.
EMAIL_MOST = 320


def param_email(value: bytes | str | None) -> str:
    """Return the text if it is an e-mail address, else ''. Never raises.

    Follows Moodle's clean_param with PARAM_EMAIL (validate_email: PHP's FILTER_VALIDATE_EMAIL, and neither < nor >).
    """
    text = fix_utf8(value)
    if len(text) > EMAIL_MOST or not text.isascii() or "<" in text or ">" in text:
        return ""
    return text if re.match(_EMAIL, text, re.IGNORECASE | re.ASCII) else ""
