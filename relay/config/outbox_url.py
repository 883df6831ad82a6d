"""The URL of the outbox: a file (`sqlite:///path`), or a database (`mysql://user@host:port/schema`)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from relay.config.checks import host, split_url


def outbox_path(url: str, base: Path) -> Path | None:
    """Return the file of an `sqlite:///path` URL, None for a database; a bare file name lies in the folder `base`.

    Raises ValueError with the end of a sentence.
    """
    parts = split_url(url)
    if parts.scheme == "mysql":
        if parts.password:
            raise ValueError("must not hold a password: give it as outbox.password")
        if not parts.hostname or not parts.username or not parts.path.strip("/") or parts.path.count("/") > 1:
            raise ValueError("must be mysql://user@host:port/schema")
        host(parts.hostname)
        return None
    name = url.removeprefix("sqlite://").lstrip("/")
    if not url.startswith("sqlite:///") or not name or name.endswith("/"):
        raise ValueError(
            "must be sqlite:///path/outbox.db, sqlite:///outbox.db (beside the config) or mysql://user@host:port/schema"
        )
    return Path("/", name) if "/" in name or url.startswith("sqlite:////") else base / name


def outbox_url(url: str) -> str:
    """Return the URL of an outbox as it is written. Raises ValueError with the end of a sentence."""
    outbox_path(url, Path())
    return url


def outbox_server(url: str) -> tuple[str, int, str, str]:
    """Return host, port, user and schema of a `mysql://user@host:port/schema` URL."""
    parts = split_url(url)
    return parts.hostname or "", parts.port or 3306, unquote(parts.username or ""), unquote(parts.path.strip("/"))
