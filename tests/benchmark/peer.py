"""The task of each peer of section 11, and what fills its queue; the peer's workers import it, in .venv-peers.

The environment says which peer it is (`PEER`), where its queue is (`PEER_QUEUE`: a file or a URL) and where the backend
is (`PEER_BACKEND`: a URL).
"""

# Each process loads the one library that it runs; the tools for the code know none of them.
# ruff: noqa: PLC0415

from __future__ import annotations

import itertools
import os
import threading
from typing import TYPE_CHECKING, Any

import requests
import stock
from contestant import post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    #: An event as each of the queues can hold it: its type, its id and its body.
    Item = tuple[str, str, str]
    #: Given some events, puts a task for each into the queue.
    Put = Callable[[Iterable[Item]], None]

QUEUE, BACKEND = os.environ["PEER_QUEUE"], os.environ["PEER_BACKEND"]
#: How many events are put into a queue at once, where it can take several.
GROUP = 500
_own = threading.local()


def deliver(event_type: str, event_id: str, body: str) -> None:
    """Send an event by the session of this thread: the task."""
    if not hasattr(_own, "session"):
        _own.session = requests.Session()
    post(_own.session, BACKEND, event_type, event_id, body.encode())


def huey() -> tuple[Any, Put]:
    from huey import SqliteHuey  # type: ignore[import-not-found]

    # Each commit is on disk when it returns, as relay's is.
    app = SqliteHuey(filename=QUEUE, results=False, fsync=True)
    task = app.task(name="deliver")(deliver)
    return app, lambda items: _each(task, items)


def rq() -> tuple[Any, Put]:
    from redis import Redis  # type: ignore[import-not-found]
    from rq import Queue  # type: ignore[import-not-found]

    queue = Queue(connection=Redis.from_url(QUEUE))

    def put(items: Iterable[Item]) -> None:
        for group in _groups(items):
            queue.enqueue_many([Queue.prepare_data(deliver, item, result_ttl=0) for item in group])

    return queue, put


def dramatiq() -> tuple[Any, Put]:
    import dramatiq  # type: ignore[import-not-found]
    from dramatiq.brokers.redis import RedisBroker  # type: ignore[import-not-found]

    broker = RedisBroker(url=QUEUE)
    dramatiq.set_broker(broker)
    actor = dramatiq.actor(deliver)
    return broker, lambda items: _each(actor.send, items)


def celery() -> tuple[Any, Put]:
    from celery import Celery  # type: ignore[import-not-found]

    app = Celery("peer", broker=QUEUE)
    app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, task_ignore_result=True)
    task = app.task(name="deliver")(deliver)
    return app, lambda items: _each(task.delay, items)


def procrastinate() -> tuple[Any, Put]:
    import procrastinate  # type: ignore[import-not-found]

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=QUEUE))
    task = app.task(name="deliver")(deliver)

    def put(items: Iterable[Item]) -> None:
        with app.open():
            app.schema_manager.apply_schema()
            for group in _groups(items):
                task.batch_defer(*(dict(zip(("event_type", "event_id", "body"), item, strict=True)) for item in group))

    return app, put


def _each(put: Callable[..., object], items: Iterable[Item]) -> None:
    for item in items:
        put(*item)


def _groups(items: Iterable[Item]) -> Iterator[Sequence[Item]]:
    rest = iter(items)
    while group := tuple(itertools.islice(rest, GROUP)):
        yield group


PEERS = {made.__name__: made for made in (huey, rq, dramatiq, celery, procrastinate)}
#: What the worker's command names, or finds by its name.
app, _put = PEERS[os.environ["PEER"]]()


def fill(count: int) -> None:
    """Put a task for each of so many events into the queue."""
    _put((event.event_type, event.event_id, event.body.decode()) for event in stock.events(count))
