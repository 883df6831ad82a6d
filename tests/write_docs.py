"""Writes what is made from the table of config keys: config.example.yaml, and the README's table."""

from __future__ import annotations

from pathlib import Path

from relay.config import document

ROOT = Path(__file__).parents[1]
EXAMPLE, README = ROOT / "config.example.yaml", ROOT / "README.md"


def main() -> None:
    EXAMPLE.write_text(document.example())
    README.write_text(document.in_readme(README.read_text()))


if __name__ == "__main__":
    main()
