"""Checks of the config file: that it is well-formed, that secrets stay secret, that requests are signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.config import credentials
from relay.operations.check.result import Check, fail, ok, warn
from relay.rules import signing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.config import Config
    from relay.errors import ConfigError


def checks(config: Config) -> Iterator[Check]:
    """Yield what can be said of a config that has been read."""
    yield ok("config", f"{config.source} is well-formed")
    yield from check_secrets(config)
    yield check_signing(config)


def mistakes(error: ConfigError) -> Iterator[Check]:
    """Yield a line for each mistake of a config that cannot be used: nothing else can be checked then."""
    for mistake in error.mistakes or (str(error),):
        yield fail("config", mistake, error.hint)


def check_secrets(config: Config) -> Iterator[Check]:
    """Yield a line for each secret that others could read, or one that says that there is none."""
    warnings = []
    for path, secret in config.secrets():
        if secret.origin == "open":
            found = f"{path} is written in the open in the config"
            warnings.append(warn("secrets", found, "Give it as {file: …} or {credential: …}."))
        elif secret.path is not None and (reason := credentials.mode_warning(secret.path)):
            warnings.append(warn("secrets", f"{path}: {reason}", f"chmod 600 {secret.path}"))
    if reason := credentials.mode_warning(config.source):
        warnings.append(warn("secrets", reason, f"chmod 600 {config.source}"))
    yield from warnings or [ok("secrets", "none can be read by others")]


def check_signing(config: Config) -> Check:
    """Return whether requests are signed, with keys that are long enough."""
    keys = config.backend.signing_keys
    if not keys:
        hint = f"Agree on one with the backend's developers, and name it in backend.signing_keys; {signing.HOW}."
        return warn("signing", "there is no signing key: the backend cannot tell who sent an event", hint)
    for index, key in enumerate(keys):
        made = signing.parse_key(key.reveal())
        if isinstance(made, signing.SymmetricKey) and len(made.secret) < signing.SHORTEST_SECRET:
            found = (
                f"backend.signing_keys[{index}] is {len(made.secret)} bytes long, and must be {signing.SHORTEST_SECRET}"
            )
            return fail("signing", found, f"Take another one: {signing.HOW}.")
    return ok("signing", f"each request is signed with {len(keys)} key{'s' * (len(keys) != 1)}")
