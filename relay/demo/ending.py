"""What the demo shows at its end: an event as it arrived, its signature, `relay status` and the event's story."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from relay.demo.interrupts import output_of
from relay.receivers.verifiers import verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from relay.demo.backend import Backend
    from relay.demo.mariadb import Heard
    from relay.demo.show import Show
    from relay.receivers.judge import Request

    Ask = Callable[..., str]

#: The headers that are shown.
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature", "x-tenant-id")


def show_all(
    show: Show, ask: Ask, backend: Backend, key: str, log_ids: Mapping[str, int], refused: Iterable[str]
) -> bool:
    """Show it all, of an event that was refused at first; return whether relay's accounts hold.

    `ask` returns what a command of relay prints, given its arguments.
    """
    chosen = next((one for one in (*refused, *backend.arrived) if one in backend.arrived and one in log_ids), None)
    if chosen is not None:
        _request(show, backend.requests[chosen], log_ids[chosen])
        _signature(show, backend.requests[chosen], key)
    _command(show, ask, "status")
    if chosen is not None:
        _command(show, ask, "explain", f"log:{log_ids[chosen]}")
    found: dict[str, Any] = json.loads(ask("status", "--json"))
    holds: bool = found["conservation"]["holds"]
    return holds


def _request(show: Show, request: Request, log_id: int) -> None:
    show.title(f"What the backend got: the event of log row {log_id}")
    show.text(f"POST {request.path}")
    for name in HEADERS:
        show.text(f"{name}: {request.headers[name]}", hanging=2)
    show.text("")
    show.text(json.dumps(json.loads(request.body), indent=2, ensure_ascii=False), hanging=6)


def _signature(show: Show, request: Request, key: str) -> None:
    """Check the signature as a receiver does, of the body as it came and of one that was changed on the way."""
    show.title("Is it from relay, and whole? The backend checks the signature with its key")
    changed = request.body.replace(b"college.example", b"callege.example")
    at = int(request.headers["webhook-timestamp"])
    for what, body in (("as it came", request.body), ("with one letter changed", changed)):
        try:
            verifier.verify([key], request.headers, body, now=at)
        except verifier.Refused as wrong:
            show.text(f"  {what:<25} {show.coloured('refused', 'refused')}: {wrong}", hanging=28)
        else:
            show.text(f"  {what:<25} {show.coloured('good', 'taken')}")


def _command(show: Show, ask: Ask, *arguments: str) -> None:
    show.title(f"$ relay {' '.join(arguments)}")
    show.text(ask(*arguments).rstrip("\n"), hanging=4)


def said(config: Path, heard: Heard, *arguments: str) -> str:
    """Return what a command of relay prints; Ctrl-C, which is heard while it runs, ends it first."""
    with subprocess.Popen(  # noqa: S603 -- this very program
        [sys.executable, "-m", "relay", "--config", str(config), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
        start_new_session=True,  # Ctrl-C is for us to handle
    ) as process:
        try:
            with heard():
                found: str = output_of(process)
                return found
        except BaseException:
            process.kill()
            raise
