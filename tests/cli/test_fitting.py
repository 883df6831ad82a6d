"""What a newcomer looks at first fits into a terminal of 80 columns, whole."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from receiver import Receiver, Reply

from relay import cli
from relay.cli import views
from relay.events.catalogue import KINDS
from relay.model import Status
from relay.operations import status
from relay.operations.status import Settings

if TYPE_CHECKING:
    from harness import Relay

    from relay.demo.moodle import College

AT = 1_770_000_000


class Terminal(io.StringIO):
    """A terminal that is read from."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "arguments", [("status", "--check"), ("events",), ("explain", "user:1"), ("explain", "user:2"), ("explain", "x")]
)
def test_no_line_is_wider_than_the_terminal(
    relay: Relay, college: College, backend: Receiver, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    answer = b"the e-mail address is that of another student, who was registered in a year before this one"
    backend.answer = lambda request: Reply(code=422 if request.envelope["data"]["userid"] == 1 else 200, body=answer)
    for user in [college.sign_up("Ada", "Lovelace", AT) for _ in range(2)]:
        college.log("grade_updated", 99999, user=user, at=AT)
    relay.once(expect=None)
    out, err = Terminal(), Terminal()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    cli.main(["--config", str(relay.write()), *arguments])
    lines = (out.getvalue() + err.getvalue()).splitlines()
    assert lines
    assert [line for line in lines if len(line) > 80] == []


def test_at_a_terminal_each_problem_is_said_once(
    relay: Relay, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    out, err = Terminal(), Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    assert cli.main(["--config", str(relay.write()), "status", "--check"]) == 1
    assert (out.getvalue() + err.getvalue()).count("no relay runs") == 1


def test_the_counts_of_all_types_fit_with_a_million_events_in_each_state() -> None:
    report = status.without_outbox("", Settings(), 0.0)
    states = dict.fromkeys(map(str, Status), 60_000)
    many = dict.fromkeys(KINDS, states)
    counted = report.counts._replace(by_type=many)
    assert all(len(line) <= 80 for line in views._count_lines(replace(report, counts=counted)))
