"""Faults staged from outside: `--check`, `--nagios`, STATUS=, metrics, alerts and the page name the same right one."""

from __future__ import annotations

import contextlib
import importlib
import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import watched
from alerted import check_lasting, named
from harness import PATIENCE_S, SHORT_LOCKS, Daemon, Relay
from receiver import Receiver, Reply
from visitor import patience
from watched import Systemd, heading, made_page, plain

from relay.demo.mariadb import free_port
from relay.operations import conditions

if TYPE_CHECKING:
    from relay.demo.mariadb import MariaDB
    from relay.demo.moodle import College

AT = 1_770_000_000
DAY_S = 86400
HASTE = {
    "relay.service.report:BEAT_S": 0.05,
    "relay.service.daemon:BEAT_S": 0.05,
    **SHORT_LOCKS,
}
#: How the first sentence of the Arabic page begins, by condition.
ARABIC = {
    "accounts": "المجاميع غير متطابقة",
    "circuit": "لا يُسلّم شيء",
    "clock": "كانت ساعة النظام الخلفي متقدمة",
    "disk": "القرص الذي يحوي صندوق الصادر يكاد يمتلئ",
    "given_up": "تُرك إرسال",
    "log_store": "سجل Moodle القياسي متوقف",
    "moodle": "لا يمكن قراءة قاعدة بيانات Moodle",
    "outbox": "لا يمكن قراءة صندوق الصادر",
    "path": "لا يُسلّم أي user_created",
    "paused": "التسليم موقوف مؤقتًا",
    "reading": "relay يعمل ولم يقرأ سجل Moodle",
    "reconcile": "لم تكتمل أي مطابقة",
    "stopped": "لا يعمل أي relay",
    "undelivered": "حدث ينتظر التسليم منذ",
    "unread": "صف في سجل Moodle لم يُقرأ",
    "unsigned": "لم يُضبط مفتاح توقيع",
}


@dataclass
class Scene:
    """A relay between a college and a backend, which is well, and delivered an event, before anything is staged."""

    relay: Relay
    college: College
    backend: Receiver
    mariadb: MariaDB
    #: What is to be ended, or let go, behind the test.
    stack: contextlib.ExitStack
    #: The daemon, where it runs by then.
    daemon: Daemon | None = None

    def command(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command within this process; return its exit code, and what it printed on stdout and stderr."""
        return watched.command(self.relay, *arguments)

    def event(self) -> None:
        """Let something happen in Moodle."""
        self.college.sign_up("Grace", "Hopper", int(time.time()))

    def lock(self, table: str) -> None:
        """Lock one of Moodle's tables, so that nobody can read it."""
        other = self.stack.enter_context(self.mariadb.connect("moodle"))
        other.cursor().execute(f"LOCK TABLES mdl_{table} WRITE")

    def answer(self, code: int, **headers: str) -> None:
        """Let the backend answer so from now on, and let something be sent to it."""
        self.backend.answer = lambda _request: Reply(code=code, headers=headers)
        self.event()


# -- what is staged


def left_with_rows_unread(scene: Scene) -> None:
    scene.college.sign_up("Grace", "Hopper", int(time.time()) - 3 * DAY_S)


def killed_mid_work(scene: Scene) -> None:
    assert scene.daemon is not None
    scene.backend.answer = lambda _request: Reply(stalls_s=PATIENCE_S)
    before = len(scene.backend.posts)
    scene.event()
    scene.backend.wait_for(before + 1)
    scene.daemon.stop(signal.SIGKILL)


def hangs(scene: Scene) -> None:
    """Stop the process, and not in the midst of a transaction: that would lock the outbox, too."""
    assert scene.daemon is not None
    scene.stack.callback(scene.daemon.send, signal.SIGCONT)
    with contextlib.closing(sqlite3.connect(scene.relay.outbox, isolation_level=None, timeout=0)) as other:
        for _ in patience():
            scene.daemon.send(signal.SIGSTOP)
            with contextlib.suppress(sqlite3.OperationalError):
                other.execute("BEGIN IMMEDIATE")
                return
            scene.daemon.send(signal.SIGCONT)


def log_store_off(scene: Scene) -> None:
    scene.college.run("UPDATE {p}config_plugins SET value = '' WHERE plugin = 'tool_log' AND name = 'enabled_stores'")


def paused_by_a_person(scene: Scene) -> None:
    assert scene.command("web", "pause")[0] == 0


def paused_for_long(scene: Scene) -> None:
    scene.relay.set("status.max_age", "1s")
    scene.relay.set("enabled", value=False)
    scene.event()


def backend_down(scene: Scene) -> None:
    scene.relay.set("backend.url", f"http://127.0.0.1:{free_port()}")
    for _ in range(20):
        scene.event()


def event_waits(scene: Scene) -> None:
    scene.relay.set("status.max_age", "1s")
    scene.answer(503)


def moodle_away(scene: Scene) -> None:
    scene.relay.set("moodle.database.port", free_port())


def outbox_locked(scene: Scene) -> None:
    other = sqlite3.connect(scene.relay.outbox, isolation_level=None)
    scene.stack.enter_context(contextlib.closing(other)).execute("BEGIN IMMEDIATE")


def outbox_deleted(scene: Scene) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{scene.relay.outbox}{suffix}").unlink(missing_ok=True)


def reconcile_overdue(scene: Scene) -> None:
    assert scene.command("reconcile", "users")[0] == 0
    last = json.loads(scene.relay.rows("SELECT config_value FROM mdl_mb_zoho_config WHERE config_key = ?", LAST)[0][0])
    scene.relay.write_state(LAST, json.dumps({**last, "at": time.time() - 3 * DAY_S}))
    scene.relay.set("reconcile", {"tables": ["users"], "interval": "24h"})
    scene.lock("user")


LAST = "reconcile.users.last"


def log_cannot_be_read_on(scene: Scene) -> None:
    scene.lock("user")
    other = scene.stack.enter_context(scene.mariadb.connect("moodle"))
    other.cursor().execute(
        "INSERT INTO mdl_logstore_standard_log SELECT NULL, eventname, component, action, target, objecttable, "
        "objectid, crud, edulevel, contextid, contextlevel, contextinstanceid, userid, courseid, relateduserid, "
        "anonymous, other, UNIX_TIMESTAMP(), origin, ip, realuserid FROM mdl_logstore_standard_log LIMIT 1"
    )


@dataclass(frozen=True)
class Fault:
    """A fault, the condition that names it, and what stages it: `before` relay runs, `while` it does, or `never`."""

    name: str
    condition: str
    stage: Callable[[Scene], None]
    when: str = "while"
    #: Whether a relay lives behind it, which tells systemd and the textfile of it.
    lives: bool = True
    constants: dict[str, float] = field(default_factory=dict)


CONDITIONS = "relay.operations.conditions:"
FAULTS = (
    Fault("stopped with rows unread", "stopped", left_with_rows_unread, when="never", lives=False),
    Fault("killed mid work", "stopped", killed_mid_work, lives=False),
    Fault("hangs", "stopped", hangs, lives=False, constants={CONDITIONS + "SILENT_S": 1}),
    Fault("log store off", "log_store", log_store_off, when="before"),
    Fault("paused by a person", "paused", paused_by_a_person),
    Fault("paused by the config", "paused", lambda scene: scene.relay.set("enabled", value=False), when="before"),
    Fault("paused for long", "undelivered", paused_for_long, when="before"),
    Fault("backend down", "circuit", backend_down, when="before"),
    Fault("path 404", "path", lambda scene: scene.answer(404)),
    Fault("wrong token", "circuit", lambda scene: scene.answer(401)),
    Fault("disk nearly full", "disk", lambda _: None, constants={CONDITIONS + "LITTLE_SPACE": 2.0**60}),
    Fault("no signing key", "unsigned", lambda scene: scene.relay.set("backend.signing_keys", []), when="before"),
    Fault("reconcile overdue", "reconcile", reconcile_overdue, when="before"),
    Fault("Moodle away", "moodle", moodle_away, when="before"),
    Fault("outbox locked", "outbox", outbox_locked),
    Fault("outbox deleted", "outbox", outbox_deleted),
    Fault("given up", "given_up", lambda scene: scene.answer(422)),
    Fault("accounts", "accounts", lambda scene: scene.relay.write_state("count.seen", "99")),
    Fault("clock skew", "clock", lambda scene: scene.answer(200, Date="Thu, 01 Jan 2099 00:00:00 GMT")),
    Fault("event waits", "undelivered", event_waits, when="before"),
    Fault("log not read", "reading", log_cannot_be_read_on, constants={CONDITIONS + "READING_S": 0.5}),
)


@pytest.fixture
def scene(
    relay: Relay, college: College, backend: Receiver, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    monkeypatch.chdir(relay.folder)
    relay.set("metrics.textfile", str(relay.folder / "relay.prom"))
    college.sign_up("Ada", "Lovelace", AT)
    relay.once()
    with contextlib.ExitStack() as stack:
        yield Scene(relay, college, backend, mariadb, stack)


def wait_until(is_so: Callable[[], object]) -> None:
    for _ in patience():
        if is_so():
            return
    raise AssertionError("it does not come")


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_all_name_the_same_right_fault(scene: Scene, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    relay, textfile = scene.relay, scene.relay.folder / "relay.prom"
    constants = {**HASTE, **fault.constants}
    relay.constants = constants
    for place, one in constants.items():
        module, _, name = place.partition(":")
        monkeypatch.setattr(importlib.import_module(module), name, one)
    systemd = Systemd(scene.stack)
    if fault.when != "while":
        fault.stage(scene)
    if fault.when != "never":
        scene.daemon = scene.stack.enter_context(relay.start({"NOTIFY_SOCKET": systemd.name}))
    if fault.when == "while":
        systemd.wait_for("delivering to" if fault.condition != "disk" else "the disk")
        fault.stage(scene)

    found: set[str] = set()

    def is_named() -> bool:
        """Say whether the figures that a command prints name it, and what a running relay has written agrees."""
        found.clear()
        found.update(named(scene.command("metrics")[1]))
        return fault.condition in found and (not fault.lives or named(textfile.read_text()) == found)

    wait_until(is_named)
    level = next(one.level for one in conditions.CONDITIONS if one.name == fault.condition)
    code, _, said = scene.command("status", "--check")
    assert code == (3 if fault.condition == "outbox" else 1)
    sentence = plain(said.splitlines()[0].removeprefix("relay: ").removesuffix("."))
    code, line, _ = scene.command("status", "--nagios")
    assert (code, line.count("\n")) == (level, 1)
    # Only the one who has the deleted file open knows that it was there.
    words = sentence if fault.name != "outbox deleted" else "the outbox"
    assert plain(line.removeprefix(f"RELAY {level.name} - ")).startswith(sentence)
    if fault.lives:
        systemd.wait_for(words)
        check_lasting(textfile.read_text(), time.time(), found, relay.folder, is_live=True)
    else:
        printed = scene.command("metrics")[1]
        check_lasting(printed, time.time(), found | {"silent"}, relay.folder, is_live=False)
    page = scene.stack.enter_context(contextlib.closing(made_page(relay)))
    assert plain(heading(page, "en")).startswith(sentence)
    assert heading(page, "ar").startswith(ARABIC[fault.condition] if fault.name != "paused for long" else "حدث ينتظر")


def test_each_condition_is_staged_but_that_of_rows_that_a_running_relay_leaves() -> None:
    assert {one.condition for one in FAULTS} | {"unread"} == {one.name for one in conditions.CONDITIONS}
