"""What the backend knows of a student (`relay profile`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.errors import RelayError
from relay.rules import request

if TYPE_CHECKING:
    from relay.operations.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A profile, as the backend gives it."""

    #: The answer as it came.
    text: str
    #: The same as JSON types.
    document: Any


def ask(backend: Backend, user: int) -> Profile:
    """Return the profile of a user, given Moodle's user id. Raises RelayError where the backend gives none."""
    answer = backend.get(request.PROFILE, {"moodle_user_id": str(user)})
    if answer.http_code == 404:
        raise RelayError(
            f"there is no profile of user {user}: the backend answered 404.",
            hint="Has the backend been sent this user? `relay explain user:ID` tells.",
        )
    if answer.http_code != 200:  # the one code that comes with a profile
        said = answer.error or f"the backend answered {answer.http_code}"
        raise RelayError(
            f"the profile of user {user} could not be fetched: {said}.",
            hint="`relay check` says more about the backend.",
        )
    text = answer.body.decode("utf-8", "replace")
    try:
        return Profile(text=text, document=json.loads(text))
    except (ValueError, RecursionError):
        raise RelayError(
            "the backend's answer is no JSON, or longer than 64 KiB.", hint="Ask those who run the backend."
        ) from None
