"""The file of an SQLite outbox: one connection to it, its transactions, and what can go wrong with it, in sentences."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay.errors import OutboxCorrupt, OutboxError, OutboxRefused, OutboxUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.outbox.sql import Made, Run, Values

#: The oldest SQLite that does (Debian 11's, and about RHEL 9's): UPDATE … FROM came with 3.33.
OLDEST = (3, 34, 0)
#: Keeps what a WITH gives, instead of asking for it again: a tenth of a claim's time. SQLite 3.35 and later know it.
ONCE = "MATERIALIZED" if sqlite3.sqlite_version_info >= (3, 35) else ""
#: How long a statement waits for another process's transaction, in milliseconds.
BUSY_MS = 10_000
#: How long a try to write waits for it: somebody, or a monitor, waits for what comes of it.
PROBE_MS = 4_000
#: How many pages of deleted rows are given back at once.
PAGES = 100
#: How much of the file a connection keeps in memory, in KiB: half of what SQLite does unless asked.
CACHE_KIB = 1000
#: Readers and the one writer do not wait for each other; kept in the file.
WAL = "PRAGMA journal_mode = WAL"


class Database:
    """One connection to a file that is there, for one thread at a time: the others wait for their turn.

    Raises OutboxUnavailable where the same may work later, OutboxRefused where what is to be written is never taken,
    OutboxCorrupt where it can't work.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        self._path = path
        self._prefix = prefix
        self._lock = threading.RLock()
        _refuse_empty(path)
        with translated(path):
            self._connection = _connect(path)
            #: The file that is open, whatever comes to stand at its place.
            self._inode = path.stat().st_ino

    def _check_place(self) -> None:
        """Raise OutboxUnavailable where the file has been deleted or moved away: what is written to it is lost."""
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                return
        raise OutboxUnavailable(
            f"The outbox {self._path} was deleted or moved away while relay used it.",
            hint="Put the file back, and relay goes on by itself; or stop relay, and restore a backup.",
        )

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def _run(self, statement: str, values: Values = (), /) -> sqlite3.Cursor:
        return self._connection.execute(statement.replace("{p}", self._prefix), values)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Run]:
        """Give what runs statements within a transaction that is committed at the end, or rolled back."""
        with self._lock, translated(self._path):
            self._check_place()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._run
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, statement: str, values: Values = ()) -> list[Any]:
        """Return the rows of one statement."""
        with self._lock, translated(self._path):
            return self._run(statement, values).fetchall()

    def at_one_moment(self, read: Callable[[Callable[..., list[Any]]], Made]) -> Made:
        """Return what `read` makes of queries that all see the file at one moment."""
        with self._lock, translated(self._path):
            self._connection.execute("BEGIN")
            try:
                return read(self.rows)
            finally:
                self._connection.execute("COMMIT")

    def probe(self, statement: str, values: Values) -> None:
        """Run a statement that writes, and take it back."""
        with self._lock, translated(self._path):
            self._connection.execute(f"PRAGMA busy_timeout = {PROBE_MS}")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            try:
                self._run(statement, values)
            finally:
                self._connection.execute("ROLLBACK")

    def write_ahead(self) -> None:
        """Let the file have a write-ahead log, for ever."""
        with self._lock, translated(self._path):
            self._connection.execute(WAL)

    def save_memory(self) -> None:
        """Keep no more of the file in memory than delivery needs; a migration, which sorts, may need more."""
        self.rows(f"PRAGMA cache_size = -{CACHE_KIB}")

    @contextlib.contextmanager
    def overwriting(self) -> Iterator[None]:
        """Let what is deleted within be overwritten with zeros, and not only be given free."""
        with self._lock:
            before = self.rows("PRAGMA secure_delete")[0][0]
            self.rows("PRAGMA secure_delete = ON")
            try:
                yield
            finally:
                self.rows(f"PRAGMA secure_delete = {int(before)}")

    def shrink(self) -> bool:
        """Give back some of the disk space of deleted rows; say whether there is more."""
        with self._lock, translated(self._path):
            if self._connection.execute("PRAGMA freelist_count").fetchone()[0]:
                # It gives back a page at each step of the statement; `execute` takes one step.
                self._connection.executescript(f"PRAGMA incremental_vacuum({PAGES})")
                return True
            # Nobody is waited for: who reads the log at this moment keeps it as long as it is.
            self._connection.execute("PRAGMA busy_timeout = 0")
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            return False

    def copy(self, label: str) -> Path:
        """Copy what is committed, with what is in the write-ahead log, into a file beside this one; return its path.

        It is for its owner only, and named by the label and the time. It may be made within a transaction, and shows
        what was there before that. A crash leaves no half of a copy under its name.
        """
        # The time names a file and decides nothing: so the database's own clock will do.
        ((at,),) = self.rows("SELECT strftime('%Y%m%dT%H%M%SZ', 'now')")
        new = _empty_beside(self._path, f"{label}.new")
        with translated(self._path):
            try:
                with contextlib.closing(_connect(self._path)) as source, contextlib.closing(_connect(new)) as target:
                    source.backup(target)
            except BaseException:
                new.unlink()
                raise
            return new.rename(self._path.with_name(f"{self._path.name}.{label}-{at}"))


def check_version() -> None:
    """Raise OutboxError where the SQLite that Python uses is too old: what is sent could not be recorded."""
    if sqlite3.sqlite_version_info < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise OutboxError(
            f"SQLite {sqlite3.sqlite_version} is too old: an outbox in a file needs {oldest} or later.",
            hint="Run relay with a Python whose SQLite is newer, or keep the outbox in MariaDB or MySQL (outbox.url).",
        )


def create(path: Path, prefix: str, make: Callable[[Run], None]) -> None:
    """Make the file beside its place, let `make` fill it, and move it there: a crash leaves no half of one behind."""
    with translated(path):
        if not path.parent.exists():
            path.parent.mkdir(mode=0o750, parents=True)
        for suffix in ("-wal", "-shm"):
            # Left by an outbox that was deleted: it would be replayed into the new one.
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        new = _empty_beside(path, "new")
        with contextlib.closing(_connect(new)) as connection:
            # Before the first table: space that is given back makes the file smaller.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute(WAL)
            connection.execute("BEGIN")
            make(lambda statement, values=(): connection.execute(statement.replace("{p}", prefix), values))
            connection.execute("COMMIT")
        new.rename(path)


def _empty_beside(path: Path, suffix: str) -> Path:
    """Make an empty file for its owner only, in the place of one that a crash has left; return its path."""
    new = path.with_name(f"{path.name}.{suffix}")
    for left in ("", "-wal", "-shm", "-journal"):
        Path(f"{new}{left}").unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    give_away(new, path if path.exists() else path.parent)
    return new


def give_away(made: Path, like: Path) -> None:
    """Give a file that root has made to the owner of another file or folder: relay, who is not root, is to use it."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(made, owner.st_uid, owner.st_gid)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = FULL")  # a commit that returned survives a power cut
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_empty(path: Path) -> None:
    with translated(path):
        size = path.stat().st_size
    if size == 0:
        raise OutboxCorrupt(
            f"The outbox {path} is an empty file: what it held is gone.",
            hint="Restore it from a backup; to start a new outbox, move the file away.",
        )


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say of the outbox at a path into an OutboxError with a sentence."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeEncodeError) as error:
        # Not SQLite's words: they could quote a value.
        reason = getattr(error, "sqlite_errorname", type(error).__name__)
        raise OutboxRefused(f"The outbox {path} refuses what is to be written ({reason}).") from error
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR:
            raise OutboxCorrupt(
                f"The outbox {path} is not as relay makes it: {error}.", hint="Restore a backup of it, or report this."
            ) from error
        raise OutboxUnavailable(f"The outbox {path} cannot be used: {error}.", hint=_hint(str(error), path)) from error
    except sqlite3.DatabaseError as error:
        raise OutboxCorrupt(
            f"The outbox {path} is damaged: {error}. Nothing was changed.",
            hint="Stop relay, keep a copy of the file, and restore a backup or use `sqlite3 FILE .recover`.",
        ) from error
    except OSError as error:
        raise OutboxUnavailable(
            f"The outbox {path} cannot be used: {error.strerror}.", hint=f"Make {path.parent} writable for relay."
        ) from error


def _hint(message: str, path: Path) -> str:
    if "locked" in message:
        return "Another process holds it: find it with `fuser -v` on the file, and end it."
    if "full" in message:
        return f"Make room on the disk that holds {path.parent}; relay goes on by itself."
    return f"Make {path} and its folder writable for the user that relay runs as."
