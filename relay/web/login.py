"""Links that let people in to the page, for `relay web login`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.service import parts
from relay.web import keys, people
from relay.web.server import address

if TYPE_CHECKING:
    from relay.config import Config


def link(config: Config, role: str | None, user: int | None) -> str:
    """Return a new link: as what, or as Moodle says of a user where that is None. Raises OutboxError."""
    with parts.opened(config, parts.REAL) as opened:
        made_of = role or ("manager" if user is None else people.MOODLE)
        key = keys.make_link(opened.outbox, made_of, user, opened.now())
    return f"{address(config.web.listen)}login?key={key}"
