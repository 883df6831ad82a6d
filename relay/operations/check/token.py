"""Checks of the backend's token: whether the backend's answers tell that it is right. It is asked, and sent nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.operations.check.result import Check, fail, ok, warn
from relay.rules import request

if TYPE_CHECKING:
    from relay.operations.backend import Backend

#: A token that no backend has given out.
MADE_UP = "made-up-by-relay-check"
#: The user that no Moodle has: asking for this profile shows nobody's data.
NOBODY = {"moodle_user_id": "0"}
UNKNOWN = (401, 403)


def check_token(backend: Backend) -> Check:
    """Return whether our token is right, of a backend whose health answers 200 to it.

    A backend that refuses a made-up token, and not ours, has told.
    """
    if backend.get(request.HEALTH, {}, token=MADE_UP).http_code in UNKNOWN:
        return ok("token", "the backend knows it, and refuses another one")
    ours = backend.get(request.PROFILE, NOBODY)
    if ours.http_code in UNKNOWN:
        found = f"GET {request.PROFILE} answered {ours.http_code}: the backend does not know us"
        return fail("token", found, "Mend backend.token.")
    if backend.get(request.PROFILE, NOBODY, token=MADE_UP).http_code in UNKNOWN:
        return ok("token", f"GET {request.PROFILE} knows it, and refuses another one")
    return warn(
        "token",
        f"GET {request.HEALTH} takes a made-up token, too: it does not tell whether backend.token is right",
        "Let it answer 401 to a wrong one. `relay send-test` sends a made-up event, and shows whether ours is taken.",
    )
