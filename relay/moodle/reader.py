"""Moodle in a MariaDB or MySQL database: all that the use cases may ask of it, over one connection."""

from __future__ import annotations

from relay.moodle.digests import DigestReader
from relay.moodle.log import LogReader
from relay.moodle.people import PeopleReader
from relay.moodle.rights import RightsReader
from relay.moodle.site import SiteReader


class MoodleReader(LogReader, DigestReader, SiteReader, RightsReader, PeopleReader):
    """Moodle (contract.Moodle). For one thread."""
