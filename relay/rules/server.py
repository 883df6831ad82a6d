"""A MariaDB or MySQL server: where it is, the options of a connection, and what its errors mean in our own words.

Pure: who connects (`moodle.database`, `outbox.mysql_database`) brings the driver.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds without a byte after which a query, or the connecting, is given up: the connection is stalled.
READ_TIMEOUT_S = 20
CONNECT_TIMEOUT_S = 10
#: Which config key says what: how the hints name them.
MOODLE_KEYS = {
    name: f"moodle.database.{name}" for name in ("host", "user", "password", "name", "prefix", "unix_socket", "tls")
}
#: What goes to these hosts stays here. Without TLS: else the driver reads all the system's CAs each time, for nothing.
HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a database is, and who uses it."""

    host: str
    port: int
    unix_socket: str | None = None
    name: str
    user: str
    password: str = field(repr=False)
    prefix: str
    tls: ssl.SSLContext | None = None
    #: What it is called in a message, and the config keys that name its parts.
    title: str = "Moodle's database"
    keys: Mapping[str, str] = field(default_factory=lambda: MOODLE_KEYS)
    #: Why the password cannot be read here (the end of a sentence), and what to do; '' where it can.
    problem: str = ""
    hint: str = ""

    def where(self) -> str:
        """Return the address for a message: no password in it."""
        return self.unix_socket or f"{self.host}:{self.port}"

    def options(self) -> dict[str, Any]:
        """Return what `pymysql.connect` takes of it by name, with relay's timeouts, in seconds."""
        return {
            "host": self.host,
            "port": self.port,
            "unix_socket": self.unix_socket,
            "user": self.user,
            # The driver would send Latin-1; the servers compare what clients send as UTF-8.
            "password": self.password.encode(),
            "database": self.name,
            "ssl": self.tls,
            "ssl_disabled": self.tls is None and (self.unix_socket is not None or self.host in HERE),
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "write_timeout": READ_TIMEOUT_S,
        }


#: A statement that writes, where nothing may be written for now: the privilege for it is there.
READ_ONLY_TRANSACTION = 1792


class Problem(NamedTuple):
    """What an error of the server means."""

    #: It says no, and will go on saying so until somebody mends something.
    is_refusal: bool
    sentence: str
    hint: str
    #: The account is not there, or lacks a right: the SQL that makes it may help.
    is_about_account: bool = False


class _Meaning(NamedTuple):
    """What a number of the server means; the texts may name parts of the address, its keys and what is refused."""

    #: The end of a sentence that says what the matter is, and what to do about it.
    reason: str
    hint: str


_RUNS = "Check that the database server runs, and {key[host]}."
_GRANTS = "`relay grants` prints the SQL"
_BUSY = "Look at the server's load; relay goes on by itself."
_DISK = "Make room on the server's disk; relay goes on by itself."
_TABLE = "Run CHECK TABLE on it on the server, and mend it or restore a backup."
_TLS = "Look at {key[tls]}: the CA, the server's name in its certificate, and whether the server speaks TLS."
_CA = "Name the CA of the server's certificate (PEM) in {key[tls]}.ca; SHOW VARIABLES LIKE 'ssl_ca' says where it is."
#: What to do where no secure connection is made, by what the system says of it.
TLS_HINTS = {
    "self-signed": _CA,
    "self signed": _CA,
    "issuer": _CA,
    "mismatch": "Mend {key[host]}: the server's certificate is for another name.",
    "expired": "The server's certificate must be renewed.",
    "not yet valid": "Look at this machine's clock (timedatectl), and at the server's certificate.",
    "offers none": "Switch TLS on at the server (ssl_cert, ssl_key), or take {key[tls]} out of the config.",
}

_EXPIRED = _Meaning(
    "the password of {user!r} has expired", "Give the account a new password, and mend {key[password]}."
)
_READ_ONLY = _Meaning(
    "it is read-only", "Is it a replica, after a fail-over? Mend {key[host]}, or switch read_only off on the server."
)

#: MariaDB's, MySQL's and the driver's numbers for "no, and it will stay so until somebody mends something".
REFUSALS = {
    1017: _Meaning("a file of a table is not there", _TABLE),
    **dict.fromkeys((1034, 1194), _Meaning("a table is damaged", _TABLE)),
    1044: _Meaning(
        "the user {user!r} may not use the schema {name!r}", f"Mend {{key[name]}}, or give access ({_GRANTS})."
    ),
    1045: _Meaning(
        "the user {user!r} or the password is wrong",
        "Mend {key[user]} or {key[password]}; or the account may not come from this machine, or needs {key[tls]}.",
    ),
    1049: _Meaning("there is no schema {name!r}", "Mend {key[name]}, or make the schema."),
    1054: _Meaning("a column is missing ({quoted})", "Check that this is Moodle 4.0 or later."),
    1064: _Meaning("it does not understand a statement of relay's", "Is it MariaDB or MySQL, with no proxy before it?"),
    1115: _Meaning("it does not know the charset utf8mb4", "Use MariaDB 10.4 or MySQL 5.7, or later."),
    1129: _Meaning("this machine is blocked after many failed connections", "Run FLUSH HOSTS on the server."),
    1130: _Meaning(
        "no account may log in from this machine", "Make an account for this machine (relay grants --host ...)."
    ),
    1142: _Meaning(
        "the user {user!r} may not {verb} the table {names}, or there is none of that name",
        f"Are {{key[prefix]}} ({{prefix!r}}) and {{key[name]}} right? Then grant {{command}} on it ({_GRANTS}).",
    ),
    1143: _Meaning(
        "the user {user!r} may not {verb} the column {names}, or there is none of that name",
        f"Where it is there, grant {{command}} on it ({_GRANTS}); if not, check that this is Moodle 4.0 or later.",
    ),
    1146: _Meaning("there is no table {quoted} (the prefix is {prefix!r})", "Mend {key[prefix]} or {key[name]}."),
    1153: _Meaning("a packet is larger than its max_allowed_packet", "Raise max_allowed_packet on the server."),
    1193: _Meaning("it does not know a variable that relay sets", "Use MariaDB 10.4 or MySQL 5.7, or later."),
    1195: _Meaning("a table is damaged, and could not be repaired", _TABLE),
    1227: _Meaning(
        "the user {user!r} lacks a privilege", "Give the database user the privilege that the server asks for."
    ),
    **dict.fromkeys(
        (1251, 2054, 2059),
        _Meaning(
            "the account logs in in a way that the driver does not know",
            "Let the account log in with a password: IDENTIFIED BY (mysql_native_password, or caching_sha2_password).",
        ),
    ),
    1273: _Meaning("it does not know the collation that relay asks for", "Use MariaDB 10.4 or MySQL 5.7, or later."),
    1305: _Meaning("it does not know a function that relay uses", "Use MariaDB 10.4 or MySQL 5.7, or later."),
    1356: _Meaning("a view points to what is not there, or its owner may not read it", "Mend the view on the server."),
    1370: _Meaning("the user {user!r} may not run a routine", "Mend the view or the trigger that needs it."),
    1524: _Meaning(
        "the account's authentication plugin is not there", "Load it, or let the account log in with a password."
    ),
    1665: _Meaning("its binlog_format is STATEMENT", "Set binlog_format = ROW (or MIXED) on the server."),
    1698: _Meaning(
        # MariaDB says so, too, of about half of the names that no account has: which, goes by the name.
        "the user {user!r} is not there, or may not log in with a password",
        f"Make the account ({_GRANTS}), or mend {{key[user]}}: one that the server accepts over its socket, as that "
        "system user only, will not do.",
    ),
    1712: _Meaning("an index is damaged", _TABLE),
    1820: _EXPIRED,
    1862: _EXPIRED,
    1932: _Meaning("a table is there without its data", _TABLE),
    2012: _Meaning("no secure connection could be made", _TLS),
    2026: _Meaning("no secure connection could be made{detail}", _TLS),
    2061: _Meaning("the account may log in over TLS alone", "Set {key[tls]}."),
    3118: _Meaning("the account {user!r} is locked", "Unlock it: ALTER USER ... ACCOUNT UNLOCK."),
    3159: _Meaning("it takes encrypted connections alone", "Set {key[tls]}."),
    4151: _Meaning("the account {user!r} is locked", "Unlock it: ALTER USER ... ACCOUNT UNLOCK."),
}
#: Of these, those that are about the account.
ACCOUNT = frozenset({1044, 1045, 1130, 1142, 1143, 1698})
#: Their numbers for what may be over by itself: trying again can help.
OUTAGES = {
    **dict.fromkeys((3, 1026), _Meaning("it cannot write a file: its disk may be full", _DISK)),
    **dict.fromkeys((28, 1021), _Meaning("its disk is full", _DISK)),
    1028: _Meaning("a sort was broken off", _BUSY),
    **dict.fromkeys((1037, 1041), _Meaning("it has no memory left", _BUSY)),
    1038: _Meaning("it has no memory left for a sort", _BUSY),
    1040: _Meaning("it has too many connections", "Close some, or raise max_connections; relay goes on by itself."),
    1043: _Meaning("it does not understand how relay connects", "Mend {key[host]}: is it a MariaDB or MySQL server?"),
    1047: _Meaning(
        "this node of the cluster is not ready", "Look at the cluster (wsrep_ready); relay goes on by itself."
    ),
    **dict.fromkeys((1053, 1077, 1079, 3168), _Meaning("it is being stopped", _RUNS)),
    1114: _Meaning("a table is full: its disk or its tablespace has no room", _DISK),
    1184: _Meaning("it broke the connection off", _RUNS),
    1203: _Meaning("the account {user!r} has too many connections", "Raise its MAX_USER_CONNECTIONS, or close some."),
    1205: _Meaning("a lock was waited for too long", _BUSY),
    1213: _Meaning("a deadlock came in between", _BUSY),
    1226: _Meaning(
        "the account {user!r} has used up what it may in an hour, or has too many connections",
        "Raise the account's limits: ALTER USER ... WITH MAX_QUERIES_PER_HOUR 0 and the others.",
    ),
    1290: _READ_ONLY,
    1317: _Meaning("a statement was ended by somebody", _BUSY),
    1792: _Meaning("it lets nothing be written", "Is it a replica? Mend {key[host]}."),
    1836: _READ_ONLY,
    1927: _Meaning("the connection was ended by somebody", _RUNS),
    1969: _Meaning("a statement took longer than the server lets it", "Raise max_statement_time for this account."),
    3024: _Meaning("a statement took longer than the server lets it", "Raise max_execution_time for this account."),
    3032: _Meaning("it is offline for the time being", "Look at its offline_mode."),
    3955: _Meaning(
        "the account {user!r} is locked for a while, after wrong passwords", "Mend {key[password]}, and wait."
    ),
    4031: _Meaning("it has closed a connection that was idle", _RUNS),
    9001: _Meaning("the proxy before it reaches no server", "Look at the proxy, and at the servers behind it."),
}
#: Why nobody answered, by what the driver's sentence holds.
ABSENT = {
    "Errno -": _Meaning("the name cannot be resolved", "Mend {key[host]}."),
    "refused": _Meaning("nobody listens there", "Start the database server, or mend {key[host]} and its port."),
    "timed out": _Meaning("no answer in time", "Check {key[host]}, and the firewall between here and there."),
    "No such file": _Meaning("there is no such socket", "Start the database server, or mend {key[unix_socket]}."),
    "Permission denied": _Meaning(
        "this user may not use the socket", "Give relay's user access to the socket's folder."
    ),
    "No route": _Meaning("there is no way to it", "Check {key[host]}, and this machine's network."),
    "unreachable": _Meaning("there is no way to it", "Check {key[host]}, and this machine's network."),
    "reset by peer": _Meaning("the connection was closed at once", "Is it a database server that listens there?"),
}
#: How a secure connection ends that is not refused.
BROKEN = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ssl.SSLWantReadError, TimeoutError)
#: What the driver needs a package for that is not there, and what it makes of an answer that it does not understand.
STRANGE = _Meaning(
    "the driver cannot log in to it ({kind})",
    "Let the account log in with a password (IDENTIFIED BY); is it a MariaDB or MySQL server that listens there?",
)


def code_of(error: BaseException) -> int:
    """Return the server's or the driver's number of an error; 0 where it has none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def refuse_plain(connection: Any, address: Address) -> None:
    """Raise SSLError where a connection is to be encrypted and is not: older drivers go on without TLS then."""
    if address.tls is not None and not isinstance(connection._sock, ssl.SSLSocket):  # noqa: SLF001 -- nothing else tells
        connection.close()
        raise ssl.SSLError(None, "the server offers none")


def explained(error: Exception, address: Address) -> Problem:
    """Return our own sentence for an error of the driver or of the system: the server's text could quote values.

    The driver's errors are known by their arguments, a number and the server's text; the system's by their class. What
    is neither is a refusal: the same answer would be understood no better the next time.
    """
    where = f"{address.title} at {address.where()}"
    code, text = code_of(error), str(error.args[1]) if len(error.args) > 1 else ""
    secure = _tls_detail(error)
    if secure:
        # A handshake that breaks off is what a server that goes away looks like.
        is_broken = isinstance(getattr(error, "original_exception", None) or error, BROKEN)
        beginning = f"{where} {'broke off' if is_broken else 'refuses'}"
        hint = next((hint for mark, hint in TLS_HINTS.items() if mark in secure.lower()), _TLS)
        meaning = _Meaning(REFUSALS[2026].reason, hint)
        return _problem(meaning, beginning, address, detail=secure, is_refusal=not is_broken)
    if isinstance(error, OSError):
        reason = getattr(error, "strerror", None) or type(error).__name__
        hint = "Check that the database server runs and can be reached."
        return Problem(is_refusal=False, sentence=f"{where} broke off: {reason}.", hint=hint)
    if code in REFUSALS:
        made = _problem(REFUSALS[code], f"{where} refuses", address, text=text, is_refusal=True)
        return made._replace(is_about_account=code in ACCOUNT)
    if code in (2003, 2013):
        # The driver could not connect: the system's reason stands in its sentence.
        for mark, meaning in ABSENT.items():
            if mark in text:
                return _problem(meaning, f"{where} cannot be reached", address)
    if code in OUTAGES:
        return _problem(OUTAGES[code], f"{where} does not serve us now", address)
    if not code and not type(error).__module__.startswith("pymysql"):
        # An error of the driver's own without a number is a connection that broke.
        return _problem(STRANGE, f"{where} refuses", address, kind=type(error).__name__, is_refusal=True)
    sentence = f"{where} cannot be reached or broke off (error {code or type(error).__name__})"
    return _problem(_Meaning("", _RUNS), sentence, address)


def _problem(
    meaning: _Meaning,
    beginning: str,
    address: Address,
    *,
    text: str = "",
    detail: str = "",
    kind: str = "",
    is_refusal: bool = False,
) -> Problem:
    """Fill in a meaning: the names of tables and columns are taken over from the server's text, values are not."""
    command = _command(text)
    names = {
        "key": address.keys,
        "user": address.user,
        "name": address.name,
        "prefix": address.prefix,
        "command": command,
        "verb": {"SELECT": "read", "INSERT": "write into", "UPDATE": "write into"}.get(command, command.lower()),
        "names": _names(text),
        "quoted": _quoted(text),
        "detail": detail,
        "kind": kind,
    }
    reason = meaning.reason.format(**names)
    sentence = f"{beginning}: {reason}." if reason else f"{beginning}."
    return Problem(is_refusal=is_refusal, sentence=sentence, hint=meaning.hint.format(**names))


def _tls_detail(error: Exception) -> str:
    """Return why no secure connection was made, as the end of a sentence; '' where the error is about something else.

    The driver wraps what the system's TLS says into an error of its own.
    """
    cause = getattr(error, "original_exception", None) or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f": {str(getattr(cause, 'verify_message', None) or 'its certificate is not trusted').rstrip('.')}"
    if isinstance(cause, ssl.SSLError):
        return f": {str(getattr(cause, 'reason', None) or cause.strerror or 'it broke off').replace('_', ' ').lower()}"
    if code_of(error) == 2026:
        return ": the server offers none"
    return ""


def _names(text: str) -> str:
    found = re.findall(r"(?:table|column) [`']([\w$`'.]+)[`']", text)
    return ", ".join(found).replace("`", "").replace("'", "") or "(unknown)"


def _command(text: str) -> str:
    """Return which privilege is missing, as the server names it first."""
    return word if (word := text.split(" ", 1)[0].upper()).isalpha() else "SELECT"


def _quoted(text: str) -> str:
    return found[1] if (found := re.search(r"(?:[Tt]able|[Cc]olumn) '([\w$.]+)'", text)) else "(unknown)"
