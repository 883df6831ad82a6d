"""A story for a person: what happened, in the order of time, why it is where it is, and what moves it on."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Something that happened."""

    #: Unix seconds; None for what holds now.
    at: float | None
    text: str


@dataclass(slots=True, kw_only=True)
class Story:
    """What happened, why it is where it is, and what moves it on."""

    lines: list[Line] = field(default_factory=list)
    conclusion: str = ""
    #: The command that moves it on; '' where nothing is to be done.
    command: str = ""
    #: Nothing of what was asked for is known.
    is_unknown: bool = False

    def add(self, at: float | None, text: str) -> None:
        """Add a line."""
        self.lines.append(Line(at=at, text=text))

    def conclude(self, conclusion: str, command: str = "") -> Story:
        """Set the end, bring the lines into order, and return the story."""
        self.conclusion, self.command = conclusion, command
        self.lines.sort(key=lambda line: float("inf") if line.at is None else line.at)
        return self
