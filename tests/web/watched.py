"""What a relay says of itself to those who look: what systemd hears, what a command prints, and the page."""

from __future__ import annotations

import contextlib
import functools
import html
import io
import os
import re
import socket
import time

import pytest
from harness import PATIENCE_S, Relay, within
from visitor import patience

from relay import config
from relay.config.schema import LogConfig
from relay.service.logs import make_log
from relay.web import pages, render
from relay.web.jobs import Jobs
from relay.web.site import Site


def plain(sentence: str) -> str:
    """Return a sentence as another one may be compared with it that was said a moment before."""
    return re.sub(r"\d+", "0", sentence).lower().strip()


class Systemd:
    """Hears what a daemon tells systemd."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._socket = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.name = f"@relay-staged-{os.getpid()}-{id(self)}"
        self._socket.bind("\0" + self.name[1:])
        self._socket.settimeout(PATIENCE_S)
        self._said: list[str] = []

    def wait_for(self, sentence: str) -> None:
        """Wait until STATUS= begins so."""
        while not (self._said and plain(self._said[-1]).startswith(sentence)):
            try:
                self._hear()
            except TimeoutError:
                raise AssertionError(f"{self._said[-1:]} and not {sentence!r}") from None

    def heard(self) -> list[str]:
        """Return each STATUS= that was told so far."""
        self._socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._hear()
        return self._said

    def _hear(self) -> None:
        heard = self._socket.recv(8192).decode()
        self._said += [one[7:] for one in heard.split("\n") if one.startswith("STATUS=")]


def command(relay: Relay, *arguments: str) -> tuple[int, str, str]:
    """Run a command within this process; return its exit code, and what it printed on stdout and stderr."""
    done = within(["--config", str(relay.folder / "config.yaml"), *arguments])
    return done.returncode, done.stdout, done.stderr


#: It compiles all templates, each time.
_PAGES = functools.cache(render.Pages)


def made_page(relay: Relay) -> Site:
    """Return the page, as its server asks it."""
    log = make_log(LogConfig(level="info", format="json"), io.StringIO(), time.time)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "Pages", _PAGES)
        return Site(config.load(relay.folder / "config.yaml"), pages.ROUTES, Jobs(time.time, log), log)


def heading(page: Site, language: str) -> str:
    """Return the first sentence of the page, for who is at the other end of its socket as relay itself."""
    asked = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_HOST": "localhost", "HTTP_ACCEPT_LANGUAGE": language}
    for _ in patience():
        body = b"".join(page({**asked, "X_REMOTE_UID": os.geteuid()}, lambda *_: None)).decode()
        if 'class="wait"' not in body:
            break
    found = re.search("<h1>(.*?)</h1>", body, re.DOTALL)
    assert found is not None
    return html.unescape(re.sub("<[^>]*>", "", found[1]))
