"""Checks of Moodle's database: that it answers, its version, the user's rights, and the log that relay reads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from relay.errors import RelayError
from relay.events import other
from relay.operations.check.result import Check, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from relay.events.kind import EventKind
    from relay.moodle.contract import LogStore, Moodle, Site, SiteReads

#: Moodle 4.0's version number.
OLDEST_MOODLE = 2022041900
#: A log store that forgets sooner than this, in days, forgets what a weekend's outage kept relay from reading.
SHORTEST_LIFETIME_DAYS = 4
#: So many log rows of each of the config's own events are looked at.
LOOKED_AT = 100


def checks(moodle: Moodle) -> Iterator[Check]:
    """Yield what can be said of Moodle's database; where it cannot be read, only that."""
    try:
        site = moodle.site()
    except RelayError as error:
        yield fail("database", str(error), error.hint)
        return
    yield ok("database", "it answers, and Moodle's config can be read")
    yield check_version(site)
    yield from _explained("grants", lambda: check_grants(moodle))
    yield from _explained("log", lambda: check_log(moodle))
    for kind in moodle.kinds:
        if kind.listed is not None:
            yield from _explained("custom events", partial(check_custom, moodle, kind, kind.listed))
    yield from _explained("log store", lambda: check_log_store(moodle.log_store()))


def check_version(site: Site) -> Check:
    """Return whether relay knows this version of Moodle."""
    if site.version and site.version < OLDEST_MOODLE:
        return fail("moodle version", f"Moodle {site.release} is older than 4.0", "Update Moodle.")
    return ok("moodle version", f"Moodle {site.release}")


def check_grants(moodle: SiteReads) -> Iterator[Check]:
    """Yield whether the database user may read what relay reads, and no more. Raises MoodleError."""
    moodle.try_tables()
    too_much = moodle.too_much()
    for found in too_much:
        yield warn("grants", f"the database user has too many: {found}", "`relay grants` prints what is enough.")
    if not too_much:
        yield ok("grants", "what relay reads can be read, and nothing can be written")


def check_log(moodle: SiteReads) -> Iterator[Check]:
    """Yield whether a row that is there is found as relay finds rows. Raises MoodleError."""
    found = moodle.find_known_row()
    text = "it is empty" if found is None else f"its newest row, {found}, is found by its name"
    yield ok("log", text)


def check_custom(moodle: Moodle, kind: EventKind, listed: Sequence[str]) -> Iterator[Check]:
    """Yield whether Moodle's log has such events, and the facts that the config lists. Raises MoodleError."""
    facts = [other.parse(row.other) for row in moodle.newest(kind, LOOKED_AT)]
    if not facts:
        found = f"{kind.name}: Moodle's log has no recent row of {kind.moodle_event}"
        yield warn("custom events", found, "Compare with Site administration > Reports > Events list.")
        return
    never = [name for name in listed if not any(name in said for said in facts)]
    known = ", ".join(sorted({name for said in facts for name in said})[:20])
    if never:
        found = f"{kind.name}: {', '.join(never)} never occurs in the newest {len(facts)} log rows of its event"
        yield warn("custom events", found, f"What occurs there: {known or 'nothing'}. It is sent as null.")
    else:
        yield ok("custom events", f"{kind.name}: Moodle's log has such rows, with all that is listed")


def check_log_store(store: LogStore) -> Iterator[Check]:
    """Yield whether Moodle keeps the log that relay reads, and long enough."""
    where = "Site administration > Plugins > Logging"
    if not store.is_enabled:
        found = "the standard log is switched off: Moodle records nothing to send"
        yield fail("log store", found, f"Switch it on: {where}.")
        return
    yield ok("log store", "the standard log is on")
    days = store.lifetime_days
    if 0 < days < SHORTEST_LIFETIME_DAYS:
        found = f"Moodle deletes log rows after {days} days: a relay that is down for a weekend could miss some"
        yield warn("log retention", found, f"Keep them for a month at least: {where} > Standard log.")
    else:
        yield ok("log retention", f"rows are kept for {days} days" if days else "rows are kept for ever")


def _explained(name: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yield what a check finds; an error that it raises is what was found."""
    try:
        yield from look()
    except RelayError as error:
        yield fail(name, str(error), error.hint)
