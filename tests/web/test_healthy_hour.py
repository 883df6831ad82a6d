"""A healthy hour stays silent: thousands of events are read and delivered in it, and nothing says it is wrong."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import alerted
import pytest
from harness import PATIENCE_S
from watched import Systemd, command, heading, made_page

from relay.events.catalogue import KINDS

if TYPE_CHECKING:
    from harness import Relay
    from receiver import Receiver

    from relay.demo.moodle import College

#: How many events happen at once; with --full, and without.
FULL, SHORT = 20_000, 1_000
EVENT = KINDS["user_created"].moodle_event


def sign_up_many(college: College, count: int, at: int) -> None:
    """Let so many users be made at once, as an upload of a file does."""
    people = [(f"u{number}", f"First{number}", "Last", f"u{number}@college.example", at, at) for number in range(count)]
    names = "username, firstname, lastname, email, timecreated, timemodified"
    with college.connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO mdl_user ({names}) VALUES (%s, %s, %s, %s, %s, %s)", people)
    college.run(
        "INSERT INTO {p}logstore_standard_log (eventname, objectid, relateduserid, userid, courseid, timecreated, "
        "origin, edulevel, contextid, contextlevel, contextinstanceid) "
        "SELECT %s, id, id, 2, 0, timecreated, 'web', 0, 0, 0, 0 FROM {p}user WHERE lastname = 'Last'",
        EVENT,
    )


@pytest.mark.by_turns("kind")
@pytest.mark.parametrize("kind", ["relay", "other"])
def test_nothing_is_said_to_be_wrong_while_thousands_of_events_are_delivered(
    request: pytest.FixtureRequest, college: College, backend: Receiver, kind: str
) -> None:
    relay: Relay = request.getfixturevalue(kind)
    count = FULL if request.config.getoption("--full") else SHORT
    textfile = relay.folder / "relay.prom"
    relay.set("metrics.textfile", str(textfile))
    college.sign_up("Ada", "Lovelace", int(time.time()))
    scrapes = []
    with contextlib.ExitStack() as stack:
        systemd = Systemd(stack)
        daemon = stack.enter_context(relay.start({"NOTIFY_SOCKET": systemd.name}))
        systemd.wait_for("delivering to")
        page = stack.enter_context(contextlib.closing(made_page(relay)))
        sign_up_many(college, count, int(time.time()))
        ends_at = time.monotonic() + PATIENCE_S + count / 20
        is_done = False
        while not is_done:
            assert time.monotonic() < ends_at
            with contextlib.suppress(AssertionError):
                backend.wait_for(count + 1, 1.0)
            # Who does not hear lets the relay wait, in the end.
            assert all(one.startswith(("Starting", "Delivering to ")) for one in systemd.heard())
            is_done = relay.statuses() == {"success": count + 1}
            assert command(relay, "status", "--check")[::2] == (0, "")
            scrapes.append((time.time(), textfile.read_text()))
            assert heading(page, "en").startswith("All is well: relay delivers to")
        assert daemon.stop() == 0
    assert [line for line in daemon.lines if line["level"] not in ("debug", "info")] == []
    alerted.check_silent(scrapes, relay.folder)
