"""A small database of Moodle's shape, and what Moodle does to it when people sign up, enrol and are graded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.events.catalogue import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pymysql

#: The tables that relay reads, with the columns and keys of Moodle 4 that matter to it.
SCHEMA = (
    """CREATE TABLE {p}config (id BIGINT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(255) NOT NULL DEFAULT '',
    value LONGTEXT NOT NULL, UNIQUE KEY (name))""",
    """CREATE TABLE {p}config_plugins (id BIGINT AUTO_INCREMENT PRIMARY KEY,
    plugin VARCHAR(100) NOT NULL DEFAULT 'core',
    name VARCHAR(100) NOT NULL DEFAULT '', value LONGTEXT NOT NULL, UNIQUE KEY (plugin, name))""",
    """CREATE TABLE {p}logstore_standard_log (id BIGINT AUTO_INCREMENT PRIMARY KEY,
    eventname VARCHAR(255) NOT NULL DEFAULT '', component VARCHAR(100) NOT NULL DEFAULT '',
    action VARCHAR(100) NOT NULL DEFAULT '', target VARCHAR(100) NOT NULL DEFAULT '', objecttable VARCHAR(50),
    objectid BIGINT, crud VARCHAR(1) NOT NULL DEFAULT '', edulevel TINYINT NOT NULL, contextid BIGINT NOT NULL,
    contextlevel BIGINT NOT NULL, contextinstanceid BIGINT NOT NULL, userid BIGINT NOT NULL, courseid BIGINT,
    relateduserid BIGINT, anonymous TINYINT NOT NULL DEFAULT 0, other LONGTEXT, timecreated BIGINT NOT NULL,
    origin VARCHAR(10), ip VARCHAR(45), realuserid BIGINT, KEY (timecreated))""",
    """CREATE TABLE {p}user (id BIGINT AUTO_INCREMENT PRIMARY KEY, mnethostid BIGINT NOT NULL DEFAULT 1,
    username VARCHAR(100) NOT NULL DEFAULT '', password VARCHAR(255) NOT NULL DEFAULT '',
    firstname VARCHAR(100) NOT NULL DEFAULT '', lastname VARCHAR(100) NOT NULL DEFAULT '',
    email VARCHAR(100) NOT NULL DEFAULT '', idnumber VARCHAR(255) NOT NULL DEFAULT '',
    phone1 VARCHAR(20) NOT NULL DEFAULT '', city VARCHAR(120) NOT NULL DEFAULT '',
    country VARCHAR(2) NOT NULL DEFAULT '', suspended TINYINT NOT NULL DEFAULT 0,
    deleted TINYINT NOT NULL DEFAULT 0, timecreated BIGINT NOT NULL DEFAULT 0,
    timemodified BIGINT NOT NULL DEFAULT 0, UNIQUE KEY (mnethostid, username))""",
    """CREATE TABLE {p}course (id BIGINT AUTO_INCREMENT PRIMARY KEY, category BIGINT NOT NULL DEFAULT 0,
    fullname VARCHAR(254) NOT NULL DEFAULT '', shortname VARCHAR(255) NOT NULL DEFAULT '',
    idnumber VARCHAR(100) NOT NULL DEFAULT '', startdate BIGINT NOT NULL DEFAULT 0, enddate BIGINT NOT NULL DEFAULT 0,
    visible TINYINT NOT NULL DEFAULT 1, timecreated BIGINT NOT NULL DEFAULT 0,
    timemodified BIGINT NOT NULL DEFAULT 0)""",
    """CREATE TABLE {p}course_completions (id BIGINT AUTO_INCREMENT PRIMARY KEY, userid BIGINT NOT NULL DEFAULT 0,
    course BIGINT NOT NULL DEFAULT 0, timeenrolled BIGINT NOT NULL DEFAULT 0, timestarted BIGINT NOT NULL DEFAULT 0,
    timecompleted BIGINT, UNIQUE KEY (userid, course))""",
    """CREATE TABLE {p}enrol (id BIGINT AUTO_INCREMENT PRIMARY KEY, enrol VARCHAR(20) NOT NULL DEFAULT '',
    status BIGINT NOT NULL DEFAULT 0, courseid BIGINT NOT NULL, KEY (courseid))""",
    """CREATE TABLE {p}user_enrolments (id BIGINT AUTO_INCREMENT PRIMARY KEY, status BIGINT NOT NULL DEFAULT 0,
    enrolid BIGINT NOT NULL, userid BIGINT NOT NULL, timestart BIGINT NOT NULL DEFAULT 0,
    timeend BIGINT NOT NULL DEFAULT 0, timecreated BIGINT NOT NULL DEFAULT 0,
    timemodified BIGINT NOT NULL DEFAULT 0, UNIQUE KEY (enrolid, userid))""",
    """CREATE TABLE {p}assign (id BIGINT AUTO_INCREMENT PRIMARY KEY, course BIGINT NOT NULL DEFAULT 0,
    name VARCHAR(255) NOT NULL DEFAULT '', grade BIGINT NOT NULL DEFAULT 0, duedate BIGINT NOT NULL DEFAULT 0)""",
    """CREATE TABLE {p}assign_submission (id BIGINT AUTO_INCREMENT PRIMARY KEY, assignment BIGINT NOT NULL DEFAULT 0,
    userid BIGINT NOT NULL DEFAULT 0, timecreated BIGINT NOT NULL DEFAULT 0, timemodified BIGINT NOT NULL DEFAULT 0,
    status VARCHAR(10), groupid BIGINT NOT NULL DEFAULT 0, attemptnumber BIGINT NOT NULL DEFAULT 0,
    latest TINYINT NOT NULL DEFAULT 0)""",
    """CREATE TABLE {p}assign_grades (id BIGINT AUTO_INCREMENT PRIMARY KEY, assignment BIGINT NOT NULL DEFAULT 0,
    userid BIGINT NOT NULL DEFAULT 0, timecreated BIGINT NOT NULL DEFAULT 0, timemodified BIGINT NOT NULL DEFAULT 0,
    grader BIGINT NOT NULL DEFAULT 0, grade DECIMAL(10,5) DEFAULT 0.00000, attemptnumber BIGINT NOT NULL DEFAULT 0,
    UNIQUE KEY (assignment, userid, attemptnumber))""",
    """CREATE TABLE {p}assignfeedback_comments (id BIGINT AUTO_INCREMENT PRIMARY KEY,
    assignment BIGINT NOT NULL DEFAULT 0, grade BIGINT NOT NULL DEFAULT 0, commenttext LONGTEXT,
    commentformat SMALLINT NOT NULL DEFAULT 1, KEY (grade))""",
    """CREATE TABLE {p}grade_items (id BIGINT AUTO_INCREMENT PRIMARY KEY, courseid BIGINT, itemname VARCHAR(255),
    itemtype VARCHAR(30) NOT NULL DEFAULT '', itemmodule VARCHAR(30), iteminstance BIGINT, itemnumber BIGINT,
    grademax DECIMAL(10,5) NOT NULL DEFAULT 100, grademin DECIMAL(10,5) NOT NULL DEFAULT 0, scaleid BIGINT,
    hidden BIGINT NOT NULL DEFAULT 0, KEY (courseid))""",
    """CREATE TABLE {p}grade_grades (id BIGINT AUTO_INCREMENT PRIMARY KEY, itemid BIGINT NOT NULL,
    userid BIGINT NOT NULL, finalgrade DECIMAL(10,5), hidden BIGINT NOT NULL DEFAULT 0,
    overridden BIGINT NOT NULL DEFAULT 0, feedback LONGTEXT, timemodified BIGINT,
    UNIQUE KEY (userid, itemid))""",
    """CREATE TABLE {p}grade_items_history (id BIGINT AUTO_INCREMENT PRIMARY KEY, action BIGINT NOT NULL DEFAULT 0,
    oldid BIGINT NOT NULL, hidden BIGINT NOT NULL DEFAULT 0, KEY (oldid))""",
    """CREATE TABLE {p}grade_grades_history (id BIGINT AUTO_INCREMENT PRIMARY KEY, action BIGINT NOT NULL DEFAULT 0,
    oldid BIGINT NOT NULL, itemid BIGINT NOT NULL, userid BIGINT NOT NULL, finalgrade DECIMAL(10,5),
    hidden BIGINT NOT NULL DEFAULT 0, KEY (oldid))""",
    "CREATE TABLE {p}scale (id BIGINT AUTO_INCREMENT PRIMARY KEY, scale LONGTEXT NOT NULL)",
    """CREATE TABLE {p}context (id BIGINT AUTO_INCREMENT PRIMARY KEY, contextlevel BIGINT NOT NULL DEFAULT 0,
    instanceid BIGINT NOT NULL DEFAULT 0, UNIQUE KEY (contextlevel, instanceid))""",
    """CREATE TABLE {p}role_assignments (id BIGINT AUTO_INCREMENT PRIMARY KEY, roleid BIGINT NOT NULL DEFAULT 0,
    contextid BIGINT NOT NULL DEFAULT 0, userid BIGINT NOT NULL DEFAULT 0, timemodified BIGINT NOT NULL DEFAULT 0,
    component VARCHAR(100) NOT NULL DEFAULT '', KEY (userid, contextid, roleid))""",
    """CREATE TABLE {p}role (id BIGINT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(255) NOT NULL DEFAULT '',
    shortname VARCHAR(100) NOT NULL DEFAULT '', archetype VARCHAR(30) NOT NULL DEFAULT '')""",
)
SETTINGS = {"siteidentifier": "kR2demoSiteOfNobody", "version": "2024042200.00", "release": "4.4 (Build: 20240422)"}
PLUGIN_SETTINGS = (("tool_log", "enabled_stores", "logstore_standard"), ("logstore_standard", "loglifetime", "0"))


class College:
    """Writes to a database of Moodle's shape as Moodle does: first the row, then the log row."""

    def __init__(self, connection: pymysql.connections.Connection[Any], prefix: str = "mdl_") -> None:
        self.connection = connection
        self._prefix = prefix

    def build(self) -> None:
        """Make the tables, and the settings of a site."""
        for statement in SCHEMA:
            self.run(statement)
        self.set_up()

    def set_up(self) -> None:
        """Make the settings of a site."""
        for name, value in SETTINGS.items():
            self.run("INSERT INTO {p}config (name, value) VALUES (%s, %s)", name, value)
        for row in PLUGIN_SETTINGS:
            self.run("INSERT INTO {p}config_plugins (plugin, name, value) VALUES (%s, %s, %s)", *row)

    def run(self, statement: str, *values: Any) -> int:
        """Run a statement; return the id of the row that it made."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement.replace("{p}", self._prefix), values or None)
            return int(cursor.lastrowid or 0)

    def rows(self, statement: str, *values: Any) -> Sequence[Any]:
        """Return what a query gives."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement.replace("{p}", self._prefix), values or None)
            found: Sequence[Any] = cursor.fetchall()
            return found

    def insert(self, table: str, **values: Any) -> int:
        """Insert a row; return its id."""
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        return self.run(f"INSERT INTO {{p}}{table} ({names}) VALUES ({marks})", *values.values())

    def log(self, event_type: str, object_id: int | None, *, user: int | None, at: int, **columns: Any) -> int:
        """Write the log row of an event; return its id."""
        values = {
            "eventname": KINDS[event_type].moodle_event,
            "objectid": object_id,
            "relateduserid": user,
            "userid": 2,
            "courseid": 0,
            "timecreated": at,
            "origin": "web",
            **dict.fromkeys(("edulevel", "contextid", "contextlevel", "contextinstanceid"), 0),
            **columns,
        }
        return self.insert("logstore_standard_log", **values)

    def course(self, fullname: str, shortname: str) -> int:
        """Make a course with an enrolment method; return its id."""
        course = self.insert("course", fullname=fullname, shortname=shortname)
        self.insert("enrol", enrol="manual", courseid=course)
        self.insert("context", contextlevel=50, instanceid=course)
        return course

    def assignment(self, course: int, name: str, grade: int = 100) -> int:
        """Make an assignment, and its item in the gradebook; `grade` is the points to be had, or minus a scale's id."""
        made = self.insert("assign", course=course, name=name, grade=grade)
        item = {"itemtype": "mod", "itemmodule": "assign", "iteminstance": made, "itemnumber": 0}
        self.insert("grade_items", courseid=course, **item)
        return made

    def sign_up(self, firstname: str, lastname: str, at: int, **columns: Any) -> int:
        """Let a user be made; return the id."""
        name = f"{firstname}.{lastname}".lower()
        ((count,),) = self.rows("SELECT COUNT(*) FROM {p}user")
        values = {
            "username": f"{name}.{count}",
            "firstname": firstname,
            "lastname": lastname,
            "email": f"{name}@college.example",
            "country": "GB",
            "timecreated": at,
            "timemodified": at,
            **columns,
        }
        user = self.insert("user", **values)
        self.log("user_created", user, user=user, at=at)
        return user

    def update(self, user: int, at: int, **columns: Any) -> int:
        """Change a user; return the id of the log row."""
        for name, value in {**columns, "timemodified": at}.items():
            self.run(f"UPDATE {{p}}user SET {name} = %s WHERE id = %s", value, user)
        return self.log("user_updated", user, user=user, at=at)

    def enrol(self, user: int, course: int, at: int, role: int = 5) -> int:
        """Enrol a user in a course; return the enrolment's id."""
        ((method,),) = self.rows("SELECT id FROM {p}enrol WHERE courseid = %s LIMIT 1", course)
        enrolment = self.insert(
            "user_enrolments", enrolid=method, userid=user, timestart=at, timecreated=at, timemodified=at
        )
        self.log("enrollment_created", enrolment, user=user, at=at, courseid=course)
        ((context,),) = self.rows("SELECT id FROM {p}context WHERE contextlevel = 50 AND instanceid = %s", course)
        self.insert("role_assignments", roleid=role, contextid=context, userid=user)
        return enrolment

    def grade(
        self,
        user: int,
        assignment: int,
        grade: float | str | None,
        at: int,
        comment: str | None = None,
        *,
        is_released: bool = True,
    ) -> int:
        """Grade a user's work, or grade it anew; return the grade's id. `is_released`: the gradebook shows it."""
        found = self.rows("SELECT id FROM {p}assign_grades WHERE assignment = %s AND userid = %s", assignment, user)
        if found:
            ((row,),) = found
            self.run("UPDATE {p}assign_grades SET grade = %s, timemodified = %s WHERE id = %s", grade, at, row)
            self.run("DELETE FROM {p}assignfeedback_comments WHERE grade = %s", row)
        else:
            times = {"timecreated": at, "timemodified": at}
            row = self.insert("assign_grades", assignment=assignment, userid=user, grader=2, grade=grade, **times)
        if comment is not None:
            self.insert("assignfeedback_comments", assignment=assignment, grade=row, commenttext=comment)
        self.release(user, assignment, grade if is_released else None)
        ((course,),) = self.rows("SELECT course FROM {p}assign WHERE id = %s", assignment)
        self.log("grade_updated", row, user=user, at=at, courseid=course)
        return int(row)

    def release(self, user: int, assignment: int, grade: float | str | None) -> None:
        """Let the gradebook show a grade to its student; None: keep it back."""
        self.run(
            "INSERT INTO {p}grade_grades (itemid, userid, finalgrade) SELECT id, %s, %s FROM {p}grade_items "
            "WHERE iteminstance = %s ON DUPLICATE KEY UPDATE finalgrade = VALUES(finalgrade)",
            *(user, grade, assignment),
        )
