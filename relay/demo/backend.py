"""The demo's backend: the receiver of `relay receive`, which can be down for a while, or break off before an answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from relay.receivers.judge import Judge, Judged, Request, Verdict
from relay.receivers.server import Receiver, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence


class Backend(Receiver):
    """Takes events on a free port of 127.0.0.1; `url` says where."""

    def __init__(self, token: str, keys: Sequence[str]) -> None:
        judge = Judge(keys, token=token, tenant_id="default")
        super().__init__(("127.0.0.1", 0), judge, now=time.time, decide=self._decided)
        #: When each event arrived first (unix seconds), by its id.
        self.arrived: dict[str, float] = {}
        #: How many requests repeated an id, and how many were refused.
        self.duplicates = 0
        self.forged = 0
        #: What arrived last of each event, by its id.
        self.requests: dict[str, Request] = {}
        #: It answers 503 to every event.
        self.is_down = False
        #: It takes the next event, and breaks the connection before it answers.
        self.hangs_up = False

    def _decided(self, delivery: Request, judged: Judged) -> Reply | None:
        """Count what came, and answer otherwise than with the judge's word where it is down or hangs up."""
        self.requests[delivery.headers.get("webhook-id", "")] = delivery
        if self.is_down:
            return Reply(code=503, body=b'{"status": "away"}')
        if judged.verdict is Verdict.GOOD:
            self.arrived[delivery.headers["webhook-id"]] = time.time()
        elif judged.verdict is Verdict.DUPLICATE:
            self.duplicates += 1
        else:
            self.forged += 1
        if self.hangs_up and judged.verdict in (Verdict.GOOD, Verdict.DUPLICATE):
            self.hangs_up = False
            return Reply(code=200, hangs_up=True)
        return None
