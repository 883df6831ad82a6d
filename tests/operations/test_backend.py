"""What is asked of the backend, with a function in its place: its health, its clock, and a student's profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate

import pytest

from relay.errors import RelayError
from relay.operations import profile
from relay.operations.check import backend as checks
from relay.operations.check.result import Verdict

NOW = 1_770_000_000.0


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An answer, and the backend that gives it to whatever is asked."""

    http_code: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""
    error_kind: str = ""
    duration_ms: int = 3

    def get(self, path: str, params: Mapping[str, str], *, token: str | None = None) -> Answered:
        assert token is None or token.startswith("made-up")
        assert path.startswith("/v1/")
        assert isinstance(params, dict)
        return self


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        (Answered(), [("backend", "ok"), ("token", "warn"), ("clock", "warn")]),
        (Answered(duration_ms=5001), [("backend", "warn"), ("token", "warn"), ("clock", "warn")]),
        (Answered(http_code=403), [("backend", "fail"), ("clock", "warn")]),
        (Answered(http_code=204), [("backend", "fail"), ("clock", "warn")]),
        (Answered(http_code=None, error="no answer in time", error_kind="timeout"), [("backend", "fail")]),
        (
            Answered(headers={"date": formatdate(NOW + 60, usegmt=True)}),
            [("backend", "ok"), ("token", "warn"), ("clock", "ok")],
        ),
        (
            Answered(headers={"date": formatdate(NOW - 61, usegmt=True)}),
            [("backend", "ok"), ("token", "warn"), ("clock", "fail")],
        ),
        (Answered(headers={"date": "yesterday"}), [("backend", "ok"), ("token", "warn"), ("clock", "warn")]),
    ],
)
def test_the_backend_is_checked(answered: Answered, expected: list[tuple[str, str]]) -> None:
    done = list(checks.checks(answered, lambda: NOW))
    assert [(one.name, str(one.verdict)) for one in done] == expected
    assert all(one.hint for one in done if one.verdict is not Verdict.OK)


@dataclass(frozen=True, kw_only=True)
class Knowing:
    """A backend that refuses a wrong token at some paths; `knows_ours` says whether ours is the right one."""

    refuses_at: tuple[str, ...]
    knows_ours: bool = True

    def get(self, path: str, params: Mapping[str, str], *, token: str | None = None) -> Answered:
        assert params in ({}, {"moodle_user_id": "0"})
        is_right = token is None and self.knows_ours
        return Answered(http_code=401 if path in self.refuses_at and not is_right else 200)


@pytest.mark.parametrize(
    ("backend", "verdict", "found"),
    [
        (Knowing(refuses_at=("/v1/health",)), "ok", "the backend knows it"),
        (Knowing(refuses_at=("/v1/students/profile",)), "ok", "GET /v1/students/profile knows it"),
        (Knowing(refuses_at=("/v1/students/profile",), knows_ours=False), "fail", "answered 401"),
        (Knowing(refuses_at=()), "warn", "GET /v1/health takes a made-up token, too"),
    ],
)
def test_the_token_is_right_where_another_one_is_refused(backend: Knowing, verdict: str, found: str) -> None:
    done = {one.name: one for one in checks.checks(backend, lambda: NOW)}
    assert str(done["token"].verdict) == verdict
    assert found in done["token"].found
    assert bool(done["token"].hint) == (verdict != "ok")


def test_a_profile_is_given_as_it_came_and_as_json() -> None:
    found = profile.ask(Answered(body=b'{"a":  1}'), 42)
    assert (found.text, found.document) == ('{"a":  1}', {"a": 1})


@pytest.mark.parametrize(
    ("answered", "sentence"),
    [
        (Answered(http_code=404), "there is no profile of user 42: the backend answered 404."),
        (
            Answered(http_code=None, error="no answer in time"),
            "the profile of user 42 could not be fetched: no answer in time.",
        ),
        (Answered(http_code=401), "the profile of user 42 could not be fetched: the backend answered 401."),
        (Answered(http_code=500), "the profile of user 42 could not be fetched: the backend answered 500."),
        (Answered(body=b"<html>"), "the backend's answer is no JSON, or longer than 64 KiB."),
    ],
)
def test_no_profile_is_a_sentence_and_a_hint(answered: Answered, sentence: str) -> None:
    with pytest.raises(RelayError, match=sentence.split(":", maxsplit=1)[0]) as caught:
        profile.ask(answered, 42)
    assert str(caught.value) == sentence
    assert caught.value.hint
    assert caught.value.exit_code == 1
