"""The config that a command line names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from relay import config

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def config_path(arguments: argparse.Namespace) -> Path:
    """Return where the config file is. Raises UsageError where there is none."""
    return config.find(getattr(arguments, "config", None), os.environ.get("RELAY_CONFIG"))


def load_config(arguments: argparse.Namespace) -> config.Config:
    """Return the config. Raises UsageError where there is none, ConfigError where it is wrong."""
    return config.load(config_path(arguments))


def load_to_look(arguments: argparse.Namespace) -> config.Config:
    """Return the config, of which secrets may be missing. Raises UsageError or ConfigError as `load_config`."""
    return config.load_to_look(config_path(arguments))
