"""The store for many machines: PostgreSQL over a pool of psycopg connections, in sync and in async code.

A verification is one SELECT and one compare-and-set UPDATE, each its own transaction. What is said to the database is
written once, as scripts of statements, and a call is all that does not wait; ``postgres_async`` differs from the store
at the end in the lines that wait.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any, Final, Generic, LiteralString, Self, TypeVar

from ..errors import (
    ClockWentBack,
    InvalidType,
    InvalidValue,
    MissingExtra,
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
from ._sql import bounded, change, key, named

try:
    import psycopg
    import psycopg_pool
    from psycopg.rows import tuple_row
except ImportError:
    raise MissingExtra("PostgreSQL needs psycopg 3 and its pool: pip install 'vmfa[postgres]'") from None

# isort: split
from ._pool import OwnConnections

T = TypeVar("T")

SCHEMA: Final = 1
TABLES: Final[tuple[LiteralString, ...]] = (
    """CREATE TABLE IF NOT EXISTS vmfa_schema (version INTEGER PRIMARY KEY)""",
    """CREATE TABLE IF NOT EXISTS vmfa_principal (
    account TEXT COLLATE "C" NOT NULL, kind TEXT COLLATE "C" NOT NULL, name TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL, state TEXT NOT NULL, tag TEXT NOT NULL, audit_tag TEXT NOT NULL,
    PRIMARY KEY (account, kind, name))""",
    """CREATE TABLE IF NOT EXISTS vmfa_event (
    account TEXT COLLATE "C" NOT NULL, kind TEXT COLLATE "C" NOT NULL, name TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL, document TEXT, salt TEXT, content_digest TEXT NOT NULL, digest TEXT NOT NULL,
        redactable SMALLINT NOT NULL, audit_tag TEXT NOT NULL,
    PRIMARY KEY (account, kind, name, number))""",
    """CREATE OR REPLACE VIEW vmfa_device AS SELECT account, kind, name,
    state::jsonb #>> '{3,0}' AS serial, state::jsonb #>> '{3,3}' AS sync,
    (state::jsonb #>> '{3,4}')::boolean AS disabled,
    (state::jsonb #>> '{3,6,0}')::integer AS failures,
    (state::jsonb #>> '{3,6,2}')::integer AS known_failures,
    (state::jsonb #>> '{3,6,4}')::integer AS budget,
    (state::jsonb #>> '{3,2}')::bigint AS enrolled_at
    FROM vmfa_principal WHERE state::jsonb #>> '{3}' IS NOT NULL""",
    """INSERT INTO vmfa_schema (version) VALUES (1) ON CONFLICT DO NOTHING""",
)
PROBE: Final = """SELECT max(version), current_setting('synchronous_commit', true), current_setting('fsync', true),
    current_setting('transaction_read_only', true), current_setting('server_encoding', true),
    current_setting('statement_timeout', true), extract(epoch FROM clock_timestamp())::float8 FROM vmfa_schema"""
SET_TIMEOUT: Final = "SELECT set_config('statement_timeout', %s, false)"
LOAD: Final = "SELECT revision, state, tag, audit_tag FROM vmfa_principal WHERE account = %s AND kind = %s AND name = %s"
INSERT: Final = """INSERT INTO vmfa_principal (account, kind, name, revision, state, tag, audit_tag)
    VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""
UPDATE: Final = """UPDATE vmfa_principal SET revision = %s, state = %s, tag = %s, audit_tag = %s
    WHERE account = %s AND kind = %s AND name = %s AND revision = %s AND tag = %s"""
DELETE: Final = """DELETE FROM vmfa_principal
    WHERE account = %s AND kind = %s AND name = %s AND revision = %s AND tag = %s"""
APPEND: Final = """INSERT INTO vmfa_event (account, kind, name, number, document, salt, content_digest, digest, redactable, audit_tag)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
REDACT: Final = """UPDATE vmfa_event SET document = NULL, salt = NULL
    WHERE account = %s AND kind = %s AND name = %s AND number > %s AND number <= %s AND redactable = 1"""
ERASE: Final = """DELETE FROM vmfa_event WHERE account = %s AND kind = %s AND name = %s AND number > %s"""
HISTORY: Final = """SELECT number, document, salt, content_digest, digest, redactable, audit_tag FROM vmfa_event
    WHERE account = %s AND kind = %s AND name = %s AND number > %s ORDER BY number LIMIT %s"""
PAGE: Final = """SELECT kind, name FROM vmfa_principal
    WHERE account = %s AND (kind, name) > (%s, %s) ORDER BY kind, name LIMIT %s"""


@dataclass(frozen=True, slots=True)
class Step:
    """One statement. ``final``: once it was sent the change may be there, whatever comes back."""

    sql: LiteralString
    values: tuple[Any, ...] = field(default=(), repr=False)
    final: bool = False


Answer = tuple[int, list[tuple[Any, ...]]]  # how many rows were changed or found, and those found
Script = Generator[Step, Answer, T]
BEGIN: Final = Step("BEGIN")
COMMIT: Final = Step("COMMIT", final=True)
ROLLBACK: Final = Step("ROLLBACK")


def schema_sql() -> str:
    """What ``create_schema`` does, for those whose database administrator does it."""
    return "\n".join(f"{statement};" for statement in ("BEGIN", *TABLES, "COMMIT")) + "\n"


def load_script(principal: PrincipalId) -> Script[Principal]:
    _, rows = yield Step(LOAD, key(principal))
    return from_columns(principal, *rows.pop()) if rows else Principal(id=principal)  # popped: no frame keeps it


def commit_script(before: Principal, after: Principal, events: Sequence[AuditEvent]) -> Script[bool]:
    statement, values = change(before, after, INSERT, UPDATE, DELETE)
    if not events and after.revision:
        changed, _ = yield Step(statement, values, final=True)  # one statement is one transaction
        return changed == 1
    yield BEGIN
    changed, _ = yield Step(statement, values)
    if changed != 1:
        yield ROLLBACK
        return False
    if after.pruned > before.pruned:
        yield Step(REDACT, (*key(after.id), before.pruned, after.pruned))
    yield Step(ERASE, (*key(after.id), events[0].number - 1 if events else 0))  # what lies behind gives way
    for event in events:
        yield Step(APPEND, (*key(after.id), *event.columns()))
    yield COMMIT
    return True


def principals_script(account: str, after: PrincipalId | None, limit: int) -> Script[Sequence[PrincipalId]]:
    start = key(after)[1:] if after is not None else ("", "")
    _, rows = yield Step(PAGE, (account, *start, bounded(limit)))
    return named(account, rows)


def history_script(principal: PrincipalId, after: int, limit: int) -> Script[Sequence[AuditEvent]]:
    _, rows = yield Step(HISTORY, (*key(principal), bounded(after), bounded(limit)))
    return [AuditEvent.from_columns(principal, *row) for row in rows]


def create_script() -> Script[None]:
    yield BEGIN
    for statement in TABLES:
        yield Step(statement)
    _, [(version,)] = yield Step("SELECT max(version) FROM vmfa_schema")
    if version > SCHEMA:
        raise _too_new(version)
    yield COMMIT


def _faults(look: tuple[Any, ...], unsafe_not_durable: bool) -> Iterator[StoreError]:
    """What is wrong with a database whose answer to PROBE this is."""
    version, synchronous, fsync, read_only, encoding, *_ = look
    version = version or 0  # no row
    if version < SCHEMA:
        yield StoreUnavailable(f"the database has schema {version}, this release needs {SCHEMA}: create_schema()")
    elif version > SCHEMA:
        yield _too_new(version)
    if "off" in (synchronous, fsync) and not unsafe_not_durable:
        yield StoreUnavailable("synchronous_commit or fsync is off: a crash would take back answers that were given")
    if read_only == "on":
        yield StoreUnavailable("the session is read-only: a replica's answers are old, and nothing can be counted")
    if encoding not in (None, "UTF8"):
        yield StoreUnavailable(f"the database is encoded in {encoding}: names need UTF8")


def _too_new(version: int) -> StoreTooNew:
    return StoreTooNew(f"the database has schema {version}; this release knows {SCHEMA}")


_UNDONE: Final = {"40001", "40P01"}  # serialization failure, deadlock: the server says that nothing was done
_WAITED: Final = {"55P03", "57014"}  # a lock or statement timeout of the operator's
_RACED: Final = {"23505", "42P07", "42710", "XX000"}  # somebody else was creating the same tables
_UNSOUND: Final = ("22", "23", "42", "3F", "XX")
_NOT_HAD: Final = (psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed, psycopg_pool.TooManyRequests)


def _translate_error(error: psycopg.Error, *, final: bool, creating: bool, had: bool = True) -> tuple[StoreError, bool]:
    """Our error for psycopg's, and whether to try again. Its text is left out, for it may quote what is stored."""
    state, name = error.sqlstate, type(error).__name__
    if state in _UNDONE or (creating and state in _RACED):
        return StoreContended(f"others kept changing the same rows ({name}); nothing was changed"), True
    if state in _WAITED:
        return StoreContended(f"the database gave up waiting ({name}); nothing was changed"), False
    if not had:
        waited = isinstance(error, _NOT_HAD)
        return StoreUnavailable(f"no connection was to be had ({name}); nothing was changed"), not waited
    if not state or state.startswith(("08", "57P", "40003")):
        if final:
            return StoreUnavailable(
                f"the connection was lost before the answer ({name}): the change may have been committed; "
                "nothing was accepted, and a code that was sent may be spent"
            ), False
        return StoreUnavailable(f"the connection was lost ({name}); nothing was changed"), True
    if state == "42P01":
        return StoreCorrupt("there are no vmfa tables here: create_schema() makes them"), False
    if state.startswith(_UNSOUND) and state != "42501":
        return StoreCorrupt(f"this is no sound vmfa database ({name})"), False
    return StoreUnavailable(f"the database cannot be used ({name}); nothing was accepted"), False


class Call(Generic[T]):
    """One call of a store: all of it that does not wait."""

    def __init__(self, store: Postgres, script: Callable[[], Script[T]], *, look: bool = True) -> None:
        self._store = store
        self._script = script
        self._look = look
        self._until = time.monotonic() + store.timeout
        self._pause = 0.0005
        self._had = False
        self._final = False

    @property
    def left(self) -> float:
        """How many seconds there are left to wait for a connection."""
        return max(0.001, self._until - time.monotonic())

    def begin(self, connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
        """Start, from the beginning, on this connection. Nothing was sent yet, so a dead one does no harm."""
        self._had, self._final = True, False
        if not connection.autocommit:
            raise InvalidValue("a store's connections commit by themselves: ConnectionPool(..., "
                               "kwargs={'autocommit': True}); to use a transaction of your own, see Operations")
        if connection.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            raise InvalidValue("this connection is in somebody's transaction; to use your own, see Operations")
        for _ in range(2):  # the first reads a farewell, the second finds the end
            connection.pgconn.consume_input()
        self.cursors: dict[str, Any] = self._store.known.get(connection, {})
        self._steps = self._whole(connection)

    def _whole(self, connection: object) -> Script[T]:
        if self._look and connection not in self._store.known:
            _, [look] = yield Step(PROBE)
            for fault in _faults(look, self._store.unsafe_not_durable):
                raise fault
            if look[-2] == "0" and isinstance(self._store.source, str):  # on our own connections no lock waits for ever
                yield Step(SET_TIMEOUT, (str(ceil(1000 * self._store.timeout)),))
            self._store.know(connection, self.cursors)
        return (yield from self._script())

    def next(self, answer: Answer | None) -> Step | None:
        """The next statement; None when ``value`` is there."""
        try:
            step = self._steps.send(answer)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration as stop:
            self.value: T = stop.value
            return None
        self._final = step.final
        return step

    def failed(self, error: psycopg.Error) -> StoreError | None:
        """What to raise; None: nothing was done, so wait for ``pause`` and try again."""
        creating = self._script is create_script
        failure, again = _translate_error(error, final=self._final, creating=creating, had=self._had)
        self._had = False
        return None if again and time.monotonic() < self._until else failure

    def pause(self) -> float:
        self._pause = min(2 * self._pause, 0.1)
        return self._pause


class Postgres:
    """What the two stores share."""

    def __init__(self, source: Any, timeout: float, unsafe_not_durable: bool) -> None:
        if not isinstance(source, str) and not callable(getattr(source, "getconn", None)):
            raise InvalidType("a PostgreSQL store is given a connection pool or a connection string")
        self.timeout = timeout
        self.unsafe_not_durable = unsafe_not_durable
        self.known: dict[Any, dict[str, Any]] = {}  # the connections that were looked over, and their cursors
        self.source = source
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # a connection string may hold a password

    def given(self) -> Any:
        if self._process != os.getpid():
            raise StoreUnavailable("the pool was opened before a fork: give each process its own")
        return self.source

    def know(self, connection: Any, cursors: dict[str, Any]) -> None:
        """*connection* is fit. Its cursors are kept: one that says the same again does half the work."""
        for other in list(self.known):
            if other.closed:
                self.known.pop(other, None)
        self.known[connection] = cursors

    def settings(self) -> dict[str, Any]:
        """Of the store's own connections, beyond the connection string: no wait for the network is without an end."""
        wait = ceil(self.timeout)
        ours = {"connect_timeout": wait, "tcp_user_timeout": 1000 * wait, "application_name": "vmfa"}
        try:
            theirs = psycopg.conninfo.conninfo_to_dict(self.source)
        except psycopg.Error:
            theirs = None
        if theirs is None:
            raise InvalidValue("this is no connection string of PostgreSQL")
        return {**ours, **theirs, "autocommit": True}

    def problems(self, now: float, tolerance: int) -> Script[tuple[VmfaError, ...]]:
        _, [look] = yield Step(PROBE)
        found: list[VmfaError] = list(_faults(look, self.unsafe_not_durable))
        off = round(now - look[-1])
        if abs(off) > tolerance:
            found.append(ClockWentBack(f"this machine's clock is {abs(off)} seconds "
                                       f"{'behind' if off < 0 else 'ahead of'} the database's"))
        return tuple(found)


class PostgresStore(Postgres):
    """A store in PostgreSQL, for threads, processes and machines. ``create_schema()`` once, before its first use.

    :param source: a ``psycopg_pool.ConnectionPool`` of autocommit connections, or a connection string, over which
        each process then opens up to 8 connections.
    :param timeout: seconds to wait for a connection, and to try again what is known not to have been done.
    :param unsafe_not_durable: a crash of the server may then take back answers that were given, and replay codes.
    """

    def __init__(
        self, source: str | psycopg_pool.ConnectionPool[Any], *, timeout: float = 10.0, unsafe_not_durable: bool = False
    ) -> None:
        super().__init__(source, timeout, unsafe_not_durable)
        self._own: dict[int, OwnConnections] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store's own connections in this process; the next use opens others. A given pool stays open."""
        own = self._own.pop(os.getpid(), None)
        if own is not None:
            own.close()

    def create_schema(self) -> None:
        """Create the tables, or bring them up to this release. Any number of processes may do so at once."""
        self._call(Call(self, create_script, look=False))

    def health(self, now: float | None = None, *, tolerance: int = 30) -> tuple[VmfaError, ...]:
        """What is wrong, as errors that are not raised; empty: nothing. *now* (Unix time) is this machine's clock,
        which may be *tolerance* seconds off the database's.
        """
        moment = time.time() if now is None else now
        try:
            return self._call(Call(self, partial(self.problems, moment, tolerance), look=False))
        except StoreError as problem:
            return (problem.with_traceback(None),)

    def load(self, principal: PrincipalId) -> Principal:
        return self._call(Call(self, partial(load_script, principal)))

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        return self._call(Call(self, partial(commit_script, before, after, events)))

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        return self._call(Call(self, partial(principals_script, account, after, limit)))

    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        return self._call(Call(self, partial(history_script, principal, after, limit)))

    def _call(self, call: Call[T]) -> T:
        while True:
            try:
                pool = self._pool()
                connection = pool.getconn(call.left)
                try:
                    call.begin(connection)
                    step = call.next(None)
                    while step is not None:
                        cursor = call.cursors.get(step.sql)
                        if cursor is None:
                            cursor = call.cursors[step.sql] = psycopg.Cursor(connection, row_factory=tuple_row)
                        cursor.execute(step.sql, step.values)
                        step = call.next((cursor.rowcount, [] if cursor.rownumber is None else cursor.fetchall()))
                finally:
                    pool.putconn(connection)  # which rolls back what is unfinished
            except psycopg.Error as error:
                failure = call.failed(error)
            else:
                return call.value
            if failure is not None:
                raise failure
            time.sleep(call.pause())

    def _pool(self) -> psycopg_pool.ConnectionPool[Any] | OwnConnections:
        if not isinstance(self.source, str):
            given: psycopg_pool.ConnectionPool[Any] = self.given()
            return given
        own = self._own.get(os.getpid())  # never a connection from before a fork
        if own is None:
            own = self._own.setdefault(os.getpid(), OwnConnections(self.settings()))
        return own
