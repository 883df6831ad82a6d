"""What is made late: the start of relay does not wait for what its first look at Moodle's log can do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.delivery.answer import Answer
    from relay.delivery.transport import Transport
    from relay.rules.request import Fields


class LateTransport:
    """A Transport that `prepare` makes: loading what it is built on takes as long as a fifth of a start.

    Nothing may be sent before.
    """

    def __init__(self, make: Callable[[], Transport]) -> None:
        self._make = make
        self._made: Transport | None = None

    def prepare(self) -> None:
        """Make it. Raises RelayError."""
        self._made = self._make()

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, caller: Fields = ()
    ) -> Answer:
        """Send a request, as Transport does. Raises RuntimeError before `prepare`."""
        if self._made is None:
            raise RuntimeError("nothing is sent before `prepare`")
        return self._made.send(method, path, headers, body, caller)

    def abort(self) -> None:
        """Break off what is under way, and send nothing more."""
        if self._made is not None:
            self._made.abort()

    def close(self) -> None:
        """Close the connections that are kept alive."""
        if self._made is not None:
            self._made.close()
