"""What the sections share: how much is measured, and where."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.demo.mariadb import MariaDB

#: This folder: the contestants and the slow backend are scripts in it.
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One run of the benchmark."""

    #: Where everything is kept that is thrown away after it.
    folder: Path
    mariadb: MariaDB
    #: How many events are drained, and how often what is compared is measured.
    events: int
    runs: int
    is_quick: bool
    _began_at: float = field(default_factory=time.monotonic)

    def sized(self, full: int, quick: int) -> int:
        """Return how many of something are used."""
        return quick if self.is_quick else full

    def seconds(self, full: float, quick: float) -> float:
        """Return how long something is watched, in seconds."""
        return quick if self.is_quick else full

    def new_folder(self, name: str) -> Path:
        """Make an empty folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def say(self, text: str) -> None:
        """Tell on stderr what has just been measured."""
        print(f"{time.monotonic() - self._began_at:7.1f} s  {text}", file=sys.stderr, flush=True)
