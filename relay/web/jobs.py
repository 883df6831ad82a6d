"""What is done while the page is looked at: one thing at a time, by the code of the command line, with its progress."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.errors import RelayError
from relay.service.daemon import Signals
from relay.service.threads import Pool
from relay.web.exchange import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.model import Log

#: How long is waited for a job that is broken off at the end, in seconds.
END_S = 30.0


@dataclass(slots=True, kw_only=True)
class Job:
    """Something that was asked for."""

    #: sync, reconcile, replay or forget; and of what.
    name: str
    what: str
    #: Who asked, as the log calls them.
    who: str
    started_at: float
    #: Does it, and tells what has come of it as lines for a person. Raises RelayError.
    run: Callable[[Job], None]
    signals: Signals = field(default_factory=Signals)
    #: How many rows, or events, are done; and of how many, where that is known.
    done: int = 0
    total: int | None = None
    #: What has come of it: sentences, each with the values that stand in it.
    said: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    error: str = ""
    hint: str = ""
    ended_at: float | None = None

    def say(self, sentence: str, **values: object) -> None:
        """Say what has come of it, in a sentence with {names} for the values."""
        self.said.append((sentence, values))


class Jobs:
    """Does one job after the other; keeps the last one."""

    def __init__(self, now: Callable[[], float], log: Log) -> None:
        self._now = now
        self._log = log
        self._pool: Pool[Job] = Pool(1, self._work, "web-job")
        self._lock = threading.Lock()
        #: The last one that was begun.
        self.last: Job | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is being done."""
        return self.last is not None and self.last.ended_at is None

    def begin(self, job: Job) -> None:
        """Begin a job. Raises Refused where another one is under way."""
        with self._lock:
            if self.is_busy:
                raise Refused(409, "Something else is being done at this moment", "wait until it has ended")
            self.last = job
        self._pool.submit(job)

    def stop(self) -> None:
        """Break off what is being done."""
        if self.last is not None:
            self.last.signals.stop.set()
        self._pool.close(END_S)

    def _work(self, job: Job) -> None:
        try:
            job.run(job)
        except RelayError as error:
            job.error, job.hint = str(error), error.hint
        except Exception as error:  # noqa: BLE001 -- whatever it is, the page stays
            # Only the error's kind: its text could hold what stands in a row.
            job.error, job.hint = f"This is a fault in relay ({type(error).__name__})", "please report it"
        job.ended_at = self._now()
        failed = {"error": job.error} if job.error else {}
        self._log.info("web.done", action=job.name, what=job.what, who=job.who, done=job.done, **failed)
