"""What operations ask of the backend: delivery's sender answers so, and a function in a test can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Answer(Protocol):
    """What came back for a request; without a code, `error` says why nothing did."""

    @property
    def http_code(self) -> int | None:
        """The status code; None where there was no answer."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers; their names are found in any case."""

    @property
    def body(self) -> bytes:
        """The beginning of the body, as it was sent."""

    @property
    def error(self) -> str:
        """What went wrong, as a short sentence; '' where an answer came."""

    @property
    def error_kind(self) -> str:
        """A slug for what went wrong: timeout, refused, dns and so on; '' where an answer came."""

    @property
    def duration_ms(self) -> int:
        """How long it took, in milliseconds."""


class Backend(Protocol):
    """Answers questions."""

    def get(self, path: str, params: Mapping[str, str], *, token: str | None = None) -> Answer:
        """Ask for a path below the backend's URL, with these parameters; a network error is an answer, too.

        `token` stands in for the config's.
        """
