"""What happens in a college within some seconds: who signs up, enrols and is graded, and when the backend fails."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from relay.demo.moodle import College

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.demo.backend import Backend
    from relay.demo.mariadb import MariaDB

NAMES = [
    ("Amara", "Okafor"), ("Beatriz", "Lima"), ("Chen", "Wei"), ("Dunja", "Kovač"), ("Elif", "Demir"),
    ("Farid", "Haddad"), ("Grace", "Mensah"), ("Håkon", "Berg"), ("Ines", "Costa"), ("Jarek", "Nowak"),
    ("Keiko", "Mori"), ("Lars", "Holm"),
]  # fmt: skip
COMMENTS = ["<p>Well argued.</p>", "<p>See my notes &amp; try again.</p>", None, "<p>Good <b>work</b></p>"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happens."""

    #: When, as a share of the whole time.
    at: float
    #: What is said of it.
    says: str
    act: Callable[[], Any]
    #: Whether it is a step of the backend, not of the college.
    is_backend: bool = False


class Life:
    """The steps, and when the college committed what."""

    def __init__(self, server: MariaDB, backend: Backend) -> None:
        self.college = College(server.connect("moodle"))
        self._other = College(server.connect("moodle", autocommit=False))
        self._backend = backend
        self._people: list[int] = []
        #: When each log row was committed, in unix seconds, by its id.
        self.committed: dict[int, float] = {}

    def prepare(self) -> None:
        """Build the database, and what was there before."""
        self.college.build()
        self._course = self.college.course("Level 3 Computing", "L3C")
        self._essay = self.college.assignment(self._course, "Essay")
        scale = self.college.insert("scale", scale="Refer, Pass, Merit, Distinction")
        self._project = self.college.assignment(self._course, "Project", -scale)

    def close(self) -> None:
        """Close the connections to the database."""
        self.college.connection.close()
        self._other.connection.close()

    def note(self) -> int:
        """Note when the newest log rows were committed; return how many rows there are."""
        rows = self.college.rows("SELECT id FROM {p}logstore_standard_log")
        for (log_id,) in rows:
            self.committed.setdefault(int(log_id), time.time())
        return len(rows)

    def steps(self) -> Iterator[Step]:
        """Yield what happens, in order."""
        yield from sorted(self._steps(), key=lambda step: step.at)

    def _steps(self) -> Iterator[Step]:
        for index, (first, last) in enumerate(NAMES):
            yield Step(
                at=0.02 + 0.02 * index,
                says=f"{first} {last} signs up and enrols",
                act=partial(self._join, first, last),
            )
        yield Step(at=0.20, says="a long transaction begins: nobody sees its log row yet", act=self._begin)
        for index, (first, last) in enumerate(NAMES):
            yield Step(
                at=0.30 + 0.025 * index,
                says=f"{first} {last}'s essay is graded",
                act=partial(self._grade, index, self._essay, 38 + 5 * index),
            )
        yield Step(at=0.36, says="the backend goes away: 503", act=self._go_down, is_backend=True)
        yield Step(at=0.56, says="the backend is back", act=self._come_up, is_backend=True)
        yield Step(at=0.66, says="the long transaction commits, its id far below the newest", act=self._commit)
        yield Step(
            at=0.70, says="the backend takes one event and dies before it answers", act=self._hang_up, is_backend=True
        )
        for index, (first, last) in enumerate(NAMES):
            yield Step(
                at=0.71 + 0.02 * index,
                says=f"{first} {last}'s project is graded, on a scale",
                act=partial(self._grade, index, self._project, 1 + index % 4),
            )
        yield Step(at=0.97, says=f"{NAMES[0][0]} moves to another town", act=self._move)

    def _join(self, first: str, last: str) -> None:
        user = self.college.sign_up(first, last, int(time.time()))
        self._people.append(user)
        self.college.enrol(user, self._course, int(time.time()))

    def _grade(self, index: int, assignment: int, grade: float) -> None:
        comment = COMMENTS[index % len(COMMENTS)]
        self.college.grade(self._people[index], assignment, grade, int(time.time()), comment)

    def _begin(self) -> None:
        self._other.sign_up("Late", "Comer", int(time.time()))

    def _commit(self) -> None:
        self._other.connection.commit()

    def _move(self) -> None:
        self.college.update(self._people[0], int(time.time()), city="Leeds")

    def _go_down(self) -> None:
        self._backend.is_down = True

    def _come_up(self) -> None:
        self._backend.is_down = False

    def _hang_up(self) -> None:
        self._backend.hangs_up = True
