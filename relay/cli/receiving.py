"""What the commands for those who receive share: keys, token and tenant, by options or from the config's `backend`."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from relay import config
from relay.cli.configured import config_path
from relay.config import credentials
from relay.config.checks import is_loopback
from relay.errors import ConfigError, CredentialError, UsageError
from relay.events.catalogue import KINDS
from relay.receivers.craft import Target
from relay.receivers.verifiers import verifier
from relay.rules import signing
from relay.service import receiving as service

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from relay.config import BackendConfig
    from relay.events.kind import EventKind

#: Sent where no token is given: a receiver without one takes it.
MADE_UP_TOKEN = "made-up-for-a-test"  # noqa: S105 -- made up


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was given, each of it perhaps not."""

    keys: tuple[str, ...]
    token: str | None
    tenant_id: str
    #: The config's section; None where no config was read.
    backend: BackendConfig | None
    #: The token is the config's.
    is_token_configured: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("--secret", action="append", default=[], metavar="KEY", help="a signing key; others see it in the process list")
    add("--secret-file", action="append", default=[], metavar="FILE", help="a file that holds one; may be repeated")
    add("--secret-env", action="append", default=[], metavar="NAME", help="a variable that holds one; may be repeated")
    add("--token-file", metavar="FILE", help="a file that holds the token (X-Moodle-Token)")
    add("--token-env", metavar="NAME", help="a variable that holds the token")
    add("--tenant", metavar="ID", help="the tenant id (default: the config's, else `default`)")


def given(arguments: argparse.Namespace, *, is_enough: bool) -> Given:
    """Return keys, token and tenant: those of the options, else of the config.

    The config need not be there. It is not read where options are enough: where a key was given, and `is_enough` says
    that nothing else is needed. Raises RelayError.
    """
    keys = tuple(_keys(arguments))
    token = _token(arguments)
    backend = None
    if getattr(arguments, "config", None) or not (keys and is_enough):
        backend = _backend(arguments)
    if backend is not None:
        keys = keys or tuple(one.reveal() for one in backend.signing_keys)
    is_configured = token is None and backend is not None and backend.token is not None
    if is_configured and backend is not None:
        token = backend.token.reveal()
    tenant = arguments.tenant or ("default" if backend is None else backend.tenant_id)
    return Given(keys=keys, token=token, tenant_id=tenant, backend=backend, is_token_configured=is_configured)


def _keys(arguments: argparse.Namespace) -> list[str]:
    if arguments.secret:
        note("--secret can be read by others in the process list; --secret-file and --secret-env cannot.")
    found = list(arguments.secret)
    found += [_resolved("--secret-file", "file", name) for name in arguments.secret_file]
    found += [_resolved("--secret-env", "env", name) for name in arguments.secret_env]
    return found


def _token(arguments: argparse.Namespace) -> str | None:
    if arguments.token_file:
        return _resolved("--token-file", "file", arguments.token_file)
    return _resolved("--token-env", "env", arguments.token_env) if arguments.token_env else None


def _resolved(option: str, kind: str, name: str) -> str:
    try:
        return credentials.resolve({kind: name}, Path.cwd()).reveal()
    except CredentialError as error:
        raise CredentialError(f"{option}: {error}.", hint=f"For a signing key: {signing.HOW}.") from None


def _backend(arguments: argparse.Namespace) -> BackendConfig | None:
    """Return the config's section; None where there is no config, and none was named."""
    try:
        path = config_path(arguments)
    except UsageError:
        return None
    return config.load_backend(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A receiver to send to, and what the requests carry."""

    url: str
    target: Target
    #: The config's way to its backend; None for another receiver.
    backend: BackendConfig | None


def aim(arguments: argparse.Namespace, url: str | None, option: str, command: str) -> Aim:
    """Return where a command sends, and with what: to the URL of an option, else to the config's backend.

    The config's token goes to its backend and to this machine, and nowhere else. Raises RelayError.
    """
    found = given(arguments, is_enough=url is not None)
    configured = found.backend.url if found.backend is not None else None
    if url is not None:
        url = service.checked_url(option, url)
    elif configured:
        url = configured
    else:
        raise UsageError("There is no address to send to.", hint=f"Give {option}, or backend.url in a config.")
    if not found.keys and found.backend is None:
        raise no_key(command)
    is_backend = configured is not None and _origin(url) == _origin(configured)
    token = found.token
    if (
        token is not None
        and found.is_token_configured
        and not (is_backend or is_loopback(urlsplit(url).hostname or ""))
    ):
        note("The config's token is for its backend: another one, made up, is sent. --token-file names one.")
        token = None
    keys = [parsed(key) for key in found.keys]
    if not keys:
        note(f"There is no signing key in the config, so nothing is signed: {signing.HOW}.")
    target = Target(token=token or MADE_UP_TOKEN, tenant_id=found.tenant_id, keys=keys)
    return Aim(url=url, target=target, backend=found.backend if is_backend else None)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def note(text: str) -> None:
    """Say something on stderr, beside what is printed."""
    print(f"relay: {text}", file=sys.stderr, flush=True)


def kinds(arguments: argparse.Namespace) -> Mapping[str, EventKind]:
    """Return the kinds of event by name, the config's own among them where there is a config.

    One that was not named, and is of no use, counts for none: it may be another user's. Raises ConfigError.
    """
    try:
        return config.load_events(config_path(arguments)).kinds
    except (UsageError, ConfigError):
        if getattr(arguments, "config", None) is not None:
            raise
        return KINDS


def kind_of(arguments: argparse.Namespace) -> EventKind:
    """Return the kind of event that is named. Raises UsageError, with the nearest name, where there is none."""
    name, known = arguments.type, kinds(arguments)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}?" if near else f"One of {', '.join(known)}."
        raise UsageError(f"There is no event type {name}.", hint=hint)
    return known[name]


def no_key(command: str) -> UsageError:
    """Return that a command has no key to work with."""
    return UsageError(
        "There is no signing key: neither an option nor backend.signing_keys of a config names one.",
        hint=f"relay keygen --out signing-key, then: relay {command} --secret-file signing-key",
    )


def public_keys(keys: tuple[str, ...]) -> list[str]:
    """Return what verifies what is signed with each key; a `whpk_…` is that already. Raises UsageError."""
    found = []
    for key in keys:
        made = None if key.startswith(signing.PUBLIC) else parsed(key)
        found.append(signing.public_text(made) if isinstance(made, signing.AsymmetricKey) else key)
    try:
        verifier.verify(found, {}, b"")
    except verifier.Refused as refused:
        if refused.reason == "bad_key":
            raise UsageError(f"A key is wrong: {refused}.", hint="See `relay keygen --help`.") from None
    return found


def parsed(text: str) -> signing.Key:
    """Return a key that signs. Raises UsageError, without the key."""
    try:
        return signing.parse_key(text)
    except ValueError as error:
        raise UsageError(f"A signing key {error}.", hint="See `relay keygen --help`.") from None
