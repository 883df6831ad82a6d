"""What a check says: its name, a verdict, what was found and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from relay.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `relay check`."""

    name: str
    verdict: Verdict
    #: What was found, as a sentence.
    found: str
    #: What to do; '' where all is well.
    hint: str = ""


def ok(name: str, found: str) -> Check:
    """Return that all is well."""
    return Check(name=name, verdict=Verdict.OK, found=found)


def warn(name: str, found: str, hint: str) -> Check:
    """Return that relay works, and that something should be mended."""
    return Check(name=name, verdict=Verdict.WARN, found=found, hint=hint)


def fail(name: str, found: str, hint: str) -> Check:
    """Return that relay cannot work like this."""
    return Check(name=name, verdict=Verdict.FAIL, found=found, hint=hint)


def guarded(name: str, look: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Yield what a check finds; an error that it raises is what was found, and the next check goes on."""
    try:
        yield from look()
    except RelayError as error:
        yield fail(name, str(error), error.hint)
    except Exception as error:  # noqa: BLE001 -- whatever it is, the other checks have something to say
        # Only the error's kind: its text could hold a value.
        yield fail(name, f"this could not be looked at: {type(error).__name__}", "This is a fault in relay: report it.")
