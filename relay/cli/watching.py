"""What is shown again and again (`--watch`)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from relay.cli.command import Exit
from relay.service import looking

if TYPE_CHECKING:
    from collections.abc import Callable

#: How often what is watched is shown again, in seconds.
WATCH_S = 2.0


def repeated(text: Callable[[], str]) -> int:
    """Show a text again and again, in the place of the last one on a terminal, until Ctrl-C; return the exit code."""
    clear = "\x1b[H\x1b[2J\x1b[3J" if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" else ""
    try:
        for _ in looking.again_and_again(WATCH_S):
            # Made before the screen is cleared: it is never empty meanwhile.
            shown = text()
            print(f"{clear}{shown}", flush=True)
    except KeyboardInterrupt:
        pass
    return Exit.WELL
