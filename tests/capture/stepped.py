"""A capture that is stepped by hand, on a real database."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from relay import config
from relay.rules import cursor
from relay.service import parts, wiring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.capture.log import Capture
    from relay.outbox.contract import Outbox

AT = 1_770_000_000


class Recorded:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    warning = error = info

    @contextmanager
    def buffered(self) -> Iterator[None]:
        yield

    def slugs(self) -> list[str]:
        return [slug for slug, _ in self.lines]

    def fields(self, slug: str) -> dict[str, Any]:
        return next(fields for name, fields in self.lines if name == slug)


class Captured:
    """A capture with its outbox and log, that can be started anew."""

    def __init__(self, loaded: config.Config) -> None:
        self.loaded = loaded
        self.log = Recorded()
        self.outbox: Outbox = parts.make_outbox(loaded, create=True)
        self.capture: Capture
        self.now = float(AT + 100)
        self.restart()

    def restart(self) -> None:
        self.moodle = parts.make_moodle(self.loaded)
        self.capture = wiring.make_capture(self.loaded, self.moodle, self.outbox, self.log)

    def read(self, after_s: float = 1.0) -> int:
        """Read all there is, some seconds later; return how many events are new."""
        self.now += after_s
        accepted = 0
        is_more = True
        while is_more:
            progress = self.capture.run_once(self.now)
            accepted += progress.accepted
            is_more = progress.is_more
        return accepted

    def data(self, event_type: str) -> list[dict[str, Any]]:
        """Return the data of the events of a type, in the order in which they were recorded."""
        with contextlib.closing(sqlite3.connect(f"file:{self.loaded.outbox.sqlite_path}?mode=ro", uri=True)) as file:
            statement = (
                "SELECT event_data FROM mdl_mb_zoho_event_log WHERE event_type = ? AND status <> 'skipped' ORDER BY id"
            )
            return [json.loads(text) for (text,) in file.execute(statement, (event_type,))]

    def gaps(self) -> int:
        position = self.outbox.position()
        assert position is not None
        return cursor.open_ids(position)

    def close(self) -> None:
        self.moodle.close()
        self.outbox.close()
