"""Who somebody is by Moodle's own tables: for the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.events import people
from relay.moodle.contract import Standing
from relay.moodle.database import Database, text

if TYPE_CHECKING:
    from collections.abc import Collection


class PeopleReader(Database):
    """Asks who somebody is (contract.PeopleReads)."""

    def account(self, username: str) -> int | None:
        wanted = username.strip().lower()
        found = [int(row["id"]) for row in self.select(people.ACCOUNT, wanted) if text(row["username"]) == wanted]
        # Several: the same name came from another Moodle (MNet), and nothing says whose it is.
        return found[0] if len(found) == 1 else None

    def standing(self, user: int) -> Standing | None:
        if not self.number(people.IS_THERE, user):
            return None
        admins = self.select(people.ADMINS)
        if admins and str(user) in text(admins[0]["value"]).split(","):
            return Standing(is_manager=True)
        if self.number(people.MANAGES, user):
            return Standing(is_manager=True)
        return Standing(courses=frozenset(int(row["course"]) for row in self.select(people.TEACHES, user)))

    def is_in(self, user: int, courses: Collection[int]) -> bool:
        return bool(courses) and self.number(people.IS_IN, user, tuple(courses)) > 0
