"""Where the databases are and how they are reached, made of the config. It serves `parts`."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

from relay.config import outbox_server
from relay.config.checks import is_loopback
from relay.config.tls import identify, trusting
from relay.errors import ConfigError, RelayError
from relay.rules.server import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.config import DatabaseConfig
    from relay.config.schema import OutboxConfig, TlsConfig


@contextlib.contextmanager
def made_of(key: str) -> Iterator[None]:
    """Make a mistake in the config of whatever cannot be made within of the values of a key, though they look right.

    A file may have changed since the config was read. Raises ConfigError.
    """
    try:
        yield
    except RelayError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever it is, it was made of the config
        # Only the error's kind: its text could hold a value.
        raise ConfigError(
            f"{key}: nothing can be made of what stands in the config ({type(error).__name__}).",
            hint=f"Look at {key} in the config, and at the files that it names.",
        ) from None


def of_outbox(outbox: OutboxConfig) -> Address:
    """Return the address of an outbox in a schema. Raises ConfigError."""
    host, port, user, schema = outbox_server(outbox.url)
    keys = dict.fromkeys(("host", "user", "name", "unix_socket"), "outbox.url")
    return Address(
        host=host,
        port=port,
        name=schema,
        user=user,
        password="" if outbox.password is None else outbox.password.reveal(),
        prefix=outbox.prefix,
        tls=_tls(outbox.tls, "outbox.tls"),
        title="The outbox's database",
        keys={**keys, "password": "outbox.password", "prefix": "outbox.prefix", "tls": "outbox.tls"},
    )


def own_host(database: DatabaseConfig) -> str:
    """Return where a database's server sees this machine: `localhost`, or the address that is used towards it."""
    return "localhost" if database.unix_socket else seen_from(database.host, database.port)


def seen_from(host: str, port: int) -> str:
    """Return where a server sees this machine: `localhost`, or the address that is used towards it."""
    if is_loopback(host):
        return "localhost"
    try:
        family, kind, _, _, there = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as way:
            # Nothing is sent: the system only chooses the way.
            way.connect(there)
            return str(way.getsockname()[0])
    except OSError:
        return "localhost"


def of_moodle(database: DatabaseConfig) -> Address:
    """Return the address of Moodle's database; whoever connects to it learns that its password is not there.

    Raises ConfigError.
    """
    secret = database.password
    is_missing = secret is not None and bool(secret.problem)
    return Address(
        host=database.host,
        port=database.port,
        unix_socket=None if database.unix_socket is None else str(database.unix_socket),
        name=database.name,
        user=database.user,
        password="" if secret is None or is_missing else secret.reveal(),
        prefix=database.prefix,
        tls=_tls(database.tls, "moodle.database.tls"),
        problem="" if secret is None else secret.problem,
        hint="" if secret is None else secret.hint,
    )


def _tls(tls: TlsConfig | None, key: str) -> ssl.SSLContext | None:
    if tls is None:
        return None
    with made_of(key):
        context = trusting(tls.ca)
        if tls.cert is not None:
            identify(context, tls.cert, tls.key)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
