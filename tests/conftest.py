"""What the tests share: a real MariaDB, a database of Moodle's shape in it, and a backend."""

from __future__ import annotations

import math
import os
import signal
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import GivenServer, Relay, empty_outbox, fresh_moodle
from hypothesis import settings
from receiver import Receiver, receiver
from reconciled import Reconciled
from stepped import Captured
from virtual import World

from relay import config
from relay.delivery import dispatch
from relay.demo.mariadb import MariaDB, place, throwaway
from relay.errors import RelayError
from relay.rules.server import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.demo.moodle import College
    from relay.model import Delivery, Outcome

# The driver of the database reads all CAs of the system for each connection, 36 ms; no test trusts any of them.
os.environ["SSL_CERT_FILE"] = os.devnull
# For each of its parsers, argparse asks some 90 times whether there are translations of its few words.
os.environ["LANGUAGE"] = "C"
# On a disk, an outbox in a file waits for each commit to be written. All processes share the room, their servers too.
if (memory := place(2 * 1024**3)) is not None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))
# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start and end by it.
signal.signal(signal.SIGINT, signal.default_int_handler)
#: The fixtures of a relay whose outbox is a file, or in a schema.
KINDS = ("relay", "other")
#: How parameters are called that stand for an outbox in a schema.
SHARED = ("other", "schema", "mysql")
#: What makes a server quicker that nobody needs behind a power cut, and whose tables live for one test.
SERVER = ("--innodb-flush-log-at-trx-commit=2", "--innodb-stats-persistent=OFF", "--innodb-doublewrite=OFF")
#: Modules that take long, as they are begun: of those that wait for most of their time (three_relays,
#: shared, once, delivery, reload, move, throttling, chaos, releasing) about two at a time, beside three that work.
LONG = (
    *("test_three_relays", "test_shared", "test_crash_points", "test_browser", "test_reconcile"),
    *("test_commands", "test_sheet", "test_staged_faults", "test_once", "test_delivery"),
    *("test_demo", "test_unfit", "test_init", "test_check", "test_reload", "test_move"),
    *("test_daemon", "test_growth", "test_output", "test_throttling", "test_chaos"),
    *("test_real_moodle", "test_outbox", "test_purge", "test_releasing", "test_reconcile_kills", "test_setup"),
)
# Tests of what is generated take a multiple of these, when they are imported.
settings.register_profile("short", deadline=None, print_blob=True, max_examples=50)
settings.register_profile("full", settings.get_profile("short"), max_examples=1000)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the fault suite."""
    parser.addoption("--full", action="store_true", help="run the fault suite for hours")
    parser.addoption("--server", type=int, help="a port of 127.0.0.1: Moodle is tried there, as root; MySQL perhaps")
    parser.addoption("--outbox-server", help="a port of 127.0.0.1: shared outboxes are tried there, as root")
    parser.addoption("--seed", type=int, help="run the chaos with this seed alone")


def pytest_configure(config: pytest.Config) -> None:
    """Decide how much is generated."""
    config.addinivalue_line("markers", "full: runs with --full only (see tests/README.md)")
    config.addinivalue_line("markers", "by_turns(parameter): has one of its two values, and both with --full")
    settings.load_profile("full" if config.getoption("--full") else "short")


def is_the_others_turn(item: pytest.Function) -> bool:
    """Say whether a test that is tried with one of two kinds of outbox has the other one here.

    By the mark `by_turns`, which names the parameter. With each set of its other parameters it has one of the two.
    """
    mark = item.get_closest_marker("by_turns")
    kind = str(item.callspec.params.get(mark.args[0], "")) if mark and hasattr(item, "callspec") else ""
    if not kind:
        return False
    rest = item.originalname + item.callspec.id.replace(kind, "")
    return (kind in SHARED) != zlib.adler32(rest.encode()) % 2


# Before xdist reads the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Function]) -> None:
    """Leave out what only --full runs; put in front what takes long, so that all processes end at about one time."""
    if not config.getoption("--full"):
        left_out = {item for item in items if item.get_closest_marker("full") or is_the_others_turn(item)}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def is_full(request: pytest.FixtureRequest) -> bool:
    """Whether the long versions of the tests are wanted: see tests/README.md."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def mariadb(request: pytest.FixtureRequest) -> Iterator[MariaDB]:
    """A server for the whole run. Where none is installed: skipped by a person, failed in CI."""
    given = request.config.getoption("--server")
    if given is not None:
        yield GivenServer(given)
        return
    try:
        with throwaway(SERVER) as server:
            yield server
    except RelayError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{error} {error.hint}")


@pytest.fixture
def college(mariadb: MariaDB) -> Iterator[College]:
    """An empty Moodle of its own for each test, in the schema `moodle`."""
    with fresh_moodle(mariadb) as made:
        yield made


@pytest.fixture
def outbox_address(request: pytest.FixtureRequest) -> Address:
    """An empty schema for an outbox: on the server of the tests, or on the one that --outbox-server names."""
    named = request.config.getoption("--outbox-server")
    return empty_outbox(int(named) if named else request.getfixturevalue("mariadb").port)


@pytest.fixture
def backend() -> Iterator[Receiver]:
    """A backend that takes everything."""
    with receiver() as server:
        yield server


@pytest.fixture
def relay(tmp_path: Path, mariadb: MariaDB, college: College, backend: Receiver) -> Relay:
    """A relay between the college and the backend; nothing of it runs yet."""
    assert college.connection.open
    return Relay(tmp_path, mariadb, backend.url)


@pytest.fixture
def other(tmp_path: Path, mariadb: MariaDB, backend: Receiver, outbox_address: Address) -> Relay:
    """A relay of the same college on another machine, with its outbox in a schema; nothing of it runs yet."""
    folder = tmp_path / "other"
    folder.mkdir()
    made = Relay(folder, mariadb, backend.url)
    made.share(outbox_address)
    return made


@pytest.fixture
def captured(relay: Relay) -> Iterator[Captured]:
    """A capture that is stepped by hand; the log of the college is empty."""
    made = Captured(config.load(relay.write()))
    yield made
    made.close()


@pytest.fixture(params=KINDS)
def reconciled(request: pytest.FixtureRequest) -> Iterator[Reconciled]:
    """Passes of reconcile that are stepped by hand, with an outbox in a file and in a schema."""
    relay: Relay = request.getfixturevalue(request.param)
    made = Reconciled(relay, config.load(relay.write()))
    yield made
    made.close()


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    """Nobody else uses the outbox: so a pass need not be done each second to see what another process made due."""
    monkeypatch.setattr(dispatch, "IDLE_S", math.inf)
    made: list[World] = []

    def make(answer: Callable[[Delivery, float], Outcome], stored: str = "", **size: int) -> World:
        made.append(World(tmp_path, answer, stored, **size))
        return made[-1]

    yield make
    for world in made:
        world.dispatch.close()
        world.outbox.close()
