"""PyMySQL, without the package that one kind of login needs until there is such a login.

PyMySQL imports `cryptography` where that is installed: 10 MiB, and a tenth of a start. It is for passwords of
MySQL's own kinds (`caching_sha2_password`, `sha256_password`) on a connection without TLS, and nothing else.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CLIENT", "COMMAND", "FIELD_TYPE", "connect", "pymysql"]

PACKAGE = "cryptography"


@contextlib.contextmanager
def _left_out(modules: dict[str, Any]) -> Iterator[None]:
    """Let it look as if the package were not installed to what is imported within, unless it has been imported."""
    if PACKAGE in modules:
        yield
        return
    modules[PACKAGE] = None  # whoever imports it is told that there is none (importlib, "The module cache")
    try:
        yield
    finally:
        del modules[PACKAGE]


with _left_out(sys.modules):
    import pymysql
    import pymysql.converters
    import pymysql.cursors
    from pymysql import _auth
    from pymysql.constants import CLIENT, COMMAND, FIELD_TYPE


def connect(**options: Any) -> pymysql.connections.Connection[Any]:
    """Return a connection, as `pymysql.connect` does; a login that needs the package gets it."""
    try:
        return pymysql.connect(**options)
    except RuntimeError:
        # What a login needs is missing: perhaps it is what was left out.
        if PACKAGE in sys.modules:
            raise
        importlib.reload(_auth)
    return pymysql.connect(**options)
