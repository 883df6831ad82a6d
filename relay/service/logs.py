"""The logger: a line for each thing that relay does, as JSON or for a terminal (contract, section 7)."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from relay.service.lines import Lines

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, MutableMapping

    from relay.config.schema import LogConfig
    from relay.model import Log

#: What JSON does not know is shown as Python does.
_encode = json.JSONEncoder(default=repr).encode


def make_log(config: LogConfig, stream: TextIO | Lines | None, now: Callable[[], float]) -> Log:
    """Return the logger: one JSON object a line, or the console form on a terminal; `now` tells unix seconds.

    Loggers of one process share its Lines: these count what could not be written.
    """
    lines = stream if isinstance(stream, Lines) else Lines(stream)
    as_json = config.format == "json" or (config.format == "auto" and not lines.isatty())
    # By its number: releases of structlog before 25.1 know no names.
    levels: Any = structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[config.level.upper()])

    class Logger(levels):  # type: ignore[misc] # made anew for each level
        """structlog's, with one more method."""

        def buffered(self) -> contextlib.AbstractContextManager[None]:
            return lines.buffered()

    def stamped(_logger: Any, method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Put what each line begins with before its fields."""
        timestamp = datetime.fromtimestamp(now(), UTC).isoformat().replace("+00:00", "Z")
        return {"timestamp": timestamp, "level": method, "event": fields.pop("event"), **fields}

    def json_line(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> str:
        return _encode(fields)

    show: Any = json_line if as_json else structlog.dev.ConsoleRenderer(colors=config.is_coloured and lines.isatty())

    def dropped(count: int) -> str:
        fields = {"event": "log.dropped", "lines": count, "hint": "The log could not be written: is its disk full?"}
        return lines.urgent(str(show(None, "warning", stamped(None, "warning", fields))), "<4>")

    lines.tell = dropped
    log: Log = structlog.wrap_logger(lines, processors=[stamped, show], wrapper_class=Logger).bind()
    return log
