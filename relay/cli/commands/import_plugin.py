"""`relay import-plugin`: a config, made from the settings of the PHP plugin that relay replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay import config
from relay.cli.command import Command, Exit
from relay.cli.configured import config_path
from relay.operations import plugin
from relay.service import admin

if TYPE_CHECKING:
    import argparse

EXAMPLES = """examples:
  umask 077; relay --config database.yaml import-plugin > config.yaml
Of the config given, only moodle.database needs to be there.
"""


def handle(arguments: argparse.Namespace) -> int:
    """Print the config."""
    path = config_path(arguments)
    database = config.load_database(path)
    settings = admin.plugin_settings(database)
    lines = plugin.config_lines(settings, config.written_database(path), database.prefix)
    print("\n".join(lines))
    return Exit.WELL


COMMAND = Command(
    name="import-plugin",
    summary="make a config of the PHP plugin's settings",
    examples=EXAMPLES,
    handle=handle,
)
