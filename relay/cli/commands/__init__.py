"""The commands, in the order of `relay --help`. A new one is a module with a COMMAND, and its name here.

A module is read when its command is asked for: who asks for one does not wait for what the others need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.cli.command import Command

#: The names of the commands, by what they are for.
GROUPS = {
    "run": ("run", "reload", "demo"),
    "look": ("check", "status", "events", "explain", "metrics", "profile", "web"),
    "repair": ("sync", "reconcile", "acknowledge", "purge", "forget", "move-outbox"),
    "set up": ("install", "init", "grants", "seal", "import-plugin", "completion", "man", "uninstall"),
    "for those who receive": ("keygen", "schema", "send-test", "receive", "test-backend"),
}
NAMES = tuple(name for names in GROUPS.values() for name in names)


def load(name: str) -> Command:
    """Return the command of a name in NAMES."""
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    command: Command = module.COMMAND
    return command
