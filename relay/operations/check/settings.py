"""Checks of the config file: that it is well-formed and edited, that its secrets are there, and what is protected."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from relay.config import outbox_server
from relay.config.checks import is_loopback, is_placeholder
from relay.operations.check.result import Check, fail, ok, warn
from relay.rules import signing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.config import Config
    from relay.errors import ConfigError


#: Hosts of examples, which are nobody's (RFC 2606, and that of config.example.yaml).
EXAMPLES = re.compile(r"(.*\.)?(example(\.(com|net|org|edu))?|invalid)", re.IGNORECASE)


def checks(config: Config) -> Iterator[Check]:
    """Yield what can be said of a config that has been read."""
    yield ok("config", f"{config.source} is well-formed")
    yield from check_placeholders(config)
    yield from check_missing(config)
    yield check_signing(config)
    yield from check_encryption(config)


def mistakes(error: ConfigError) -> Iterator[Check]:
    """Yield a line for each mistake of a config that cannot be used: nothing else can be checked then."""
    for mistake in error.mistakes or (str(error),):
        yield fail("config", mistake, error.hint)


def check_placeholders(config: Config) -> Iterator[Check]:
    """Yield a warning for each value that was taken over from an example, or says that it is to be changed."""
    hints = {
        "moodle.url": "Set it to the site's own address ($CFG->wwwroot): it stands in each event.",
        "backend.url": "Set it to the address of your own backend.",
    }
    for path, url in (("moodle.url", config.moodle.url), ("backend.url", config.backend.url)):
        if EXAMPLES.fullmatch(urlsplit(url).hostname or ""):
            yield warn("config", f"{path} is {url}: an address of the examples, which is nobody's", hints[path])
    texts = {
        "moodle.database.name": config.moodle.database.name,
        "moodle.database.user": config.moodle.database.user,
        "backend.tenant_id": config.backend.tenant_id,
    }
    given = {path: secret.reveal() for path, secret in config.secrets() if not secret.problem}
    for path, text in (texts | given).items():
        if is_placeholder(text):
            # The value may be a secret.
            found = f"{path} is no real value, but a word that asks for one, such as CHANGE-ME"
            yield warn("config", found, "Put your own value there: in the config, or in the file that it names.")


def check_missing(config: Config) -> Iterator[Check]:
    """Yield a failure for each secret that cannot be read here."""
    for path, secret in config.secrets():
        if secret.problem:
            yield fail("secrets", f"{path}: {secret.problem}", secret.hint or "Mend it, or make it anew.")


def check_encryption(config: Config) -> Iterator[Check]:
    """Yield a warning for each database on another machine that is reached without TLS, or by any certificate."""
    database, outbox = config.moodle.database, config.outbox
    places = [] if database.unix_socket else [("moodle.database.tls", database.host, database.tls)]
    if outbox.sqlite_path is None:
        places.append(("outbox.tls", outbox_server(outbox.url)[0], outbox.tls))
    for key, host, tls in places:
        if is_loopback(host):
            continue
        if tls is None:
            found = f"what goes to and from {host} is not protected: {key} is not set"
            yield warn("encryption", found, f"Set {key}: {{}} (the system's CAs), or with ca: the CA of the server.")
        elif not tls.verify:
            yield warn("encryption", f"any certificate of {host} is taken", f"Set {key}.ca, and take verify out.")


def check_signing(config: Config) -> Check:
    """Return whether requests are signed, with keys that are long enough."""
    keys = config.backend.signing_keys
    if not keys:
        hint = f"Agree on one with the backend's developers, and name it in backend.signing_keys; {signing.HOW}."
        return warn("signing", "there is no signing key: the backend cannot tell who sent an event", hint)
    if any(key.problem for key in keys):
        return fail("signing", "a signing key cannot be read", "See the line of `secrets` above.")
    for index, key in enumerate(keys):
        made = signing.parse_key(key.reveal())
        if isinstance(made, signing.SymmetricKey) and len(made.secret) < signing.SHORTEST_SECRET:
            found = (
                f"backend.signing_keys[{index}] is {len(made.secret)} bytes long, and must be {signing.SHORTEST_SECRET}"
            )
            return fail("signing", found, f"Take another one: {signing.HOW}.")
    return ok("signing", f"each request is signed with {len(keys)} key{'s' * (len(keys) != 1)}")
