"""What happens in Moodle while relay is measured: sign-ups at a rate, and a log that is full already."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from relay.events.catalogue import KINDS

if TYPE_CHECKING:
    from relay.demo.moodle import College

#: One row in so many is one that relay sends.
MATTERS = 20

USERS = """
INSERT INTO {{p}}user (id, username, firstname, lastname, email, city, country, timecreated, timemodified)
SELECT seq, CONCAT('student', seq), 'Ada', 'Lovelace', CONCAT('student', seq, '@college.example'), 'London', 'GB',
       1770000000, 1770000000 FROM seq_1_to_{users}
"""
# Rows as wide as Moodle's: most of what a site logs is somebody looking at a page.
LOG = """
INSERT INTO {{p}}logstore_standard_log (id, eventname, component, action, target, objecttable, objectid, crud, edulevel,
       contextid, contextlevel, contextinstanceid, userid, courseid, relateduserid, other, timecreated, origin, ip)
SELECT seq, IF(seq % {matters} = 0, '{name}', '\\\\mod_page\\\\event\\\\course_module_viewed'), 'mod_page', 'viewed',
       'course_module', 'page', IF(seq % {matters} = 0, seq DIV {matters}, seq % 1000), 'r', 2,
       seq % 5000, 70, seq % 1000, seq % 3000, IF(seq % {matters} = 0, 0, seq % 200),
       IF(seq % {matters} = 0, seq DIV {matters}, NULL), 'N;', 1770000000 + seq DIV 10, 'web', '192.0.2.17'
FROM seq_1_to_{rows}
"""


def fill_log(college: College, rows: int, matters: int = MATTERS) -> None:
    """Fill the log; one row in `matters` is a user who signed up."""
    name = KINDS["user_created"].moodle_event.replace("\\", "\\\\")
    college.run(USERS.format(users=rows // matters))
    college.run(LOG.format(rows=rows, matters=matters, name=name))


def sign_ups(college: College, rate: int, seconds: float) -> dict[int, float]:
    """Let users sign up, `rate` a second at random moments; return when each one's log row was committed.

    By user id, in unix seconds.
    """
    chance = random.Random(rate)
    moments = sorted(chance.uniform(0, seconds) for _ in range(round(rate * seconds)))
    began_at, committed = time.monotonic(), {}
    for number, moment in enumerate(moments):
        time.sleep(max(0.0, began_at + moment - time.monotonic()))
        name, now = f"rate{rate}.{number}", int(time.time())
        user = college.insert(
            "user",
            username=name,
            firstname="Ada",
            lastname="Lovelace",
            email=f"{name}@college.example",
            country="GB",
            timecreated=now,
            timemodified=now,
        )
        college.log("user_created", user, user=user, at=now)
        committed[user] = time.time()
    return committed
