"""What the database user may do: what relay needs and it lacks, and what it may do beyond that, by roles too."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from relay.errors import MoodleRefused
from relay.events import catalogue
from relay.events.people import COLUMNS, with_people
from relay.moodle.contract import Excess
from relay.moodle.database import Database, leading_number, text
from relay.moodle.log import log_columns

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from relay.events.kind import EventKind

PASSWORDS = "SELECT password FROM {p}user WHERE id = 0"
#: Statements that are prepared and never run, by the privilege that they ask for.
WRITES = {
    "INSERT": "INSERT INTO {p}%s () VALUES ()",
    "UPDATE": "UPDATE {p}%s SET id = id WHERE 1 = 0",
    "DELETE": "DELETE FROM {p}%s WHERE 1 = 0",
}
#: Privileges that let nobody write.
HARMLESS = frozenset(
    {
        "USAGE",
        "SHOW VIEW",
        "SHOW DATABASES",
        "PROCESS",
        "REPLICATION CLIENT",
        "BINLOG MONITOR",
        "PROXY",
        "SLAVE MONITOR",
    }
)
#: With these on all tables of a schema, an account is Moodle's own.
MOODLES = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
_NAME = r"`(?:[^`]|``)*`"
_PRIVILEGES = re.compile(
    rf"GRANT (.+?) ON (?:(?:TABLE|FUNCTION|PROCEDURE|PACKAGE|PACKAGE BODY) )?(\*\.\*|{_NAME}\.(?:\*|{_NAME})) "
    rf"TO (PUBLIC|{_NAME}(?:@{_NAME})?)"
)
_ROLE = re.compile(rf"GRANT ({_NAME}(?:@{_NAME})?(?:,\s*{_NAME}(?:@{_NAME})?)*) TO ({_NAME}@{_NAME})")


def columns(kinds: Sequence[EventKind]) -> dict[str, tuple[str, ...]]:
    """Return every column that relay reads for these kinds, by table: what its database user needs, and no more."""
    return {
        "config": ("name", "value"),
        "config_plugins": ("plugin", "name", "value"),
        "logstore_standard_log": log_columns(kinds),
        **catalogue.columns(kinds),
    }


class Grant(NamedTuple):
    """A line of SHOW GRANTS."""

    #: The columns of each privilege; none where it is for the whole table or schema.
    privileges: Mapping[str, tuple[str, ...]]
    #: What it is for, and who has it, as the server writes them: `moodle`.`mdl_user`, `relay`@`localhost`.
    scope: str
    grantee: str
    is_grantable: bool
    #: The user's own role by which it has it; '' where the user has it itself.
    role: str = ""
    #: What takes that role away from every user, as the server gives it to each; '' where it does not.
    unset: str = ""

    @property
    def is_of_another(self) -> bool:
        """Whether this is an administrator's account, or Moodle's own: nothing may be taken away from those."""
        return "ALL PRIVILEGES" in self.privileges or (self.scope.endswith("*") and self.privileges.keys() >= MOODLES)

    def revoked(self, *privileges: str) -> str:
        """Return the statement that takes some of its privileges away, or the role from the user; '' for none."""
        if self.role:
            # Others may have the role, and need it.
            return self.unset or f"REVOKE {self.role} FROM {self.grantee};"
        if self.is_of_another:
            return ""
        return f"REVOKE {', '.join(privileges)} ON {self.scope} FROM {self.grantee};"

    def by(self) -> str:
        """Return the end of a sentence: by which role the user has it; '' where it has it itself."""
        if self.grantee == "PUBLIC":
            return ", as every user may (PUBLIC)"
        every = ", which every user has (mandatory_roles)" if self.unset else ""
        return f", by the role {self.role.replace('`', '')}{every}" if self.role else ""


def parse(line: str, role: str = "", account: str = "", unset: str = "") -> Grant | None:
    """Return what a line of SHOW GRANTS says of privileges; None where it is about something else.

    `role`: the role whose line it is, `account` who has that, and `unset` what takes it away from every user.
    """
    found = _PRIVILEGES.match(line)
    if found is None:
        return None
    privileges: dict[str, tuple[str, ...]] = {}
    for name, listed in re.findall(r"([A-Z][A-Z_ ]*?)(?: ?\(([^)]*)\))?(?:, |$)", found[1]):
        # The server writes one that is for the whole table before the same one for some columns.
        if privileges.get(name, (name,)):
            privileges[name] = tuple(re.findall(r"`?([\w$]+)`?", listed))
    return Grant(
        privileges=privileges,
        scope=found[2],
        grantee=account or found[3],
        is_grantable="WITH GRANT OPTION" in line,
        role=role,
        unset=unset,
    )


def excess(grant: Grant, needed: Mapping[str, Collection[str]], place: str) -> Iterator[Excess]:
    """Yield what a grant lets the user do and relay need not; `needed`: columns by the table's name in `place`."""
    scope = grant.scope.replace("`", "")
    writing = sorted(set(grant.privileges) - HARMLESS - {"SELECT"})
    if writing:
        found = f"it may do more than read on {scope}: {', '.join(writing)[:80]}{grant.by()}"
        yield Excess(found=found, remedy=grant.revoked(*(_listed(name, grant.privileges[name]) for name in writing)))
    if "SELECT" in grant.privileges:
        listed = grant.privileges["SELECT"]
        if not listed:
            yield Excess(found=f"it may read all of {scope}{grant.by()}", remedy=grant.revoked("SELECT"))
        allowed = needed.get(scope.removeprefix(f"{place}."), ()) if scope.startswith(f"{place}.") else ()
        more = [name for name in listed if name.lower() not in allowed]
        if more:
            found = f"it may read {', '.join(more)[:80]} of {scope}, which relay does not{grant.by()}"
            yield Excess(found=found, remedy=grant.revoked(_listed("SELECT", more)))
    if grant.is_grantable:
        found = f"it may give its rights on {scope} to others{grant.by()}"
        yield Excess(found=found, remedy=grant.revoked("GRANT OPTION"))


def _plain(role: str) -> str:
    """Return the name of a role as others can be compared with it: without quotes, and with its host."""
    name = re.sub("[`'\" ]", "", role)
    return name if "@" in name else f"{name}@%"


def _without(mandatory: Sequence[str], role: str) -> str:
    """Return the statement that gives a role to every user no more."""
    rest = ",".join(one.replace("'", "''") for one in mandatory if _plain(one) != _plain(role))
    return f"SET PERSIST mandatory_roles = '{rest}';"


def _listed(privilege: str, names: Sequence[str]) -> str:
    return f"{privilege} ({', '.join(f'`{name}`' for name in names)})" if names else privilege


class RightsReader(Database):
    """Asks what the user may do (contract.SiteReads)."""

    def missing(self) -> list[MoodleRefused]:
        version = self.select("SELECT value FROM {p}config WHERE name = 'version'")
        site = leading_number(version[0]["value"]) if version else 0
        newer: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for kind in self.kinds:
            if kind.facts is not None:
                there = [name for name, since in kind.facts.newer.items() if site >= since]
                newer[kind.facts.table].update(dict.fromkeys(there))
        found = []
        for table, names in columns(self.kinds).items():
            found += self._refusals(table, [*names, *newer[table]])
        return found

    def missing_for_page(self) -> list[MoodleRefused]:
        known = columns(self.kinds)
        found = []
        for table, names in COLUMNS.items():
            more = [name for name in names if name not in known.get(table, ())]
            found += self._refusals(table, more) if more else []
        return found

    def _refusals(self, table: str, names: Sequence[str]) -> list[MoodleRefused]:
        """Return why columns of a table cannot be read: one reason where the whole table cannot, else one for each."""
        statement = "SELECT {names} FROM {{p}}{table} WHERE 1 = 0"
        whole = self.refusal(statement.format(names=", ".join(names), table=table))
        if whole is None:
            return []
        each = [self.refusal(statement.format(names=name, table=table)) for name in names]
        found = {str(one): one for one in each if one is not None}
        return list(found.values()) or [whole]

    def prefixes(self) -> list[str]:
        found = self.select(
            "SELECT table_name AS name FROM information_schema.tables "
            "WHERE table_schema = DATABASE() AND table_name LIKE '%%logstore\\_standard\\_log' AND 1 = %s",
            1,
        )
        return sorted(text(row["name"]).removesuffix("logstore_standard_log") for row in found)

    def too_much(self) -> list[Excess]:
        needed = {
            self._address.prefix + table: {name.lower() for name in names} for table, names in self._needed().items()
        }
        grants = list(self._grants())
        found = {one.found: one for grant in grants for one in excess(grant, needed, self._address.name)}
        if any(one.is_of_another and not one.role for one in grants):
            # MySQL writes ALL PRIVILEGES as several lines, of which some name none that is Moodle's alone.
            found = {said: one._replace(remedy="") for said, one in found.items()}
        with contextlib.suppress(MoodleRefused):
            self.select(PASSWORDS)
            said = f"it can read the password hashes in {self._address.prefix}user"
            found.setdefault(said, Excess(found=said, remedy=""))
        if not any("more than read" in said for said in found):
            found |= {one.found: one for one in self._writes()}
        return list(found.values())

    def _needed(self) -> dict[str, set[str]]:
        kinds = tuple(catalogue.KINDS.values())
        needed = {table: set(names) for table, names in with_people(columns(kinds)).items()}
        for table, names in catalogue.newer_columns(kinds).items():
            needed[table] |= set(names)
        return needed

    def _grants(self) -> Iterator[Grant]:
        """Yield what the user has been granted, itself and by each of its roles, whether that is active or not."""
        mandatory = self._mandatory_roles()
        # Else the rights of the roles that are active are among them, in MySQL as the user's own; each is asked below.
        self.select("SET ROLE NONE")
        lines = self._lines("SHOW GRANTS")
        own = [line for line in lines if re.search(rf" TO (?:PUBLIC|{_NAME}@{_NAME})", line)]
        yield from filter(None, map(parse, own))
        given = [
            (role, found[2]) for line in own if (found := _ROLE.match(line)) for role in re.split(r",\s*", found[1])
        ]
        for role, account in given:
            with contextlib.suppress(MoodleRefused):
                unset = _without(mandatory, role) if _plain(role) in map(_plain, mandatory) else ""
                found_lines = [line for line in self._lines_of(role) if line not in own]
                yield from filter(None, (parse(line, role, account, unset) for line in found_lines))
        # The roles of a new connection are those that the server gives it.
        self.close()

    def _mandatory_roles(self) -> list[str]:
        """Return the roles that the server gives to every user, as MySQL's setting names them; MariaDB has none."""
        with contextlib.suppress(MoodleRefused):
            return [one.strip() for one in self._lines("SELECT @@mandatory_roles")[0].split(",") if one.strip()]
        return []

    def _lines_of(self, role: str) -> list[str]:
        """Return what a role of the user may do, with the roles within it."""
        if "`@`" in role:
            # MySQL's own way: it writes the role's privileges as the user's.
            return self._lines(f"SHOW GRANTS FOR CURRENT_USER() USING {role}")
        self.select(f"SET ROLE {role}")
        return self._lines(f"SHOW GRANTS FOR {role}")

    def _lines(self, statement: str) -> list[str]:
        return [text(next(iter(row.values()))) for row in self.select(statement)]

    def _writes(self) -> Iterator[Excess]:
        """Yield what the server would let the user write, whatever its grants look like: it is asked, and not told.

        A statement that is prepared is checked as one that is run, and changes nothing.
        """
        for table in columns(self.kinds):
            able = [name for name, statement in WRITES.items() if self._is_allowed(statement % table)]
            if able:
                name = self._address.prefix + table
                yield Excess(found=f"it may do more than read on {name}: {', '.join(able)}", remedy="")

    def _is_allowed(self, statement: str) -> bool:
        return self.is_permitted(f"PREPARE relay FROM '{statement}'")
