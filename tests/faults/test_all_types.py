"""All types at once, some of it held, some paths away for a time, and kills: nothing lost, overtaken or given away."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import pytest
from harness import SHORT_LEASES, Daemon, Relay
from receiver import Reply

from relay.events.catalogue import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver import Receiver, Request

    from relay.demo.moodle import College

AT = 1_770_000_000
#: A score that no time, id or count holds, and a comment: of what is held.
CANARY, COMMENT = "61.37", "canary-comment"
OWN = {"type": "quiz_attempted", "eventname": r"\mod_quiz\event\attempt_submitted", "fields": ["quizid"]}
#: The types whose paths the backend does not have at first: what waits there is passed by others of its user.
LATER_PATHS = {"submission_submitted", "course_updated", "role_assigned"}
#: How long what still waits is waited for, in seconds.
PATIENCE_S = 300


class Life:
    """A college in which all that relay knows happens, by turns and at random."""

    def __init__(self, college: College, people: int, seed: int) -> None:
        self.college = college
        self.chance = random.Random(seed)
        self.at = AT
        self.course = college.course("Computing", "C1")
        self.open = college.assignment(self.course, "Open")
        self.secret = college.assignment(self.course, "Secret")
        self.items = {
            work: college.rows("SELECT id FROM {p}grade_items WHERE iteminstance = %s", work)[0][0]
            for work in (self.open, self.secret)
        }
        college.run("UPDATE {p}grade_items SET hidden = 1 WHERE id = %s", self.items[self.secret])
        self.people = [college.sign_up("P", str(number), AT) for number in range(people)]
        self.enrolments = {user: college.enrol(user, self.course, AT) for user in self.people}
        self.rows = 2 * people
        for user in self.people:
            college.release(user, self.open, 55)
            college.release(user, self.secret, CANARY)
        college.run("UPDATE {p}grade_grades SET feedback = %s WHERE itemid = %s", COMMENT, self.items[self.secret])
        self.happenings = [
            self.updated,
            self.graded,
            self.graded_in_book,
            self.ended_in_book,
            self.enrolment_changed,
            self.left,
            self.completed,
            self.role,
            self.course_changed,
            self.submitted,
            self.own,
        ]

    def step(self) -> None:
        """Let one thing happen to somebody."""
        self.at += self.chance.random() < 0.5
        self.chance.choice(self.happenings)(self.chance.choice(self.people))
        self.rows += 1

    def log(self, event_type: str, row_id: int, user: int | None, **columns: object) -> int:
        return self.college.log(event_type, row_id, user=user, at=self.at, courseid=self.course, **columns)

    def updated(self, user: int) -> None:
        self.college.update(user, self.at, city=f"c{self.rows}")

    def work(self) -> int:
        return self.chance.choice([self.open, self.secret])

    def graded(self, user: int) -> None:
        work = self.work()
        score, comment = ("55", "well done") if work == self.open else (CANARY, COMMENT)
        self.college.grade(user, work, score, self.at, comment)

    def graded_in_book(self, user: int) -> None:
        term = "SELECT id FROM {p}grade_grades WHERE userid = %s AND itemid = %s"
        ((row,),) = self.college.rows(term, user, self.items[self.work()])
        self.log("gradebook_grade_updated", row, user, other="{}")

    def ended_in_book(self, user: int) -> None:
        row, is_hidden = 900_000 + self.rows, self.chance.random() < 0.5
        finalgrade = CANARY if is_hidden else "55"
        self.college.insert("grade_grades_history", action=3, oldid=row, itemid=0, userid=user, hidden=is_hidden)
        self.log("gradebook_grade_deleted", row, user, other=json.dumps({"itemid": "7000", "finalgrade": finalgrade}))

    def enrolment_changed(self, user: int) -> None:
        self.log("enrollment_updated", self.enrolments[user], user, other='{"enrol":"manual"}')

    def left(self, user: int) -> None:
        gone = {"id": "9", "status": "0", "userid": str(user), "courseid": str(self.course), "lastenrol": False}
        self.log("enrollment_deleted", 9, user, other=json.dumps({"userenrolment": gone, "enrol": "manual"}))

    def completed(self, user: int) -> None:
        found = self.college.rows("SELECT id FROM {p}course_completions WHERE userid = %s", user)
        row = found[0][0] if found else self.college.insert("course_completions", userid=user, course=self.course)
        self.log("course_completed", row, user)

    def role(self, user: int) -> None:
        event_type = self.chance.choice(["role_assigned", "role_unassigned"])
        ((given,),) = self.college.rows("SELECT id FROM {p}role_assignments WHERE userid = %s", user)
        other = {"id": given, "component": "", "itemid": 0}
        self.log(event_type, 5, user, contextlevel=50, other=json.dumps(other))

    def course_changed(self, _user: int) -> None:
        event_type = self.chance.choice(["course_created", "course_updated", "course_deleted"])
        self.log(event_type, self.course, None, other='{"shortname":"C1","fullname":"Computing","idnumber":""}')

    def submitted(self, user: int) -> None:
        row = self.college.insert(
            "assign_submission", assignment=self.open, userid=user, timecreated=self.at, timemodified=self.at, latest=1
        )
        self.log("submission_submitted", row, None, userid=user)

    def own(self, user: int) -> None:
        other = json.dumps({"quizid": "3", "grade": CANARY})
        self.log("user_updated", 1, user, eventname=OWN["eventname"], other=other)

    def delete_some(self, count: int) -> None:
        """Let some be deleted: the last that is heard of them."""
        for user in self.people[:count]:
            self.at += 1
            self.college.run("UPDATE {p}user SET deleted = 1 WHERE id = %s", user)
            self.log("user_deleted", user, user, other='{"username":"p","email":"p@college.example","idnumber":""}')
            self.rows += 1


def switch_all_on(relay: Relay) -> None:
    for name in KINDS:
        relay.set(f"events.{name}.enabled", True)
    relay.set("events.grade_updated.attempt", True)
    relay.set("events.custom", [OWN])
    relay.set("backend.concurrency", 4)


def type_of(request: Request) -> str:
    return request.path.rsplit("/", 1)[1]


class Trial:
    """A daemon that is killed again and again while a college lives, and the backend that it sends to."""

    def __init__(self, relay: Relay, life: Life, backend: Receiver) -> None:
        self.relay = relay
        self.life = life
        self.backend = backend
        self.taken: dict[str, tuple[int, Request]] = {}
        self.has_all_paths = threading.Event()
        self._lock = threading.Lock()
        backend.answer = self._answer

    def _answer(self, request: Request) -> Reply:
        if not self.has_all_paths.is_set() and type_of(request) in LATER_PATHS:
            return Reply(code=404)
        with self._lock:
            self.taken.setdefault(request.event_id, (len(self.taken), request))
        return Reply()

    def run(self, steps: int, kills: int) -> None:
        """Let so many things happen, with so many kills at random moments; wait until all has been sent."""
        chance = self.life.chance
        daemon = self._started()
        kill_at = set(chance.sample(range(1, steps), kills))
        try:
            for step in range(steps):
                self.life.step()
                if step in kill_at:
                    # Not always while it reads: also while it delivers.
                    time.sleep(chance.random())
                    daemon.kill()
                    daemon = self._started()
                if step == steps // 2:
                    self.has_all_paths.set()
            self.life.delete_some(len(self.life.people) // 4)
            self._wait(daemon)
            assert daemon.stop() == 0
        finally:
            daemon.kill()

    def _started(self) -> Daemon:
        daemon = self.relay.start()
        daemon.wait_for("relay.started")
        return daemon

    def _wait(self, daemon: Daemon) -> None:
        ends_at = time.monotonic() + PATIENCE_S
        while self._left() and time.monotonic() < ends_at:
            assert daemon.process.poll() is None, daemon.lines[-3:]
            time.sleep(0.2)

    def _left(self) -> int:
        """Return how many log rows are not recorded, or not delivered."""
        (read,) = self.relay.rows("SELECT COUNT(*) FROM {log} WHERE log_id IS NOT NULL")[0]
        (waits,) = self.relay.rows("SELECT COUNT(*) FROM {log} WHERE status IN ('pending', 'failed')")[0]
        return int(self.life.rows - read + waits)

    def recorded(self) -> Sequence[tuple[str, str, str, int]]:
        """Return id, type, status and user of what was recorded, in the order in which it happened."""
        found = self.relay.rows("SELECT event_id, event_type, status, user_id FROM {log} ORDER BY occurred_at, log_id")
        return [(row[0], row[1], row[2], row[3]) for row in found]

    def overtaken(self, types: set[str], among: set[str]) -> list[tuple[int, str]]:
        """Return what arrived before an earlier event of its user, of these types."""
        newest: defaultdict[int, int] = defaultdict(lambda: -1)
        wrong = []
        for event_id, event_type, _, user in self.recorded():
            if event_type in types and event_id in among:
                at = self.taken[event_id][0]
                if user and at < newest[user]:
                    wrong.append((user, event_type))
                newest[user] = max(newest[user], at)
        return wrong


def judge(trial: Trial) -> Counter[tuple[str, str]]:
    """Check all that must hold; return how many there are of each type and status."""
    recorded = trial.recorded()
    ended = Counter((event_type, status) for _, event_type, status, _ in recorded)
    assert len(recorded) == trial.life.rows, "lost, or doubled"
    assert {status for _, status in ended} <= {"success", "held"}, ended
    arrived = {event_id for event_id, _, status, _ in recorded if status == "success"}
    assert arrived == trial.taken.keys()
    bodies = defaultdict(set)
    for request in trial.backend.posts:
        bodies[request.event_id].add(request.body)
        assert CANARY not in request.body.decode()
        assert COMMENT not in request.body.decode()
    assert all(len(different) == 1 for different in bodies.values())
    every = {event_type for event_type, _ in ended}
    assert every == {*KINDS, str(OWN["type"])}
    assert trial.overtaken(every - LATER_PATHS, arrived) == []
    for event_type in LATER_PATHS:
        assert trial.overtaken({event_type}, arrived) == []
    assert trial.relay.status()["conservation"]["holds"]
    return ended


def release_all(trial: Trial, held: set[str]) -> None:
    """Let Moodle show all: the newest of each grade is sent, once, with an id that was held."""
    trial.life.college.run("UPDATE {p}grade_items SET hidden = 0")
    trial.relay.once()
    released = trial.taken.keys() & held
    assert released
    assert len([one for one in trial.backend.posts if one.event_id in held]) == len(released)
    states = {event_id: status for event_id, _, status, _ in trial.recorded()}
    assert {states[event_id] for event_id in held} == {"success", "skipped"}
    assert {event_id for event_id in held if states[event_id] == "success"} == released
    assert trial.relay.status()["conservation"]["holds"]


@pytest.mark.by_turns("which")
@pytest.mark.parametrize("which", ["relay", "other"])
def test_all_types_at_once_with_kills(
    which: str, relay: Relay, other: Relay, college: College, backend: Receiver
) -> None:
    used = {"relay": relay, "other": other}[which]
    used.constants = SHORT_LEASES
    switch_all_on(used)
    trial = Trial(used, Life(college, 12, seed=14), backend)
    trial.run(steps=300, kills=2)
    ended = judge(trial)
    assert ended["grade_updated", "held"] > 0
    assert ended["gradebook_grade_updated", "held"] > 0
    release_all(trial, {event_id for event_id, _, status, _ in trial.recorded() if status == "held"})
