"""When Moodle's tables are compared with what was sent of them: the section `reconcile`."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.config.keys import defaulted
from relay.config.values import choices, duration_or_never, percent
from relay.events.catalogue import SYNCED


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileConfig:
    """When Moodle's tables are compared with what was sent of them, and at what cost."""

    #: Seconds between the beginnings of two passes; infinity for never.
    interval: float = field(
        metadata=defaulted(
            duration_or_never("1m", "365d"),
            "24h",
            "how often Moodle's tables are compared with what was sent, to find what the log did not say; `never`: "
            "only `relay reconcile` does",
        )
    )
    tables: tuple[str, ...] = field(
        metadata=defaulted(
            choices(*SYNCED), "[" + ", ".join(SYNCED) + "]", "which of them the daemon compares by itself"
        )
    )
    #: The part of one connection's time, from 0 to 1.
    share: float = field(
        metadata=defaulted(percent(1, 100), "5%", "how much of one connection's time that may take, at most")
    )
