"""Links that let in once, sessions, and what forms are sealed with: kept in the outbox as digests, under one key."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from typing import TYPE_CHECKING, Any

from relay.errors import OutboxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.outbox.contract import State

#: How long a link lets in, and how long a session lasts, in seconds.
LINK_S, SESSION_S = 5 * 60.0, 8 * 3600.0
#: What is kept of them, by digest; and what the forms' tokens are made with.
STATE, SEAL = "page.keys", "page.seal"
#: How many are kept at the most: the oldest go first.
MOST = 200
#: How often it is tried again where another process changes them at the same time.
TRIES = 20

Entry = dict[str, Any]


def make_link(state: State, role: str, user: int | None, now: float) -> str:
    """Return the secret of a new link, which lets in once: as what, and as whom. Raises OutboxError."""
    key = secrets.token_urlsafe(32)
    entry = {"is": "link", "as": role, "user": user, "until": now + LINK_S}
    _change(state, lambda kept: kept | {_digest(key): entry}, now)
    return key


def use_link(state: State, key: str, now: float) -> str | None:
    """Return the secret of the session that a link begins; None where it lets nobody in. Raises OutboxError."""
    session = secrets.token_urlsafe(32)
    taken: list[Entry] = []

    def take(kept: dict[str, Entry]) -> dict[str, Entry]:
        taken.clear()
        link = kept.pop(_digest(key), None)
        if link is not None and link["is"] == "link":
            taken.append(link)
            kept[_digest(session)] = {**link, "is": "session", "until": now + SESSION_S}
        return kept

    _change(state, take, now)
    return session if taken else None


def session(state: State, key: str, now: float) -> Entry | None:
    """Return what is known of a session that lasts still: its role and user. Raises OutboxError."""
    entry = _kept(state.state(STATE), now).get(_digest(key))
    return entry if entry is not None and entry["is"] == "session" else None


def end_session(state: State, key: str, now: float) -> None:
    """End a session. Raises OutboxError."""
    _change(state, lambda kept: {name: one for name, one in kept.items() if name != _digest(key)}, now)


def form_token(state: State, who: str, now: float) -> str:
    """Return what each form of a person carries, which no other site can know. Raises OutboxError."""
    seal = state.state(SEAL)
    if seal is None:
        state.set_state(SEAL, secrets.token_hex(32), now)
        seal = state.state(SEAL) or ""
    return hmac.new(seal.encode(), who.encode(), hashlib.sha256).hexdigest()


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def _kept(text: str | None, now: float) -> dict[str, Entry]:
    saved: dict[str, Entry] = json.loads(text or "{}")
    lasting = {name: one for name, one in saved.items() if one["until"] > now}
    return dict(list(lasting.items())[-MOST:])


def _change(state: State, change: Callable[[dict[str, Entry]], dict[str, Entry]], now: float) -> None:
    """Keep what is made of what is kept, and lasts still: another process may do so at the same time."""
    for _ in range(TRIES):
        before = state.state(STATE)
        if before is None:
            state.set_state(STATE, "{}", now)
            continue
        if state.swap_state(STATE, before, json.dumps(change(_kept(before, now))), now):
            return
    raise OutboxError("Others change who is let in at this moment.", hint="Try again.")
