"""Checks of what comes again, or not in order. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.receivers import answers, craft
from relay.receivers.checks.check import ANSWER_401, Check, Tools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.receivers.checks.check import Tried

#: So many times the same event at once.
AT_ONCE = 4


def _repeated(tools: Tools) -> Sequence[Tried]:
    # Each attempt is signed anew, with its own time.
    envelope = tools.envelope()
    return (tools.craft.event(envelope, late_s=1), answers.NEW), (tools.craft.event(envelope), answers.DUPLICATE)


def _replayed(tools: Tools) -> Sequence[Tried]:
    attempt = tools.event()
    return (attempt, answers.NEW), (attempt, answers.NOT_NEW)


def _replayed_by_another_name(tools: Tools) -> Sequence[Tried]:
    attempt = tools.event()
    return (attempt, answers.NEW), (attempt.with_headers(x_event_id=tools.craft.new_id()), answers.NOT_NEW)


def _forged_first(tools: Tools) -> Sequence[Tried]:
    envelope = tools.envelope()
    forged = tools.craft.event(envelope, keys=tools.other_keys)
    return (forged, answers.UNKNOWN), (tools.craft.event(envelope), answers.NEW)


def _forged_later(tools: Tools) -> Sequence[Tried]:
    envelope = tools.envelope()
    forged = tools.craft.event(envelope, keys=tools.other_keys)
    return (tools.craft.event(envelope), answers.NEW), (forged, answers.UNKNOWN)


def _at_once(tools: Tools) -> Sequence[Tried]:
    envelope = tools.envelope()
    return [(tools.craft.event(envelope, late_s=number), answers.NEW) for number in range(AT_ONCE)]


def _out_of_order(tools: Tools) -> Sequence[Tried]:
    earlier = tools.envelope(timestamp=craft.shown_time(tools.craft.now() - 60))
    return (tools.event(), answers.NEW), (tools.craft.event(earlier), answers.NEW)


CHECKS = (
    Check(
        "the same event again",
        _repeated,
        'Drop what you have by event_id, and answer 200 {"status": "duplicate"}, so that it can be seen.',
    ),
    Check("the same request again", _replayed, "Drop what you have by event_id."),
    Check(
        "the same event under another X-Event-ID",
        _replayed_by_another_name,
        "X-Event-ID is not signed: drop repeats by the body's event_id.",
    ),
    Check(
        f"the same event {AT_ONCE} times at once",
        _at_once,
        "Let the database decide: a unique key on event_id, and one transaction for it and the event.",
        is_at_once=True,
    ),
    Check(
        "a forged event, then the right one",
        _forged_first,
        "Remember an event_id only once its signature is verified: else anybody can keep events out.",
    ),
    Check(
        "a right event, then a forged one of its id",
        _forged_later,
        f"Verify first, then look whether it is there: else anybody can ask which events you have. {ANSWER_401}",
    ),
    Check(
        "an earlier event after a later one",
        _out_of_order,
        "Take it: order is kept for each user, but what was given up may be sent again later. Go by timestamp.",
    ),
)
