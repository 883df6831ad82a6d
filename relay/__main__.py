"""`relay`, and `python -m relay`."""

from __future__ import annotations

import sys
from typing import NoReturn


def entry() -> NoReturn:
    """Run the command line of this process, and exit with its code."""
    try:
        # Within: Ctrl-C while this is read is no fault.
        from relay.cli import main  # noqa: PLC0415

        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    raise SystemExit(code)


if __name__ == "__main__":
    entry()
