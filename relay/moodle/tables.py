"""What relay asks Moodle's database: each statement by its name. {p} is the checked table prefix."""

from __future__ import annotations

from relay.events.payload import MOODLE_EVENTS, EventType

KINDS = {name: event_type for event_type, name in MOODLE_EVENTS.items()}
#: Moodle's context level of a course.
CONTEXT_COURSE = 50

# Every statement reads a range of primary keys, or rows by primary or indexed key. {p} is the checked table prefix.
MAX_ID = "SELECT MAX(id) FROM {p}logstore_standard_log"
MIN_ID = "SELECT MIN(id) FROM {p}logstore_standard_log"
NEXT_ID = "SELECT MIN(id) FROM {p}logstore_standard_log WHERE id > %s"
LOG_COLUMNS = "id, eventname, objectid, userid, relateduserid, courseid, timecreated, origin"
ROWS_IN_RANGE = f"""
SELECT {LOG_COLUMNS} FROM {{p}}logstore_standard_log
WHERE id BETWEEN %s AND %s AND eventname IN %s ORDER BY id LIMIT %s
"""
ROWS_BY_ID = f"""
SELECT {LOG_COLUMNS} FROM {{p}}logstore_standard_log WHERE id IN %s AND eventname IN %s ORDER BY id
"""
COUNT_IN_RANGE = "SELECT COUNT(*) FROM {p}logstore_standard_log WHERE id BETWEEN %s AND %s"
IDS_IN_RANGE = "SELECT id FROM {p}logstore_standard_log WHERE id BETWEEN %s AND %s ORDER BY id LIMIT %s"
# `timecreated` has an index; ids are not in its order, so this is the lowest id of all rows since then.
FIRST_SINCE = "SELECT MIN(id) FROM {p}logstore_standard_log WHERE timecreated >= %s"
ROW_TIME = "SELECT timecreated FROM {p}logstore_standard_log WHERE id = %s"
SITE = "SELECT name, value FROM {p}config WHERE name IN ('siteidentifier', 'version', 'release')"
LOG_STORE = """
SELECT plugin, name, value FROM {p}config_plugins
WHERE (plugin = 'tool_log' AND name = 'enabled_stores') OR (plugin = 'logstore_standard' AND name = 'loglifetime')
"""
USERS = """
SELECT id, username, firstname, lastname, email, idnumber, phone1, city, country, suspended, deleted,
       timecreated, timemodified
FROM {p}user WHERE id IN %s
"""
ENROLMENTS = """
SELECT ue.id, ue.userid, ue.enrolid, ue.status, ue.timestart, ue.timeend, ue.timecreated,
       e.courseid, c.fullname, c.shortname
FROM {p}user_enrolments ue
LEFT JOIN {p}enrol e ON e.id = ue.enrolid
LEFT JOIN {p}course c ON c.id = e.courseid
WHERE ue.id IN %s
"""
# The lowest number that a column holds has no negative: a decimal does, and no row makes the query fail.
# Where there is more than one comment, the first one counts: the rows come in reverse, and the last one read stays.
GRADES = """
SELECT g.id, g.userid, g.assignment, g.grade, g.grader, g.timecreated, g.timemodified,
       a.course AS courseid, a.name, a.grade AS maximum, c.fullname, s.scale, f.commenttext
FROM {p}assign_grades g
LEFT JOIN {p}assign a ON a.id = g.assignment
LEFT JOIN {p}course c ON c.id = a.course
LEFT JOIN {p}scale s ON s.id = -CAST(a.grade AS DECIMAL(20))
LEFT JOIN {p}assignfeedback_comments f ON f.grade = g.id
WHERE g.id IN %s ORDER BY f.id DESC
"""
# Where the user has several roles in the course, the one assigned first counts: it is read last, and stays.
ROLES = """
SELECT ra.userid, x.instanceid AS courseid, ra.roleid
FROM {p}role_assignments ra JOIN {p}context x ON x.id = ra.contextid
WHERE x.contextlevel = %s AND x.instanceid IN %s AND ra.userid IN %s ORDER BY ra.id DESC
"""


#: Every column that relay reads, by table: what a database user of relay's own needs, and nothing else.
COLUMNS = {
    "config": ("name", "value"),
    "config_plugins": ("plugin", "name", "value"),
    "logstore_standard_log": tuple(LOG_COLUMNS.split(", ")),
    "user": (
        *("id", "username", "firstname", "lastname", "email", "idnumber", "phone1", "city", "country"),
        *("suspended", "deleted", "timecreated", "timemodified"),
    ),
    "user_enrolments": ("id", "userid", "enrolid", "status", "timestart", "timeend", "timecreated", "timemodified"),
    "enrol": ("id", "courseid"),
    "course": ("id", "fullname", "shortname"),
    "assign": ("id", "course", "name", "grade"),
    "assign_grades": ("id", "userid", "assignment", "grade", "grader", "timecreated", "timemodified"),
    "assignfeedback_comments": ("id", "grade", "commenttext"),
    "scale": ("id", "scale"),
    "role_assignments": ("id", "userid", "contextid", "roleid"),
    "context": ("id", "contextlevel", "instanceid"),
}
#: The ids of current rows behind an id, by event type, and how each filter of `relay sync` reads.
CURRENT = {
    EventType.USER_UPDATED: "SELECT t.id FROM {p}user t WHERE t.id > %s AND (t.deleted = 0 OR t.id = %s)",
    EventType.ENROLLMENT_CREATED: "SELECT t.id FROM {p}user_enrolments t WHERE t.id > %s AND %s IS NOT NULL",
    EventType.GRADE_UPDATED: "SELECT t.id FROM {p}assign_grades t WHERE t.id > %s AND %s IS NOT NULL",
}
IN_COURSE = {
    EventType.USER_UPDATED: "t.id IN (SELECT ue.userid FROM {p}user_enrolments ue JOIN {p}enrol e ON e.id = ue.enrolid "
    "WHERE e.courseid = %s)",
    EventType.ENROLLMENT_CREATED: "t.enrolid IN (SELECT e.id FROM {p}enrol e WHERE e.courseid = %s)",
    EventType.GRADE_UPDATED: "t.assignment IN (SELECT a.id FROM {p}assign a WHERE a.course = %s)",
}
# `courseid` and `timecreated` have indexes, `objectid` has none.
LOG_OF_COURSE = f"""
SELECT {LOG_COLUMNS} FROM {{p}}logstore_standard_log
WHERE courseid = %s AND objectid = %s AND eventname IN %s ORDER BY id LIMIT 100
"""
LOG_OF_TIME = f"""
SELECT {LOG_COLUMNS} FROM {{p}}logstore_standard_log
WHERE timecreated BETWEEN %s AND %s AND objectid = %s AND eventname IN %s ORDER BY id LIMIT 100
"""
ANY_LOG_ROW = f"SELECT {LOG_COLUMNS} FROM {{p}}logstore_standard_log WHERE id = %s"
PLUGIN_SETTINGS = "SELECT name, value FROM {p}config_plugins WHERE plugin = %s"
PASSWORDS = "SELECT password FROM {p}user WHERE id = 0"
GRANTS = "SHOW GRANTS FOR CURRENT_USER()"
#: Privileges that let nobody write.
HARMLESS = frozenset(
    {"USAGE", "SELECT", "SHOW VIEW", "SHOW DATABASES", "PROCESS", "REPLICATION CLIENT", "BINLOG MONITOR"}
)
