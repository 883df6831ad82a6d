"""Moodle's settings: which Moodle it is, and whether and how it logs."""

from __future__ import annotations

import re

from relay.errors import MoodleRefused
from relay.moodle.contract import LogStore, Site
from relay.moodle.database import Database, leading_number, text

SITE = "SELECT name, value FROM {p}config WHERE name IN ('siteidentifier', 'version', 'release', 'noreplyaddress')"
#: Moodle's siteidentifier is so many random letters and digits, and then the host at which it was installed
#: (get_site_identifier).
RANDOM = 32
HOST = re.compile(r"([a-z0-9-]+\.)+[a-z][a-z0-9-]*", re.IGNORECASE)
LOG_STORE = """
SELECT plugin, name, value FROM {p}config_plugins
WHERE (plugin = 'tool_log' AND name = 'enabled_stores')
   OR (plugin = 'logstore_standard' AND name IN ('loglifetime', 'logguests'))
"""
NEWEST_ROW = "SELECT id, eventname FROM {p}logstore_standard_log ORDER BY id DESC LIMIT 1"
FOUND_BY_NAME = "SELECT COUNT(*) FROM {p}logstore_standard_log WHERE id = %s AND eventname IN %s"
PLUGIN_SETTINGS = "SELECT name, value FROM {p}config_plugins WHERE plugin = %s"


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
            hosts=_hosts(values["siteidentifier"][RANDOM:], values.get("noreplyaddress", "").rpartition("@")[2]),
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
            is_enabled="logstore_standard" in stores,
            lifetime_days=int(lifetime) if lifetime.isdigit() else 0,
            # As Moodle does: what was never set is on, and what PHP takes for false is off.
            logs_guests=values.get(("logstore_standard", "logguests"), "1") not in ("", "0"),
        )

    def plugin_settings(self, plugin: str) -> dict[str, str]:
        return {text(row["name"]): text(row["value"]) for row in self.select(PLUGIN_SETTINGS, plugin)}


def _hosts(*given: str) -> tuple[str, ...]:
    """Return those that are a host's name, without a port: an address, or `localhost`, says nothing of the site."""
    names = (one.partition(":")[0].lower() for one in given)
    return tuple(dict.fromkeys(name for name in names if HOST.fullmatch(name)))
