"""The commands of those who receive: a receiver that serves until it is stopped, and requests to a receiver."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import uuid
from typing import TYPE_CHECKING

from relay.config.checks import backend_url
from relay.delivery.sender import forms, outcome_of
from relay.delivery.transport import Transport
from relay.errors import RelayError, UsageError
from relay.receivers.craft import Crafter
from relay.receivers.server import Receiver, Reply
from relay.rules import signing
from relay.service import parts, wiring
from relay.service.daemon import interruptible
from relay.service.threads import Pool, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from relay.config import BackendConfig
    from relay.model import Outcome
    from relay.receivers.craft import Attempt, Target
    from relay.receivers.judge import Judge, Judged, Request

#: How long a request to a receiver may take where no config says it, in seconds.
TIMEOUT_S = 30.0
#: So much is shown of another receiver's answer, in bytes.
SHOWN = 200
#: Headers of one connection: they are not handed on to the next one.
HOP_BY_HOP = ("connection", "host", "keep-alive", "transfer-encoding", "te", "upgrade", "accept-encoding")


def checked_url(option: str, url: str) -> str:
    """Return a URL that requests may go to: https, or http on this machine. Raises UsageError."""
    try:
        return backend_url(url)
    except ValueError as error:
        raise UsageError(f"{option} {error}.", hint="Such as http://127.0.0.1:8087 for `relay receive`.") from None


@contextlib.contextmanager
def reaching(url: str, backend: BackendConfig | None = None) -> Iterator[Transport]:
    """Let requests be sent to a URL within; by the config's way to its backend, where that is given."""
    machine = parts.REAL
    if backend is not None:
        made = wiring.make_transport(url, backend, machine)
    else:
        made = Transport(
            url=url,
            timeout_s=TIMEOUT_S,
            connections=8,
            monotonic=machine.monotonic,
            resolve=within(TIMEOUT_S, socket.getaddrinfo),
        )
    with contextlib.closing(made) as transport:
        yield transport


def hand_on(transport: Transport, delivery: Request) -> Reply:
    """Return what another receiver answers to a delivery: 502 where it does not."""
    headers = {name: value for name, value in delivery.headers.items() if name not in HOP_BY_HOP}
    answer = transport.send("POST", delivery.path, headers, delivery.body)
    if answer.http_code is None:
        body = json.dumps({"status": "not handed on", "why": answer.error}).encode()
        return Reply(code=502, body=body, why=f"It could not be handed on: {answer.error}.")
    if 200 <= answer.http_code < 300:
        return Reply(code=answer.http_code, body=answer.body)
    said = answer.body[:SHOWN].decode("utf-8", "replace")
    why = f"It was handed on, and answered {answer.http_code}{f': {said}' if said else ''}"
    return Reply(code=answer.http_code, body=answer.body, why=why)


def exchange(transport: Transport, attempt: Attempt, token: str) -> Outcome:
    """Send a request that tries a receiver; return what came of it, without the token."""
    began_at = parts.REAL.now()
    answer = transport.send(attempt.method, attempt.path, attempt.headers, attempt.body)
    return outcome_of(answer, began_at, forms(token))


def at_once(send: Callable[[Attempt], Outcome], attempts: Sequence[Attempt]) -> Sequence[Outcome]:
    """Send requests at the same time; return what came of each."""
    outcomes: list[Outcome] = []
    pool: Pool[Attempt] = Pool(len(attempts), lambda attempt: outcomes.append(send(attempt)), "at-once")
    for attempt in attempts:
        pool.submit(attempt)
    pool.close(timeout_s=TIMEOUT_S * len(attempts))
    return outcomes


def make_crafter(target: Target) -> Crafter:
    """Return what makes requests to a receiver, with ids that nobody had before."""
    return Crafter(target, now=parts.REAL.now, new_id=lambda: str(uuid.uuid4()))


def other_keys(keys: Sequence[signing.Key]) -> list[signing.Key]:
    """Return keys of the same kinds that nobody has."""
    made = []
    for key in keys:
        is_symmetric = isinstance(key, signing.SymmetricKey)
        texts = (signing.symmetric_texts if is_symmetric else signing.asymmetric_texts)(
            secrets.token_bytes(signing.SEED)
        )
        made.append(signing.parse_key(texts[0]))
    return made


def serve(
    address: tuple[str, int],
    judge: Judge,
    *,
    decide: Callable[[Request, Judged], Reply | None],
    tell: Callable[[Request, Judged, Reply], None],
    started: Callable[[str], None],
) -> None:
    """Take events until Ctrl-C or SIGTERM; `started` is told the URL. Raises RelayError."""
    try:
        server = Receiver(address, judge, now=parts.REAL.now, decide=decide, tell=tell)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "no such port"
        raise RelayError(
            f"Port {address[1]} of {address[0]} cannot be used: {reason}.", hint="Name another --port."
        ) from None
    with server, contextlib.suppress(KeyboardInterrupt), interruptible():
        started(server.url)
        server.serve_forever(poll_interval=0.2)
