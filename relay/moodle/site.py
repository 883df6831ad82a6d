"""Moodle's settings and the database user's rights: which Moodle it is, whether it logs, what may be read."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from relay.errors import MoodleRefused
from relay.events import catalogue
from relay.moodle.contract import LogStore, Site
from relay.moodle.database import Database, leading_number, text
from relay.moodle.log import log_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.events.kind import EventKind

SITE = "SELECT name, value FROM {p}config WHERE name IN ('siteidentifier', 'version', 'release')"
LOG_STORE = """
SELECT plugin, name, value FROM {p}config_plugins
WHERE (plugin = 'tool_log' AND name = 'enabled_stores') OR (plugin = 'logstore_standard' AND name = 'loglifetime')
"""
NEWEST_ROW = "SELECT id, eventname FROM {p}logstore_standard_log ORDER BY id DESC LIMIT 1"
FOUND_BY_NAME = "SELECT COUNT(*) FROM {p}logstore_standard_log WHERE id = %s AND eventname IN %s"
PLUGIN_SETTINGS = "SELECT name, value FROM {p}config_plugins WHERE plugin = %s"
PASSWORDS = "SELECT password FROM {p}user WHERE id = 0"
GRANTS = "SHOW GRANTS FOR CURRENT_USER()"
#: Privileges that let nobody write.
HARMLESS = frozenset(
    {"USAGE", "SELECT", "SHOW VIEW", "SHOW DATABASES", "PROCESS", "REPLICATION CLIENT", "BINLOG MONITOR"}
)


def columns(kinds: Sequence[EventKind]) -> dict[str, tuple[str, ...]]:
    """Return every column that relay reads for these kinds, by table: what its database user needs, and no more."""
    return {
        "config": ("name", "value"),
        "config_plugins": ("plugin", "name", "value"),
        "logstore_standard_log": log_columns(kinds),
        **catalogue.columns(kinds),
    }


class SiteReader(Database):
    """Reads settings and rights (contract.SiteReads)."""

    def site(self) -> Site:
        values = {text(row["name"]): text(row["value"]) for row in self.select(SITE)}
        if not values.get("siteidentifier"):
            raise MoodleRefused(
                f"The table {self._address.prefix}config in {self._address.name} has no siteidentifier: "
                "this is no Moodle that has been set up.",
                hint="Mend moodle.database.name or moodle.database.prefix.",
            )
        return Site(
            identifier=values["siteidentifier"],
            version=leading_number(values.get("version")),
            release=values.get("release", ""),
        )

    def find_known_row(self) -> int | None:
        newest = self.select(NEWEST_ROW)
        if not newest:
            return None
        log_id, name = int(newest[0]["id"]), text(newest[0]["eventname"])
        if not self.number(FOUND_BY_NAME, log_id, (name,)):
            raise MoodleRefused(
                f"Log row {log_id} is there, and is not found by its eventname: relay would see nothing of the log.",
                hint="Something between relay and the server changes statements, or a table is damaged: run CHECK "
                f"TABLE {self._address.prefix}logstore_standard_log on the server.",
            )
        return log_id

    def log_store(self) -> LogStore:
        values = {(text(row["plugin"]), text(row["name"])): text(row["value"]) for row in self.select(LOG_STORE)}
        stores = values.get(("tool_log", "enabled_stores"), "").split(",")
        lifetime = values.get(("logstore_standard", "loglifetime"), "0")
        return LogStore(
            is_enabled="logstore_standard" in stores, lifetime_days=int(lifetime) if lifetime.isdigit() else 0
        )

    def plugin_settings(self, plugin: str) -> dict[str, str]:
        return {text(row["name"]): text(row["value"]) for row in self.select(PLUGIN_SETTINGS, plugin)}

    def try_tables(self) -> None:
        for table, names in columns(self.kinds).items():
            self.select(f"SELECT {', '.join(names)} FROM {{p}}{table} WHERE 1 = 0")

    def too_much(self) -> list[str]:
        found = []
        for row in self.select(GRANTS):
            granted = re.match(r"GRANT (.*?) ON (\S+) TO", text(next(iter(row.values()))))
            # Columns in brackets belong to the privilege before them.
            names = re.sub(r"\([^)]*\)", "", granted[1]).split(",") if granted else []
            writing = sorted({name.strip() for name in names} - HARMLESS)
            if writing and granted:
                found.append(f"it may do more than read on {granted[2].replace('`', '')}: {', '.join(writing)[:80]}")
        with contextlib.suppress(MoodleRefused):
            self.select(PASSWORDS)
            found.append(f"it can read the password hashes in {self._address.prefix}user")
        return found
