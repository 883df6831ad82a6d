"""What the tests of delivery share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from virtual import World

from relay.delivery import dispatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay.model import Delivery, Outcome


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    """Nobody else uses the outbox: so a pass need not be done each second to see what another process made due."""
    monkeypatch.setattr(dispatch, "IDLE_S", math.inf)
    made: list[World] = []

    def make(answer: Callable[[Delivery, float], Outcome], stored: str = "", **size: int) -> World:
        made.append(World(tmp_path, answer, stored, **size))
        return made[-1]

    yield make
    for world in made:
        world.dispatch.close()
        world.outbox.close()
