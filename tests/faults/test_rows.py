"""Rows that no Moodle should hold: each is accounted for, and none stops another."""

from __future__ import annotations

import io
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from relay import config
from relay.events.catalogue import KINDS
from relay.service import parts, wiring
from relay.service.logs import make_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Relay
    from receiver import Receiver

    from relay.demo.moodle import College

#: Rows in the short version, and with --full.
SHORT, FULL = 600, 10_000
TEXTS = [
    None, b"", b" ", b"\0", b"\xff\xfe", b"A\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80" * 30, b"<b", b"a<b>c</b",
    b"&amp;&#0;&#x110000;", b'<span lang="de" class="multilang">x</span>', b"<script>x", b"<!--", b"]]>", b'{"a": [',
    b'O:8:"stdClass":1:{s:1:"a";N;}', b"'; DROP TABLE mdl_user; --", b"\x01\x02\x1b[31m\x7f", b"\r\n\t",
    "\u0645\u0631\u062d\u0628\u0627 \u202e \u200b\u2028".encode(), b"%s %d {p}", b"x" * 70_000, b"<" * 5000, b"NaN",
    b"\\u0000", b"@", b"a@b.c",
]  # fmt: skip
NUMBERS = [None, 0, -1, 1, 5, -31337, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63)]
GRADES = [None, "-1.00000", "0", "0.00001", "39.99999", "100", "99999.99999", "-99999.99999"]
#: Columns that a stricter table would refuse these in.
LOOSENED = {
    "user": ("DROP INDEX mnethostid", {
        "LONGBLOB": "username firstname lastname email idnumber phone1 city country",
        "BIGINT": "suspended deleted timecreated timemodified",
    }),
    "course": ("", {"LONGBLOB": "fullname shortname"}),
    "assign": ("", {"LONGBLOB": "name", "BIGINT": "grade"}),
    "assign_grades": ("DROP INDEX assignment", {"BIGINT": "grader timecreated timemodified userid"}),
    "assignfeedback_comments": ("", {"LONGBLOB": "commenttext"}),
    "scale": ("", {"LONGBLOB": "scale"}),
    "grade_items": ("", {"BIGINT": "hidden"}),
    "grade_grades": ("DROP INDEX userid", {"BIGINT": "hidden userid"}),
    "user_enrolments": ("DROP INDEX enrolid", {"BIGINT": "status timestart timeend timecreated userid enrolid"}),
    "logstore_standard_log": ("", {"BIGINT": "userid timecreated"}),
}  # fmt: skip


def loosenings() -> Iterator[str]:
    """Yield the statements that let every column be NULL, and hold any bytes."""
    for table, (first, kinds) in LOOSENED.items():
        columns = [f"MODIFY {name} {kind} NULL" for kind, names in kinds.items() for name in names.split()]
        yield f"ALTER TABLE {{p}}{table} {', '.join(filter(None, [first, *columns]))}"


class Rows:
    """Makes rows by chance, all of them in one transaction."""

    def __init__(self, college: College, seed: int) -> None:
        self.college = college
        self.chance = random.Random(seed)
        for statement in loosenings():
            college.run(statement)

    def text(self) -> bytes | None:
        return self.chance.choice(TEXTS)

    def number(self) -> int | None:
        return self.chance.choice(NUMBERS)

    def hidden(self) -> int | None:
        return self.number() if self.chance.random() < 0.2 else 0

    def near(self, most: int) -> int:
        """Return an id that is there, more often than not."""
        return self.chance.randint(1, max(1, most + most // 4))

    def fill(self, count: int) -> None:
        insert = self.college.insert
        self.college.connection.begin()
        for _ in range(count // 10 + 1):
            insert("course", fullname=self.text(), shortname=self.text())
            insert("enrol", courseid=self.near(count // 10))
            insert("scale", scale=self.text())
            course = self.near(count // 10)
            work = insert("assign", course=course, name=self.text(), grade=self.number())
            item = {"itemtype": "mod", "itemmodule": "assign", "iteminstance": work, "itemnumber": 0}
            insert("grade_items", courseid=course, hidden=self.hidden(), **item)
        for _ in range(count):
            texts = ("username", "firstname", "lastname", "email", "idnumber", "phone1", "city", "country")
            numbers = ("suspended", "deleted", "timecreated", "timemodified")
            insert("user", **{name: self.text() for name in texts}, **{name: self.number() for name in numbers})
            numbers = ("status", "timestart", "timeend", "timecreated")
            insert(
                "user_enrolments",
                enrolid=self.near(count // 10),
                userid=self.near(count),
                **{name: self.number() for name in numbers},
            )
            insert(
                "assign_grades",
                assignment=self.near(count // 10),
                userid=self.near(count),
                grade=self.chance.choice(GRADES),
                **{name: self.number() for name in ("grader", "timecreated", "timemodified")},
            )
            row = {"itemid": self.near(count // 10), "userid": self.near(count), "hidden": self.hidden()}
            insert("grade_grades", finalgrade=self.chance.choice(GRADES), **row)
            insert("assignfeedback_comments", grade=self.near(count), commenttext=self.text())
            self.log(count)
        self.college.connection.commit()

    def log(self, count: int) -> None:
        odd = self.chance.random() < 0.2
        self.college.log(
            self.chance.choice([kind.name for kind in KINDS.values() if kind.is_default]),
            self.number() if odd else self.near(count),
            user=self.near(count),
            at=self.chance.choice([0, 1_770_000_000, 4_000_000_000]),
            userid=self.number(),
            relateduserid=None if self.chance.random() < 0.8 else self.near(count),
            courseid=None,
            origin=self.chance.choice(["web", "cli", "ws", "", None]),
            other=self.text() if self.chance.random() < 0.1 else None,
        )


@pytest.mark.parametrize(("seed", "unreleased"), [(1, "hold"), (2, "send")])
def test_every_row_is_accounted_for(
    seed: int, unreleased: str, relay: Relay, college: College, backend: Receiver, request: pytest.FixtureRequest
) -> None:
    count = FULL if request.config.getoption("--full") else SHORT
    college.run("SET SESSION sql_mode = ''")
    Rows(college, seed).fill(count)
    relay.set("log.level", "error")
    relay.set("events.grade_updated.unreleased", unreleased)
    relay.once("--timeout", "600s")
    sums = relay.status()["conservation"]
    assert sums["holds"]
    assert sums["seen"] == count
    assert sums["success"] == len(backend.posts) == sums["captured"] - sums["held"]
    assert (sums["held"] > 0) == (unreleased == "hold")
    assert sums["success"] > count // 20
    for post in backend.posts:
        assert set(json.loads(post.body.decode())) >= {"event_id", "data", "timestamp"}
    reasons = {json.loads(row[0])["reason"].split(":")[0] for row in relay.rows(
        "SELECT last_error FROM {log} WHERE status = 'skipped'"
    )}  # fmt: skip
    assert "the row is gone" in reasons


def test_a_row_that_breaks_the_building_is_recorded_alone(
    relay: Relay, college: College, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should a rule ever fail in a way that nobody thought of, it fails for one row."""

    def broken(*_: object) -> dict[str, Any]:
        raise ValueError("with what stands in the row")

    # Capture asks the catalogue: one mapping, whoever imports it.
    monkeypatch.setitem(KINDS, "user_created", KINDS["user_created"]._replace(build=broken))
    ada = college.sign_up("Ada", "Lovelace", 1_770_000_000)
    college.update(ada, 1_770_000_001, city="London")
    loaded = config.load(relay.write())
    outbox = parts.make_outbox(loaded, create=True)
    moodle = parts.make_moodle(loaded)
    log = make_log(loaded.log, io.StringIO(), parts.REAL.now)
    wiring.make_capture(loaded, moodle, outbox, log).run_once(1_770_000_100.0)
    moodle.close()
    outbox.close()
    assert relay.statuses() == {"skipped": 1, "pending": 1}
    ((error,),) = relay.rows("SELECT last_error FROM {log} WHERE status = 'skipped'")
    assert json.loads(error) == {"reason": "the row cannot be turned into a payload (ValueError)"}
