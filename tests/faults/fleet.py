"""Relays that share one outbox, each on a machine of its own, and what can be done to one of them."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pymysql
from world import STATE, STATUSES, Backend, Faults, Proxy, Supervised, kill_database

from relay.outbox.contract import LEASE_S

if TYPE_CHECKING:
    from harness import Relay
    from world import Snapshot

    from relay.demo.mariadb import MariaDB
    from relay.rules.server import Address

#: By how many seconds the clock of each machine is wrong.
CLOCKS = (0, 300, -300)
#: A relay that finds the outbox away when it starts ends with this code: systemd starts it again.
AWAY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One of the relays, and its own way to the outbox."""

    relay: Relay
    proxy: Proxy
    supervised: Supervised


class Fleet:
    """Three relays on one outbox."""

    def __init__(self, folder: Path, make: Callable[[Path], Relay], address: Address) -> None:
        """Take what makes a relay in a folder, and where the outbox is."""
        self.members = [self._member(folder / str(number), make, address, clock) for number, clock in enumerate(CLOCKS)]
        #: What ends by itself, later: each with what ends it.
        self._later: list[tuple[threading.Timer, Callable[[], object]]] = []

    @staticmethod
    def _member(folder: Path, make: Callable[[Path], Relay], address: Address, clock: int) -> Member:
        folder.mkdir()
        (folder / "clock").write_text(str(clock))
        relay, proxy = make(folder), Proxy(address.port)
        relay.share(replace(address, port=proxy.port))
        relay.write()
        supervised = Supervised(relay, folder / "clock", may_end_with=frozenset({AWAY}))
        return Member(relay=relay, proxy=proxy, supervised=supervised)

    def start(self) -> None:
        for member in self.members:
            member.supervised.start()

    def heal(self) -> None:
        """End everything that would end by itself later."""
        for timer, end in self._later:
            timer.cancel()
            timer.join()
            end()

    def stop(self) -> None:
        self.heal()
        for member in self.members:
            member.supervised.stop()
            member.proxy.close()

    def errors(self) -> list[str]:
        return [error for member in self.members for error in member.supervised.errors]

    def starts(self) -> list[int]:
        return [member.supervised.starts for member in self.members]

    # -- what can be done to one of them

    def faults(self, backend: Backend, killable: MariaDB | None) -> Faults:
        """Return what may happen; the outbox's database is killed where it is ours."""
        kinds: dict[str, tuple[int, Callable[[random.Random], object]]] = {
            "relay killed": (5, lambda chance: self._any(chance).supervised.kill()),
            "relay stopped within its lease": (2, lambda chance: self._pause(chance, chance.uniform(0.1, LEASE_S / 2))),
            "relay stopped past its lease": (2, lambda chance: self._pause(chance, LEASE_S + chance.uniform(1, 5))),
            "relay cut off": (3, lambda chance: self._any(chance).proxy.cut()),
            "relay stalled within its lease": (2, lambda chance: self._stall(chance, chance.uniform(0.1, LEASE_S / 2))),
            "relay stalled past its lease": (1, lambda chance: self._stall(chance, LEASE_S + chance.uniform(1, 5))),
            "backend out of order": (2, backend.misbehave),
        }
        if killable is not None:
            kinds["outbox's database killed"] = (1, partial(kill_database, killable))
        return Faults(kinds)

    def _any(self, chance: random.Random) -> Member:
        return chance.choice(self.members)

    def _pause(self, chance: random.Random, seconds: float) -> None:
        one = self._any(chance).supervised
        one.send(signal.SIGSTOP)
        self._end_after(seconds, lambda: one.send(signal.SIGCONT))

    def _stall(self, chance: random.Random, seconds: float) -> None:
        proxy = self._any(chance).proxy
        proxy.stall()
        self._end_after(seconds, proxy.resume)

    def _end_after(self, seconds: float, end: Callable[[], object]) -> None:
        timer = threading.Timer(seconds, end)
        self._later.append((timer, end))
        timer.start()


def read_schema(address: Address) -> Snapshot | None:
    """Return what a shared outbox holds at this moment; None where it cannot be read now."""
    with (
        contextlib.suppress(pymysql.Error, OSError),
        pymysql.connect(**address.options()) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        cursor.execute(STATE)
        state = dict(cursor.fetchall())
        cursor.execute(STATUSES)
        return state, dict(cursor.fetchall())
    return None
