"""Runs relay with some of its constants changed: `python hastened.py MODULE:NAME=NUMBER … -- the arguments of relay`.

So a test waits for no more than it must, and a disk is nearly full. Nothing in relay knows of this.
"""

from __future__ import annotations

import importlib
import sys

from relay import cli


def main() -> None:
    split = sys.argv.index("--")
    for one in sys.argv[1:split]:
        place, _, number = one.partition("=")
        module, _, name = place.partition(":")
        setattr(importlib.import_module(module), name, float(number))
    sys.exit(cli.main(sys.argv[split + 1 :]))


if __name__ == "__main__":
    main()
