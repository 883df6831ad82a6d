"""A config's file: where it is looked for, and how it, or one section of it, is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from relay.config import checks, credentials
from relay.config.credentials import is_there
from relay.config.events import EVENTS
from relay.config.keys import Key
from relay.config.reader import Mistakes, Section, compose
from relay.config.schema import BACKEND, CONFIG, DATABASE, OUTBOX
from relay.config.web import WEB
from relay.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from relay.config.events import EventsConfig
    from relay.config.schema import BackendConfig, Config, DatabaseConfig, OutboxConfig
    from relay.config.web import WebConfig

#: Where a config is looked for when none is named (contract, section 5).
PLACES = (Path("config.yaml"), Path("/etc/relay/config.yaml"))


def find(explicit: Path | None, environment: str | None) -> Path:
    """Return which config is meant: the one named on the command line, else in the environment, else one of PLACES.

    Raises UsageError where there is none.
    """
    named = explicit or (Path(environment) if environment else None)
    if named is not None:
        return named
    found = next((place for place in PLACES if is_there(place)), None)
    if found is None:
        raise UsageError(
            f"There is no config: neither {PLACES[0]} in this folder nor {PLACES[1]}.",
            hint="`relay init` makes one. One that is elsewhere is named with --config FILE.",
        )
    return found


def load(path: Path) -> Config:
    """Return the config of a file. Raises ConfigError with all its mistakes."""
    return parse(text_of(path), path=path)


def load_to_look(path: Path) -> Config:
    """Return the config of a file, of which secrets may be missing: whoever reveals one of those gets its problem.

    Raises ConfigError with all other mistakes, and those secrets among them.
    """
    text = text_of(path)
    try:
        return parse(text, path=path, is_lenient=True)
    except ConfigError:
        return parse(text, path=path)


def text_of(path: Path) -> str:
    """Return the text of a config. Raises ConfigError where it cannot be read."""
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        is_closed = isinstance(error, PermissionError)
        hint = credentials.AS_SERVICE if is_closed else "Name another one with --config FILE, or make it: `relay init`."
        raise ConfigError(f"The config {path} cannot be read: {error.strerror}.", hint=hint) from None
    except UnicodeDecodeError:
        raise ConfigError(f"The config {path} is no UTF-8 text.", hint="Save it as UTF-8.") from None


def parse(text: str, *, path: Path, is_lenient: bool = False) -> Config:
    """Return the config of a text; `path` is where it stands. Raises ConfigError with all its mistakes.

    `is_lenient`: a secret that cannot be read here is no mistake.
    """
    mistakes = Mistakes(is_lenient)
    root = Section(compose(text, path), "", mistakes, path)
    config = CONFIG.fill(root)
    root.close()
    found = mistakes.lines()
    if found:
        count = "a mistake" if len(found) == 1 else f"{len(found)} mistakes"
        raise ConfigError(f"The config {path} has {count}:", mistakes=found, hint=mistakes.hint())
    return config


def load_database(path: Path) -> DatabaseConfig:
    """Return how Moodle's database is reached, whatever else the file holds. Raises ConfigError.

    Its password may be missing: whoever reveals it gets its problem.
    """
    mistakes = Mistakes(is_lenient=True)
    database = DATABASE.fill(_database_section(path, mistakes))
    _refuse(path, "moodle.database", mistakes)
    return database


def load_events(path: Path) -> EventsConfig:
    """Return which events are sent, whatever else the file holds. Raises ConfigError."""
    mistakes = Mistakes()
    events = EVENTS.fill(_root(path, mistakes).section("events"))
    _refuse(path, "events", mistakes)
    return events


def load_outbox(path: Path) -> OutboxConfig:
    """Return where the outbox is, whatever else the file holds, with a password that may be missing.

    Raises ConfigError.
    """
    mistakes = Mistakes(is_lenient=True)
    outbox = OUTBOX.fill(_root(path, mistakes).section("outbox"))
    _refuse(path, "outbox", mistakes)
    return outbox


def load_web(path: Path) -> WebConfig:
    """Return who is let in to the page, whatever else the file holds. Raises ConfigError."""
    mistakes = Mistakes()
    web = WEB.fill(_root(path, mistakes).section("web"))
    _refuse(path, "web", mistakes)
    return web


def load_backend(path: Path) -> BackendConfig:
    """Return how the backend is reached, whatever else the file holds. Raises ConfigError.

    Even what a relay needs may be missing, and is None then: who only tries a receiver has no relay yet.
    """
    mistakes = Mistakes()
    root = Section(compose(text_of(path), path), "", mistakes, path)
    keys = {name: replace(key, is_required=False) for name, key in BACKEND.keys.items() if isinstance(key, Key)}
    backend = replace(BACKEND, keys=keys).fill(root.section("backend"))
    _refuse(path, "backend", mistakes)
    return backend


def written_database(path: Path) -> dict[str, object]:
    """Return moodle.database as the file has it: secrets by reference. Raises ConfigError."""
    return _database_section(path, Mistakes()).plain()


def with_start(config: Config, text: str) -> Config:
    """Return the config with another `moodle.start_from`. Raises UsageError."""
    try:
        start = checks.start(text)
    except ValueError as error:
        raise UsageError(f"--from {text}: {error}.", hint="See `relay run --help`.") from None
    return replace(config, moodle=replace(config.moodle, start_from=start))


def _refuse(path: Path, part: str, mistakes: Mistakes) -> None:
    """Raise ConfigError if a part of the config has mistakes."""
    if mistakes.lines():
        raise ConfigError(
            f"{part} in the config {path} is wrong:",
            mistakes=mistakes.lines(),
            hint=mistakes.hint(),
        )


def _database_section(path: Path, mistakes: Mistakes) -> Section:
    return _root(path, mistakes).section("moodle").section("database")


def _root(path: Path, mistakes: Mistakes) -> Section:
    text = text_of(path) if is_there(path) else ""
    return Section(compose(text, path), "", mistakes, path)
