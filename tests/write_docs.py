"""Writes what is made from code: config.example.yaml, and the README's tables of config keys and of events."""

from __future__ import annotations

from pathlib import Path

from relay.config import document
from relay.events import document as events
from relay.events.catalogue import KINDS

ROOT = Path(__file__).parents[1]
EXAMPLE, README = ROOT / "config.example.yaml", ROOT / "README.md"


def main() -> None:
    EXAMPLE.write_text(document.example())
    README.write_text(events.in_readme(document.in_readme(README.read_text()), KINDS.values()))


if __name__ == "__main__":
    main()
