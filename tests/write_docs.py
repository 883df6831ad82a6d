"""Writes what is made from the code: config.example.yaml, the README's lists, and which payloads are published."""

from __future__ import annotations

import json
from pathlib import Path

from relay.config import document
from relay.events import document as events
from relay.events.catalogue import KINDS
from relay.receivers import schema

ROOT = Path(__file__).parents[1]
EXAMPLE, README = ROOT / "config.example.yaml", ROOT / "README.md"
PUBLISHED = ROOT / "tests" / "receivers" / "published.json"


def main() -> None:
    EXAMPLE.write_text(document.example())
    README.write_text(events.in_readme(document.in_readme(README.read_text()), KINDS.values()))
    published = json.loads(PUBLISHED.read_text()) if PUBLISHED.exists() else {}
    for kind in KINDS.values():
        # What was published once stays: tests/receivers/test_schema.py asks for a new version instead.
        published.setdefault(kind.name, {}).setdefault(str(kind.version), schema.fingerprint(kind))
    PUBLISHED.write_text(json.dumps(published, indent=2) + "\n")


if __name__ == "__main__":
    main()
