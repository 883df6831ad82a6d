"""How the driver is imported, and that a login which needs what was left out gets it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, BinaryIO

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

SALT = b"twenty bytes of salt"
#: MySQL's client/server protocol: version 10, what the server can do, its character set, its state, and how it wants a
#: password (PLUGIN_AUTH, SECURE_CONNECTION, PROTOCOL_41, CONNECT_WITH_DB).
GREETING = (
    b"\x0a8.4.0\0\x01\0\0\0" + SALT[:8] + b"\0\x08\x82\xff\x02\0\x08\0\x15" + bytes(10) + SALT[8:] + b"\0"
    b"caching_sha2_password\0"
)
FULL_LOGIN, KEY, OK = b"\x01\x04", b"\x01", b"\0\0\0\x02\0\0\0"
ASK_FOR_KEY, QUIT = b"\x02", b"\x01"
#: What a process does that reads Moodle: without the package before, with it behind.
CLIENT = """
import sys
from relay import driver
assert "cryptography" not in sys.modules
made = driver.connect(host="127.0.0.1", port=int(sys.argv[1]), user="relay", password="made-up", read_timeout=20)
print(made.open, "cryptography" in sys.modules)
made.close()
"""


def test_the_driver_is_imported_without_what_few_logins_need() -> None:
    done = python(
        "import sys; import relay.moodle.database, relay.outbox.mysql_database\n"
        "assert 'cryptography' not in sys.modules\n"
        "import cryptography.hazmat.primitives.hashes as found; print(found.__name__)"
    )
    assert done.stdout.strip() == "cryptography.hazmat.primitives.hashes", done.stderr


def test_a_login_that_needs_it_gets_it() -> None:
    """A server that has not seen the user since its start, and asks for the password itself, over no TLS."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    passwords: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        serving = threading.Thread(target=serve, args=(listener, key, passwords))
        serving.start()
        done = python(CLIENT, str(listener.getsockname()[1]))
        serving.join()
    assert done.stdout.split() == ["True", "True"], done.stderr
    assert passwords == [b"made-up\0"]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True, check=False, timeout=60)


def serve(listener: socket.socket, key: RSAPrivateKey, passwords: list[bytes]) -> None:
    """Let clients log in, until one has said its password."""
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    while not passwords:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as said:
            say(connection, 0, GREETING)
            heard(said)
            say(connection, 2, FULL_LOGIN)
            assert heard(said) == ASK_FOR_KEY
            say(connection, 4, KEY + public)
            if sealed := heard(said):
                mask = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)
                passwords.append(bytes(a ^ b for a, b in zip(key.decrypt(sealed, mask), SALT, strict=False)))
                say(connection, 6, OK)
                while heard(said) not in (b"", QUIT):
                    say(connection, 1, OK)


def say(connection: socket.socket, number: int, text: bytes) -> None:
    """Send a packet: its length in three bytes, its number, its text."""
    connection.sendall(len(text).to_bytes(3, "little") + bytes([number]) + text)


def heard(said: BinaryIO) -> bytes:
    """Return what is in the next packet; '' where the client has gone."""
    head = said.read(4)
    return said.read(int.from_bytes(head[:3], "little")) if head else b""
