"""Does once what each command would do again; the process that they are forked from reads this (`forked.py`)."""

from __future__ import annotations

from pathlib import Path

from relay import config
from relay.cli.commands import NAMES
from relay.cli.parser import parsers
from relay.config import document

# The patterns of argparse, and the defaults of the config.
parsers([name for name in NAMES if name != "demo"])
config.parse(document.example(), path=Path("config.yaml"), is_lenient=True)
