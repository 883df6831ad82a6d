"""TLS of a connection: CA, certificate and key files (PEM), each tried when the config is read."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def readable(path: Path) -> Path:
    """Return the path of a file that can be read. Raises ValueError with the end of a sentence."""
    try:
        if path.exists() and not path.is_file():
            # Reading a pipe could wait for ever.
            raise ValueError(f"{path} is no file")
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from None
    return path


def authorities(path: Path) -> Path:
    """Return the path of a file of certificates. Raises ValueError with the end of a sentence."""
    readable(path)
    try:
        trusting(path)
    except (OSError, ValueError):
        raise ValueError(f"{path} holds no certificate that can be read: it must be PEM") from None
    return path


def trusting(ca: Path | None) -> ssl.SSLContext:
    """Return what verifies a server by the CAs of a PEM file alone, or by the system's. Raises OSError.

    The same on every Python: 3.13 switched a flag on that refuses a CA whose certificate does not say what its key is
    for, as many private ones don't. Signature, name, dates and chain are verified with it or without.
    """
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def identify(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    """Let a connection show a certificate; its key may be in the same file. Raises OSError.

    A key that is encrypted is refused: a service has nobody to ask for the password, which OpenSSL would ask for.
    """
    context.load_cert_chain(cert, key, password="")
