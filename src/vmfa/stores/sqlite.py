"""The embedded store: one SQLite file, durable at every commit, for the processes of one machine.

Each process has one connection. The connection is closed before a fork and opened again on the
next use, on both sides: SQLite's bookkeeping of locks does not survive a fork.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from weakref import ref

from ..errors import (
    ClockWentBack,
    InvalidValue,
    OutcomeUnknown,
    RecordTampered,
    SchemaUntrusted,
    StoreContended,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
    VmfaError,
)
from ..events import AuditEvent
from ..models import Principal, PrincipalId
from ..record import from_columns
from ._lock import is_owned, new_lock, release, run_locked
from ._sql import (
    bounded,
    change,
    check_written,
    event_row,
    first_replaced,
    key,
    read_events,
    read_principals,
)
from .base import WaitObserver, ignore_wait

__all__ = ["SQLiteStore"]

T = TypeVar("T")

APPLICATION_ID: Final = 0x766D6661  # "vmfa", in the header of the file
SCHEMA: Final = 1
PRINCIPAL: Final = """CREATE TABLE principal (
    account TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    revision INTEGER NOT NULL, state TEXT NOT NULL, tag TEXT NOT NULL, audit_tag TEXT NOT NULL,
    PRIMARY KEY (account, kind, name))"""
EVENT: Final = """CREATE TABLE event (
    account TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    number INTEGER NOT NULL, document TEXT, salt TEXT, content_digest TEXT NOT NULL,
    digest TEXT NOT NULL, redactable INTEGER NOT NULL, audit_tag TEXT NOT NULL,
    PRIMARY KEY (account, kind, name, number)) WITHOUT ROWID"""
VIEW: Final = """CREATE VIEW device AS SELECT account, kind, name,
    json_extract(state, '$[3][0]') AS serial, json_extract(state, '$[3][3]') AS sync,
    json_extract(state, '$[3][4]') AS disabled, json_extract(state, '$[3][6][0]') AS failures,
    json_extract(state, '$[3][6][2]') AS known_failures,
    json_extract(state, '$[3][6][4]') AS budget, json_extract(state, '$[3][2]') AS enrolled_at
    FROM principal WHERE json_extract(state, '$[3]') IS NOT NULL"""
CREATE: Final = (
    PRINCIPAL, EVENT, VIEW,
    f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {SCHEMA}",
)
LOAD: Final = (
    "SELECT revision, state, tag, audit_tag FROM principal"
    " WHERE account = ? AND kind = ? AND name = ?"
)
INSERT: Final = (
    "INSERT INTO principal (account, kind, name, revision, state, tag, audit_tag)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
UPDATE: Final = (
    "UPDATE principal SET revision = ?, state = ?, tag = ?, audit_tag = ?"
    " WHERE account = ? AND kind = ? AND name = ? AND revision = ? AND tag = ?"
)
DELETE: Final = (
    "DELETE FROM principal"
    " WHERE account = ? AND kind = ? AND name = ? AND revision = ? AND tag = ?"
)
WRITTEN: Final = "SELECT revision, tag FROM principal WHERE account = ? AND kind = ? AND name = ?"
APPEND: Final = (
    "INSERT INTO event (account, kind, name, number, document, salt, content_digest, digest,"
    " redactable, audit_tag) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
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
    "SELECT kind, name FROM principal"
    " WHERE account = ? AND (kind, name) > (?, ?) ORDER BY kind, name LIMIT ?"
)
ORPHANS: Final = (
    "SELECT DISTINCT kind, name FROM event WHERE account = ? AND (kind, name) > (?, ?)"
    " AND NOT EXISTS (SELECT 1 FROM principal WHERE principal.account = event.account"
    " AND principal.kind = event.kind AND principal.name = event.name)"
    " ORDER BY kind, name LIMIT ?"
)
ACCOUNTS: Final = (
    "SELECT DISTINCT account FROM principal WHERE account > ? ORDER BY account LIMIT ?"
)

FOREIGN: Final = "this is the database of another program"
CONTENDED: Final = "the database was in use for too long; nothing was changed"
NESTED: Final = (
    "this store is in the middle of another call of the same thread; nothing was changed"
)
INTERRUPTED: Final = (
    "vmfa: this exception interrupted a commit after it was sent: the change may have been stored"
)
ERASE_WAIT: Final = 1.0  # seconds that a removal waits for readers before its text is overwritten
MAX_MARKS: Final = 10_000  # principals whose last commit a process remembers


class SQLiteStore:
    """Keep records in one file, which is created on first use with mode 0600.

    :param path: the file, on a local disk: SQLite's locks do not work on network file systems.
    :param create: False refuses a missing or empty file. Use False in production: a new file is
        a database in which no user has a device.
    :param timeout: seconds to wait for other threads and processes.
    :param unsafe_not_durable: allow a power cut to take back stored changes, and so to make used
        codes valid again.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, create: bool = True, timeout: float = 10.0,
        unsafe_not_durable: bool = False,
    ) -> None:
        name = os.fsdecode(path)
        if name in ("", ":memory:") or "\0" in name:
            raise InvalidValue(
                "path must be the name of a file; to keep records in memory, use MemoryStore"
            )
        self._create = create
        self._path = os.path.abspath(name)  # stays valid if the process changes its directory
        self._log_path = self._path + "-wal"
        self._timeout = timeout
        self.on_wait: WaitObserver = ignore_wait
        self._synchronous = "NORMAL" if unsafe_not_durable else "FULL"
        self._lock = new_lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0  # that opened the connection
        self._usable = False  # False while the connection is in use or half open
        self._committing = False  # a COMMIT was sent and not undone
        self._erase = False  # removed text may still be in the log
        self._schema_version = 0  # SQLite's counter of schema changes, when it was last checked
        self._file = self._log = (0, 0, 0)  # device, inode and number of names, when opened
        self._lost = ""  # why the file that was opened is no longer the file
        self._marks: dict[PrincipalId, tuple[int, int]] = {}  # revision and time of commits
        run_locked(_stores_lock, self._register)

    def _register(self) -> None:
        for number, reference in list(_stores.items()):
            if reference() is None:
                _stores.pop(number, None)
        _stores[id(self)] = ref(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. The next call opens it again, as a new process would."""
        run_locked(self._lock, self._reset)

    def _reset(self) -> None:
        self._lost = ""
        self._marks = {}
        self._disconnect()

    def health(
        self, now: float | None = None, *, tolerance: int = 30
    ) -> tuple[VmfaError, ...]:
        """Return what is wrong with the database, as errors that are not raised.

        :param now: the Unix time of this machine, default ``time.time()``.
        :param tolerance: seconds that the clock may be behind the last change of the file. A
            clock that is ahead cannot be noticed here.
        :returns: an empty tuple if nothing is wrong.
        """
        moment = time.time() if now is None else now

        def check(db: sqlite3.Connection) -> float:
            self._check_schema(db)
            db.execute("SELECT 1 FROM principal LIMIT 1").fetchall()
            return max(os.stat(name).st_mtime for name in (self._path, self._log_path))

        try:
            changed_at = self._call(check)
        except StoreError as problem:
            return (problem.with_traceback(None),)
        behind = round(changed_at - moment)
        if behind > tolerance:
            return (ClockWentBack(
                f"this machine's clock is {behind} seconds behind the last change of the database"
            ),)
        return ()

    def load(self, principal: PrincipalId) -> Principal:
        """Return the newest committed record of *principal*.

        :raises StoreUnavailable: the record is older than one that this process has stored.
        :raises StoreError: the record cannot be read.
        """
        rows = self._read(LOAD, key(principal))
        record = Principal(id=principal)
        if rows:
            record = from_columns(principal, *rows.pop())  # popped: no frame keeps the row
        self._check_not_restored(record)
        return record

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        """Replace *before* by *after* and append *events*, durably, in one transaction.

        Text that is removed from the database is overwritten in its files before this returns,
        unless another process reads the database for longer than a second.

        :returns: False, with nothing written, if the stored record is no longer *before*.
        :raises OutcomeUnknown: the disk failed during the commit.
        :raises StoreError: nothing was stored.
        """
        statement, values = change(before, after, INSERT, UPDATE, DELETE)
        rows = [event_row(after.id, event) for event in events]
        keep = first_replaced(events, after)
        key_is_removed = before.key_ref is not None and after.key_ref != before.key_ref
        sent = False

        def work(db: sqlite3.Connection) -> bool:
            nonlocal sent
            self._check_file(self._log_path, self._log)  # where the commit goes
            db.execute("BEGIN IMMEDIATE")  # a deferred transaction could not be upgraded
            ((schema_version,),) = db.execute("PRAGMA schema_version").fetchall()
            if schema_version != self._schema_version:
                self._check_schema(db)
            if db.execute(statement, values).rowcount != 1:
                return False
            if after.pruned > before.pruned:
                db.execute(REDACT, (*key(after.id), before.pruned, after.pruned))
                self._erase = True
            if rows or after.revision == 0:
                erased = db.execute(ERASE, (*key(after.id), keep)).rowcount
                db.executemany(APPEND, rows)
                self._erase = self._erase or erased > 0
            self._erase = self._erase or key_is_removed or after.revision == 0
            check_written(db.execute(WRITTEN, key(after.id)).fetchall(), after)
            sent = self._committing = True
            db.execute("COMMIT")
            self._remember(after)
            return True

        try:
            done = self._call(work)
            if done and self._erase:
                with suppress(StoreError):  # the commit stands; the next commit tries again
                    self._call(self._overwrite, timeout=min(self._timeout, ERASE_WAIT))
            return done
        except BaseException as error:
            if sent and not isinstance(error, VmfaError):
                error.add_note(INTERRUPTED)
            raise

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals of *account*."""
        start = key(after)[1:] if after is not None else ("", "")
        return read_principals(account, self._read(PAGE, (account, *start, bounded(limit))))

    def orphans(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the principals of *account* that have events and no record."""
        start = key(after)[1:] if after is not None else ("", "")
        return read_principals(account, self._read(ORPHANS, (account, *start, bounded(limit))))

    def accounts(self, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return a page of the accounts in which a record is stored."""
        return [account for (account,) in self._read(ACCOUNTS, (after, bounded(limit)))]

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events of *principal*."""
        page = (*key(principal), bounded(after), bounded(limit))
        return read_events(principal, self._read(HISTORY, page))

    # One call

    def _call(
        self, work: Callable[[sqlite3.Connection], T], timeout: float | None = None
    ) -> T:
        """Call *work* with the connection; wait for others, and undo what was not committed."""
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        pause = 0.0005
        while True:
            if is_owned(self._lock):  # a signal handler, in the middle of a call of this thread
                raise StoreContended(NESTED)
            try:
                try:
                    return self._attempt(work, deadline)
                except _FAILURES as error:
                    failure = self._translate_error(error)
                finally:
                    self._leave()
            finally:
                self._leave()  # again, in case an exception interrupted the first attempt
            if not isinstance(failure, StoreContended) or time.monotonic() > deadline:
                raise failure
            self.on_wait("retry", pause)
            time.sleep(pause)
            pause = min(2 * pause, 0.01)  # SQLite's own back-off starves writers

    def _attempt(self, work: Callable[[sqlite3.Connection], T], deadline: float) -> T:
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise StoreContended(CONTENDED)
        if not self._usable:
            self._disconnect()  # again, in case an exception interrupted the first attempt
        self._usable = False
        self._committing = False
        if self._connection is None:
            self._open()
        elif self._process != os.getpid():
            raise StoreUnavailable(
                "this store was in use when the process forked: open it again in the child"
            )
        self._check_file(self._path, self._file)
        assert self._connection is not None  # noqa: S101  # for the type checker
        result = work(self._connection)
        self._usable = True
        return result

    def _leave(self) -> None:
        """Leave no transaction and no lock, whatever was interrupted."""
        if not is_owned(self._lock):
            return
        if self._connection is not None and self._process == os.getpid():
            if self._usable and self._connection.in_transaction:
                self._usable = False
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                    self._usable = True
            if not self._usable:
                self._disconnect()  # closing rolls back, and ends statements that are half read
        self._lock.release()

    def _disconnect(self) -> None:
        self._usable = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        return self._call(lambda db: db.execute(statement, values).fetchall())

    def _overwrite(self, db: sqlite3.Connection) -> None:
        """Empty the log, which still contains removed text. Readers have to finish first."""
        if _pragma(db, "wal_checkpoint(TRUNCATE)") != 0:
            raise StoreContended(CONTENDED)
        self._erase = False

    def _translate_error(self, error: sqlite3.Error | UnicodeDecodeError) -> StoreError:
        """Return our error for SQLite's, without its text, which may quote what is stored."""
        self._usable = False
        if isinstance(error, UnicodeDecodeError):  # SQLite's message quotes a damaged file
            return StoreCorrupt("the database is damaged")
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            if isinstance(error, sqlite3.OperationalError):  # "Could not decode to UTF-8 column"
                return RecordTampered("a stored record is not text")
            return StoreUnavailable(
                f"the database cannot be used ({type(error).__name__}); nothing was changed"
            )
        name = error.sqlite_errorname
        match code & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                self._usable = self._schema_version != 0
                return StoreContended(CONTENDED)
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return StoreCorrupt(f"the database is damaged ({name})")
            case sqlite3.SQLITE_ERROR:  # our statements are right: a table or a column is missing
                return SchemaUntrusted(
                    f"the tables are not as vmfa created them ({name}); nothing was changed"
                )
            case sqlite3.SQLITE_IOERR if self._committing:
                return OutcomeUnknown(
                    f"the disk failed during the commit ({name}): the change may have been stored"
                )
            case _:
                return StoreUnavailable(
                    f"the database cannot be used ({name}); nothing was changed"
                )

    # The file

    def _open(self) -> None:
        if self._lost:
            raise StoreUnavailable(self._lost)
        self._schema_version = 0
        self._create_file()
        self._refuse_foreign()
        file = _identity(self._path)
        self._process = os.getpid()
        self._connection = db = sqlite3.connect(
            self._uri("mode=rw"),  # a file that was removed meanwhile is not created again
            timeout=0, isolation_level=None, check_same_thread=False, uri=True,
        )
        if file[2] > 1:
            raise StoreUnavailable(
                "the database file has a second name (a hard link): programs that use different"
                " names of one SQLite file damage it; remove the other name"
            )
        self._create_schema(db)
        journal = _pragma(db, "journal_mode = WAL")
        if journal != "wal":
            raise StoreUnavailable(
                f"SQLite offers journal mode {journal} here: a durable store needs WAL"
            )
        for setting in (
            f"synchronous = {self._synchronous}",
            "fullfsync = ON",  # where fsync alone does not reach the disk
            "secure_delete = ON",  # removed text is overwritten
            "trusted_schema = OFF",
            "foreign_keys = OFF",
        ):
            db.execute(f"PRAGMA {setting}").fetchall()
        self._check_schema(db)
        self._file, self._log = file, _identity(self._log_path)

    def _check_file(self, name: str, opened: tuple[int, int, int]) -> None:
        """Check that the file of this name is still the one that was opened."""
        try:
            status = os.stat(name)
            if (status.st_dev, status.st_ino, status.st_nlink) == opened:
                return
        except OSError:
            pass
        self._lost = (
            "the database file was removed, replaced or linked while it was in use: stop every"
            " process that uses it, make sure that the file is the newest one, and restart"
        )
        raise StoreUnavailable(self._lost)

    def _create_file(self) -> None:
        if not self._create:
            if not os.path.exists(self._path) or os.path.getsize(self._path) == 0:
                raise StoreUnavailable("the database file is missing or empty")
            return
        try:
            # One at a time: closing a descriptor drops SQLite's locks on the file in this process.
            run_locked(_creating_lock, self._create_empty_file)
            return
        except FileExistsError:
            return
        except OSError as error:
            problem = error.strerror
        raise StoreUnavailable(f"the database file cannot be created: {problem}")

    def _create_empty_file(self) -> None:
        file = os.open(self._path, os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(file, 0o600)  # whatever the umask
        finally:
            os.close(file)
        if os.name == "posix":
            directory = os.open(os.path.dirname(self._path), os.O_RDONLY)
            try:
                os.fsync(directory)  # the name of the file survives a power cut
            finally:
                os.close(directory)

    def _uri(self, query: str) -> str:
        path = self._path.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
        return f"file:{path}?{query}"

    # The schema

    def _refuse_foreign(self) -> None:
        """Read the file without changing it, before SQLite recovers another program's log."""
        try:
            with closing(sqlite3.connect(self._uri("mode=ro&immutable=1"), uri=True)) as db:
                foreign = _is_foreign(db)
        except _FAILURES:
            return  # damaged, or being created now: the check in a transaction decides
        if foreign:
            raise SchemaUntrusted(FOREIGN)

    def _create_schema(self, db: sqlite3.Connection) -> None:
        """Create the tables in an empty file."""
        if _pragma(db, "application_id") == APPLICATION_ID:
            return
        db.execute("BEGIN IMMEDIATE")  # another process may be creating them now
        if _is_foreign(db):
            raise SchemaUntrusted(FOREIGN)
        if _pragma(db, "application_id") != APPLICATION_ID:
            for statement in CREATE:
                db.execute(statement).fetchall()
        db.execute("COMMIT")

    def _check_schema(self, db: sqlite3.Connection) -> None:
        """Check that the file has the tables of this release and nothing that changes a statement.

        :raises StoreTooNew: a newer release created the tables.
        :raises SchemaUntrusted: another object was added, or one of ours was changed.
        """
        schema_version = _pragma(db, "schema_version")
        version = _pragma(db, "user_version")
        if version > SCHEMA:
            raise StoreTooNew(
                f"the database has schema {version}; this release reads up to {SCHEMA}"
            )
        missing = {PRINCIPAL: "table principal", EVENT: "table event"}
        for type_, name, table, sql in db.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master"
        ).fetchall():
            if sql in missing:
                del missing[sql]
            elif not _is_harmless(db, type_, name, table, sql):
                raise SchemaUntrusted(
                    f"the database has a {type_} that vmfa did not create: {name!r}; remove it"
                )
        if missing or version != SCHEMA or _pragma(db, "encoding") != "UTF-8":
            what = ", ".join(missing.values()) or "the schema version or the encoding"
            raise SchemaUntrusted(f"{what} is missing or is not as vmfa created it")
        self._schema_version = schema_version

    # Restored files

    def _remember(self, after: Principal) -> None:
        self._marks.pop(after.id, None)
        if after.revision:
            self._marks[after.id] = (after.revision, after.seen_at)
            if len(self._marks) > MAX_MARKS:
                del self._marks[next(iter(self._marks))]

    def _check_not_restored(self, record: Principal) -> None:
        """Check that the record is not older than one that this process has stored.

        A principal that was forgotten and enrolled again begins at revision 1, but later in time.
        """
        revision, seen_at = self._marks.get(record.id, (0, 0))
        if 0 < record.revision < revision and record.seen_at < seen_at:
            raise StoreUnavailable(
                "the stored record is older than one that this process has stored: the database "
                "was restored from a backup. Treat every code up to now as used, then restart"
            )


def _identity(name: str) -> tuple[int, int, int]:
    """Return the device and the inode of a file, and how many names it has."""
    try:
        status = os.stat(name)
        return status.st_dev, status.st_ino, status.st_nlink
    except OSError as error:
        problem = error.strerror
    raise StoreUnavailable(f"the database file cannot be opened: {problem}")


def _is_harmless(db: sqlite3.Connection, type_: str, name: str, table: str, sql: object) -> bool:
    """Return whether an object that is not one of our tables leaves our statements as they are.

    SQLite goes by the text of an object, not by its type.
    """
    text = str(sql)
    if type_ == "view":
        return text.startswith("CREATE VIEW ") and name not in ("principal", "event")
    if type_ == "table":
        return text.startswith("CREATE TABLE sqlite_stat")  # of ANALYZE
    if type_ != "index" or table not in ("principal", "event"):
        return False
    if sql is None:  # the index of a primary key
        return True
    if not text.startswith("CREATE INDEX "):
        return False
    listed = {row[1]: row[2:5] for row in db.execute(f"PRAGMA index_list({table})").fetchall()}
    plain = listed.get(name) == (0, "c", 0)  # not unique, by CREATE INDEX, not partial
    columns = db.execute("SELECT cid, coll FROM pragma_index_xinfo(?)", (name,)).fetchall()
    return plain and all(cid != -2 and coll == "BINARY" for cid, coll in columns)


def _is_foreign(db: sqlite3.Connection) -> bool:
    """Return whether the file is neither ours nor empty."""
    application_id = _pragma(db, "application_id")
    if application_id == 0:
        return bool(db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall())
    return bool(application_id != APPLICATION_ID)


def _pragma(db: sqlite3.Connection, text: str) -> Any:
    return db.execute(f"PRAGMA {text}").fetchall()[0][0]


_FAILURES: Final = (sqlite3.Error, UnicodeDecodeError)

# Forks

_creating_lock: Final = new_lock()
_stores_lock: Final = new_lock()
_stores: Final[dict[int, ref[SQLiteStore]]] = {}
_forking: Final[list[SQLiteStore]] = []  # whose locks are owned until the fork is done


def _before_fork() -> None:
    _stores_lock.acquire()  # no store is created meanwhile
    for reference in list(_stores.values()):
        store = reference()
        if store is None or is_owned(store._lock):  # noqa: SLF001  # our own class
            continue  # owned: a signal handler forks in the middle of a call
        _forking.append(store)
        store._lock.acquire()  # noqa: SLF001  # waits for the calls of other threads
        store._disconnect()  # noqa: SLF001


def _after_fork() -> None:
    for store in _forking:
        release(store._lock)  # noqa: SLF001  # our own class
    _forking.clear()
    release(_stores_lock)


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows cannot fork
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
    # Again, in case an exception from a signal handler interrupts the first attempt.
    os.register_at_fork(after_in_parent=_after_fork, after_in_child=_after_fork)
