"""Who asks, and what they may see and do (contract, section 9)."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from relay.service import parts
from relay.web import keys
from relay.web.exchange import FORBIDDEN

if TYPE_CHECKING:
    from relay.config import Config
    from relay.moodle.contract import Standing
    from relay.service.lease import Opened
    from relay.web.exchange import Request

#: The cookie that holds a session's secret.
COOKIE = "relay"


class May(StrEnum):
    """The four capabilities, as the plugin's access.php names them."""

    #: Pause, replay, forget.
    MANAGE = "manage"
    #: Sync, reconcile.
    SYNC = "triggersync"
    #: Any user's events and profile; a teacher: those of users of their courses.
    OTHERS = "viewothers"
    #: One's own.
    OWN = "viewdashboard"


#: What `relay web login --as` takes, and what each of them may.
ROLES = {
    "manager": frozenset(May),
    "teacher": frozenset({May.OTHERS, May.OWN}),
    "student": frozenset({May.OWN}),
}
#: Who somebody is, is what Moodle's tables say at each request.
MOODLE = "moodle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who asks."""

    #: What the log and the history call them: no name, but whence they came.
    name: str
    #: Another one in each session: forms are sealed with it.
    key: str
    may: frozenset[May]
    #: Moodle's id of them; None where they are nobody there.
    user: int | None = None
    #: The courses whose users they may see; None: of all.
    courses: frozenset[int] | None = field(default=frozenset())

    @property
    def sees_all(self) -> bool:
        """Whether they may see everybody's."""
        return May.OTHERS in self.may and self.courses is None

    def need(self, capability: May) -> None:
        """Raise Refused where they lack it."""
        if capability not in self.may:
            raise FORBIDDEN

    def need_all(self) -> None:
        """Raise Refused where there is something that they may not see."""
        if not self.sees_all:
            raise FORBIDDEN

    def need_to_see(self, user: int, config: Config) -> None:
        """Raise Refused where they may not see what is a user's (Moodle's id). Raises MoodleError."""
        if self.sees_all or (May.OWN in self.may and user > 0 and user == self.user):
            return
        if May.OTHERS in self.may and self.courses and user > 0:
            with parts.reading(config) as moodle:
                if moodle.is_in(user, self.courses):
                    return
        raise FORBIDDEN


def who(request: Request, config: Config, opened: Opened) -> Person | None:
    """Return who asks; None for nobody. Raises RelayError, and Refused for a header that is not to be believed."""
    if request.uid is None:
        return _by_session(request, config, opened)
    proxy = config.web.proxy
    named = None if proxy is None else request.headers.get(proxy.header.upper().replace("-", "_"))
    if proxy is not None and request.uid == _uid(proxy.user):
        return None if not named else _by_username(named, config)
    if named is not None:
        # From anybody else it is a lie, or a proxy that runs as another account than the config says.
        return None
    return _by_account(request.uid, request.gid, config.web.group)


def _by_account(uid: int, gid: int | None, group: str) -> Person | None:
    """Return root, relay's own account and its group as who may do all; None for any other account."""
    if uid not in (0, os.geteuid()) and not _is_member(uid, gid, group):
        return None
    name = f"uid {uid}"
    return Person(name=name, key=name, may=frozenset(May), courses=None)


def _is_member(uid: int, gid: int | None, group: str) -> bool:
    try:
        wanted = grp.getgrnam(group).gr_gid
    except KeyError:
        return False
    if gid == wanted:
        return True
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return False
    return wanted in os.getgrouplist(account.pw_name, account.pw_gid)


def _uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _by_username(username: str, config: Config) -> Person | None:
    """Return whom a proxy has named in a header, by Moodle's username. Raises MoodleError."""
    try:
        name = username.encode("latin-1").decode()
    except UnicodeError:
        return None
    with parts.reading(config) as moodle:
        user = moodle.account(name)
        return None if user is None else _by_standing(user, moodle.standing(user), f"user {user}")


def _by_session(request: Request, config: Config, opened: Opened) -> Person | None:
    secret = request.cookies.get(COOKIE)
    found = keys.session(opened.outbox, secret, opened.now()) if secret else None
    if found is None:
        return None
    role, user, key = found["as"], found["user"], f"session {secret}"
    if role == "manager":
        return Person(name=_session_name(user), key=key, may=ROLES[role], user=user, courses=None)
    if role == "student":
        return Person(name=_session_name(user), key=key, may=ROLES[role], user=user)
    with parts.reading(config) as moodle:
        standing = moodle.standing(user)
    if standing is None or role == MOODLE:
        return _by_standing(user, standing, key)
    return Person(name=_session_name(user), key=key, may=ROLES[role], user=user, courses=standing.courses)


def _session_name(user: int | None) -> str:
    return "a link of relay web login" if user is None else f"user {user}, by a link of relay web login"


def _by_standing(user: int, standing: Standing | None, key: str) -> Person | None:
    """Return who somebody is by Moodle's own tables: everybody sees what is theirs."""
    if standing is None:
        return None
    if standing.is_manager:
        return Person(name=f"user {user}", key=key, may=ROLES["manager"], user=user, courses=None)
    may = ROLES["teacher" if standing.courses else "student"]
    return Person(name=f"user {user}", key=key, may=may, user=user, courses=standing.courses)
