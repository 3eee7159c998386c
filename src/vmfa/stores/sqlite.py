"""The embedded store: one SQLite file, durable at every commit, for many threads and processes of a machine.

One connection and one lock a process. The connection is closed before a fork and opened again on the next
use, on both sides: SQLite's own book-keeping of locks does not survive one.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from threading import Lock, RLock
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from weakref import WeakSet

from ..errors import (
    InvalidValue,
    RecordTampered,
    StoreContended,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
)
from ..events import AuditEvent
from ..models import Principal, PrincipalId
from ..record import from_columns
from ..validators import MAX_INTEGER
from ._sql import bounded, change, key, named

__all__ = ["SQLiteStore"]

T = TypeVar("T")

APPLICATION: Final = 0x766D6661  # "vmfa", in the header of the file
SCHEMA: Final = 1
FOREIGN: Final = "this is the database of another program"
TABLES: Final = (
    """CREATE TABLE principal (
        account TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
        revision INTEGER NOT NULL, state TEXT NOT NULL, tag TEXT NOT NULL, audit_tag TEXT NOT NULL,
        PRIMARY KEY (account, kind, name))""",
    """CREATE TABLE event (
        account TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
        number INTEGER NOT NULL, document TEXT, salt TEXT, content_digest TEXT NOT NULL, digest TEXT NOT NULL,
        redactable INTEGER NOT NULL, audit_tag TEXT NOT NULL,
        PRIMARY KEY (account, kind, name, number)) WITHOUT ROWID""",
    f"PRAGMA application_id = {APPLICATION}",
)
VIEW: Final = (
    "DROP VIEW IF EXISTS device",
    """CREATE VIEW device AS SELECT account, kind, name, json_extract(state, '$[3][0]') AS serial,
        json_extract(state, '$[3][3]') AS sync, json_extract(state, '$[3][4]') AS disabled,
        json_extract(state, '$[3][6][0]') AS failures,
        json_extract(state, '$[3][6][2]') AS known_failures,
        json_extract(state, '$[3][6][4]') AS budget, json_extract(state, '$[3][2]') AS enrolled_at
        FROM principal WHERE json_extract(state, '$[3]') IS NOT NULL""",
    f"PRAGMA user_version = {SCHEMA}",
)
LOAD: Final = "SELECT revision, state, tag, audit_tag FROM principal WHERE account = ? AND kind = ? AND name = ?"
INSERT: Final = (
    "INSERT INTO principal (account, kind, name, revision, state, tag, audit_tag) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
UPDATE: Final = (
    "UPDATE principal SET revision = ?, state = ?, tag = ?, audit_tag = ?"
    " WHERE account = ? AND kind = ? AND name = ? AND revision = ? AND tag = ?"
)
DELETE: Final = "DELETE FROM principal WHERE account = ? AND kind = ? AND name = ? AND revision = ? AND tag = ?"
APPEND: Final = "INSERT INTO event (account, kind, name, number, document, salt, content_digest, digest, redactable, audit_tag) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
REDACT: Final = (
    "UPDATE event SET document = NULL, salt = NULL WHERE account = ? AND kind = ? AND name = ?"
    " AND number > ? AND number <= ? AND redactable = 1"
)
ERASE: Final = "DELETE FROM event WHERE account = ? AND kind = ? AND name = ? AND number > ?"
HISTORY: Final = (
    "SELECT number, document, salt, content_digest, digest, redactable, audit_tag FROM event"
    " WHERE account = ? AND kind = ? AND name = ? AND number > ? ORDER BY number LIMIT ?"
)
PAGE: Final = (
    "SELECT kind, name FROM principal WHERE account = ? AND (kind, name) > (?, ?) ORDER BY kind, name LIMIT ?"
)


class SQLiteStore:
    """A store in one file, created on first use, readable by its owner alone.

    :param path: of the file, on a local disk: SQLite's locks do not hold on network file systems.
    :param create: False refuses a missing or empty file, which would be a database in which nobody has a device.
    :param timeout: seconds to wait for other processes before :class:`StoreContended`.
    :param unsafe_not_durable: a power cut may then take back answers that were given, and replay codes.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, create: bool = True, timeout: float = 10.0,
        unsafe_not_durable: bool = False,
    ) -> None:
        name = os.fsdecode(path)
        if name in ("", ":memory:") or "\0" in name:
            raise InvalidValue("a SQLite store is a file; in memory there is MemoryStore")
        self._create = create
        self._path = os.path.abspath(name)  # a daemon that changes its directory still means this file
        self._timeout = timeout
        self._synchronous = "NORMAL" if unsafe_not_durable else "FULL"
        self._lock = RLock()
        self._busy = False
        self._older = False
        self._connection: sqlite3.Connection | None = None
        with _stores_guard:
            _stores.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def health(self) -> tuple[StoreError, ...]:
        """What is wrong, as errors that are not raised; empty: nothing."""
        try:
            self._call(lambda db: db.execute("SELECT 1 FROM principal LIMIT 1").fetchone())
        except StoreError as problem:
            return (problem.with_traceback(None),)
        return ()

    def load(self, principal: PrincipalId) -> Principal:
        rows = self._call(lambda db: db.execute(LOAD, key(principal)).fetchall())
        return from_columns(principal, *rows.pop()) if rows else Principal(id=principal)  # popped: no frame keeps it

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        statement, values = change(before, after, INSERT, UPDATE, DELETE)
        rows = [(*key(after.id), *event.columns()) for event in events]
        remove = after.revision == 0
        redact = (*key(after.id), before.pruned, after.pruned) if after.pruned > before.pruned else None
        kept = events[0].number - 1 if events else -MAX_INTEGER  # what lies behind gives way

        def work(db: sqlite3.Connection) -> bool:
            if self._older:
                self._migrate(db)
            if not rows and not remove:
                return db.execute(statement, values).rowcount == 1  # one statement is one transaction
            db.execute("BEGIN IMMEDIATE")  # never read-then-write in a deferred one
            if db.execute(statement, values).rowcount != 1:
                return False  # and what was begun is undone, as it is after a failure
            if redact:
                db.execute(REDACT, redact)
            db.execute(ERASE, (*key(after.id), kept))
            db.executemany(APPEND, rows)
            db.execute("COMMIT")
            return True

        done = self._call(work)
        if done and before.key_ref is not None and after.key_ref != before.key_ref:
            with suppress(StoreError):  # the commit stands
                self._call(_write_back)
        return done

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        start = key(after)[1:] if after is not None else ("", "")
        return named(account, self._call(lambda db: db.execute(PAGE, (account, *start, bounded(limit))).fetchall()))

    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        page = (*key(principal), bounded(after), bounded(limit))
        rows = self._call(lambda db: db.execute(HISTORY, page).fetchall())
        return [AuditEvent.from_columns(principal, *row) for row in rows]

    def _call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do *work*, waiting for other processes, undoing what was half done, naming what went wrong."""
        deadline = time.monotonic() + self._timeout
        pause = 0.0005
        while True:
            with self._lock:
                if self._busy:  # a signal handler, in the midst of this thread's own transaction
                    raise StoreContended("this store is in use further up this very call; nothing was changed")
                self._busy = True
                try:
                    if self._connection is None:
                        self._connection = self._opened()
                    return work(self._connection)
                except _FAILURES as error:
                    failure = _translate_error(error)
                finally:
                    self._undo()
                    self._busy = False
            if not isinstance(failure, StoreContended) or time.monotonic() > deadline:
                raise failure
            time.sleep(pause)
            pause = min(2 * pause, 0.01)  # SQLite's own back-off starves writers for up to a second

    def _undo(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except _FAILURES:
                self._connection.close()  # closing rolls back as well
                self._connection = None

    def _opened(self) -> sqlite3.Connection:
        self._create_file()
        self._refuse_foreign()
        how = self._uri("mode=rw")  # a file that is lost meanwhile is not made anew
        db = sqlite3.connect(how, timeout=0, isolation_level=None, check_same_thread=False, uri=True)
        try:
            self._check_schema(db)
            _set_write_ahead_log(db)
            db.execute(f"PRAGMA synchronous = {self._synchronous}")
            db.execute("PRAGMA fullfsync = ON")  # where fsync alone does not reach the disk
            db.execute("PRAGMA secure_delete = ON")  # a key reference that is dropped is overwritten
        except BaseException:
            db.close()
            raise
        return db

    def _create_file(self) -> None:
        if not self._create:
            if not os.path.exists(self._path) or os.path.getsize(self._path) == 0:
                raise StoreUnavailable("the database file is missing or empty")
            return
        try:
            with _creating:  # closing a descriptor drops the locks that SQLite holds on the file in this process
                file = os.open(self._path, os.O_CREAT | os.O_EXCL, 0o600)  # no child inherits it: PEP 446
                try:
                    os.fchmod(file, 0o600)  # whatever the umask
                finally:
                    os.close(file)
            directory = os.open(os.path.dirname(self._path), os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except FileExistsError:
            return
        except OSError as error:
            problem = error.strerror
        else:
            return
        raise StoreUnavailable(f"the database file cannot be created: {problem}")

    def _uri(self, how: str) -> str:
        path = self._path.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
        return f"file:{path}?{how}"

    def _refuse_foreign(self) -> None:
        """Look at the file as it lies, before SQLite recovers or checkpoints what may be another program's."""
        try:
            with closing(sqlite3.connect(self._uri("mode=ro&immutable=1"), uri=True)) as db:
                foreign = _is_foreign(db)
        except _FAILURES:
            return  # damaged, or being created right now: the look under a lock will tell
        if foreign:
            raise StoreCorrupt(FOREIGN)

    def _check_schema(self, db: sqlite3.Connection) -> None:
        """Create the tables in an empty file; refuse a foreign one, unchanged, and a newer one."""
        if _pragma(db, "application_id") != APPLICATION:
            db.execute("BEGIN IMMEDIATE")  # somebody else may be creating them now
            if _is_foreign(db):
                raise StoreCorrupt(FOREIGN)
            if _pragma(db, "application_id") != APPLICATION:
                for statement in (*TABLES, *VIEW):
                    db.execute(statement)
            db.execute("COMMIT")
        version = _pragma(db, "user_version")
        if version > SCHEMA:
            raise StoreTooNew(f"the database has schema {version}; this release knows up to {SCHEMA}")
        if version < 1:
            raise StoreCorrupt("the database has no schema version")
        self._older = version < SCHEMA

    def _migrate(self, db: sqlite3.Connection) -> None:
        """Of an older file, its view, before the first change: reading writes nothing."""
        db.execute("BEGIN IMMEDIATE")
        for statement in VIEW if _pragma(db, "user_version") < SCHEMA else ():
            db.execute(statement)
        db.execute("COMMIT")
        self._older = False


def _write_back(db: sqlite3.Connection) -> None:
    """Empty the log, which still holds the reference of a destroyed key. While others read it, it waits for them."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _is_foreign(db: sqlite3.Connection) -> bool:
    """Neither ours nor empty."""
    application = _pragma(db, "application_id")
    if application in (0, APPLICATION):
        return not application and bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    return True


def _set_write_ahead_log(db: sqlite3.Connection) -> None:
    mode = _pragma(db, "journal_mode = WAL")
    if mode != "wal":
        raise StoreUnavailable(f"SQLite offers journal mode {mode} here: a durable store needs WAL")


def _pragma(db: sqlite3.Connection, text: str) -> Any:
    with closing(db.execute(f"PRAGMA {text}")) as cursor:
        return cursor.fetchone()[0]


_FAILURES: Final = (sqlite3.Error, UnicodeDecodeError)  # SQLite's message may quote a damaged file


def _translate_error(error: sqlite3.Error | UnicodeDecodeError) -> StoreError:
    """Our error for SQLite's; its text is left out, for it may quote what is stored."""
    if isinstance(error, UnicodeDecodeError):
        return StoreCorrupt("this is no sound vmfa database")
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return RecordTampered("a stored record is not text")
    name = error.sqlite_errorname
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreContended("other processes held the database for too long; nothing was changed")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_ERROR:
            return StoreCorrupt(f"this is no sound vmfa database ({name})")
        case _:
            return StoreUnavailable(f"the database cannot be used ({name}); nothing was accepted")


_creating: Final = Lock()  # taken under a store's lock only
_stores: Final[WeakSet[SQLiteStore]] = WeakSet()
_stores_guard: Final = Lock()
_held: Final[list[SQLiteStore]] = []


def _before_fork() -> None:
    _stores_guard.acquire()
    for store in list(_stores):
        store._lock.acquire()  # noqa: SLF001  # our own class; waits for the transaction of another thread
        _held.append(store)
        store.close()


def _after_fork() -> None:
    while _held:
        _held.pop()._lock.release()  # noqa: SLF001  # our own class
    _stores_guard.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
