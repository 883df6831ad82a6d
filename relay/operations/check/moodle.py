"""Checks of Moodle's database: that it answers, its version, the user's rights, and the log that relay reads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from relay.errors import MoodleError, MoodleRefused
from relay.events import other
from relay.operations.check.result import Check, fail, guarded, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.config import Config, WebConfig
    from relay.events.kind import EventKind
    from relay.moodle.contract import LogStore, Moodle, Site, SiteReads

#: Moodle 4.0's version number.
OLDEST_MOODLE = 2022041900
#: A log store that forgets sooner than this, in days, forgets what a weekend's outage kept relay from reading.
SHORTEST_LIFETIME_DAYS = 4
#: So many log rows of each of the config's own events are looked at.
LOOKED_AT = 100
#: What else is to be done where they are.
REVOKE_HINT = (
    "Then run what `relay grants` prints. Where others use this account, make one for relay alone instead "
    "(`relay grants --user relay`)."
)
#: What to do where the rights are not relay's to lose.
GRANTS_HINT = "Make an account for relay alone (`relay grants --user relay`), and name it in moodle.database.user."


def checks(moodle: Moodle, config: Config) -> Iterator[Check]:
    """Yield what can be said of Moodle's database; where it cannot be read, only that."""
    try:
        site = moodle.site()
    except MoodleRefused as error:
        yield refused(error, moodle, config.moodle.database.prefix)
        return
    yield ok("database", "it answers, and Moodle's config can be read")
    yield check_version(site)
    yield from check_address(site, config.moodle.url)
    yield from guarded("grants", lambda: check_grants(moodle))
    yield from guarded("page", lambda: check_page(moodle, config.web))
    yield from guarded("log", lambda: check_log(moodle))
    for kind in moodle.kinds:
        if kind.listed is not None:
            yield from guarded("custom events", partial(check_custom, moodle, kind, kind.listed))
    yield from guarded("log store", lambda: check_log_store(moodle.log_store()))


def refused(error: MoodleRefused, moodle: SiteReads, prefix: str) -> Check:
    """Return why Moodle's config cannot be read: another prefix is the reason where tables with one are there."""
    try:
        prefixes = moodle.prefixes()
    except MoodleError:
        prefixes = []
    if prefixes and prefix not in prefixes:
        found = f"{error} There are tables that begin with {' and '.join(map(repr, prefixes))}."
        return fail("database", found, "Mend moodle.database.prefix.")
    return fail("database", str(error), error.hint)


def check_version(site: Site) -> Check:
    """Return whether relay knows this version of Moodle."""
    if site.version and site.version < OLDEST_MOODLE:
        return fail("moodle version", f"Moodle {site.release} is older than 4.0", "Update Moodle.")
    return ok("moodle version", f"Moodle {site.release}")


def check_address(site: Site, url: str) -> Iterator[Check]:
    """Yield a warning where Moodle's own settings name other hosts alone than the address in the config."""
    host = urlsplit(url).hostname or ""
    if any(host == one or host.endswith(f".{one}") for one in site.hosts) or not site.hosts:
        return
    named = " and ".join(site.hosts)
    found = f"moodle.url is {url}, but Moodle's own settings name {named} (siteidentifier, noreplyaddress)"
    hint = (
        "Set it to $CFG->wwwroot of Moodle's config.php: it stands in each event. If the site has moved, all is well."
    )
    yield warn("address", found, hint)


def check_grants(moodle: SiteReads) -> Iterator[Check]:
    """Yield whether the database user may read what relay reads, and no more. Raises MoodleError."""
    missing = moodle.missing()
    for error in missing:
        yield fail("grants", str(error), error.hint)
    too_much = moodle.too_much()
    for one in too_much:
        hint = f"As an administrator of the server: {one.remedy} {REVOKE_HINT}" if one.remedy else GRANTS_HINT
        yield warn("grants", f"the database user has too many: {one.found}", hint)
    if not too_much and not missing:
        yield ok("grants", "what relay reads can be read, and nothing can be written")


def check_page(moodle: SiteReads, web: WebConfig) -> Iterator[Check]:
    """Yield whether it can be read what somebody is whom a proxy names to the page. Raises MoodleError."""
    if web.proxy is None:
        # The kernel, or a link, says who it is; `relay grants` prints nothing for the page then.
        return
    missing = moodle.missing_for_page()
    for error in missing:
        yield fail("page", f"the proxy's people are not let in to the page: {error}", error.hint)
    if not missing:
        yield ok("page", "who somebody is can be read from Moodle's tables")


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
    if store.logs_guests:
        yield ok("log store", "the standard log is on")
    else:
        found = "what nobody logged in does is not logged: who signs up by themselves is never sent"
        yield warn("log store", found, f"Switch on 'Log guest access': {where} > Standard log.")
    days = store.lifetime_days
    if 0 < days < SHORTEST_LIFETIME_DAYS:
        found = f"Moodle deletes log rows after {days} days: a relay that is down for a weekend could miss some"
        yield warn("log retention", found, f"Keep them for a month at least: {where} > Standard log.")
    else:
        yield ok("log retention", f"rows are kept for {days} days" if days else "rows are kept for ever")
