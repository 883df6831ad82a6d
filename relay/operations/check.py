"""The checks of `relay check`: each a name, a verdict, what was found and what to do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from relay.config import credentials
from relay.errors import OutboxMissing, RelayError
from relay.rules import signing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from relay.config import Config
    from relay.delivery.sender import Answer, Sender
    from relay.errors import ConfigError
    from relay.moodle.contract import LogStore, Moodle
    from relay.outbox.contract import Outbox

#: Moodle 4.0's version number.
OLDEST_MOODLE = 2022041900
#: A log store that forgets sooner than this, in days, forgets what a weekend's outage kept relay from reading.
SHORTEST_LIFETIME_DAYS = 4
#: The clocks of relay and the backend may differ by this much, in seconds: signatures carry the time.
CLOCK_TOLERANCE_S = 60
#: Less free room than this for the outbox, in bytes, is a warning.
LITTLE_ROOM = 200 * 1024 * 1024
#: A health check that takes longer than this, in milliseconds, is a warning.
SLOW_MS = 5000


#: What to do about a network error, by its kind.
NETWORK_HINTS = {
    "dns": "Mend the host in backend.url, or this machine's name servers.",
    "refused": "Start the backend, or mend the host and port in backend.url.",
    "timeout": "Look whether the backend runs, and for a firewall between here and there.",
    "tls": "Expired or for another host: the backend's certificate must be renewed. Unknown issuer: name its CA in "
    "backend.ca_bundle.",
    "proxy": "Mend backend.proxy.",
    "protocol": "Something else than the backend listens there: mend backend.url.",
}


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `relay check`."""

    name: str
    verdict: Verdict
    #: What was found, as a sentence.
    found: str
    #: What to do; '' where all is well.
    hint: str = ""


def _ok(name: str, found: str) -> Check:
    return Check(name=name, verdict=Verdict.OK, found=found)


def _warn(name: str, found: str, hint: str) -> Check:
    return Check(name=name, verdict=Verdict.WARN, found=found, hint=hint)


def _fail(name: str, found: str, hint: str) -> Check:
    return Check(name=name, verdict=Verdict.FAIL, found=found, hint=hint)


def examine(
    config: Config,
    *,
    moodle: Moodle,
    open_outbox: Callable[[], Outbox],
    sender: Sender,
    clock: Callable[[], float],
) -> Iterator[Check]:
    """Yield the checks one after the other, as each is done."""
    yield _ok("config", f"{config.source} is well-formed")
    yield from check_secrets(config)
    yield from check_moodle(moodle)
    yield check_outbox(config, open_outbox)
    yield from check_backend(sender, clock)


def config_checks(error: ConfigError) -> Iterator[Check]:
    """Yield a line for each mistake of a config that cannot be used: nothing else can be checked then."""
    for mistake in error.mistakes or (str(error),):
        yield _fail("config", mistake, error.hint)


def check_secrets(config: Config) -> Iterator[Check]:
    """Yield a line for each secret that others could read, or one that says that there is none."""
    warnings = []
    for path, secret in config.secrets():
        if secret.origin == "open":
            warnings.append(
                _warn(
                    "secrets",
                    f"{path} is written in the open in the config",
                    "Give it as {file: …} or {credential: …}.",
                )
            )
        elif secret.path is not None and (reason := credentials.mode_warning(secret.path)):
            warnings.append(_warn("secrets", f"{path}: {reason}", f"chmod 600 {secret.path}"))
    if reason := credentials.mode_warning(config.source):
        warnings.append(_warn("secrets", reason, f"chmod 600 {config.source}"))
    yield from warnings or [_ok("secrets", "none can be read by others")]
    yield check_signing(config)


def check_signing(config: Config) -> Check:
    """Return whether requests are signed, with keys that are long enough."""
    keys = config.backend.signing_keys
    if not keys:
        hint = "Agree on a key with the backend's developers, and name it in backend.signing_keys."
        return _warn("signing", "there is no signing key: the backend cannot tell who sent an event", hint)
    for index, key in enumerate(keys):
        made = signing.parse_key(key.reveal())
        if isinstance(made, signing.SymmetricKey) and len(made.secret) < signing.SHORTEST_SECRET:
            found = (
                f"backend.signing_keys[{index}] is {len(made.secret)} bytes long, and must be {signing.SHORTEST_SECRET}"
            )
            return _fail("signing", found, "Make one: echo whsec_$(head -c 32 /dev/urandom | base64)")
    return _ok("signing", f"each request is signed with {len(keys)} key{'s' * (len(keys) != 1)}")


def check_moodle(moodle: Moodle) -> Iterator[Check]:
    """Yield what can be said of Moodle's database; where it cannot be read, only that."""
    try:
        site = moodle.site()
    except RelayError as error:
        yield _fail("database", str(error), error.hint)
        return
    yield _ok("database", "it answers, and Moodle's config can be read")
    if site.version and site.version < OLDEST_MOODLE:
        yield _fail("moodle version", f"Moodle {site.release} is older than 4.0", "Update Moodle.")
    else:
        yield _ok("moodle version", f"Moodle {site.release}")
    try:
        moodle.try_tables()
        too_much = moodle.too_much()
        for found in too_much:
            yield _warn("grants", f"the database user has too many: {found}", "`relay grants` prints what is enough.")
        if not too_much:
            yield _ok("grants", "what relay reads can be read, and nothing can be written")
    except RelayError as error:
        yield _fail("grants", str(error), error.hint)
    try:
        yield from check_log_store(moodle.log_store())
    except RelayError as error:
        yield _fail("log store", str(error), error.hint)


def check_log_store(store: LogStore) -> Iterator[Check]:
    """Yield whether Moodle keeps the log that relay reads, and long enough."""
    where = "Site administration > Plugins > Logging"
    if not store.is_enabled:
        yield _fail(
            "log store", "the standard log is switched off: Moodle records nothing to send", f"Switch it on: {where}."
        )
        return
    yield _ok("log store", "the standard log is on")
    days = store.lifetime_days
    if 0 < days < SHORTEST_LIFETIME_DAYS:
        found = f"Moodle deletes log rows after {days} days: a relay that is down for a weekend could miss some"
        yield _warn("log retention", found, f"Keep them for a month at least: {where} > Standard log.")
    else:
        yield _ok("log retention", f"rows are kept for {days} days" if days else "rows are kept for ever")


def check_outbox(config: Config, open_outbox: Callable[[], Outbox]) -> Check:
    """Return whether the outbox can be written, or made where there is none yet."""
    path = config.outbox.sqlite_path
    if path is not None and not path.exists():
        folder = next(parent for parent in path.parents if parent.exists())
        if os.access(folder, os.W_OK | os.X_OK):
            if folder != path.parent:
                hint = f"Make it for the user that relay runs as: install -d -m 750 {path.parent}"
                return _warn("outbox", f"the folder {path.parent} is not there; the first run will make it", hint)
            return _room(path) or _ok("outbox", f"{path} will be made at the first run")
        return _fail("outbox", f"{folder} cannot be written", f"Make {path.parent} for the user that relay runs as.")
    try:
        outbox = open_outbox()
        outbox.probe_write()
        waiting = outbox.waiting()
        outbox.close()
    except OutboxMissing as error:
        return _ok("outbox", f"{error} The first run makes it.")
    except RelayError as error:
        return _fail("outbox", str(error), error.hint)
    if path is not None and (little := _room(path)) is not None:
        return little
    return _ok("outbox", f"it can be written; {waiting.count} events wait")


def _room(path: Path) -> Check | None:
    """Return a warning where there is little room for the outbox."""
    room = os.statvfs(path.parent)
    if room.f_bavail * room.f_frsize >= LITTLE_ROOM:
        return None
    left = room.f_bavail * room.f_frsize // 1024 // 1024
    return _warn("outbox", f"the disk that holds {path} is nearly full: {left} MiB are left", "Make room on it.")


def check_backend(sender: Sender, clock: Callable[[], float]) -> Iterator[Check]:
    """Yield what the backend's health check answers, and how its clock compares."""
    answer = sender.get("/v1/health", {})
    yield _health(answer)
    date = answer.headers.get("date") if answer.http_code is not None else None
    if date is None:
        return
    try:
        apart = abs(parsedate_to_datetime(date).timestamp() - clock())
    except ValueError:
        return
    if apart > CLOCK_TOLERANCE_S:
        found = f"this machine's clock and the backend's are {apart:.0f} s apart"
        yield _fail("clock", found, "Switch on time synchronisation (timedatectl set-ntp true) on both.")
    else:
        yield _ok("clock", "it agrees with the backend's")


def _health(answer: Answer) -> Check:
    name = "backend"
    code = answer.http_code
    if code is None:
        hint = NETWORK_HINTS.get(answer.error_kind, "Check backend.url, the network, and that the backend runs.")
        return _fail(name, answer.error, hint)
    if code in (401, 403):
        return _fail(name, f"GET /v1/health answered {code}: it does not know us", "Mend backend.token.")
    if code != 200:  # the one code that says "healthy"
        return _fail(name, f"GET /v1/health answered {code}", "Ask those who run the backend; check backend.url.")
    if answer.duration_ms > SLOW_MS:
        return _warn(name, f"it is well, but took {answer.duration_ms} ms to say so", "Ask those who run the backend.")
    return _ok(name, "GET /v1/health answered 200")
