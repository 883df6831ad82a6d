"""What the text of a value must look like: URLs, headers, prefixes and where to start, for the table of keys.

Each check takes the text as it is written, returns the value, and raises ValueError with the end of a sentence whose
beginning is the key.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from relay import times
from relay.rules import request

#: What relay puts behind the backend's address, and nobody else.
PATHS = (request.EVENTS, f"{request.HEALTH}/", f"{request.PROFILE}/")

#: What a table prefix may be made of: it is put into SQL as it is.
_PREFIX = re.compile(r"[A-Za-z0-9_]{0,32}", re.ASCII)

#: A part of a host's name, between dots; letters of other alphabets are for names as people write them (IDNA).
_LABEL = re.compile(r"[\w-]{1,63}")
#: The longest name of a host (RFC 1035, section 2.3.4).
LONGEST_NAME = 254


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL of any scheme."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        if "[" in parts.netloc:
            ipaddress.IPv6Address(parts.hostname or "")
    except ValueError:
        raise ValueError("is no URL") from None
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("must not hold white space")
    return parts


def _web_url(url: str) -> SplitResult:
    parts = split_url(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL such as https://host.example.edu")
    host(parts.hostname)
    return parts


def host(name: str) -> str:
    """Return the name or address of a host."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        labels = name.removesuffix(".").split(".")
        if len(name) > LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
            raise ValueError("names no host: one is letters, digits, - and _, with dots between") from None
    return name


def site_url(url: str) -> str:
    """Return the address of a Moodle site, without a slash at its end."""
    parts = _web_url(url)
    if parts.username or parts.password:
        raise ValueError("must not hold a user or a password")
    return url.rstrip("/")


def backend_url(url: str) -> str:
    """Return the address of the backend, without a slash at its end: https, or http on this machine."""
    parts = _web_url(url)
    if parts.username or parts.password:
        raise ValueError("must not hold a user or a password: backend.token tells the backend who we are")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("must not have a query or a fragment: the event's path comes behind it")
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("must be https: plain http is for loopback only (localhost, 127.0.0.0/8, ::1)")
    begins = min((found for path in PATHS if (found := f"{url}/".find(path)) >= 0), default=None)
    if begins is not None:
        raise ValueError(f"must end before {url[begins:]}: relay puts the path behind it; write {url[:begins]}")
    return url.rstrip("/")


#: What stands where somebody is to put a value of their own.
PLACEHOLDER = re.compile(
    r"(choose|change|replace|insert|your)[-_ ].+|change(me|it|this)|<.+>|\.{3}|x{3,}|todo", re.IGNORECASE | re.DOTALL
)


def is_placeholder(text: str) -> bool:
    """Say whether a value is none, but a word that asks for one, such as CHANGE-ME."""
    return bool(PLACEHOLDER.fullmatch(text))


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine: `localhost`, 127.0.0.0/8 or ::1 (contract, section 3)."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (
        address in ipaddress.ip_network("127.0.0.0/8") if address.version == 4 else address == ipaddress.IPv6Address(1)
    )


def proxy_url(url: str) -> str:
    """Return the address of a proxy; it may hold a user and a password, so no message quotes it."""
    parts = split_url(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("must be http://host:port: what goes to the backend is encrypted within it")
    host(parts.hostname)
    return url


def header(value: str) -> str:
    """Return what can be sent as a header's value (RFC 9110, section 5.5)."""
    if not value or value != value.strip() or not value.isprintable():
        raise ValueError("must be a text without control characters, and without blanks around it")
    return value


def listen(value: str) -> str | tuple[str, int]:
    """Return where to listen: the path of a socket, or the host and the port of an address of this machine."""
    if value.startswith("unix:/"):
        return value.removeprefix("unix:")
    name, _, port = value.rpartition(":")
    name = name.removeprefix("[").removesuffix("]")
    if not is_loopback(name):
        raise ValueError("must be 127.0.0.1:PORT, [::1]:PORT, localhost:PORT or unix:/path: nobody else may read it")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ValueError("must have a port from 1 to 65535 behind the last colon")
    return name, int(port)


def prefix(value: str) -> str:
    """Return the prefix of table names."""
    if not _PREFIX.fullmatch(value):
        raise ValueError("must be made of letters, digits and _, 32 at most")
    return value


def start(text: str) -> str | float | int:
    """Return where to start: now, beginning, a time (float, unix seconds) or a log id (int)."""
    if text in ("now", "beginning"):
        return text
    if text.isascii() and text.isdigit() and 0 < len(text) < 19:
        return int(text)
    try:
        return times.moment(text)
    except ValueError:
        raise ValueError("must be now, beginning, a time such as 2026-02-01T14:30:00Z, or a log id") from None
