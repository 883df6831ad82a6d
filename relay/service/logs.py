"""The logger: a line for each thing that relay does, as JSON or for a terminal (contract, section 7)."""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

    from relay.config.schema import LogConfig
    from relay.model import Log
    from relay.outbox.values import Migrated

#: What JSON does not know is shown as Python does.
_encode = json.JSONEncoder(default=repr).encode


class Lines:
    """Writes log lines to a stream, each at once and whole, whichever thread it comes from."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._kept = threading.local()

    def line(self, text: str) -> None:
        """Write a line, or keep it until the end of `buffered`."""
        kept: list[str] | None = getattr(self._kept, "lines", None)
        if kept is None:
            self._write(text)
        else:
            kept.append(text)

    debug = info = warning = error = critical = line

    @contextlib.contextmanager
    def buffered(self) -> Iterator[None]:
        """Keep the lines of this thread, and write them at the end: one write costs as much for hundreds as for one."""
        kept: list[str] = []
        self._kept.lines = kept
        try:
            yield
        finally:
            self._kept.lines = None
            if kept:
                self._write("\n".join(kept))

    def _write(self, text: str) -> None:
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()


def make_log(config: LogConfig, stream: TextIO, now: Callable[[], float]) -> Log:
    """Return the logger: one JSON object a line, or the console form on a terminal; `now` tells unix seconds."""
    as_json = config.format == "json" or (config.format == "auto" and not stream.isatty())
    levels: Any = structlog.make_filtering_bound_logger(config.level)

    class Logger(levels):  # type: ignore[misc] # made anew for each level
        """structlog's, with one more method."""

        def buffered(self) -> contextlib.AbstractContextManager[None]:
            lines: Lines = self._logger
            return lines.buffered()

    def stamped(_logger: Any, method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Put what each line begins with before its fields."""
        timestamp = datetime.fromtimestamp(now(), UTC).isoformat().replace("+00:00", "Z")
        return {"timestamp": timestamp, "level": method, "event": fields.pop("event"), **fields}

    def json_line(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> str:
        return _encode(fields)

    show: Any = json_line if as_json else structlog.dev.ConsoleRenderer()
    log: Log = structlog.wrap_logger(Lines(stream), processors=[stamped, show], wrapper_class=Logger).bind()
    return log


def say_migrated(log: Log, migrated: Migrated | None) -> None:
    """Say that an outbox of an older relay has this one's tables now, and where the copy of its file is."""
    if migrated is not None:
        copy = {"copy": migrated.copy} if migrated.copy else {}
        log.info("outbox.migrated", before=migrated.before, after=migrated.after, **copy)
