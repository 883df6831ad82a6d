"""What can be looked at: how it is, events, the story of one, a student's profile."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from relay.model import Status
from relay.operations import health, listed, status
from relay.operations.selector import parse_selector
from relay.operations.story import as_json
from relay.outbox.values import Selector
from relay.service import admin, looking
from relay.web import charts
from relay.web.exchange import FORBIDDEN, Refused
from relay.web.people import May
from relay.web.seen import Seen, see
from relay.web.site import Route, Shown, Visit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.operations.profile import Profile
    from relay.operations.story import Story

#: How many events are on a leaf, and on the first screen; and how long what is searched for may be.
LEAF, LAST, LONGEST = 50, 10, 200
WAIT = Shown(template="wait", values={}, json={"is_found": False}, again_s=1)


def first(visit: Visit) -> Shown:
    """Show how it is; who may not see all is shown their own events."""
    if not visit.person.sees_all:
        return events(visit)
    seen = _seen(visit)
    if seen is None:
        return WAIT
    report, outbox = seen.report, visit.opened.outbox
    values = {
        "seen": seen,
        "report": report,
        "problems": seen.problems,
        "backend": visit.config.backend.url,
        "last": outbox.leaf(Selector(), LAST).events,
        "charts": [
            ("day", charts.throughput(seen.day), charts.latency(seen.day)),
            ("week", charts.throughput(seen.week), charts.latency(seen.week)),
        ],
        "error_of": listed.error_of,
        "job": visit.jobs.last,
    }
    return Shown(template="first", values=values, json=_status(seen))


def status_json(visit: Visit) -> Shown:
    """Show what `relay status --json` prints."""
    visit.person.need_all()
    seen = _seen(visit)
    return WAIT if seen is None else Shown(template="wait", values={}, json=_status(seen))


def _status(seen: Seen) -> dict[str, Any]:
    return {**status.as_json(seen.report), "problems": health.as_json(seen.problems)}


def _seen(visit: Visit) -> Seen | None:
    found = visit.background.get("seen", lambda: see(visit.config))
    return found if isinstance(found, Seen) else None


def events(visit: Visit) -> Shown:
    """Show recorded events, the last recorded first."""
    request = visit.request
    given, text = request.text("q"), request.text("text")
    if len(given) > LONGEST or len(text) > LONGEST:
        raise Refused(400, f"What is searched for may have {LONGEST} characters at most")
    kinds = visit.config.events.kinds
    selector = parse_selector(given, kinds, "events", list(Status)) if given else Selector()
    if not visit.person.sees_all:
        selector = _within_sight(visit, selector, text)
    leaf = visit.opened.outbox.leaf(selector, LEAF, text=text, before=request.number("before"))
    values = {"leaf": leaf, "given": given, "text": text, "user": selector.user_id, "error_of": listed.error_of}
    found = [listed.as_json(one) for one in leaf.events]
    return Shown(template="events", values=values, json={"events": found, "before": leaf.before})


def _within_sight(visit: Visit, selector: Selector, text: str) -> Selector:
    """Return what is meant within what somebody may see: of one user. Raises Refused where they may not.

    The text of events is not searched for them: what is found would tell of what Moodle keeps back by now.
    """
    if text:
        raise FORBIDDEN
    user = selector.user_id
    if user is None:
        user = visit.person.user or 0
        if selector.event_id is not None:
            user = _whose(visit, selector.event_id)
    visit.person.need_to_see(user, visit.config)
    return Selector(
        event_id=selector.event_id,
        status=selector.status,
        event_type=selector.event_type,
        user_id=user,
        since=selector.since,
        until=selector.until,
    )


def _whose(visit: Visit, event_id: str) -> int:
    """Return whom an event is about; 0, whom nobody may see, where there is none."""
    found = visit.opened.outbox.recorded(visit.opened.now(), event_id=event_id)
    return found[0].user_id if found else 0


def story(visit: Visit) -> Shown:
    """Show the story of an event, a user, a grade."""
    what = visit.request.text("what")
    if not what:
        visit.person.need_all()
        return Shown(template="story", values={"what": "", "stories": []}, json=[])
    if len(what) > LONGEST:
        raise Refused(400, f"What is asked for may have {LONGEST} characters at most")
    if not visit.person.sees_all:
        visit.person.need_to_see(_subject(visit, what), visit.config)
    found: Any = visit.background.get(f"story {what}", lambda: looking.explain(visit.config, what))
    if found is None:
        return WAIT
    stories: Sequence[tuple[str, Story]] = found
    made = [{"what": name, **as_json(one)} for name, one in stories]
    return Shown(template="story", values={"what": what, "stories": stories, "event_id": _event_id(what)}, json=made)


def _subject(visit: Visit, what: str) -> int:
    """Return whose story is asked for by somebody who may not see all: by an event's id, or a user's."""
    event_id = _event_id(what)
    if event_id:
        return _whose(visit, event_id)
    kind, _, number = what.partition(":")
    return int(number) if kind == "user" and number.isascii() and number.isdigit() and len(number) < 19 else 0


def _event_id(what: str) -> str:
    try:
        return str(uuid.UUID(what)) if len(what) == 36 else ""
    except ValueError:
        return ""


def profile(visit: Visit) -> Shown:
    """Show what the backend knows of a student."""
    user = visit.request.number("user")
    if user is None:
        if visit.person.user is None:
            visit.person.need_all()
            return Shown(template="profile", values={"user": None, "lines": []}, json={})
        user = visit.person.user
    visit.person.need_to_see(user, visit.config)
    found: Any = visit.background.get(f"profile {user}", lambda: admin.ask_profile(visit.config, user))
    if found is None:
        return WAIT
    made: Profile = found
    return Shown(template="profile", values={"user": user, "lines": outline(made.document)}, json=made.document)


def outline(document: Any) -> list[tuple[int, str, str]]:
    """Return a JSON document, however deep it is, as lines: how far each is indented, a name, and a value."""
    lines: list[tuple[int, str, str]] = []
    # What is still to be shown, the next one last.
    waiting: list[tuple[int, str, Any]] = [(0, "", document)]
    while waiting:
        indent, name, value = waiting.pop()
        if isinstance(value, dict | list) and value:
            inner = (
                value.items() if isinstance(value, dict) else ((str(place + 1), one) for place, one in enumerate(value))
            )
            if name:
                lines.append((indent, name, ""))
            waiting += reversed([(indent + bool(name), str(key), one) for key, one in inner])
        else:
            lines.append((indent, name, _plain(value)))
    return lines


def _plain(value: Any) -> str:
    """Return a value that holds no other one."""
    if value is None or isinstance(value, dict | list):
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)


ROUTES = (
    Route(method="GET", path="/", needs=May.OWN, handle=first),
    Route(method="GET", path="/status", needs=May.OTHERS, handle=status_json),
    Route(method="GET", path="/events", needs=May.OWN, handle=events),
    Route(method="GET", path="/story", needs=May.OWN, handle=story),
    Route(method="GET", path="/profile", needs=May.OWN, handle=profile),
)
