"""Who is let in to the page, and where it is: the section `web`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from relay.config import checks
from relay.config.keys import defaulted, group, optional, part
from relay.config.values import text

if TYPE_CHECKING:
    from relay.config.reader import Section

#: The names of headers that a server takes for no other one.
_HEADER = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", re.ASCII)


def header_name(value: str) -> str:
    """Return the name of a header."""
    if not _HEADER.fullmatch(value):
        raise ValueError("must be the name of a header, such as X-Remote-User")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig:
    """A proxy at which people log in, and which tells who they are."""

    header: str = field(
        metadata=defaulted(
            text(header_name), "X-Remote-User", "where it tells the Moodle username of who has logged in"
        )
    )
    user: str = field(
        metadata=defaulted(text(), "www-data", "the account that it runs as: from nobody else is the header taken")
    )


PROXY = replace(
    group(ProxyConfig),
    meaning="a proxy at which people log in; what they may do is what Moodle's role tables say of them",
    is_optional=True,
    is_inline=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """Where the page is, and who is let in."""

    #: The path of a socket, or a host and a port.
    listen: str | tuple[str, int] = field(
        metadata=defaulted(
            text(checks.listen),
            "unix:/run/relay-web/web.sock",
            "where the page is: `unix:/path/of/a/socket`, where it is known who asks, or an address of this machine "
            "with its port, to which `relay web login` lets people in",
        )
    )
    group: str = field(
        metadata=defaulted(text(), "relay", "members of this group of the machine, and root, may do all on the socket")
    )
    host: str | None = field(
        metadata=optional(text(checks.host), "relay.college.example", "the name by which a proxy is asked for the page")
    )
    proxy: ProxyConfig | None = field(metadata=part(PROXY))


def make(section: Section, values: dict[str, Any]) -> WebConfig:
    """Return the section's values; a proxy's header is taken on a socket alone."""
    made = WebConfig(**values)
    if made.proxy is not None and isinstance(made.listen, tuple):
        section.wrong(
            "proxy", "is of use on a unix socket alone: anybody on this machine could send the header to a port"
        )
    return made


WEB = group(WebConfig, make)
