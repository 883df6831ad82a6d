"""A start: the log is looked at before what is not needed for that is loaded, and what is wrong is still said."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from harness import PATIENCE_S

from relay import config
from relay.errors import RelayError
from relay.service import parts, wiring
from relay.service.late import LateTransport
from relay.service.logs import make_log
from relay.service.loops import Daemon

if TYPE_CHECKING:
    from harness import Relay

    from relay.demo.moodle import College
    from relay.service.lease import Opened
    from relay.service.relay import Relay as Parts

#: What the first look at the log can do without.
LATE = {
    "requests",
    "urllib3",
    "tenacity",
    "http.server",
    "relay.delivery.transport",
    "relay.cli.running",
    "relay.service.once",
    "relay.service.admin",
    "relay.service.judging",
    "relay.operations.explain",
    "relay.operations.replay",
    "relay.operations.status",
    "relay.service.report",
    "relay.outbox.mysql",
}


def test_the_log_is_looked_at_before_what_sends_is_loaded(relay: Relay, college: College) -> None:
    assert college.connection.open
    relay.set("backend.url", "http://127.0.0.1:9")
    command = [sys.executable, "-X", "importtime", "-m", "relay", *relay.arguments("run")]
    loaded: dict[bool, set[str]] = {False: set(), True: set()}
    has_looked = False
    # Both streams into one pipe: what stands before a line came before it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            has_looked = has_looked or '"capture.began"' in line
            if line.startswith("import time:"):
                name = line.rsplit("|", 1)[1].strip()
                loaded[has_looked].add(name)
                if name == "relay.delivery.transport":
                    process.terminate()
        assert process.wait(PATIENCE_S) == 0
    assert "relay.capture.log" in loaded[False]
    assert loaded[False] & LATE == set()
    assert "relay.delivery.transport" in loaded[True]


def late(relay: Relay, opened: Opened) -> Parts:
    loaded = config.load(relay.write())
    log = make_log(loaded.log, io.StringIO(), parts.REAL.now)
    return wiring.make_relay(loaded, opened, log, late=True)


def test_a_start_whose_backend_cannot_be_reached_with_what_is_there_ends(relay: Relay, college: College) -> None:
    """Such as with a urllib3 that is too old: what has begun to read has ended when that is said."""
    assert college.connection.open
    loaded = config.load(relay.write())
    with parts.opened(loaded, parts.REAL, create=True) as opened:
        opened.outbox.hold(opened.now())
        made = late(relay, opened)

        def refuse() -> None:
            raise RelayError("urllib3 1.0 is installed.")

        made.prepare = refuse
        with pytest.raises(RelayError, match=r"urllib3 1\.0 is installed"):
            Daemon(made, opened).start()
        assert {one.name for one in threading.enumerate()} & {"capture", "dispatch", "purge", "report"} == set()
        # It has looked at the log.
        assert made.captured_at > 0


def test_nothing_is_sent_before_it_can_be() -> None:
    made: list[object] = []

    def make() -> Any:
        made.append("made")

    transport = LateTransport(make)
    with pytest.raises(RuntimeError):
        transport.send("GET", "/", {}, None)
    transport.abort()
    transport.close()
    assert made == []
    transport.prepare()
    assert made == ["made"]
