"""What must hold after any fault: the log table, the outbox and the backend's own record agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.events.catalogue import KINDS, watched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness import Relay
    from receiver import Request

    from relay.demo.moodle import College

#: What relay reads of the log where the config switches on nothing more.
EVENTNAMES = [
    kind.moodle_event for kind in watched(KINDS.values(), [name for name, kind in KINDS.items() if not kind.is_default])
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What came of a run."""

    #: Log rows that relay had to see, and different events that arrived.
    rows: int
    arrived: int
    #: Log rows that are neither delivered nor recorded as skipped.
    lost: int
    #: Ids that arrived with different bytes.
    changed: int
    #: Ids that more than one log row has, or that no log row has.
    doubled: int
    #: Requests that repeated an id that had arrived before.
    repeated: int
    #: Requests beyond the attempt rows of their event.
    unrecorded: int
    #: Events that arrived before an earlier one of their user.
    overtaken: int

    def faults(self) -> dict[str, int]:
        """Return what must be nothing, and is not."""
        names = ("lost", "changed", "doubled", "unrecorded", "overtaken")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def audit(relay: Relay, college: College, requests: Sequence[Request], taken: set[str], late: set[int]) -> Figures:
    """Compare the three records.

    `requests` is everything that reached the backend, in order; `taken` the ids that it took; `late` the users who had
    a row appear late: theirs alone may arrive out of order.
    """
    marks = ", ".join(["%s"] * len(EVENTNAMES))
    statement = f"SELECT id FROM {{p}}logstore_standard_log WHERE eventname IN ({marks}) AND origin IS NOT NULL"
    rows = {int(row[0]) for row in college.rows(statement, *EVENTNAMES)}
    recorded = relay.rows("SELECT log_id, event_id, status FROM {log}")
    delivered = {log_id for log_id, event_id, status in recorded if event_id in taken and status == "success"}
    skipped = {log_id for log_id, _, status in recorded if status == "skipped"}
    known = Counter(event_id for _, event_id, _ in recorded)
    attempts = dict(relay.rows("SELECT event_id, COUNT(*) FROM {attempt} GROUP BY event_id"))
    sent = Counter(request.event_id for request in requests)
    bodies = defaultdict(set)
    for request in requests:
        bodies[request.event_id].add(request.body)
    return Figures(
        rows=len(rows),
        arrived=len(taken),
        lost=len(rows - delivered - skipped),
        changed=sum(len(different) > 1 for different in bodies.values()),
        doubled=len(recorded) - len({log_id for log_id, _, _ in recorded}) + len(sent.keys() - known.keys()),
        repeated=sum(count - 1 for count in sent.values()),
        unrecorded=sum(max(0, count - attempts.get(event_id, 0)) for event_id, count in sent.items()),
        overtaken=_overtaken(requests, {event_id: log_id for log_id, event_id, _ in recorded}, taken, late),
    )


def _overtaken(requests: Sequence[Request], log_ids: Mapping[str, int], taken: set[str], late: set[int]) -> int:
    count = 0
    newest: dict[int, tuple[str, int]] = {}
    seen: set[str] = set()
    for request in requests:
        # The first arrival counts: a repeat after a kill is what it is.
        if request.event_id in seen or request.event_id not in taken:
            continue
        seen.add(request.event_id)
        envelope = request.envelope
        user = envelope["data"]["userid"]
        # Of one second, they happened in the order of the log.
        happened = (envelope["timestamp"], log_ids.get(request.event_id, 0))
        if user not in late and newest.get(user, happened) > happened:
            count += 1
        newest[user] = max(newest.get(user, happened), happened)
    return count
