"""A MariaDB or MySQL server: where it is, the options of a connection, and what its errors mean in our own words.

Pure: who connects (`moodle.database`, `outbox.mysql_database`) brings the driver.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

#: Seconds without a byte after which a query, or the connecting, is given up: the connection is stalled.
READ_TIMEOUT_S = 20
CONNECT_TIMEOUT_S = 10
#: Which config key says what: how the hints name them.
MOODLE_KEYS = {
    name: f"moodle.database.{name}" for name in ("host", "user", "password", "name", "prefix", "unix_socket")
}


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
            "password": self.password,
            "database": self.name,
            "ssl": self.tls,
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "write_timeout": READ_TIMEOUT_S,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What an error of the server means."""

    #: It says no, and will go on saying so until somebody mends something.
    is_refusal: bool
    sentence: str
    hint: str


#: MariaDB's and MySQL's error codes for "no, and it will stay so", with what to do.
REFUSALS = {
    1044: "Give the database user access to this schema (`relay grants` prints the SQL).",
    1045: "Mend {user} or {password}.",
    1049: "Mend {name}, or make the schema.",
    1054: "Check that this is Moodle 4.0 or later.",
    1142: "Grant {command} on it to the database user (`relay grants` prints the SQL).",
    1143: "Grant SELECT on it to the database user (`relay grants` prints the SQL).",
    1146: "Mend {prefix} or {name}.",
    1227: "Give the database user the privilege that the server asks for.",
    1698: "Mend {user}: the server accepts this account over its socket, as that system user, only.",
}
#: Why nobody answered, by what the driver's sentence holds.
ABSENT = {
    "Errno -": ("the name cannot be resolved", "Mend {host}."),
    "refused": ("nobody listens there", "Start the database server, or mend {host} and its port."),
    "timed out": ("no answer in time", "Check {host}, and the firewall between here and there."),
    "No such file": ("there is no such socket", "Start the database server, or mend {unix_socket}."),
    "Permission denied": ("this user may not use the socket", "Give relay's user access to the socket's folder."),
}


def code_of(error: BaseException) -> int:
    """Return the server's or the driver's number of an error; 0 where it has none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def explained(error: Exception, address: Address) -> Problem:
    """Return our own sentence for an error of the driver or of the system: the server's text could quote values.

    The driver's errors are known by their arguments, a number and the server's text; the system's by their class.
    """
    where = f"{address.title} at {address.where()}"
    if isinstance(error, OSError):
        reason = getattr(error, "strerror", None) or type(error).__name__
        hint = "Check that the database server runs and can be reached."
        return Problem(is_refusal=False, sentence=f"{where} broke off: {reason}.", hint=hint)
    code, text = code_of(error), str(error.args[1]) if len(error.args) > 1 else ""
    if code in REFUSALS:
        sentence = f"{where} refuses: {_reason(code, text, address)}."
        hint = REFUSALS[code].format(**address.keys, command=_command(text))
        return Problem(is_refusal=True, sentence=sentence, hint=hint)
    for mark, (reason, hint) in ABSENT.items():
        if mark in text:
            sentence = f"{where} cannot be reached: {reason}."
            return Problem(is_refusal=False, sentence=sentence, hint=hint.format(**address.keys))
    return Problem(
        is_refusal=False,
        sentence=f"{where} cannot be reached or broke off (error {code or type(error).__name__}).",
        hint=f"Check that the database server runs, and {address.keys['host']}.",
    )


def _reason(code: int, text: str, address: Address) -> str:
    """Return what is refused: the names of tables and columns are taken over, values are not."""
    names = ", ".join(re.findall(r"(?:table|column) [`']([\w`'.]+)[`']", text)).replace("`", "").replace("'", "")
    return {
        1044: f"the user {address.user!r} may not use the schema {address.name!r}",
        1045: f"the user {address.user!r} or the password is wrong",
        1049: f"there is no schema {address.name!r}",
        1054: f"a column is missing ({_quoted(text)})",
        1142: f"the user {address.user!r} may not {_verb(_command(text))} the table {names or '(unknown)'}",
        1143: f"the user {address.user!r} may not read the column {names or '(unknown)'}",
        1146: f"there is no table {_quoted(text)} (the prefix is {address.prefix!r})",
        1698: f"the user {address.user!r} may not log in with a password",
    }.get(code, f"error {code}")


def _command(text: str) -> str:
    """Return which privilege is missing, as the server names it first."""
    word = text.split(" ", 1)[0].upper()
    return word if word.isalpha() else "SELECT"


def _verb(command: str) -> str:
    return {"SELECT": "read", "INSERT": "write into", "UPDATE": "write into"}.get(command, command.lower())


def _quoted(text: str) -> str:
    found = re.search(r"'([\w.]+)'", text)
    return found[1] if found else "(unknown)"
