"""Checks of who asks: health, a student's profile, and the token. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.receivers import answers
from relay.receivers.checks.check import ANSWER_401, Check, Tools, alone
from relay.rules import request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.receivers.answers import Expected
    from relay.receivers.checks.check import Tried, Tries

WRONG_TOKEN = "a-wrong-token-made-up"  # noqa: S105 -- made up
NOBODY = f"{request.PROFILE}?moodle_user_id=2000000001"


def _ask(path: str, expected: Expected, method: str = "GET", **headers: str | None) -> Tries:
    return alone(lambda tools: tools.craft.asking(path, method).with_headers(**headers), expected)


def _almost_right(tools: Tools) -> Sequence[Tried]:
    """Return an event under each token that a careless comparison takes for the right one."""
    token = tools.craft.target.token
    another = "b" if token.endswith(("a", "A")) else "a"
    close = (token[:-1] + another, token[:-1], token + another, token.swapcase())
    return [
        (tools.event().with_headers(x_moodle_token=one), answers.UNKNOWN) for one in close if one not in (token, "")
    ]


CHECKS = (
    Check("GET /v1/health", _ask(request.HEALTH, answers.WELL), "Answer 200 where the token is right."),
    Check("HEAD /v1/health", _ask(request.HEALTH, answers.WELL, "HEAD"), "Answer HEAD as GET, without a body."),
    Check(
        "health with a wrong token",
        _ask(request.HEALTH, answers.UNKNOWN, x_moodle_token=WRONG_TOKEN),
        f"Compare X-Moodle-Token there too: `relay check` learns it so. {ANSWER_401}",
    ),
    Check("health without a token", _ask(request.HEALTH, answers.UNKNOWN, x_moodle_token=None), ANSWER_401),
    Check(
        "a student's profile",
        _ask(NOBODY, answers.KNOWN_OR_NOT),
        "Answer 200 with what is known as JSON, or 404.",
    ),
    Check(
        "a profile with a wrong token",
        _ask(NOBODY, answers.UNKNOWN, x_moodle_token=WRONG_TOKEN),
        f"A profile is personal data: compare X-Moodle-Token first. {ANSWER_401}",
    ),
    Check(
        "an event with a wrong token",
        alone(lambda tools: tools.event().with_headers(x_moodle_token=WRONG_TOKEN), answers.UNKNOWN),
        f"Compare X-Moodle-Token. {ANSWER_401}",
    ),
    Check(
        "an event with a token that is almost right",
        _almost_right,
        f"Compare X-Moodle-Token whole, letters' case too, and in constant time. {ANSWER_401}",
    ),
    Check(
        "an event without a token",
        alone(lambda tools: tools.event().with_headers(x_moodle_token=None), answers.UNKNOWN),
        f"Compare X-Moodle-Token. {ANSWER_401}",
    ),
)
